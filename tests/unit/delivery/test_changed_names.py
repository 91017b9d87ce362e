"""Listeners that want certain packages are matched with all changes of an event, not only those in its message."""

import asyncio
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulpit.clock import system_clock
from pulpit.delivery.changed_names import Names
from pulpit.delivery.log_reader import LogReader, RecentEvents, filter_of
from pulpit.fire import fire
from pulpit.store import changes, event_log, listeners
from pulpit.store.changes import Change, Description, Recorder, UnitChange
from pulpit.store.database import Database
from support.database import fire_one, fresh


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["openssl"], True),
        (["openssl*"], True),
        (["open*"], True),
        (["*ssl"], True),
        (["OpenSSL"], True),
        (["PYYAML"], True),
        (["op?nssl"], True),
        (["[m-p]*"], True),
        (["open"], False),
        (["openssl-libs*"], False),
        (["?"], False),
        (["zz*", "zlib"], True),
        ([], False),
        (["a" * 200 + "*" * 50], False),
    ],
)
def test_names_are_like_patterns(patterns: list[str], expected: bool) -> None:
    names = Names(["openssl", "zlib", "PyYAML", "openssl-devel"])
    assert [names.any_like(patterns) for _ in range(2)] == [expected, expected]


@given(st.lists(st.text("ab[-", max_size=4), max_size=6), st.text("ab*?[]-!", max_size=5))
def test_a_prefix_finds_what_looking_at_each_name_finds(names: list[str], pattern: str) -> None:
    assert Names(names).any_like([pattern]) == any(fnmatchcase(name, pattern) for name in names)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with fresh(tmp_path) as (opened, _):
        yield opened


def changed(database: Database, *names: str) -> int:
    """Tell of a sync that has added packages, of which the message names none."""
    recorder = Recorder(task_id="task", describe=lambda _, key, __: Description(name=key["name"]))
    with database.write() as tx:
        units = [recorder.unit(name, "rpm", {"name": name}, {}) for name in names]
        recorder.write(tx, "zoo", [UnitChange(change=Change.ADDED, unit=unit) for unit in units])
        event = fire(tx, "repo.sync.finish", {"repo_id": "zoo", "result": "success"}, clock=system_clock)
        for made in changes.untold(tx.connection, "task").values():
            changes.tell(tx, made.id, event.number)
    return event.number


def found(database: Database, packages: list[str] | None, *, limit: int = 100) -> list[int]:
    with database.write() as tx:
        made = listeners.add(tx, "http", {}, ["#"], now=system_clock(), packages=packages)
        head = event_log.head(tx.connection)
    recent = RecentEvents(0)
    with database.read() as connection:
        recent.extend(event_log.read_after(connection, 0, limit=1000))
    reader = LogReader(database, recent)

    async def read() -> list[int]:
        numbers, position = [], 0
        while position < head:
            batch = await reader.next_batch(position, filter_of(made), limit, made.packages)
            numbers += [event.number for event in batch.events]
            position = batch.scanned_to
        return numbers

    return asyncio.run(read())


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_an_event_is_judged_by_the_whole_list(database: Database, limit: int) -> None:
    many = [f"package-{number}" for number in range(3000)]
    first = changed(database, *many, "openssl")
    fire_one(database, "tasks.finished")
    changed(database, "zlib")
    changed(database)
    last = changed(database, "openssl-libs")
    assert found(database, ["openssl*"], limit=limit) == [first, last]
    assert found(database, ["nothing*"], limit=limit) == []
    assert len(found(database, None, limit=limit)) == 5
