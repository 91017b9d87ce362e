"""What people install: the wheel and the sdist, in an empty environment, without the checkout."""

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both, as `make dist` makes them."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
        timeout=100,
    )
    return folder


def test_both_hold_the_licence_the_migrations_and_the_types(dist: Path) -> None:
    [wheel], [sdist] = dist.glob("*.whl"), dist.glob("*.tar.gz")
    in_wheel = zipfile.ZipFile(wheel).namelist()
    with tarfile.open(sdist) as archive:
        in_sdist = [name.partition("/")[2] for name in archive.getnames()]
    assert [name for name in in_wheel if name.endswith("dist-info/licenses/LICENSE")]
    assert {"pulpit/py.typed", "pulpit/store/migrations/env.py"} <= set(in_wheel)
    assert {"LICENSE", "README.md", "Makefile", "pyproject.toml", "src/pulpit/py.typed", "tests/conftest.py"} <= set(
        in_sdist
    )
    source = {str(path.relative_to(CHECKOUT / "src")) for path in (CHECKOUT / "src").rglob("*.py")}
    assert source - set(in_wheel) == set()


@pytest.mark.timeout(300)
def test_the_wheel_plays_the_demo_in_an_empty_environment(dist: Path, tmp_path: Path) -> None:
    [wheel] = dist.glob("*.whl")
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    bare = {"HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    uv = [
        str(Path(sys.executable).with_name("uv")),
        "pip",
        "install",
        "--quiet",
        "--python",
        str(environment / "bin/python"),
    ]
    subprocess.run([*uv, str(wheel)], check=True, env={**os.environ, "VIRTUAL_ENV": ""}, timeout=250, cwd=tmp_path)
    command = [str(environment / "bin" / "pulpit"), "demo"]
    played = subprocess.run(command, env=bare, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert played.returncode == 0, played.stdout + played.stderr
    heard = [line.strip() for line in played.stdout.splitlines() if line.startswith("  pulp.server.")]
    four = [f"pulp.server.repo.{work}.{moment}" for work in ("sync", "publish") for moment in ("start", "finish")]
    assert heard == [*four, *four[2:], four[1], four[3]]
    assert not list(tmp_path.glob("home/**/*.db"))
