"""Dead letters: events that a listener refused permanently, or that could not be delivered in time, with the reason."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final, TypeVar

from sqlalchemy import Connection, Delete, Update, delete, func, insert, select, update

from pulpit.errors import MissingResource
from pulpit.ids import object_id
from pulpit.store.database import Transaction
from pulpit.store.schema import dead_letters
from pulpit.store.wakeups import Wakeup

Some = TypeVar("Some", Update, Delete)

MOST: Final = 1_000
"""Dead letters in one result."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NewDeadLetter:
    """An event to dead-letter; `recipient` is the one address of several that did not get it."""

    event_number: int
    reason: str
    recipient: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetter:
    """One event that one listener did not get."""

    id: str
    listener_id: str
    event_number: int
    recipient: str | None
    refused_at: datetime
    attempts: int
    reason: str
    send_again: bool
    """Whether an operator has asked for redelivery."""


def add(
    tx: Transaction,
    listener_id: str,
    letters: Sequence[NewDeadLetter],
    *,
    attempts: int,
    now: datetime,
    send_again: bool = False,
) -> None:
    """Add dead letters of one listener; `send_again` requests redelivery at once."""
    shared = {"listener_id": listener_id, "refused_at": now, "attempts": attempts, "send_again": send_again}
    rows = [{"id": object_id(), **asdict(letter), **shared} for letter in letters]
    if rows:
        tx.connection.execute(insert(dead_letters), rows)
    if send_again:
        tx.wakeups.add(Wakeup.LISTENERS)


def of_listener(connection: Connection, listener_id: str, *, limit: int = MOST) -> list[DeadLetter]:
    """The dead letters of a listener in the order of their events."""
    wanted = select(dead_letters).where(dead_letters.c.listener_id == listener_id)
    ordered = wanted.order_by(dead_letters.c.event_number, dead_letters.c.id).limit(limit)
    return [DeadLetter(**row) for row in connection.execute(ordered).mappings()]


def of_event(connection: Connection, event_number: int) -> list[DeadLetter]:
    """The dead letters that hold one event."""
    wanted = select(dead_letters).where(dead_letters.c.event_number == event_number)
    rows = connection.execute(wanted.order_by(dead_letters.c.id).limit(MOST)).mappings()
    return [DeadLetter(**row) for row in rows]


def counts(connection: Connection) -> dict[str, int]:
    """Return the number of dead letters of each listener that has any."""
    by_listener = select(dead_letters.c.listener_id, func.count()).group_by(dead_letters.c.listener_id)
    return {row[0]: row[1] for row in connection.execute(by_listener)}


def get(connection: Connection, listener_id: str, letter_id: str) -> DeadLetter:
    """Return one dead letter.

    Raises:
        MissingResource: the listener has none with that id.
    """
    mine = (dead_letters.c.id == letter_id) & (dead_letters.c.listener_id == listener_id)
    row = connection.execute(select(dead_letters).where(mine)).mappings().one_or_none()
    if row is None:
        raise MissingResource(dead_letter=letter_id)
    return DeadLetter(**row)


def send_again(tx: Transaction, listener_id: str, letter_ids: Sequence[str] | None) -> int:
    """Request redelivery of some dead letters, or all, and return how many."""
    tx.wakeups.add(Wakeup.LISTENERS)
    return tx.connection.execute(_some(update(dead_letters), listener_id, letter_ids).values(send_again=True)).rowcount


def drop(tx: Transaction, listener_id: str, letter_ids: Sequence[str] | None) -> int:
    """Delete some dead letters, or all, and return how many."""
    return tx.connection.execute(_some(delete(dead_letters), listener_id, letter_ids)).rowcount


def to_send_again(connection: Connection, *, limit: int, besides: Collection[str] = ()) -> list[DeadLetter]:
    """Return the next dead letters to redeliver, except those of some listeners."""
    wanted = select(dead_letters).where(dead_letters.c.send_again & dead_letters.c.listener_id.not_in(besides))
    ordered = wanted.order_by(dead_letters.c.id).limit(limit)
    return [DeadLetter(**row) for row in connection.execute(ordered).mappings()]


def refused_again(tx: Transaction, letter: DeadLetter, reason: str, *, now: datetime) -> None:
    """Record that the redelivery failed too."""
    this = update(dead_letters).where(dead_letters.c.id == letter.id)
    values = {"send_again": False, "attempts": letter.attempts + 1, "reason": reason, "refused_at": now}
    tx.connection.execute(this.values(**values))


def _some(statement: Some, listener_id: str, letter_ids: Sequence[str] | None) -> Some:
    mine = statement.where(dead_letters.c.listener_id == listener_id)
    return mine if letter_ids is None else mine.where(dead_letters.c.id.in_(letter_ids))
