"""The wheel and the sdist, installed into an empty environment without the checkout and without git."""

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from pulpit import __version__

CHECKOUT = Path(__file__).resolve().parents[2]
HERE = Path(sys.executable).parent


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


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    [wheel] = dist.glob("*.whl")
    return wheel


def bare(home: Path) -> dict[str, str]:
    """An environment in which no program can be found, git neither."""
    return {"HOME": str(home), "PATH": str(home / "nothing"), "LANG": "C.UTF-8"}


def said(*command: str | Path, environment: dict[str, str]) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_both_hold_the_licence_the_migrations_and_the_types(dist: Path, wheel: Path) -> None:
    [sdist] = dist.glob("*.tar.gz")
    in_wheel = zipfile.ZipFile(wheel).namelist()
    with tarfile.open(sdist) as archive:
        in_sdist = [name.partition("/")[2] for name in archive.getnames()]
    for licence in ("LICENSE", "LICENSES/Apache-2.0.txt", "LICENSES/GPL-3.0-or-later.txt"):
        assert [name for name in in_wheel if name.endswith(f"dist-info/licenses/{licence}")]
    assert {"pulpit/py.typed", "pulpit/store/migrations/env.py"} <= set(in_wheel)
    assert {"LICENSE", "README.md", "Makefile", "pyproject.toml", "src/pulpit/py.typed", "tests/conftest.py"} <= set(
        in_sdist
    )
    source = {str(path.relative_to(CHECKOUT / "src")) for path in (CHECKOUT / "src").rglob("*.py")}
    source |= {str(path.relative_to(CHECKOUT / "src")) for path in (CHECKOUT / "src/pulpit/ui").glob("[st]*/*.*")}
    assert {"pulpit/ui/static/page.css", "pulpit/ui/templates/now.html"} <= source
    assert source - set(in_wheel) == set()


def test_the_metadata_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("dist-info/METADATA")]
        metadata = Parser().parsestr(archive.read(name).decode())
    assert metadata["Version"] == __version__
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata["License-Expression"] == "GPL-3.0-or-later AND Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert "Operating System :: POSIX :: Linux" in metadata.get_all("Classifier", [])


@pytest.mark.timeout(400)
def test_pip_alone_is_enough_for_the_demo(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", environment / "bin/python", "install", "--quiet"]
    subprocess.run([*pip, wheel], check=True, timeout=300, cwd=tmp_path)
    proxies = {"http_proxy": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9"}  # not for this machine
    played = said(environment / "bin/pulpit", "demo", environment=bare(tmp_path / "home") | proxies)
    heard = [line.strip() for line in played.splitlines() if line.startswith("  pulp.server.")]
    four = [f"pulp.server.repo.{work}.{moment}" for work in ("sync", "publish") for moment in ("start", "finish")]
    assert heard == [*four, *four[2:], four[1], four[3]]
    assert not list(tmp_path.glob("home/**/*.db"))


@pytest.mark.timeout(400)
@pytest.mark.parametrize("tool", ["uv", "pipx"])
def test_the_tools_that_install_programs_install_both_commands(wheel: Path, tool: str, tmp_path: Path) -> None:
    folders = {"UV_TOOL_DIR": "tools", "UV_TOOL_BIN_DIR": "bin", "PIPX_HOME": "tools", "PIPX_BIN_DIR": "bin"}
    places = {name: str(tmp_path / folder) for name, folder in folders.items()}
    search = {"PATH": f"{HERE}:{os.environ['PATH']}"}
    ways: dict[str, list[str | Path]] = {
        "uv": [HERE / "uv", "tool", "install", "--quiet", "--python", sys.executable, wheel],
        "pipx": [HERE / "pipx", "install", "--backend", "uv", "--python", sys.executable, wheel],
    }
    done = subprocess.run(
        ways[tool], env={**os.environ, **places, **search}, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for program in ("pulpit", "pulp-admin"):
        command = tmp_path / "bin" / program
        assert __version__ in said(command, "--version", environment=bare(tmp_path))
        script = said(command, "completion", "bash", environment=bare(tmp_path))
        assert f"{program}" in script
        assert f"_{program}_COMPLETE=bash_complete".replace("-", "_").upper() in script.upper()
