"""The port between a subscription and a protocol: where messages come from.

    Source ── open(wish) ──► Line ── next() ──► Delivery ── line.settle(delivery, ACCEPTED | RELEASED)
                              │
                              └── lost ──► Interrupted: somebody opens another one

One suite of tests runs over every implementation (`tests/contracts/test_sources.py`).
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Protocol

from pulpit.errors import PulpitError
from pulpit.subscriber.message import Message
from pulpit.subscriber.wish import Wish

_DOUBTS: Final = 3
_WRITE_SECONDS: Final = 0.01

Tell = Callable[[str], None]
"""Takes a sentence for a person."""


class Verdict(Enum):
    """What becomes of a message that was handed out."""

    ACCEPTED = "accepted"
    """It is done, and the broker may forget it."""
    RELEASED = "released"
    """It goes back into its queue; one without a name of its own hands it to nobody else, so it comes again."""


class Interrupted(Exception):
    """There is no subscription at this moment; the text says why, and trying again is all that is needed.

    `told` is the sentence for a person when a subscription was lost by this; null is the usual one.
    """

    def __init__(self, reason: str, *, told: str | None = None) -> None:
        super().__init__(reason)
        self.told = told


class SubscriptionRefused(PulpitError):
    """The broker said no in a way that waiting will not change; the text says to what."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """A message in our hands, its line, and what the line knows it by."""

    message: Message
    line: "Line"
    tag: Any


class Line(Protocol):
    """A subscription for as long as one connection lives. It is bound: what is sent from now on will come."""

    async def next(self) -> Delivery:
        """Wait for the next message; what was settled before goes out first, every 10 milliseconds at most.

        Of a durable queue, messages that were not handed over before the loss are not handed over after it, because
        they will come again; of one that went with the connection, they are.

        Raises:
            Interrupted: the connection or the queue is gone.
        """

    def settle(self, delivery: Delivery, verdict: Verdict) -> None:
        """Tell the broker, without waiting for it; a line that is lost has nothing to tell."""

    async def close(self) -> None:
        """End politely, within two seconds; what was settled reaches the broker first."""


class Source(Protocol):
    """One broker."""

    @property
    def where(self) -> str:
        """Its address for people, without a password."""

    async def open(self, wish: Wish, tell: Tell) -> Line:
        """Connect and subscribe; an exchange that does not exist yet is waited for, which is told once.

        It may be cancelled at any moment, and leaves nothing behind.

        Raises:
            Interrupted: it is not to be had now.
            SubscriptionRefused: it never will be.
        """


class Doubts:
    """A broker that dies during the log-in looks like one that refuses it; believe in a refusal the third time."""

    def __init__(self) -> None:
        self._count = 0

    def believed(self) -> bool:
        """Doubt once more, and say whether that was enough."""
        self._count += 1
        return self._count >= _DOUBTS

    def clear(self) -> None:
        """Forget them: it went well."""
        self._count = 0


class Outgoing:
    """Lets the loop write what was settled, which whoever never waits would keep it from.

    Who takes long over a message has the one before written; of those that take no time, a crash may repeat what was
    done in ten milliseconds.
    """

    def __init__(self, turns: int) -> None:
        self._turns: Final = turns
        self._loop: Final = asyncio.get_running_loop()
        self._last = self._loop.time()

    async def written(self) -> None:
        """Give the loop the turns that it needs to write, unless it had them just now."""
        if self._loop.time() - self._last < _WRITE_SECONDS:
            return
        for _ in range(self._turns):
            await asyncio.sleep(0)
        self._last = self._loop.time()


class Inbox:
    """What has arrived on a line and was not handed over, and the line's end."""

    def __init__(self, *, keeps: bool) -> None:
        self._keeps: Final = keeps
        self._arrived: deque[Delivery] = deque()
        self._end: Interrupted | None = None
        self._change = asyncio.Event()

    @property
    def ended(self) -> bool:
        """Whether the line is lost."""
        return self._end is not None

    def put(self, delivery: Delivery) -> None:
        """Add an arrival."""
        self._arrived.append(delivery)
        self._change.set()

    def end(self, reason: Interrupted) -> None:
        """Note the end; the first reason counts. A queue that stays (`keeps`) will hand out again what is here."""
        if self._end is None:
            self._end = reason
            if self._keeps:
                self._arrived.clear()
            self._change.set()

    async def next(self) -> Delivery:
        """Wait for an arrival, or raise the end when nothing is left."""
        while not self._arrived:
            if self._end is not None:
                raise self._end
            self._change.clear()
            await self._change.wait()
        return self._arrived.popleft()
