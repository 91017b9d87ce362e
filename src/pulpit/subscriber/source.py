# SPDX-License-Identifier: Apache-2.0
"""The port between a subscription and a protocol, and what keeps a subscription up over every loss of a connection.

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
"""Messages that a broker hands out before the first is acknowledged."""

QueueType = Literal["classic", "quorum"]
QUEUE_TYPES: Final[tuple[QueueType, ...]] = ("classic", "quorum")

_LONGEST: Final = 255
"""Bytes of a short string (AMQP 0-9-1 section 4.2.5.3)."""
_MOST: Final = 65_535
"""Prefetched messages, a short integer (AMQP 0-9-1, `basic.qos`)."""
_DOUBTS: Final = 3
_WRITE_SECONDS: Final = 0.01
_MOST_TOLD: Final = 1000
"""Sentences that are told once; those about messages hold what strangers wrote."""

Tell = Callable[[str], None]
"""Takes a sentence for a person."""
News = Callable[[int, str], None]
"""Takes what happens to the subscription: a level of `logging` (INFO or WARNING) and a sentence for a person."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Binding:
    """Messages of `exchange` whose subject matches; kept in the durable `queue` if one is named.

    Raises:
        ConfigurationError: no broker could be asked for this.
    """

    exchange: str
    subject: str = EVERYTHING
    queue: str | None = None
    queue_type: QueueType | None = None
    """Null is what the broker makes by itself."""
    prefetch: int = PREFETCH

    def __post_init__(self) -> None:
        for option, text in (("exchange", self.exchange), ("subject", self.subject), ("queue", self.queue or "")):
            _check_short(option, text)
        if not self.exchange:
            raise ConfigurationError("exchange", "must name an exchange; nobody can subscribe to the nameless one")
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
        """Whether the queue outlives the connection."""
        return self.queue is not None

    @property
    def queue_arguments(self) -> Mapping[str, Any]:
        """Those of the declaration."""
        return {} if self.queue_type is None else {"x-queue-type": self.queue_type}


class Verdict(Enum):
    """What becomes of a message that was handed out."""

    ACCEPTED = "accepted"
    """It is done, and the broker may forget it."""
    RELEASED = "released"
    """It goes back into its queue; one without a name of its own hands it to nobody else, so it comes again."""
    REJECTED = "rejected"
    """It will never do: the queue's dead-letter exchange has it, if there is one, and it does not come again."""


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

    async def open(self, binding: Binding, tell: Tell) -> Line:
        """Connect and subscribe; an exchange that does not exist yet is waited for, which is told once.

        It may be cancelled at any moment, and leaves nothing behind.

        Raises:
            Interrupted: it is not to be had now.
            SubscriptionRefused: it never will be.
        """


class Doubts:
    """A broker that dies during the login looks like one that refuses it; believe in a refusal the third time."""

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


class MessageStream:
    """The messages of a binding, one after the other, for ever, from whichever broker can be used."""

    def __init__(self, sources: Sequence[Source], binding: Binding, news: News, random: Callable[[], float]) -> None:
        self._sources: Final = sources
        self._binding: Final = binding
        self._news: Final = news
        self._random: Final = random
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
            if self._line is None:
                await self._pause(1)
                self._line = await self._open()
            try:
                return await self._line.next()
            except Interrupted as lost:
                where = self._source.where
                self._told.add(where)  # one sentence is enough for its loss and for the vain attempts that follow
                self._news(logging.WARNING, lost.told or f"connection to {where} lost, trying again")
                await self.close()

    def tell(self, sentence: str) -> None:
        """Tell whoever follows the subscription of trouble."""
        self._news(logging.WARNING, sentence)

    async def close(self) -> None:
        """End the connection, within two seconds."""
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
