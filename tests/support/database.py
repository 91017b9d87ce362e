"""A fresh database in a separate folder."""

import contextlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from pulpit.clock import system_clock
from pulpit.events import Event, star_covers
from pulpit.fire import fire
from pulpit.store import event_log, listeners
from pulpit.store.changes import Description, Recorder
from pulpit.store.database import Database, Transaction
from pulpit.store.listeners import Failure
from pulpit.store.wakeups import WakeupSocket

NOBODY = Recorder(task_id=None, describe=lambda type_id, _key, _metadata: Description(name=type_id))
"""Records changes of repositories for tests that have no task."""


@contextlib.contextmanager
def fresh(folder: Path) -> Iterator[tuple[Database, WakeupSocket]]:
    """Open the database of a data folder, with its bell."""
    with WakeupSocket(folder) as wakeups:
        database = Database.open(folder, wakeups)
        try:
            yield database, wakeups
        finally:
            database.close()


def fire_one(database: Database, event_type: str = "repo.sync.start", repo_id: str = "zoo", **payload: object) -> Event:
    """Fire an event in a separate transaction."""
    with database.write() as tx:
        return fire(tx, event_type, {"repo_id": repo_id, **payload}, clock=system_clock)


def told(database: Database) -> list[Event]:
    """The events of the log that a listener's `*` covers."""
    return [event for event in log(database) if star_covers(event.event_type)]


def log(database: Database) -> list[Event]:
    with database.read() as connection:
        return list(event_log.read_after(connection, 0, limit=100_000))


def fail(tx: Transaction, listener_id: str, error: str, *, now: datetime, count: int = 1) -> bool:
    """Record attempts of one listener that failed, and return whether they are the first."""
    failure = Failure(listener_id=listener_id, count=count, error=error, since=now, at=now)
    return listeners.fail(tx, [failure]) == {listener_id}
