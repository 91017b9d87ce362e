"""Reads on in the log from any position: from memory near its end, from the database before."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pulpit.delivery.tail import Tail
from pulpit.delivery.wishes import Wish
from pulpit.events import Event
from pulpit.store import event_log
from pulpit.store.database import Database, when_available

READ_AT_ONCE: Final = 500
"""Rows in one look at the database."""

KEPT: Final = 8
"""Looks that are kept for others who come to the same position."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Wanted events, and the position up to which the log has been looked through for them."""

    events: Sequence[Event]
    scanned_to: int


class LogReader:
    """The log as deliveries see it: up to the head that the dispatcher has announced, never beyond."""

    def __init__(self, database: Database, tail: Tail) -> None:
        self._database: Final = database
        self._tail: Final = tail
        self._readings: Final[dict[int, asyncio.Future[Sequence[Event]]]] = {}
        self._recent: Final[OrderedDict[int, Sequence[Event]]] = OrderedDict()

    @property
    def head(self) -> int:
        """The last event that has been announced."""
        return self._tail.head

    async def next_batch(self, position: int, wish: Wish, limit: int) -> Batch:
        """Look on from a position until something is wanted or the head is reached."""
        while position < self._tail.head:
            seen = await self._after(position)
            wanted = [event for event in seen if wish(event)][:limit]
            if wanted:
                through = wanted[-1].number if len(wanted) == limit else seen[-1].number
                return Batch(events=wanted, scanned_to=through)
            position = seen[-1].number if seen else self._tail.head
        return Batch(events=(), scanned_to=position)

    async def _after(self, position: int) -> Sequence[Event]:
        if self._tail.covers(position):
            return self._tail.after(position, READ_AT_ONCE)
        head = self._tail.head
        return [event for event in await self._shared(position) if event.number <= head]

    async def _shared(self, position: int) -> Sequence[Event]:
        """Read once for all who ask at one position: after a restart a thousand listeners may stand at the same one."""
        known = self._recent.get(position)
        if known is not None:
            return known
        reading = self._readings.get(position)
        if reading is None:
            reading = self._readings[position] = asyncio.ensure_future(when_available(lambda: self._read(position)))
            reading.add_done_callback(lambda done: self._keep(position, done))
        return await asyncio.shield(reading)

    def _keep(self, position: int, done: asyncio.Future[Sequence[Event]]) -> None:
        del self._readings[position]
        if not done.cancelled() and not done.exception() and done.result():
            self._recent[position] = done.result()
            while len(self._recent) > KEPT:
                self._recent.popitem(last=False)

    def _read(self, position: int) -> Sequence[Event]:
        with self._database.read() as connection:
            return event_log.read_after(connection, position, limit=READ_AT_ONCE)
