"""Trees of links, as earlier versions published them, become publications when the server starts."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pulpit.repositories.recovery import recover
from pulpit.store import publications, repositories
from support import published
from support import upstream as serving
from support.mirror import DISTRIBUTOR, Mirror, mirror
from support.published import look


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Mirror]:
    """A synced repository that an earlier version published: its files are links to the storage, its list is not."""
    (tmp_path / "data").mkdir()
    with serving.running() as upstream, mirror(tmp_path / "data") as one:
        for name in ("a.iso", "folder/b.iso"):
            upstream.put(name, name.encode() * 100)
        upstream.manifest()
        one.create("zoo", upstream.url)
        assert one.sync("zoo").result == "success"
        shelf = one.data_dir / "published" / "trees" / one.distributor("zoo").object_id
        tree = shelf / ("0" * 24)
        (tree / "folder").mkdir(parents=True)
        for path in one.stored():
            name = path.read_bytes()[:5].decode() if path.stat().st_size == 500 else "folder/b.iso"
            os.link(path, tree / name)
        (tree / "PULP_MANIFEST").write_bytes(upstream.files["PULP_MANIFEST"])
        (one.data_dir / "published" / "isos").mkdir()
        (one.data_dir / "published" / "isos" / "zoo").symlink_to(tree)
        state = {"place": "isos/zoo", "tree": tree.name, "state": None}
        with one.context.database.write() as tx:
            repositories.change_distributor(tx, "zoo", DISTRIBUTOR, scratchpad={"published": state, "other": 1})
        yield one


def tree(here: Mirror) -> Path:
    return (here.data_dir / "published" / "isos" / "zoo").resolve()


def listed(root: Path) -> bytes:
    files = [path for path in root.rglob("*") if path.is_file()]
    sums = {path: serving.line(str(path.relative_to(root)), path.read_bytes()).split(",") for path in files}
    lines = sorted(f"{name}\t{digest}\t{size}\n".encode() for name, digest, size in sums.values())
    return b"".join(lines)


@pytest.mark.parametrize("has_inventory", [True, False])
def test_a_tree_becomes_a_publication(here: Mirror, *, has_inventory: bool) -> None:
    root = tree(here)
    before = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    if has_inventory:
        root.with_name(f"{root.name}.files").write_bytes(listed(root))

    recover(here.context)

    assert here.published("zoo") == before
    assert not (here.data_dir / "published").exists()
    assert here.distributor("zoo").scratchpad == {"other": 1}
    assert look(here.context, deep=True) == []
    with here.context.database.read() as connection:
        (publication,) = publications.of_repository(connection, "zoo")
    assert (publication.number, publication.unit_counts) == (1, {"iso": 2})
    recover(here.context)
    assert here.publish("zoo", {"force_full": True}).result == "success"


def test_what_only_the_tree_still_has_is_taken_over(here: Mirror) -> None:
    before = (tree(here) / "a.iso").read_bytes()
    for path in here.stored():
        path.unlink()

    recover(here.context)

    assert here.published("zoo")["a.iso"] == before


def test_a_tree_that_is_broken_is_told_and_left(here: Mirror, caplog: pytest.LogCaptureFixture) -> None:
    root = tree(here)
    root.with_name(f"{root.name}.files").write_bytes(b"\xff")

    recover(here.context)

    assert "could not be taken over" in caplog.text
    assert root.is_dir()
    assert published.paths(here.context) == []
    assert here.publish("zoo").result == "success"
