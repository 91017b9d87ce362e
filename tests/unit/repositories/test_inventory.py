"""The inventory of a tree answers for every path that it has, and for no other."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pulpit.content.paths import flaw
from pulpit.content.port import StoredFile
from pulpit.repositories import inventory

PATHS = st.text(min_size=1, max_size=12).filter(lambda path: flaw(path) is None)


def line(path: str) -> StoredFile:
    return StoredFile(relative_path=path, sha256="ab" * 32, size=len(path))


@settings(deadline=None)
@given(paths=st.sets(PATHS, max_size=40), absent=PATHS)
def test_every_path_is_found_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, paths: set[str], absent: str
) -> None:
    tree = tmp_path_factory.mktemp("shelf") / "tree"
    inventory.write(tree, [line(path) for path in paths])

    assert [inventory.find(tree, path) for path in paths] == [line(path) for path in paths]
    assert inventory.find(tree, absent) == (line(absent) if absent in paths else None)
    assert {one.relative_path for one in inventory.read(tree)} == paths


@settings(deadline=None)
@given(garbage=st.binary(max_size=300), asked=PATHS)
def test_a_damaged_one_is_refused_or_has_no_answer(
    tmp_path_factory: pytest.TempPathFactory, garbage: bytes, asked: str
) -> None:
    tree = tmp_path_factory.mktemp("shelf") / "tree"
    inventory.beside(tree).write_bytes(garbage)

    try:
        inventory.find(tree, asked)
        list(inventory.read(tree))
    except ValueError:
        pass


def test_a_tree_without_one_has_no_lines(tmp_path: Path) -> None:
    assert inventory.find(tmp_path / "tree", "a") is None
    with pytest.raises(FileNotFoundError):
        list(inventory.read(tmp_path / "tree"))
