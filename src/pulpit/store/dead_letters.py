"""Dead letters: events that a listener refused for good, or that could not be delivered in time, with the reason."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select

from pulpit.ids import object_id
from pulpit.store.database import Transaction
from pulpit.store.schema import dead_letters


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetter:
    """One event that one listener did not get."""

    id: str
    listener_id: str
    event_number: int
    refused_at: datetime
    attempts: int
    reason: str


def add(
    tx: Transaction, listener_id: str, numbers: Iterable[int], *, reason: str, attempts: int, now: datetime
) -> None:
    """Put events of one listener aside, in one go."""
    shared = {"listener_id": listener_id, "refused_at": now, "attempts": attempts, "reason": reason}
    rows = [{"id": object_id(), "event_number": number, **shared} for number in numbers]
    if rows:
        tx.connection.execute(insert(dead_letters), rows)


def of_listener(connection: Connection, listener_id: str) -> list[DeadLetter]:
    """The dead letters of a listener in the order of their events."""
    wanted = select(dead_letters).where(dead_letters.c.listener_id == listener_id)
    rows = connection.execute(wanted.order_by(dead_letters.c.event_number, dead_letters.c.id)).mappings()
    return [DeadLetter(**row) for row in rows]
