"""An inventory finds exactly the paths and folders that it has."""

import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pulpit.content.paths import beneath_another, flaw
from pulpit.content.port import StoredFile
from pulpit.repositories import inventory
from pulpit.repositories.inventory import Folder, Inventory

NAMES = st.text(min_size=1, max_size=6).filter(lambda name: flaw(name) is None and "/" not in name)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
WHOLE = st.sets(PATHS, max_size=40).filter(lambda paths: beneath_another(paths) is None)


def line(path: str) -> StoredFile:
    return StoredFile(relative_path=path, sha256="ab" * 32, size=len(path))


def opened(folder: Path, content: bytes) -> Inventory:
    (folder / "inventory").write_bytes(content)
    with (folder / "inventory").open("rb") as file:
        return Inventory(file)


@settings(deadline=None)
@given(paths=WHOLE, absent=PATHS)
def test_every_path_is_found_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, paths: set[str], absent: str
) -> None:
    content = inventory.document([line(path) for path in paths])
    found = opened(tmp_path_factory.mktemp("storage"), content)

    assert [found.find(path) for path in paths] == [line(path) for path in paths]
    assert found.find(absent) == (line(absent) if absent in paths else None)
    assert {file.relative_path for file in inventory.read(io.BytesIO(content))} == paths


@settings(deadline=None)
@given(paths=WHOLE, asked=PATHS)
def test_folders_hold_what_is_beneath_them(
    tmp_path_factory: pytest.TempPathFactory, paths: set[str], asked: str
) -> None:
    found = opened(tmp_path_factory.mktemp("storage"), inventory.document([line(path) for path in paths]))

    for folder in {"", asked, *(path.rpartition("/")[0] for path in paths)}:
        prefix = f"{folder}/" if folder else ""
        inside = {path.removeprefix(prefix) for path in paths if path.startswith(prefix)}
        folders = {path.partition("/")[0] for path in inside if "/" in path}
        entries = list(found.entries(folder))
        assert [entry.name for entry in entries if isinstance(entry, Folder)] == sorted(folders, key=str.encode)
        assert {entry.relative_path for entry in entries if isinstance(entry, StoredFile)} == {
            path for path in inside if "/" not in path
        }
        assert found.is_folder(folder) == bool(inside)


@settings(deadline=None)
@given(garbage=st.binary(max_size=300), asked=PATHS)
def test_a_damaged_one_is_refused_or_has_no_answer(
    tmp_path_factory: pytest.TempPathFactory, garbage: bytes, asked: str
) -> None:
    found = opened(tmp_path_factory.mktemp("storage"), garbage)

    try:
        found.find(asked)
        list(found.entries(asked))
        list(inventory.read(io.BytesIO(garbage)))
    except ValueError:
        pass
