"""A server that answers as told, and the command run against it in this process."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pulpit.admin.main import run
from support.rest_wire import RestWire, rest_wire

RunAdmin = Callable[..., int]


@pytest.fixture
def wire() -> Iterator[RestWire]:
    with rest_wire() as wire:
        yield wire


@pytest.fixture
def admin(wire: RestWire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunAdmin:
    for name in ("PULPIT_PASSWORD", "PULPIT_USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PULPIT_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("PULPIT_URL", wire.url)
    return lambda *arguments: run(list(arguments))
