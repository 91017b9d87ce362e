# SPDX-License-Identifier: Apache-2.0
"""The port between a subscription and a protocol, and a stream of messages that survives lost connections.

    MessageStream ── next() ──► Source ── open(binding) ──► Line ── next() ──► Delivery
          ▲                                                    │                    │
          └── pause, next broker ◄── Interrupted ◄── lost ─────┘    line.settle(delivery, verdict)

One suite of tests runs over every source (`tests/contracts/test_sources.py`).
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any, Final, Literal, Protocol

from pulpit.backoff import delay
from pulpit.errors import ConfigurationError, PulpitError
from pulpit.subscriber.event import Message

FIRST_PAUSE: Final = timedelta(seconds=0.4)
LONGEST_PAUSE: Final = timedelta(seconds=5)
EVERYTHING: Final = "#"
PREFETCH: Final = 100
"""Messages that a broker sends before the first is acknowledged."""

QueueType = Literal["classic", "quorum"]
QUEUE_TYPES: Final[tuple[QueueType, ...]] = ("classic", "quorum")

_LONGEST: Final = 255
"""Bytes of a short string (AMQP 0-9-1 section 4.2.5.3)."""
_MOST: Final = 65_535
"""Prefetched messages, a short integer (AMQP 0-9-1, `basic.qos`)."""
_DOUBTS: Final = 3
_WRITE_SECONDS: Final = 0.01
_MOST_TOLD: Final = 1000
"""Messages that are reported only once; those about foreign messages may be arbitrarily many."""

Tell = Callable[[str], None]
"""Takes a sentence for users."""
News = Callable[[int, str], None]
"""Takes what happens to the subscription: a level of `logging` (INFO or WARNING) and a sentence for users."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Binding:
    """Messages of `exchange` whose subject matches; collected in the durable `queue` if one is named.

    Raises:
        ConfigurationError: no broker could accept it.
    """

    exchange: str
    subject: str = EVERYTHING
    queue: str | None = None
    queue_type: QueueType | None = None
    """Null is the broker's default."""
    prefetch: int = PREFETCH

    def __post_init__(self) -> None:
        for option, text in (("exchange", self.exchange), ("subject", self.subject), ("queue", self.queue or "")):
            _check_short(option, text)
        if not self.exchange:
            raise ConfigurationError("exchange", "must name an exchange; the nameless one has no subscribers")
        if self.queue == "":
            raise ConfigurationError("queue", "must have a name")
        if self.queue_type is not None and self.queue is None:
            raise ConfigurationError("queue_type", "is that of a durable queue, which needs a name")
        if self.queue_type not in {None, *QUEUE_TYPES}:
            raise ConfigurationError("queue_type", f"must be one of {', '.join(QUEUE_TYPES)}")
        if not 1 <= self.prefetch <= _MOST:
            raise ConfigurationError("prefetch", f"must be from 1 to {_MOST}")

    @property
    def stays(self) -> bool:
        return self.queue is not None

    @property
    def queue_arguments(self) -> Mapping[str, Any]:
        return {} if self.queue_type is None else {"x-queue-type": self.queue_type}


class Verdict(Enum):
    """How a received message is settled."""

    ACCEPTED = "accepted"
    """It is handled, and the broker may delete it."""
    RELEASED = "released"
    """It is requeued; an exclusive queue has no other consumer, so it comes again here."""
    REJECTED = "rejected"
    """It cannot be handled: it goes to the queue's dead-letter exchange, if there is one, and does not come again."""


class Interrupted(Exception):
    """The subscription is down; the text says why, and a retry may succeed.

    `sentence` is for users when a subscription was lost; null is the usual one.
    """

    def __init__(self, reason: str, *, sentence: str | None = None) -> None:
        super().__init__(reason)
        self.sentence = sentence


class SubscriptionRefused(PulpitError):
    """The broker refused permanently; the text says what."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """A received message, its line, and the line's identifier for it."""

    message: Message
    line: "Line"
    tag: Any


class Line(Protocol):
    """A subscription during one connection. It is bound: messages sent from now on will arrive."""

    async def next(self) -> Delivery:
        """Wait for the next message; pending settlements are sent first, every 10 milliseconds at most.

        Messages of a durable queue that were not returned before the loss of the connection are dropped, because they
        will be redelivered; those of a temporary queue are still returned.

        Raises:
            Interrupted: the connection or the queue is gone.
        """

    def settle(self, delivery: Delivery, verdict: Verdict) -> None:
        """Tell the broker, without waiting; does nothing if the line is lost."""

    async def close(self) -> None:
        """Close cleanly, within two seconds; pending settlements are sent first."""


