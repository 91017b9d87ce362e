"""One wish at one or more brokers, kept up through every loss of a connection.

open ──► next, next, … ──► lost ──► pause ──► open at the next broker that can be used
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

from pulpit.backoff import delay
from pulpit.subscriber.source import Delivery, Interrupted, Line, Source, SubscriptionRefused
from pulpit.subscriber.wish import Wish

FIRST_PAUSE: Final = timedelta(seconds=0.4)
LONGEST_PAUSE: Final = timedelta(seconds=5)

News = Callable[[int, str], None]
"""Takes what happens to the subscription: a level of `logging` (INFO or WARNING) and a sentence for a person."""


class Following:
    """The messages of a wish, one after the other, for ever."""

    def __init__(self, sources: Sequence[Source], wish: Wish, news: News, luck: Callable[[], float]) -> None:
        self._sources: Final = sources
        self._wish: Final = wish
        self._news: Final = news
        self._luck: Final = luck
        self._turn = 0
        self._told: set[str] = set()
        self._line: Line | None = None

    async def start(self) -> None:
        """Subscribe; what is sent from then on will come.

        Raises:
            SubscriptionRefused: every broker says no in a way that waiting will not change.
        """
        self._line = await self._open()

    async def next(self) -> Delivery:
        """Wait for the next message, over as many connections as it takes.

        Raises:
            SubscriptionRefused: as above, when the subscription has to be made again.
        """
        while True:
            line = self._line or await self._again()
            try:
                return await line.next()
            except Interrupted as lost:
                where = self._source.where
                self._told.add(where)  # one sentence is enough for its loss and for the vain attempts that follow
                self._news(logging.WARNING, lost.told or f"connection to {where} lost, trying again")
                await self.close()

    async def close(self) -> None:
        """End the connection, within two seconds."""
        line, self._line = self._line, None
        if line is not None:
            await line.close()

    @property
    def _source(self) -> Source:
        return self._sources[self._turn % len(self._sources)]

    async def _again(self) -> Line:
        await self._pause(1)
        self._line = await self._open()
        return self._line

    async def _open(self) -> Line:
        attempts = refusals = 0
        while True:
            try:
                line = await self._source.open(self._wish, self._tell_once)
            except Interrupted as error:
                self._tell_once(f"cannot connect to {self._source.where} ({error}), trying again", self._source.where)
            except SubscriptionRefused as error:
                refusals += 1
                if refusals == len(self._sources):
                    raise
                self._tell_once(f"{error}; trying the next broker", self._source.where)
            else:
                self._told.clear()
                self._news(logging.INFO, f"listening on exchange {self._wish.exchange} for {self._wish.subject}")
                return line
            self._turn += 1
            attempts += 1
            if self._turn_is_over(attempts):
                refusals = 0
                await self._pause(attempts // len(self._sources))

    def _turn_is_over(self, attempts: int) -> bool:
        return attempts % len(self._sources) == 0

    async def _pause(self, rounds: int) -> None:
        pause = delay(rounds, first=FIRST_PAUSE, longest=LONGEST_PAUSE, luck=self._luck())
        await asyncio.sleep(pause.total_seconds())

    def _tell_once(self, sentence: str, key: str | None = None) -> None:
        if (key or sentence) not in self._told:
            self._told.add(key or sentence)
            self._news(logging.WARNING, sentence)
