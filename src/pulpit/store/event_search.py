"""The log as people and pulling consumers ask for it: from a moment on, narrowed, and never too much at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, select

from pulpit.events import Event
from pulpit.store.schema import events

SCANNED_AT_ONCE: Final = 20_000
"""Events that one search looks at, wanted or not."""
MOST_CHARACTERS: Final = 8 * 2**20
"""Characters of bodies in one answer, but for a single event that has more."""
_BUFFERED: Final = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Outline:
    """What an event is judged by without its body."""

    number: int
    event_type: str
    repo_id: str | None
    result: str | None


Wanted = Callable[[Outline], bool]


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Events in order, and the number to go on from."""

    events: Sequence[Event]
    through: int


def time_after(connection: Connection, position: int) -> datetime | None:
    """When the first event behind a position happened, if there is one."""
    wanted = select(events.c.occurred_at).where(events.c.number > position).order_by(events.c.number).limit(1)
    return connection.execute(wanted).scalar()


def first_since(connection: Connection, moment: datetime) -> int | None:
    """The number of the first event at or after a moment."""
    wanted = select(events.c.number).where(events.c.occurred_at >= moment).order_by(events.c.number).limit(1)
    return connection.execute(wanted).scalar()


def page(connection: Connection, after: int, wanted: Wanted | None, *, limit: int) -> Page:
    """The next events behind a number; with a filter, those among the next few thousand that it wants."""
    if wanted is None:
        return _everything(connection, after, limit)
    columns = events.c
    outline = select(columns.number, columns.event_type, columns.repo_id, columns.result)
    looked_at = outline.where(columns.number > after).order_by(columns.number).limit(SCANNED_AT_ONCE)
    numbers: list[int] = []
    through = after
    for row in connection.execute(looked_at).mappings():
        through = row["number"]
        if wanted(Outline(**row)):
            numbers.append(through)
            if len(numbers) == limit:
                break
    return _those(connection, numbers, through)


def _everything(connection: Connection, after: int, limit: int) -> Page:
    numbers = select(events.c.number).where(events.c.number > after).order_by(events.c.number).limit(limit)
    found = list(connection.execute(numbers).scalars())
    return _those(connection, found, found[-1] if found else after)


def _those(connection: Connection, numbers: Sequence[int], through: int) -> Page:
    """The events of some numbers, fewer if they are very long."""
    found: list[Event] = []
    characters = 0
    for start in range(0, len(numbers), _BUFFERED):
        portion = numbers[start : start + _BUFFERED]
        rows = connection.execute(select(events).where(events.c.number.in_(portion)).order_by(events.c.number))
        for row in rows.mappings():
            characters += len(row["body"])
            if found and characters > MOST_CHARACTERS:
                return Page(events=found, through=found[-1].number)
            found.append(Event(**row))
    return Page(events=found, through=through)