class Source(Protocol):
    @property
    def where(self) -> str:
        """Its address for messages, without a password."""

    async def open(self, binding: Binding, tell: Tell) -> Line:
        """Connect and subscribe; wait for an exchange that does not exist yet, reporting this once.

        It may be cancelled at any moment, and leaves nothing behind.

        Raises:
            Interrupted: it is unavailable now.
            SubscriptionRefused: it is refused permanently.
        """


class Refusals:
    """A broker that dies during the login looks like one that refuses it: only the third refusal counts."""

    def __init__(self) -> None:
        self._count = 0

    def is_permanent(self) -> bool:
        """Count a refusal; return whether it counts as permanent."""
        self._count += 1
        return self._count >= _DOUBTS

    def clear(self) -> None:
        self._count = 0


class Outgoing:
    """Lets the loop write settlements, which a consumer that never awaits would prevent.

    A slow consumer has each settlement written before the next message; for a fast one, a crash may repeat what was
    handled within ten milliseconds.
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
    """Messages that have arrived but were not returned yet, and the end of the line."""

    def __init__(self, *, keeps: bool) -> None:
        self._keeps: Final = keeps
        self._arrived: deque[Delivery] = deque()
        self._end: Interrupted | None = None
        self._change = asyncio.Event()

    @property
    def ended(self) -> bool:
        return self._end is not None

    def put(self, delivery: Delivery) -> None:
        self._arrived.append(delivery)
        self._change.set()

    def end(self, reason: Interrupted) -> None:
        """Record the end; the first reason counts. A durable queue (`keeps`) will redeliver what is here."""
        if self._end is None:
            self._end = reason
            if self._keeps:
                self._arrived.clear()
            self._change.set()

    async def next(self) -> Delivery:
        """Wait for a message, or raise the end when none is left."""
        while not self._arrived:
            if self._end is not None:
                raise self._end
            self._change.clear()
            await self._change.wait()
        return self._arrived.popleft()


class MessageStream:
    """The messages of a binding, one after another, forever, from whichever broker is available."""

    def __init__(self, sources: Sequence[Source], binding: Binding, news: News, random: Callable[[], float]) -> None:
        self._sources: Final = sources
        self._binding: Final = binding
        self._news: Final = news
        self._random: Final = random
        self._turn = 0
        self._told: set[str] = set()
        self._line: Line | None = None

    async def start(self) -> None:
        """Subscribe; messages sent from then on will arrive.

        Raises:
            SubscriptionRefused: every broker refuses permanently.
        """
        self._line = await self._open()

    async def next(self) -> Delivery:
        """Wait for the next message, reconnecting as often as needed.

        Raises:
            SubscriptionRefused: as above, when the subscription has to be made again.
        """
        while True:
            if self._line is None:
                await self._pause(1)
                self._line = await self._open()
            try:
                return await self._line.next()
            except Interrupted as lost:
                where = self._source.where
                self._told.add(where)  # one sentence for its loss and the failed retries that follow
                self._news(logging.WARNING, lost.sentence or f"connection to {where} lost, trying again")
                await self.close()

    def tell(self, sentence: str) -> None:
        self._news(logging.WARNING, sentence)

    async def close(self) -> None:
        """Close the connection, within two seconds."""
        line, self._line = self._line, None
        if line is not None:
            await line.close()

    @property
    def _source(self) -> Source:
        return self._sources[self._turn % len(self._sources)]

    async def _open(self) -> Line:
        attempts = refusals = 0
        while True:
            try:
                line = await self._source.open(self._binding, self._tell_once)
            except Interrupted as error:
                self._tell_once(f"cannot connect to {self._source.where} ({error}), trying again", self._source.where)
            except SubscriptionRefused as error:
                refusals += 1
                if refusals == len(self._sources):
                    raise
                self._tell_once(f"{error}; trying the next broker", self._source.where)
            else:
                self._told.clear()
                self._news(logging.INFO, f"listening on exchange {self._binding.exchange} for {self._binding.subject}")
                return line
            self._turn += 1
            attempts += 1
            if attempts % len(self._sources) == 0:
                refusals = 0
                await self._pause(attempts // len(self._sources))

    async def _pause(self, rounds: int) -> None:
        pause = delay(rounds, first=FIRST_PAUSE, longest=LONGEST_PAUSE, random=self._random())
        await asyncio.sleep(pause.total_seconds())

    def _tell_once(self, sentence: str, key: str | None = None) -> None:
        if len(self._told) >= _MOST_TOLD:
            self._told.clear()
        if (key or sentence) not in self._told:
            self._told.add(key or sentence)
            self._news(logging.WARNING, sentence)


def _check_short(option: str, text: str) -> None:
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        raise ConfigurationError(option, "must be text in UTF-8") from None
    if length > _LONGEST:
        raise ConfigurationError(option, f"must not be longer than {_LONGEST} bytes")
