# SPDX-License-Identifier: Apache-2.0
"""Links of a client as awaitables: credit, outcomes, received messages."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pulpit.amqp.amqp10.links import (
    Arrived,
    Attached,
    CreditChanged,
    Decided,
    Ended,
    Event,
    Link,
    Receiver,
    Sender,
)
from pulpit.amqp.amqp10.types import ACCEPTED, Cause, Lost, Outcome


class ClientLink:
    """What both kinds of links share: the attach, and the end."""

    def __init__(self, link: Link, flush: Callable[[], None], forget: Callable[[Link], None]) -> None:
        """`flush` schedules a write, `forget` ends the dispatch of events to this link."""
        self.lost: Lost | None = None
        """Why it is dead, if it is."""
        self._flush: Final = flush
        self._forget: Final = forget
        self._any_link: Final = link
        self._answered: Final[asyncio.Future[None]] = asyncio.get_running_loop().create_future()
        self._change = asyncio.Event()

    async def attached(self) -> None:
        """Wait for the broker's attach.

        Raises:
            Lost: it refuses.
        """
        await self._answered
        if self.lost:
            raise self.lost

    def close(self) -> None:
        """Detach, without waiting for it."""
        if self._any_link.alive and self.lost is None:
            with contextlib.suppress(Ended):
                self._any_link.session.end()
            self._flush()
        self._forget(self._any_link)
        self.on_lost(Lost("The link was closed.", Cause.CLOSED))

    def on_event(self, event: Event) -> None:
        raise NotImplementedError

    def on_lost(self, lost: Lost) -> None:
        if self.lost is None:
            self.lost = lost
        self._answer()
        self._wake()

    def _answer(self) -> None:
        if not self._answered.done():
            self._answered.set_result(None)

    def _wake(self) -> None:
        self._change.set()
        self._change = asyncio.Event()

    async def _until(self, reached: Callable[[], bool]) -> None:
        while not reached() and self.lost is None:
            await self._change.wait()


class ClientSender(ClientLink):
    """A sending link; each message's outcome is kept until it is taken."""

    def __init__(self, link: Sender, flush: Callable[[], None], forget: Callable[[Link], None]) -> None:
        super().__init__(link, flush, forget)
        self._link: Final = link
        self._settled_to = 0
        self._outcomes: dict[int, Outcome | None] = {}
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def credit(self) -> int:
        """Messages that the broker accepts now."""
        return self._link.credit if self._link.alive else 0

    @property
    def largest_message(self) -> int:
        """Maximum size in bytes of a message that the broker accepts; 0 is unlimited."""
        return self._link.largest_message if self._link.alive else 0

    def send(self, message: bytes) -> int:
        """Send one encoded message and return its number; numbers grow by one.

        Raises:
            Lost: the link is dead.
        """
        if self.lost:
            raise self.lost
        try:
            number = self._link.send(message)
        except Ended as error:
            raise Lost(str(error), Cause.CLOSED) from None
        self._flush()
        return number

    async def credited(self) -> None:
        """Wait for credit.

        Raises:
            Lost: the link was lost instead.
        """
        await self._until(lambda: self.credit > 0)
        if self.lost:
            raise self.lost

    async def settled(self, number: int) -> None:
        """Wait until everything up to a number is settled, or the link is lost."""
        if self._settled_to >= number or self.lost:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((number, future))
        await future

    def decided(self, number: int) -> bool:
        return number <= self._settled_to or number in self._outcomes

    def take_outcome(self, number: int) -> Outcome | None:
        """Return and forget the outcome of a settled message.

        None means that the broker settled it without an outcome.
        """
        return self._outcomes.pop(number, ACCEPTED if number <= self._settled_to else None)

    def on_event(self, event: Event) -> None:
        match event:
            case Attached():
                if self._link.alive and self._link.target:  # else the broker is about to say why not (section 2.6.3)
                    self._answer()
            case CreditChanged():
                if self._link.alive and self._link.draining:
                    self._link.drained()
                    self._flush()
                self._wake()
            case Decided(number=number, outcome=outcome):
                self._decide(number, outcome)
            case _:
                pass

    def on_lost(self, lost: Lost) -> None:
        super().on_lost(lost)
        while self._waiting:
            self._release(self._waiting.popleft()[1])

    def _decide(self, number: int, outcome: Outcome | None) -> None:
        self._outcomes[number] = outcome
        while self._settled_to + 1 in self._outcomes:
            self._settled_to += 1
            if self._outcomes[self._settled_to] is ACCEPTED:
                del self._outcomes[self._settled_to]
        while self._waiting and self._waiting[0][0] <= self._settled_to:
            self._release(self._waiting.popleft()[1])

    @staticmethod
    def _release(future: "asyncio.Future[None]") -> None:
        if not future.done():
            future.set_result(None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """A received message; unless it was sent settled, it must be settled."""

    number: int
    message: bytes
    settled: bool


class ClientReceiver(ClientLink):
    """A receiving link; the credit is renewed as messages are settled."""

    def __init__(self, link: Receiver, window: int, flush: Callable[[], None], forget: Callable[[Link], None]) -> None:
        super().__init__(link, flush, forget)
        self._link: Final = link
        self._window: Final = window
        self._arrived: deque[Delivery] = deque()
        self._used = 0

    async def next(self) -> Delivery:
        """Return the next message; those received before a loss are returned first.

        Raises:
            Lost: the link is lost, and no message is left.
        """
        await self._until(lambda: bool(self._arrived))
        if not self._arrived:
            assert self.lost  # noqa: S101 - for the type checker
            raise self.lost
        return self._arrived.popleft()

    def settle(self, delivery: Delivery, outcome: Outcome = ACCEPTED) -> None:
        """Settle a message; does nothing on a lost link."""
        with contextlib.suppress(Ended):
            if not delivery.settled:
                self._link.settle(delivery.number, outcome)
            self._used += 1
            if self._used * 2 >= self._window:
                self._link.grant(self._used)
                self._used = 0
            self._flush()

    def on_event(self, event: Event) -> None:
        match event:
            case Attached():
                if self._link.alive and self._link.source:
                    self._link.grant(self._window)
                    self._flush()
                    self._answer()
            case Arrived(number=number, message=message, settled=settled):
                self._arrived.append(Delivery(number=number, message=message, settled=settled))
                self._wake()
            case _:
                pass
