"""Publishing files: what readers see is the old tree or the new one, never a mixture."""

import asyncio
import contextlib
import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pulpit.content.iso import Iso
from pulpit.errors import InvalidValue
from pulpit.published.locate import PublishedFile, PublishedFolder, locate
from pulpit.repositories.publish import check_place, publish, unpublish
from support import upstream as serving
from support.mirror import DISTRIBUTOR, Mirror, mirror
from support.upstream import Upstream


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with serving.running() as one:
        one.put("a.iso", b"first a")
        one.put("folder/b.iso", b"first b")
        one.manifest()
        yield one


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Mirror]:
    with mirror(tmp_path) as one:
        yield one


def synced(here: Mirror, upstream: Upstream, repo_id: str = "zoo", **distributor: object) -> None:
    here.create(repo_id, upstream.url, {"remove_missing": True}, **distributor)
    assert here.sync(repo_id).result == "success"


def places(here: Mirror) -> list[str]:
    return [path.name for path in (here.data_dir / "published" / "isos").iterdir()]


def trees(here: Mirror) -> list[Path]:
    """All that is there but the inventories of trees."""
    found = sorted((here.data_dir / "published" / "trees").glob("*/*"))
    return [path for path in found if path.suffix != ".files" or not path.with_suffix("").is_dir()]


def test_it_lays_out_the_files_and_a_manifest(upstream: Upstream, here: Mirror) -> None:
    synced(here, upstream)

    outcome = here.publish("zoo")

    assert (outcome.result, outcome.error_message) == ("success", None)
    assert here.published("zoo").keys() == {"a.iso", "folder/b.iso", "PULP_MANIFEST"}
    lines = here.published("zoo")["PULP_MANIFEST"].decode().splitlines()
    assert sorted(lines) == sorted(upstream.files["PULP_MANIFEST"].decode().splitlines())
    assert here.distributor("zoo").last_publish is not None


def test_it_reports_as_the_original_distributor(upstream: Upstream, here: Mirror) -> None:
    synced(here, upstream)
    here.reports.clear()

    here.publish("zoo")

    assert [report[DISTRIBUTOR]["state"] for report in here.reports] == ["in_progress", "complete"]
    last = here.reports[-1][DISTRIBUTOR]
    assert last.keys() == {"state", "state_times", "error_message", "traceback"}
    assert last["state_times"].keys() == {"not_started", "in_progress", "complete"}


def test_an_unchanged_repository_is_skipped_unless_forced(upstream: Upstream, here: Mirror) -> None:
    synced(here, upstream)
    here.publish("zoo")
    here.reports.clear()

    assert here.publish("zoo").result == "skipped"
    assert here.reports == []
    assert here.publish("zoo", {"force_full": True}).result == "success"


def test_a_tree_that_was_lost_is_published_again(upstream: Upstream, here: Mirror) -> None:
    synced(here, upstream)
    here.publish("zoo")
    (here.data_dir / "published" / "isos" / "zoo").unlink()

    assert here.publish("zoo").result == "success"
    assert len(here.published("zoo")) == 3


def test_the_switch_is_seen_at_once_and_the_old_tree_stays_for_its_readers(upstream: Upstream, here: Mirror) -> None:
    synced(here, upstream)
    here.publish("zoo")
    old = locate(here.data_dir, "isos", "zoo/")
    assert isinstance(old, PublishedFolder)

    upstream.put("a.iso", b"second a")
    del upstream.files["folder/b.iso"]
    upstream.manifest()
    here.sync("zoo")
    here.publish("zoo")

    assert here.published("zoo").keys() == {"a.iso", "PULP_MANIFEST"}
    assert (old.path / "a.iso").read_bytes() == b"first a"
    assert (old.path / "folder" / "b.iso").read_bytes() == b"first b"
    assert len(trees(here)) == 2
    here.publish("zoo", {"force_full": True})
    assert len(trees(here)) == 2
    assert not old.path.exists()


def test_readers_never_see_a_mixture(upstream: Upstream, here: Mirror) -> None:
    synced(here, upstream)
    here.publish("zoo")
    done = threading.Event()
    problems: list[str] = []

    def read() -> None:
        while not done.is_set():
            folder = locate(here.data_dir, "isos", "zoo")
            if not isinstance(folder, PublishedFolder):
                problems.append(f"nothing was published: {folder}")
                return
            with contextlib.suppress(FileNotFoundError):  # two publishes later the tree may go
                for line in (folder.path / "PULP_MANIFEST").read_text().splitlines():
                    name, sha256, _ = line.rsplit(",", 2)
                    if hashlib.sha256((folder.path / name).read_bytes()).hexdigest() != sha256:
                        problems.append(line)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for round_number in range(15):
            upstream.put("a.iso", f"a of round {round_number}".encode())
            upstream.manifest()
            assert here.sync("zoo").result == "success"
            assert here.publish("zoo").result == "success"
    finally:
        done.set()
        reader.join()
    assert problems == []


def test_what_an_interrupted_publish_left_is_swept_away(upstream: Upstream, here: Mirror) -> None:
    synced(here, upstream)
    here.publish("zoo")
    shelf = trees(here)[0].parent
    (shelf / "unfinished" / "folder").mkdir(parents=True)
    (shelf / "unfinished" / "folder" / "file").write_bytes(b"")
    (shelf / "left.link").symlink_to("nowhere")

    here.publish("zoo", {"force_full": True})

    assert len(trees(here)) == 2
    assert all(len(path.name) == 24 for path in trees(here))


