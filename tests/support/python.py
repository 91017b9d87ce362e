"""Python packages and indexes: distributions built by hatchling, served by pypiserver and simple-repository-server."""

import contextlib
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pulpit.content.limits import Limits
from pulpit.content.python import distributions
from pulpit.content.python.python import Python
from pulpit.repositories.context import TaskContext, by_plugin
from pulpit.storage.folder import FolderStorage
from pulpit.store import units
from pulpit.store.units import Unit
from support import database
from support.mirror import Mirror
from support.ports import free_port
from support.waiting import until

IMPORTER = "python_importer"
DISTRIBUTOR = "python_distributor"
JSON = "application/vnd.pypi.simple.v1+json"

PROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "{name}"
version = "{version}"
description = "The {name} & nothing but the {name}"
authors = [{{name = "Keeper", email = "keeper@example.org"}}]
requires-python = "{requires_python}"
dependencies = {dependencies}
[tool.hatch.build.targets.wheel]
include = ["{module}.py"]
"""


def build(
    folder: Path, name: str, version: str, *, requires_python: str = ">=3.8", dependencies: Sequence[str] = ()
) -> list[Path]:
    """A wheel and an sdist of a module that prints its name and version."""
    source, module = folder / f"{name}-{version}", re.sub("[-.]", "_", name).lower()
    source.mkdir(parents=True)
    text = PROJECT.format(
        name=name,
        version=version,
        module=module,
        requires_python=requires_python,
        dependencies=json.dumps(list(dependencies)),
    )
    (source / "pyproject.toml").write_text(text)
    (source / f"{module}.py").write_text(f'print("{name} {version}")\n')
    run(sys.executable, "-m", "hatchling", "build", "-d", str(folder / "dist"), cwd=source)
    return sorted((folder / "dist").glob(f"{module}-{version}*"))


def run(*command: str, cwd: Path | None = None) -> str:
    """Run a program that must end well, whatever this machine has told pip and uv; returns what it wrote."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    environment = clean | {"PIP_CONFIG_FILE": os.devnull}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False, cwd=cwd, env=environment)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@contextlib.contextmanager
def pypiserver(folder: Path, *options: str) -> Iterator[str]:
    """A pypiserver (PEP 503) over a folder; yields the URL of its root."""
    with _serving(
        "pypiserver", "run", "-i", "127.0.0.1", "-p", "{port}", "--disable-fallback", *options, folder
    ) as url:
        yield url


@contextlib.contextmanager
def simple_repository_server(folder: Path) -> Iterator[str]:
    """A simple-repository-server (PEP 691, 658) over a folder of one folder for each project."""
    with _serving("simple_repository_server", "--port", "{port}", folder) as url:
        yield url


@contextlib.contextmanager
def _serving(module: str, *arguments: str | Path) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", module, *(str(argument).replace("{port}", str(port)) for argument in arguments)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            url = f"http://127.0.0.1:{port}/"
            until(lambda: _answers(f"{url}simple/"), what=module)
            yield url
        finally:
            process.terminate()
            process.wait(60)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=60):
            return True
    except OSError:
        return False


class PythonMirror(Mirror):
    """A repository of Python packages that syncs from an upstream, without a server around it."""

    importer_type: ClassVar[str] = IMPORTER
    distributor_type: ClassVar[str] = DISTRIBUTOR
    kind: ClassVar[str] = "python/web"

    def create(self, repo_id: str, feed: str | None, config: dict[str, Any] | None = None, **distributor: Any) -> None:
        self.context.content_type(IMPORTER).check_importer_config({"feed": feed, **(config or {})})
        super().create(repo_id, feed, config, **distributor)

    def units(self, repo_id: str) -> dict[str, Unit]:
        """The packages that the repository holds, by the names of their files."""
        with self.context.database.read() as connection:
            found = [holding.unit for holding in units.held(connection, repo_id)]
        return {str(unit.key["filename"]): unit for unit in found if unit.type_id == distributions.PACKAGE}

    def files(self, repo_id: str) -> list[str]:
        return sorted(self.units(repo_id))

    def page(self, place: str, project: str) -> dict[str, Any]:
        """The JSON form of a published page."""
        page: dict[str, Any] = json.loads(self.published(place)[f"simple/{project}/index.v1_json"])
        return page


@contextlib.contextmanager
def python_mirror(folder: Path, limits: Limits | None = None) -> Iterator[PythonMirror]:
    folder.mkdir(exist_ok=True)
    with database.fresh(folder) as (opened, _):
        limits = limits or Limits(first_pause=0.01, longest_pause=0.05)
        yield PythonMirror(
            TaskContext(
                database=opened,
                storage=FolderStorage(folder / "content"),
                data_dir=folder,
                content_types=by_plugin(Python()),
                limits=limits,
            )
        )
