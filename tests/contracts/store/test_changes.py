"""Changes of repositories are stored, reported, counted and deleted in the same way on both databases."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import delete

from pulpit.clock import system_clock
from pulpit.fire import fire
from pulpit.store import changes, holdings, repositories, units
from pulpit.store.changes import Change, Counts, Description, Recorder
from pulpit.store.database import Database, Transaction
from pulpit.store.schema import events
from pulpit.store.units import NewUnit
from pulpit.store.wakeups import WakeupSocket
from support.postgresql import PostgreSQL
from support.waiting import until


def unit(name: str, version: int) -> NewUnit:
    return NewUnit(
        type_id="iso", key={"name": name, "version": version}, metadata={"size": version}, files=(), slot=name
    )


def told(database: Database, task_id: str, *batch: NewUnit, gone: str = "") -> int:
    """Let a task put units into the repository and let go of one, and fire the event that tells of it."""
    recorder = Recorder(
        task_id=task_id, describe=lambda _, key, __: Description(name=key["name"], version=str(key["version"]))
    )
    now = system_clock()
    with database.write() as tx:
        holdings.lock_artifacts(tx)
        holdings.save(tx, "zoo", batch, now=now, recorder=recorder)
        ids = [held.unit.id for held in units.held(tx.connection, "zoo") if held.unit.key["name"] == gone]
        holdings.let_go(tx, "zoo", ids, now=now, recorder=recorder)
        event = fire(tx, "repo.content.update", {"repo_id": "zoo"}, clock=lambda: now)
        for made in changes.untold(tx.connection, task_id).values():
            changes.tell(tx, made.id, event.number)
    return event.number


def test_changes_are_written_told_counted_and_forgotten(database: Database) -> None:
    with database.write() as tx:
        repositories.add(tx, "zoo", display_name=None, description=None, notes={}, now=system_clock())
    first = told(database, "1", unit("ant", 1), unit("bear", 1), unit("cat", 1))
    second = told(database, "2", unit("ant", 2), unit("bear", 1), gone="cat")
    with database.read() as connection:
        found = changes.between(connection, "zoo", 0, second, limit=10)
        steps = [(entry.event_number, entry.change.change, entry.change.unit["name"]) for entry in found]
        assert steps == [
            (first, Change.ADDED, "ant"),
            (first, Change.ADDED, "bear"),
            (first, Change.ADDED, "cat"),
            (second, Change.REPLACED, "ant"),
            (second, Change.REMOVED, "cat"),
        ]
        assert (found[3].change.before or {})["version"] == "1"
        rest = changes.between(connection, "zoo", 0, second, after=(first, 2), limit=10)
        assert rest == found[2:]
        assert changes.count_between(connection, "zoo", 0, second) == Counts(added=3, removed=1, replaced=1)
        assert changes.count_between(connection, "zoo", second, second) == Counts()
        assert {number: sorted(of or ()) for number, of in changes.names(connection, [first, second]).items()} == {
            first: ["ant", "bear", "cat"],
            second: ["ant", "cat"],
        }
    with database.write() as tx:
        tx.connection.execute(delete(events).where(events.c.number == first))
    while True:
        with database.write() as tx:
            if not changes.forget(tx, limit=2):
                break
    with database.read() as connection:
        assert changes.names(connection, [first, second]).keys() == {second}


def test_who_writes_what_a_repository_holds_waits_for_those_who_change_units_in_place(
    tmp_path: Path, cluster: PostgreSQL
) -> None:
    """A unit that is changed in place changes rows of every repository that holds it, in whatever order they stand."""
    recorder = Recorder(task_id=None, describe=lambda _type, key, _metadata: Description(name=key["name"]))

    def let_go(tx: Transaction) -> None:
        holdings.let_go(tx, "zoo", ["0" * 24], now=system_clock(), recorder=recorder)

    def withdraw(tx: Transaction) -> None:
        holdings.note_withdrawn(tx, "zoo", {}, ())

    def remove(tx: Transaction) -> None:
        repositories.remove(tx, "zoo")

    def write(work: Callable[[Transaction], None]) -> None:
        with database.write() as tx:
            work(tx)

    waiting = sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    with (
        WakeupSocket(tmp_path) as wakeups,
        closing(Database.open(tmp_path, wakeups, url=cluster.fresh())) as database,
        ThreadPoolExecutor() as pool,
    ):
        with database.write() as tx:
            holdings.lock_artifacts(tx)
            writers = [pool.submit(write, work) for work in (let_go, withdraw, remove)]
            until(lambda: tx.connection.execute(waiting).scalar() == len(writers), what="the others to wait")
        for writer in writers:
            writer.result(60)
