"""Publishing files: what readers see is the old publication or the new one, never a mixture."""

import asyncio
import contextlib
import hashlib
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pulpit.content.iso import Iso
from pulpit.errors import InvalidValue
from pulpit.published.locate import FRESH_FOR, PublishedFile, PublishedFolder
from pulpit.repositories.orphans import remove_orphans
from pulpit.repositories.publish import check_place, publish
from pulpit.store import publications, repositories
from pulpit.store.publications import Publication
from support import published
from support import upstream as serving
from support.mirror import DISTRIBUTOR, Mirror, mirror
from support.upstream import Upstream
from support.waiting import until


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


def kept(here: Mirror, repo_id: str = "zoo") -> list[Publication]:
    with here.context.database.read() as connection:
        return publications.of_repository(connection, repo_id)


def numbers(here: Mirror) -> list[int]:
    return [publication.number for publication in kept(here)]


def go_on(here: Mirror, upstream: Upstream, text: str) -> None:
    """Publish another `a.iso`."""
    upstream.put("a.iso", text.encode())
    upstream.manifest()
    assert here.sync("zoo").result == "success"
    assert here.publish("zoo").result == "success"


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

    skipped = here.publish("zoo")
    assert skipped.result == "skipped"
    assert skipped.summary == "Skipped: Repository content has not changed since last publish."
    assert here.reports == []
    assert here.publish("zoo", {"force_full": True}).result == "success"


def test_a_publication_of_an_earlier_form_is_made_again(
    upstream: Upstream, here: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced(here, upstream)
    here.publish("zoo")

    monkeypatch.setattr(Iso, "published_form", 2)

    assert [here.publish("zoo").result for _ in range(2)] == ["success", "skipped"]


def test_a_publication_says_what_it_holds(upstream: Upstream, here: Mirror) -> None:
    synced(here, upstream)
    here.publish("zoo")

    (publication,) = kept(here)
    assert (publication.number, publication.file_count, publication.unit_counts) == (1, 3, {"iso": 2})
    assert publication.byte_count == sum(map(len, here.published("zoo").values()))
    with here.context.storage.open(publication.content) as lines:
        assert [line.split(b"\t")[0] for line in lines] == [b"iso", b"iso"]


def test_the_switch_is_seen_at_once_and_old_publications_are_kept_for_a_while(upstream: Upstream, here: Mirror) -> None:
    here = here.keeping(2, timedelta(hours=1))
    synced(here, upstream)
    for number in range(4):
        go_on(here, upstream, f"a {number}")
        assert here.published("zoo")["a.iso"] == f"a {number}".encode()
    assert numbers(here) == [4, 3, 2, 1]

    here = here.keeping(2, timedelta(0))
    go_on(here, upstream, "last")
    assert numbers(here) == [5, 4]


def test_files_that_publications_need_are_no_orphans(upstream: Upstream, here: Mirror) -> None:
    here = here.keeping(2, timedelta(0))
    synced(here, upstream)
    for number in range(3):
        go_on(here, upstream, f"a {number}")

    asyncio.run(remove_orphans(here.context))

    assert numbers(here) == [3, 2]
    needed = set[str]()
    for publication in kept(here):
        with here.context.storage.open(publication.inventory) as lines:
            needed |= {line.split(b"\t")[1].decode() for line in lines}
        needed |= {publication.inventory, publication.content}
    assert {path.name for path in here.stored()} == needed


def test_a_file_named_by_its_checksum_is_found_a_while_after_it_went(upstream: Upstream, here: Mirror) -> None:
    listed = f"repodata/{'ab' * 32}-primary.xml.gz"
    upstream.put(listed, b"the old list")
    synced(here, upstream)
    upstream.manifest()
    assert here.sync("zoo").result == "success"
    here.publish("zoo")
    del upstream.files[listed], upstream.files["folder/b.iso"]
    upstream.manifest()
    assert here.sync("zoo").result == "success"
    assert here.publish("zoo").result == "success"

    seen = published.known(here.context)
    found = seen.locate("isos", f"zoo/{listed}")
    assert isinstance(found, PublishedFile)
    assert published.read(here.context, found.file) == b"the old list"
    assert seen.locate("isos", "zoo/folder/b.iso") is None
    folder = seen.locate("isos", "zoo/")
    assert isinstance(folder, PublishedFolder)
    assert [entry.name for entry in folder.entries(lambda every: every)] == ["PULP_MANIFEST", "a.iso"]
    assert published.known(here.keeping(5, timedelta(0)).context).locate("isos", f"zoo/{listed}") is None


def test_another_server_sees_the_switch_soon(upstream: Upstream, here: Mirror) -> None:
    synced(here, upstream)
    here.publish("zoo")
    elsewhere = published.known(here.context)
    first = elsewhere.locate("isos", "zoo/a.iso")
    go_on(here, upstream, "second")

    until(lambda: elsewhere.locate("isos", "zoo/a.iso") != first, seconds=20 * FRESH_FOR)


def test_readers_never_see_a_mixture(upstream: Upstream, here: Mirror) -> None:
    synced(here, upstream)
    here.publish("zoo")
    done = threading.Event()
    problems: list[str] = []
    seen = published.known(here.context)

    def read() -> None:
        while not done.is_set():
            folder = seen.locate("isos", "zoo")
            if not isinstance(folder, PublishedFolder):
                problems.append(f"nothing was published: {folder}")
                return
            manifest = folder.file("PULP_MANIFEST")
            assert manifest is not None
            for line in published.read(here.context, manifest.file).decode().splitlines():
                name, sha256, _ = line.rsplit(",", 2)
                file = folder.file(name)
                if file is None or hashlib.sha256(published.read(here.context, file.file)).hexdigest() != sha256:
                    problems.append(line)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for round_number in range(15):
            go_on(here, upstream, f"a of round {round_number}")
    finally:
        done.set()
        reader.join()
    assert problems == []


def test_what_is_published_survives_a_cancelled_publish(upstream: Upstream, here: Mirror) -> None:
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
    assert here.leftovers() == []


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
    assert numbers(here) == [1]


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


def test_a_new_relative_url_moves_what_is_published(upstream: Upstream, here: Mirror) -> None:
    synced(here, upstream, relative_url="some/where")
    here.publish("zoo")
    assert len(here.published("some/where")) == 3

    here.publish("zoo", {"relative_url": "elsewhere"})

    assert len(here.published("elsewhere")) == 3
    assert published.paths(here.context) == ["isos/elsewhere"]


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ("a", "a", "Another repository is published at 'isos/a'."),
        ("a", "a/b", "Nothing can be shown at 'isos/a/b' as long as 'isos/a' is a place."),
        ("a/b", "a", "Nothing can be shown at 'isos/a' as long as 'isos/a/b' is a place."),
    ],
)
def test_two_repositories_cannot_publish_at_one_place(
    upstream: Upstream, here: Mirror, first: str, second: str, reason: str
) -> None:
    synced(here, upstream, "one", relative_url=first)
    synced(here, upstream, "two", relative_url=second)
    here.publish("one")
    before = here.published(first)

    outcome = here.publish("two")

    assert outcome.result == "failed"
    assert outcome.error_message == reason
    assert here.published(first) == before


