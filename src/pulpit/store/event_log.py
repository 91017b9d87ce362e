"""The event log: append-only, numbered in the order of commits, read on from a position.

On SQLite one writer at a time makes the order. On PostgreSQL a transaction takes the log's advisory lock before it
draws a number and holds it until it has committed, so no reader can ever step over a number that is still to come.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, func, insert, select, text
from sqlalchemy.dialects import postgresql, sqlite

from pulpit.events import Event
from pulpit.store.database import Transaction
from pulpit.store.doorbell import Bell
from pulpit.store.schema import event_counters, events

_POSTGRESQL_LOCK: Final = text("SELECT pg_advisory_xact_lock(7085747)")


@dataclass(frozen=True, kw_only=True, slots=True)
class NewEvent:
    """An event before it has its numbers."""

    id: str
    event_type: str
    repo_id: str | None
    result: str | None
    occurred_at: datetime
    body: str


def append(tx: Transaction, new: NewEvent) -> Event:
    """Write one event into the log; it exists when, and only when, the transaction is committed."""
    if tx.connection.dialect.name == "postgresql":
        tx.connection.execute(_POSTGRESQL_LOCK)
    columns = asdict(new)
    repo_number = None if new.repo_id is None else _next_repo_number(tx, new.repo_id)
    entry = insert(events).values(repo_number=repo_number, **columns)
    number = tx.connection.execute(entry.returning(events.c.number)).scalar_one()
    tx.wakes.add(Bell.EVENTS)
    return Event(number=number, repo_number=repo_number, **columns)


def head(connection: Connection) -> int:
    """The highest number in the log, 0 when it has never held an event."""
    highest: int | None = connection.execute(select(func.max(events.c.number))).scalar()
    return highest or 0


def read_after(connection: Connection, number: int, *, limit: int) -> Sequence[Event]:
    """The next events after a position, at most `limit`, in order."""
    wanted = select(events).where(events.c.number > number).order_by(events.c.number).limit(limit)
    return [Event(**row) for row in connection.execute(wanted).mappings()]


def get(connection: Connection, number: int) -> Event | None:
    """One event, unless retention has removed it."""
    row = connection.execute(select(events).where(events.c.number == number)).mappings().one_or_none()
    return None if row is None else Event(**row)


def _next_repo_number(tx: Transaction, repo_id: str) -> int:
    dialect = postgresql if tx.connection.dialect.name == "postgresql" else sqlite
    first = dialect.insert(event_counters).values(repo_id=repo_id, last_number=1)
    following = {"last_number": event_counters.c.last_number + 1}
    upsert = first.on_conflict_do_update(index_elements=["repo_id"], set_=following)
    return int(tx.connection.execute(upsert.returning(event_counters.c.last_number)).scalar_one())
