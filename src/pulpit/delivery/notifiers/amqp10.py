"""The amqp notifier over AMQP 1.0: events as durable messages to an exchange of any broker.

Messages go out as far as the broker's credit allows and count as delivered when the broker has accepted them. How the
exchange is addressed, and whether it can be created, is up to the broker's profile (`amqp.amqp10.profiles`).
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from pulpit.amqp import BrokerUnavailable
from pulpit.amqp.amqp10 import message as codec
from pulpit.amqp.amqp10.profiles import PLAIN, Profile
from pulpit.amqp.amqp10.publisher import ExchangeLink, Publisher
from pulpit.amqp.amqp10.types import (
    DECODE_ERROR,
    FRAME_TOO_SMALL,
    INVALID_FIELD,
    NOT_FOUND,
    TOO_LARGE,
    Accepted,
    Condition,
    Lost,
    Modified,
    Rejected,
    Released,
)
from pulpit.amqp.amqp10.types import Outcome as Answer
from pulpit.delivery.notifiers.amqp_listener import PACE, Upkeep, check_config, delivered, message, routing_key
from pulpit.delivery.notifiers.port import Notifier, Outcome, Refused, Retry
from pulpit.events import Event
from pulpit.listener_options import AMQP

ACCEPT_TIMEOUT: Final = 30.0
"""Seconds within which a broker must settle a window of messages."""
HOPELESS: Final = frozenset({TOO_LARGE, DECODE_ERROR, FRAME_TOO_SMALL, INVALID_FIELD})
"""Conditions that mean a permanent failure of this message; any other may be transient."""


class Amqp10:
    """Publishes to one broker; listeners share the connection and have a link each."""

    pace: Final = PACE
    kind: Final = AMQP

    def __init__(
        self,
        publisher: Publisher,
        default_exchange: str,
        *,
        source: str = "/pulpit",
        accept_timeout: float = ACCEPT_TIMEOUT,
    ) -> None:
        self._publisher: Final = publisher
        self._default_exchange: Final = default_exchange
        self._source: Final = source
        self._accept_timeout: Final = accept_timeout
        self._upkeep: Final = Upkeep(lambda: publisher.connected)
        publisher.on_lost = self._upkeep.on_lost

    def check_config(self, config: Mapping[str, Any]) -> None:
        """Accept `exchange`, `routing_key`, `require_route` and `format`, which changes nothing over 1.0.

        Raises:
            InvalidValue: `notifier_config`.
        """
        check_config(config)

    def open(self, config: Mapping[str, Any]) -> Notifier:
        """Publish to the listener's exchange, or to the default one if it names none (Pulp 2's precedence)."""
        exchange = config.get("exchange") or self._default_exchange
        return _Notifier(
            self._publisher,
            exchange,
            config,
            source=self._source,
            accept_timeout=self._accept_timeout,
            upkeep=self._upkeep,
        )

    async def close(self) -> None:
        await self._upkeep.close()
        await self._publisher.close()


class _Notifier:
    def __init__(
        self,
        publisher: Publisher,
        exchange: str,
        config: Mapping[str, Any],
        *,
        source: str,
        accept_timeout: float,
        upkeep: Upkeep,
    ) -> None:
        self._publisher: Final = publisher
        self._upkeep: Final = upkeep
        self._exchange: Final = exchange
        self._template: Final[str | None] = config.get("routing_key") or None
        self._require_route: Final = bool(config.get("require_route"))
        self._source: Final = source
        self._accept_timeout: Final = accept_timeout
        self._link: ExchangeLink | None = None
        self._sending: Final = asyncio.Lock()
        self._failures = 0
        self._single = 0
        """Events to send one by one, because one among them is too large and the broker does not say which."""

    async def prepare(self) -> None:
        """Attach the link, which creates the exchange, before the first event."""
        self._upkeep.add(self)
        try:
            async with self._sending:
                await self._ready()
        except BrokerUnavailable:
            self._upkeep.on_lost()

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Send all, wait until the broker has settled them, and return the outcomes."""
        failures_before = self._failures
        async with self._sending:
            try:
                link = await self._ready()
            except BrokerUnavailable as error:
                return self._failed(str(error))
            if self._failures != failures_before:
                return []  # an earlier call failed while this one waited: sending now would break the order
            if self._require_route and not link.profile.released_is_unrouted:
                place = self._publisher.address
                reason = f"The broker at {place} does not say over AMQP 1.0 whether a queue took a message"
                return self._failed(f"{reason}, as require_route asks.")
            window = _Window(link, events[:1] if self._single else events, seconds=self._accept_timeout)
            self._single = max(0, self._single - 1)
            await window.send(lambda event: codec.encode(self._message(event, link.profile)))
            if window.trouble:
                self._failures += 1
        await window.decided()
        return self._judged(window)

    def describe(self, event: Event) -> dict[str, Any]:
        profile = self._publisher.profile or PLAIN
        said = self._message(event, profile)
        return {
            "broker": self._publisher.address,
            "exchange": self._exchange,
            "address": profile.target(self._exchange).address,
            "properties": {
                name: getattr(said, name)
                for name in ("message_id", "correlation_id", "to", "subject", "content_type", "creation_time")
                if getattr(said, name) is not None
            },
            "application_properties": dict(said.application_properties),
            "body": event.body,
        }

    async def close(self) -> None:
        self._upkeep.discard(self)
        if self._link:
            self._link.sender.close()

    async def _ready(self) -> ExchangeLink:
        if self._link is None or self._link.sender.lost:
            self._link = await self._publisher.link(self._exchange)
        return self._link

    def _message(self, event: Event, profile: Profile) -> codec.Message:
        subject = routing_key(event, self._template)
        return message(event, self._source, subject=subject, to=profile.to(self._exchange, subject))

    def _judged(self, window: "_Window") -> Sequence[Outcome]:
        outcomes: list[Outcome] = []
        for event, answer in window.answers():
            outcome = self._outcome(event, answer, window.link)
            outcomes.append(outcome)
            if isinstance(outcome, Retry):
                break
        if len(outcomes) < len(window.events) and not (outcomes and isinstance(outcomes[-1], Retry)):
            outcomes.append(self._undecided(window))
        if isinstance(outcomes[-1], Retry):
            self._failures += 1
        return outcomes

    def _undecided(self, window: "_Window") -> Outcome:
        """Return the outcome of the first event that the broker has not settled."""
        if not window.link.sender.lost:
            silent = Retry(reason=f"The broker at {self._publisher.address} accepted nothing in time.")
            self._link = None
            self._publisher.abandon()
            return silent
        lost = window.trouble or window.link.sender.lost
        if lost.condition and lost.condition.name == TOO_LARGE:
            if len(window.events) == 1:
                return Refused(reason=str(lost))
            self._single = len(window.events)
        return Retry(reason=str(lost))

    def _outcome(self, event: Event, answer: Answer | None, link: ExchangeLink) -> Outcome:
        match answer:
            case Accepted():
                return delivered(event, self._template)
            case Released() if link.profile.released_is_unrouted:
                if not self._require_route:
                    return delivered(event, self._template)
                return Retry(reason=f"No queue is bound to {self._exchange} for {routing_key(event, self._template)}.")
            case Rejected(condition):
                reason = f"The broker rejected the message{f': {condition}' if condition else ''}."
                hopeless = condition is not None and condition.name in HOPELESS
                if condition is not None and condition.name == NOT_FOUND:
                    link.sender.close()  # RabbitMQ 4 keeps the link to a deleted exchange; a new one creates it
                return Refused(reason=reason) if hopeless else Retry(reason=reason)
            case Released() | Modified():
                return Retry(reason=f"The broker did not take the message ({type(answer).__name__.lower()}).")
            case None:
                return Retry(reason="The broker settled the message without saying what became of it.")

    def _failed(self, reason: str) -> Sequence[Outcome]:
        self._failures += 1
        return [Retry(reason=reason)]