def test_a_place_that_is_taken_is_refused_beforehand(upstream: Upstream, here: Mirror) -> None:
    synced(here, upstream, "one", relative_url="a/b")
    with here.context.database.read() as connection:
        for taken in ("a/b", "a", "a/b/c", "/a/b/"):
            with pytest.raises(InvalidValue):
                check_place(connection, Iso(), "two", (DISTRIBUTOR, "other"), {"relative_url": taken})
        check_place(connection, Iso(), "two", (DISTRIBUTOR, "other"), {"relative_url": "a/bc"})
        check_place(connection, Iso(), "one", (DISTRIBUTOR, DISTRIBUTOR), {"relative_url": "a/b"})


def test_a_distributor_that_is_removed_takes_what_it_published_along(upstream: Upstream, here: Mirror) -> None:
    synced(here, upstream, relative_url="some/where")
    here.publish("zoo")

    with here.context.database.write() as tx:
        repositories.remove_distributor(tx, "zoo", DISTRIBUTOR)

    assert published.known(here.context).locate("isos", "some/where") is None
    assert published.paths(here.context) == []
    assert kept(here) == []


def test_what_was_removed_while_a_publish_ran_fails_it(upstream: Upstream, here: Mirror) -> None:
    synced(here, upstream)
    outcome = asyncio.run(publish(here.context, "zoo", DISTRIBUTOR, None, here.reports.append))
    for path in here.stored():
        if b"a.iso" in path.read_bytes():
            path.unlink()

    assert published.show(here.context, outcome).error_message == (
        "Files of the publication were removed while it was made; publish it again."
    )
    assert kept(here) == []


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

    assert published.known(here.context).locate("isos", path) is None


def test_files_and_folders_are_located(upstream: Upstream, here: Mirror) -> None:
    synced(here, upstream, relative_url="some/where")
    here.publish("zoo")
    seen = published.known(here.context)

    assert isinstance(seen.locate("isos", "/some/where/folder/b.iso"), PublishedFile)
    top = seen.locate("isos", "")
    assert isinstance(top, PublishedFolder)
    assert [entry.name for entry in top.entries(lambda every: every)] == ["some"]
    assert [entry.name for entry in top.entries(lambda _: ())] == []
    inner = seen.locate("isos", "/some/where/")
    assert isinstance(inner, PublishedFolder)
    assert [entry.name for entry in inner.entries(lambda every: every)] == ["folder", "PULP_MANIFEST", "a.iso"]
