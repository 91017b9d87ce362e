"""Uploads, copies, removals, and units that no repository holds."""

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from pulpit.errors import InvalidValue, MissingResource
from pulpit.repositories.copies import copy_units, remove_units
from pulpit.repositories.orphans import DAY, remove_orphans
from pulpit.repositories.uploads import import_file
from pulpit.store import orphans
from support import upstream as serving
from support.mirror import Mirror, mirror
from support.upstream import Upstream


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with serving.running() as one:
        one.put("a.iso", b"content of a")
        one.put("b.iso", b"content of b")
        one.manifest()
        yield one


@pytest.fixture
def here(tmp_path: Path, upstream: Upstream) -> Iterator[Mirror]:
    with mirror(tmp_path) as one:
        one.create("zoo", upstream.url)
        one.create("farm", None)
        assert one.sync("zoo").result == "success"
        yield one


def remove(here: Mirror, repo_id: str, name: str) -> None:
    gone = remove_units(here.context, repo_id, None, lambda held: held.unit.key["name"] == name)
    assert [unit.key["name"] for unit in gone] == [name]


def orphan_counts(here: Mirror) -> dict[str, int]:
    with here.context.database.read() as connection:
        return orphans.orphan_counts(connection)


def test_a_removed_unit_is_an_orphan_until_it_is_removed_with_its_file(here: Mirror) -> None:
    remove(here, "zoo", "a.iso")
    assert here.names("zoo") == ["b.iso"]
    assert here.repository("zoo").last_unit_removed is not None
    assert orphan_counts(here) == {"iso": 1}
    assert len(here.stored()) == 2

    assert asyncio.run(remove_orphans(here.context)) == {"iso": 1}

    assert orphan_counts(here) == {}
    assert len(here.stored()) == 1


def test_a_file_stays_as_long_as_a_publication_needs_it(here: Mirror) -> None:
    here.publish("zoo")
    remove(here, "zoo", "a.iso")

    assert asyncio.run(remove_orphans(here.context)) == {"iso": 1}

    assert here.published("zoo")["a.iso"] == b"content of a"
    here.keeping(1, timedelta(0)).publish("zoo")
    assert here.published("zoo").keys() == {"b.iso", "PULP_MANIFEST"}
    asyncio.run(remove_orphans(here.context))
    assert b"content of a" not in [path.read_bytes() for path in here.stored()]


def test_orphans_are_removed_by_type_and_by_id(here: Mirror) -> None:
    remove(here, "zoo", "a.iso")
    remove(here, "zoo", "b.iso")
    with here.context.database.read() as connection:
        listed = orphans.orphan_keys(connection, "iso")
    assert [key["name"] for _, key in listed] == ["a.iso", "b.iso"]

    assert asyncio.run(remove_orphans(here.context, "rpm")) == {}
    assert asyncio.run(remove_orphans(here.context, "iso", [listed[0][0]])) == {"iso": 1}
    assert asyncio.run(remove_orphans(here.context, "iso")) == {"iso": 1}


def test_a_unit_that_was_removed_by_hand_comes_back_with_the_next_sync(here: Mirror) -> None:
    remove(here, "zoo", "a.iso")

    assert here.sync("zoo").added_count == 1


def test_a_copied_unit_is_held_by_both_and_no_orphan(here: Mirror) -> None:
    copied = copy_units(here.context, "zoo", "farm", ["iso"], lambda _: True, {})

    assert len(copied) == 2
    assert here.names("farm") == ["a.iso", "b.iso"]
    remove(here, "zoo", "a.iso")
    assert orphan_counts(here) == {}
    here.publish("farm")
    assert here.published("farm")["a.iso"] == b"content of a"


def test_an_uploaded_file_is_taken_in_and_replaces_one_of_its_name(here: Mirror, tmp_path: Path) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(b"another a")

    unit = import_file(here.context, "zoo", "iso", {"name": "a.iso"}, {}, upload)

    assert unit.key["size"] == 9
    assert here.names("zoo") == ["a.iso", "b.iso"]
    here.publish("zoo")
    assert here.published("zoo")["a.iso"] == b"another a"
    assert upload.exists()
    assert here.leftovers() == []


@pytest.mark.parametrize(
    "key", [{"name": "../a"}, {}, {"name": 5}, {"name": "a", "size": 1}, {"name": "a", "checksum": "0" * 64}]
)
def test_an_upload_that_is_not_what_it_says_is_refused(here: Mirror, tmp_path: Path, key: dict[str, object]) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(b"content")

    with pytest.raises(InvalidValue):
        import_file(here.context, "zoo", "iso", key, {}, upload)
    assert here.names("zoo") == ["a.iso", "b.iso"]


def test_an_upload_into_nothing(here: Mirror, tmp_path: Path) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(b"content")

    with pytest.raises(MissingResource):
        import_file(here.context, "nothing", "iso", {"name": "a"}, {}, upload)


def test_strays_go_when_they_are_old(here: Mirror) -> None:
    content = here.data_dir / "content"
    young, old, foreign = (content / name for name in ("aa/" + "a" * 64, "bb/" + "b" * 64, "bb/of-somebody-else"))
    for path in (young, old, foreign):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"stray")
    long_ago = time.time() - 2 * DAY
    for path in (old, foreign):
        os.utime(path, (long_ago, long_ago))

    asyncio.run(remove_orphans(here.context))

    assert young.exists()
    assert not old.exists()
    assert foreign.exists()


def test_orphan_removal_beside_a_sync_takes_nothing_from_it(here: Mirror, upstream: Upstream) -> None:
    opened, arrived = threading.Event(), threading.Event()
    remove(here, "zoo", "a.iso")
    upstream.put("slow", b"slow")
    upstream.manifest()
    upstream.misbehave("slow", serving.gate(b"slow", opened, arrived))

    def remove_meanwhile() -> None:
        arrived.wait(60)
        asyncio.run(remove_orphans(here.context))  # the sync counts on the file of a.iso
        opened.set()

    beside = threading.Thread(target=remove_meanwhile)
    beside.start()
    outcome = here.sync("zoo")
    beside.join()

    assert (outcome.result, outcome.added_count) == ("success", 2)
    assert here.names("zoo") == ["a.iso", "b.iso", "slow"]
    assert len(here.stored()) == 3
    here.publish("zoo")
    assert here.published("zoo")["a.iso"] == b"content of a"
