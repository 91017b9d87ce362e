"""Recent attempts at delivery, for an operator to see: what was tried when, how long it took, what was answered."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, delete, func, insert, select

from pulpit.store.database import Transaction
from pulpit.store.schema import deliveries

KEPT: Final = 500
"""Attempts of each listener that are kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """One attempt; those of bulk transports are summed up, so it may be about many events."""

    listener_id: str
    at: datetime
    duration_ms: int
    outcome: str
    """`delivered`, `retry`, `refused` or `gone`."""
    first_event: int
    last_event: int
    event_count: int
    answer: str
    """What the far side said, or why it did not work."""


def add(tx: Transaction, attempts: Sequence[Delivery]) -> None:
    """Write attempts down."""
    if attempts:
        tx.connection.execute(insert(deliveries), [asdict(attempt) for attempt in attempts])


def recent(connection: Connection, listener_id: str, *, limit: int) -> list[Delivery]:
    """The latest attempts of a listener, newest first."""
    wanted = select(deliveries).where(deliveries.c.listener_id == listener_id)
    rows = connection.execute(wanted.order_by(deliveries.c.number.desc()).limit(limit)).mappings()
    return [Delivery(**{name: row[name] for name in Delivery.__dataclass_fields__}) for row in rows]


def forget_old(tx: Transaction, listener_id: str) -> None:
    """Keep the latest attempts of a listener."""
    mine = deliveries.c.listener_id == listener_id
    oldest_kept = select(deliveries.c.number).where(mine).order_by(deliveries.c.number.desc()).offset(KEPT).limit(1)
    limit = tx.connection.execute(oldest_kept).scalar()
    if limit is not None:
        tx.connection.execute(delete(deliveries).where(mine & (deliveries.c.number <= limit)))


def count(connection: Connection, listener_id: str) -> int:
    """How many attempts of a listener are kept."""
    wanted = select(func.count()).select_from(deliveries).where(deliveries.c.listener_id == listener_id)
    return connection.execute(wanted).scalar_one()
