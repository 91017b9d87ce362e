"""The event log: append-only, numbered in the order of commits, read on from a position.

On SQLite one writer at a time makes the order. On PostgreSQL a transaction takes the log's advisory lock before it
draws a number and holds it until it has committed, so no reader can ever step over a number that is still to come.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, bindparam, delete, func, insert, or_, select, text
from sqlalchemy.dialects import postgresql, sqlite

from pulpit.events import Event
from pulpit.store.database import Transaction
from pulpit.store.doorbell import Bell
from pulpit.store.schema import dead_letters, event_counters, events, listeners

_POSTGRESQL_LOCK: Final = text("SELECT pg_advisory_xact_lock(7085747)")

# Statements are built once: building one costs more than running it.
_APPEND: Final = insert(events).returning(events.c.number)
_NEXT_OF_REPOSITORY: Final = {
    name: dialect.insert(event_counters)
    .values(repo_id=bindparam("repo_id"), last_number=1)
    .on_conflict_do_update(index_elements=["repo_id"], set_={"last_number": event_counters.c.last_number + 1})
    .returning(event_counters.c.last_number)
    for name, dialect in (("sqlite", sqlite), ("postgresql", postgresql))
}
_HEAD: Final = select(func.max(events.c.number))
_READ_AFTER: Final = (
    select(events).where(events.c.number > bindparam("position")).order_by(events.c.number).limit(bindparam("most"))
)


@dataclass(frozen=True, kw_only=True, slots=True)
class NewEvent:
    """An event before it has its numbers."""

    id: str
    event_type: str
    repo_id: str | None
    result: str | None
    occurred_at: datetime
    traceparent: str
    body: str


def append(tx: Transaction, new: NewEvent, *, counted: bool) -> Event:
    """Write one event into the log; it exists when, and only when, the transaction is committed.

    A counted event draws the next number of its repository.
    """
    dialect = tx.connection.dialect.name
    if dialect == "postgresql":
        tx.connection.execute(_POSTGRESQL_LOCK)
    repo_number = None
    if counted and new.repo_id is not None:
        drawn = tx.connection.execute(_NEXT_OF_REPOSITORY[dialect], {"repo_id": new.repo_id})
        repo_number = drawn.scalar_one()
    row = {name: getattr(new, name) for name in NewEvent.__dataclass_fields__}
    row["repo_number"] = repo_number
    number = tx.connection.execute(_APPEND, row).scalar_one()
    tx.wakes.add(Bell.EVENTS)
    return Event(number=number, **row)


def head(connection: Connection) -> int:
    """The highest number in the log, 0 when it has never held an event."""
    return connection.execute(_HEAD).scalar() or 0


def read_after(connection: Connection, number: int, *, limit: int) -> Sequence[Event]:
    """The next events after a position, at most `limit`, in order."""
    rows = connection.execute(_READ_AFTER, {"position": number, "most": limit}).mappings()
    return [Event(**row) for row in rows]


def get(connection: Connection, number: int) -> Event | None:
    """One event, unless retention has removed it."""
    row = connection.execute(select(events).where(events.c.number == number)).mappings().one_or_none()
    return None if row is None else Event(**row)


def forget(tx: Transaction, *, older_than: datetime | None, beyond: int | None, past_cursors: bool, limit: int) -> int:
    """Delete the oldest events that need not be kept, at most `limit`, and answer how many.

    Kept in any case are the newest event, what stands in dead letters, and, unless `past_cursors`, what a listener has
    still to be given.

    Args:
        tx: the transaction.
        older_than: events from before this moment go; `None` lets age not count.
        beyond: events go until this many are left; `None` lets number not count.
        past_cursors: go on although a listener has not had them.
        limit: most events in one call.
    """
    number = events.c.number
    rules = [events.c.occurred_at < older_than] if older_than else []
    if beyond:
        newest = select(number).order_by(number.desc()).offset(beyond).limit(1)
        rules.append(number <= (tx.connection.execute(newest).scalar() or 0))
    if not rules:
        return 0
    bounds = [number < head(tx.connection), number.not_in(select(dead_letters.c.event_number))]
    slowest = None if past_cursors else tx.connection.execute(select(func.min(listeners.c.position))).scalar()
    if slowest is not None:
        bounds.append(number <= slowest)
    old = select(number).where(or_(*rules), *bounds).order_by(number).limit(limit)
    return tx.connection.execute(delete(events).where(number.in_(old))).rowcount
