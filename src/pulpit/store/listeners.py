"""Listeners: what an administrator asked for, and how far in the log each one is."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from pulpit.errors import MissingResource
from pulpit.ids import object_id
from pulpit.store import event_log
from pulpit.store.database import Transaction
from pulpit.store.doorbell import Bell
from pulpit.store.schema import listeners

GIVE_UP_AFTER: Final = 3 * 24 * 3600
"""Seconds for which an event is tried unless the listener says otherwise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Listener:
    """One subscriber of the log: a filter, a notifier with its configuration, and a cursor."""

    id: str
    notifier_type_id: str
    notifier_config: dict[str, Any]
    event_types: list[str]
    created_at: datetime
    revision: int
    """Grows with every change that an administrator makes, so that a running delivery notices."""
    paused: bool
    give_up_after: int
    """Seconds for which one event is tried before it is a dead letter."""
    position: int
    """Every event up to this number is settled: delivered, refused into the dead letters, or not wanted."""
    attempts: int
    """Failures in a row since the last delivery."""
    failing_since: datetime | None
    last_error: str | None
    last_error_at: datetime | None


def add(
    tx: Transaction,
    notifier_type_id: str,
    notifier_config: dict[str, Any],
    event_types: list[str],
    *,
    now: datetime,
    give_up_after: int = GIVE_UP_AFTER,
) -> Listener:
    """Create a listener that begins with the next event to be fired."""
    listener_id = object_id()
    new = insert(listeners).values(
        id=listener_id,
        notifier_type_id=notifier_type_id,
        notifier_config=notifier_config,
        event_types=event_types,
        created_at=now,
        give_up_after=give_up_after,
        position=event_log.head(tx.connection),
    )
    tx.connection.execute(new)
    tx.wakes.add(Bell.LISTENERS)
    return get(tx.connection, listener_id)


def get(connection: Connection, listener_id: str) -> Listener:
    """One listener.

    Raises:
        MissingResource: `event_listener`; a malformed id is simply unknown (Pulp 2's rule).
    """
    row = connection.execute(select(listeners).where(listeners.c.id == listener_id)).mappings().one_or_none()
    if row is None:
        raise MissingResource(event_listener=listener_id)
    return Listener(**row)


def every(connection: Connection) -> list[Listener]:
    """All listeners, oldest first."""
    return [Listener(**row) for row in connection.execute(select(listeners).order_by(listeners.c.id)).mappings()]


def change(tx: Transaction, listener_id: str, **columns: Any) -> Listener:
    """Write what an administrator changed, and have the delivery take notice.

    Raises:
        MissingResource: there is no such listener.
    """
    get(tx.connection, listener_id)
    changed = update(listeners).where(listeners.c.id == listener_id)
    tx.connection.execute(changed.values(revision=listeners.c.revision + 1, **columns))
    tx.wakes.add(Bell.LISTENERS)
    return get(tx.connection, listener_id)


def remove(tx: Transaction, listener_id: str) -> None:
    """Delete a listener with its dead letters.

    Raises:
        MissingResource: there is no such listener.
    """
    get(tx.connection, listener_id)
    tx.connection.execute(delete(listeners).where(listeners.c.id == listener_id))
    tx.wakes.add(Bell.LISTENERS)


def revisions(connection: Connection) -> dict[str, int]:
    """Id and revision of every listener: enough to see whether any was made, changed or deleted."""
    rows = connection.execute(select(listeners.c.id, listeners.c.revision))
    return {row.id: row.revision for row in rows}


def settle(tx: Transaction, listener_id: str, position: int) -> None:
    """Record that everything up to `position` is settled; a position never moves back by this."""
    moved = update(listeners).where((listeners.c.id == listener_id) & (listeners.c.position < position))
    tx.connection.execute(moved.values(position=position))


def settle_many(tx: Transaction, listener_ids: Iterable[str], position: int) -> None:
    """Move idle listeners, who wanted nothing up to `position`, all at once."""
    which = listeners.c.id == bindparam("idle_id")
    moved = update(listeners).where(which & (listeners.c.position < position)).values(position=position)
    rows = [{"idle_id": listener_id} for listener_id in listener_ids]
    if rows:
        tx.connection.execute(moved, rows)


def recover(tx: Transaction, listener_id: str) -> None:
    """Record that a listener takes events again."""
    well = {"attempts": 0, "failing_since": None, "last_error": None, "last_error_at": None}
    tx.connection.execute(update(listeners).where(listeners.c.id == listener_id).values(**well))


def fail(tx: Transaction, listener_id: str, error: str, *, now: datetime) -> None:
    """Record one failed attempt; the position stays where it is."""
    row = listeners.c
    failed = update(listeners).where(row.id == listener_id)
    since = tx.connection.execute(select(row.failing_since).where(row.id == listener_id)).scalar()
    tx.connection.execute(
        failed.values(attempts=row.attempts + 1, failing_since=since or now, last_error=error, last_error_at=now)
    )