class _Window:
    """Events in flight on one link."""

    def __init__(self, link: ExchangeLink, events: Sequence[Event], *, seconds: float) -> None:
        self.link: Final = link
        self.events: Final = events
        self.trouble: Lost | None = None
        """Why not all were sent."""
        self._numbers: list[int] = []
        self._refused: dict[int, Answer] = {}
        self._deadline: Final = asyncio.get_running_loop().time() + seconds

    async def send(self, encoded: Callable[[Event], bytes]) -> None:
        """Send as many as the link accepts in time."""
        sender = self.link.sender
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._deadline):
                try:
                    for event in self.events:
                        data = encoded(event)
                        if 0 < sender.largest_message < len(data):
                            self._numbers.append(self._too_large(len(data)))
                            continue
                        if sender.credit <= 0:
                            await sender.credited()
                        self._numbers.append(sender.send(data))
                except Lost as lost:
                    self.trouble = lost

    async def decided(self) -> None:
        """Wait until the broker has settled all that were sent, or has failed or timed out."""
        last = max(self._numbers, default=0)
        if last > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._deadline):
                    await self.link.sender.settled(last)

    def answers(self) -> list[tuple[Event, Answer | None]]:
        """Return the settled ones, in order, up to the first that is not."""
        sender = self.link.sender
        found: list[tuple[Event, Answer | None]] = []
        for event, number in zip(self.events, self._numbers, strict=False):
            if number in self._refused:
                found.append((event, self._refused[number]))
            elif sender.decided(number):
                found.append((event, sender.take_outcome(number)))
            else:
                break
        return found

    def _too_large(self, size: int) -> int:
        """Reject a message that exceeds the broker's announced limit; its number is not that of a delivery."""
        largest, number = self.link.sender.largest_message, -1 - len(self._numbers)
        self._refused[number] = Rejected(Condition(TOO_LARGE, f"it has {size} bytes, and {largest} are the most"))
        return number