def test_a_published_tree_survives_a_cancelled_publish(upstream: Upstream, here: Mirror) -> None:
    synced(here, upstream)
    here.publish("zoo")
    before = here.published("zoo")

    async def cancel_at_once() -> None:
        begun = asyncio.Event()

        def report(progress: dict[str, Any]) -> None:
            here.reports.append(progress)
            begun.set()

        running = asyncio.ensure_future(publish(here.context, "zoo", DISTRIBUTOR, {"force_full": True}, report))
        await begun.wait()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running

    asyncio.run(cancel_at_once())

    assert here.reports[-1][DISTRIBUTOR]["state"] == "cancelled"
    assert here.published("zoo") == before
    assert here.publish("zoo", {"force_full": True}).result == "success"
    assert len(trees(here)) <= 2


def test_a_file_that_is_gone_from_the_storage_fails_the_publish(upstream: Upstream, here: Mirror) -> None:
    synced(here, upstream)
    here.publish("zoo")
    before = here.published("zoo")
    upstream.put("new.iso", b"new")
    upstream.manifest()
    here.sync("zoo")
    for path in here.stored():
        if path.read_bytes() == b"new":
            path.unlink()

    outcome = here.publish("zoo")

    assert outcome.result == "failed"
    assert outcome.error_message == "The file 'new.iso' is gone from the storage; sync again."
    assert here.reports[-1][DISTRIBUTOR]["state"] == "failed"
    assert here.published("zoo") == before
    assert len(trees(here)) == 1


def test_names_that_collide_fail_the_publish(upstream: Upstream, here: Mirror) -> None:
    here.create("zoo", upstream.url)
    here.sync("zoo")
    del upstream.files["folder/b.iso"]
    upstream.put("folder", b"now a file")
    upstream.manifest()
    assert here.sync("zoo").result == "success"

    outcome = here.publish("zoo")

    assert outcome.result == "failed"
    assert "cannot be published: another file or folder has its place" in str(outcome.error_message)


def test_a_new_relative_url_moves_the_tree(upstream: Upstream, here: Mirror) -> None:
    synced(here, upstream, relative_url="some/where")
    here.publish("zoo")
    assert len(here.published("some/where")) == 3

    here.publish("zoo", {"relative_url": "elsewhere"})

    assert len(here.published("elsewhere")) == 3
    assert places(here) == ["elsewhere"]


@pytest.mark.parametrize(("first", "second"), [("a", "a"), ("a", "a/b"), ("a/b", "a")])
def test_two_repositories_cannot_publish_at_one_place(
    upstream: Upstream, here: Mirror, first: str, second: str
) -> None:
    synced(here, upstream, "one", relative_url=first)
    synced(here, upstream, "two", relative_url=second)
    here.publish("one")
    before = here.published(first)

    outcome = here.publish("two")

    assert outcome.result == "failed"
    assert "Another repository is published" in str(outcome.error_message)
    assert here.published(first) == before


def test_a_place_that_is_taken_is_refused_beforehand(upstream: Upstream, here: Mirror) -> None:
    synced(here, upstream, "one", relative_url="a/b")
    with here.context.database.read() as connection:
        for taken in ("a/b", "a", "a/b/c", "/a/b/"):
            with pytest.raises(InvalidValue):
                check_place(connection, Iso(), "two", (DISTRIBUTOR, "other"), {"relative_url": taken})
        check_place(connection, Iso(), "two", (DISTRIBUTOR, "other"), {"relative_url": "a/bc"})
        check_place(connection, Iso(), "one", (DISTRIBUTOR, DISTRIBUTOR), {"relative_url": "a/b"})


def test_unpublish_leaves_nothing(upstream: Upstream, here: Mirror) -> None:
    synced(here, upstream, relative_url="some/where")
    here.publish("zoo")

    asyncio.run(unpublish(here.context, "zoo", DISTRIBUTOR))

    assert locate(here.data_dir, "isos", "some/where") is None
    assert trees(here) == []
    assert places(here) == []
    assert here.publish("zoo").result == "success"


@pytest.mark.parametrize(
    "path",
    [
        "zoo/../zoo/a.iso",
        "../isos/zoo",
        "zoo/..",
        "..",
        "zoo//a.iso",
        "zoo/a.iso/x",
        "zoo/\0",
        "nothing",
        "zoo/nothing",
    ],
)
def test_nothing_but_published_files_can_be_located(upstream: Upstream, here: Mirror, path: str) -> None:
    synced(here, upstream)
    here.publish("zoo")

    assert locate(here.data_dir, "isos", path) is None


def test_links_inside_a_tree_are_not_followed(upstream: Upstream, here: Mirror) -> None:
    synced(here, upstream)
    here.publish("zoo")
    (trees(here)[0] / "out").symlink_to("/etc")

    assert locate(here.data_dir, "isos", "zoo/out") is None
    assert locate(here.data_dir, "isos", "zoo/out/passwd") is None


def test_files_and_folders_are_located(upstream: Upstream, here: Mirror) -> None:
    synced(here, upstream, relative_url="some/where")
    here.publish("zoo")

    assert isinstance(locate(here.data_dir, "isos", "/some/where/folder/b.iso"), PublishedFile)
    top = locate(here.data_dir, "isos", "")
    assert isinstance(top, PublishedFolder)
    assert [entry.name for entry in top.entries()] == ["some"]
    inner = locate(here.data_dir, "isos", "/some/where/")
    assert isinstance(inner, PublishedFolder)
    assert [entry.name for entry in inner.entries()] == ["folder", "PULP_MANIFEST", "a.iso"]
