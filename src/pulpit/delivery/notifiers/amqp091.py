"""The amqp notifier: events as persistent messages to a topic exchange, over AMQP 0-9-1.

Messages go out in a pipelined window of publisher confirms and count as delivered when the broker has confirmed them.
A missing exchange is declared: durable and of type topic. Names that begin with `amq.` are reserved for the broker and
never declared (AMQP 0-9-1 section 3.1.3); an existing exchange is used as it is if its type is topic.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, Final

from pulpit.amqp import BrokerUnavailable
from pulpit.amqp.amqp091.confirm_channel import ConfirmChannel, Outgoing
from pulpit.amqp.amqp091.publisher import Publisher
from pulpit.delivery.notifiers.amqp091_message import MessageWriter, properties
from pulpit.delivery.notifiers.amqp_listener import PACE, Format, Upkeep, check_config, delivered, routing_key
from pulpit.delivery.notifiers.port import DELIVERED, Notifier, Outcome, Retry
from pulpit.events import Event
from pulpit.listener_options import AMQP

CONFIRM_TIMEOUT: Final = 30.0
"""Seconds within which a broker must confirm a window of messages."""
WRITERS: Final = 256
"""Message writers with cached encoded headers; listeners with the same options share one."""
WINDOW: Final = 1_000
"""Unconfirmed messages of a listener; further batches wait, already encoded, for room."""


class Amqp091:
    """Publishes to one broker; listeners share the connection and have a channel each."""

    pace: Final = replace(PACE, batch=250, overlap=6)
    kind: Final = AMQP

    def __init__(self, publisher: Publisher, default_exchange: str, *, source: str = "/pulpit") -> None:
        self._publisher: Final = publisher
        self._default_exchange: Final = default_exchange
        self._writer: Final = lru_cache(WRITERS)(partial(MessageWriter, source=source))
        self._upkeep: Final = Upkeep(lambda: publisher.connected)
        publisher.on_lost = self._upkeep.on_lost

    def check_config(self, config: Mapping[str, Any]) -> None:
        """Accept `exchange`, `routing_key`, `require_route` and `format`.

        Raises:
            InvalidValue: `notifier_config`.
        """
        check_config(config)

    def open(self, config: Mapping[str, Any]) -> Notifier:
        """Publish to the listener's exchange, or to the default one if it names none (Pulp 2's precedence)."""
        exchange = config.get("exchange") or self._default_exchange
        writer = self._writer(config.get("routing_key") or None, form=Format(config.get("format") or Format.PULP))
        return _Notifier(self._publisher, exchange, config, writer, self._upkeep)

    async def close(self) -> None:
        await self._upkeep.close()
        await self._publisher.close()


class _Notifier:
    def __init__(
        self,
        publisher: Publisher,
        exchange: str,
        config: Mapping[str, Any],
        writer: MessageWriter,
        upkeep: Upkeep,
    ) -> None:
        self._publisher: Final = publisher
        self._upkeep: Final = upkeep
        self._exchange: Final = exchange
        self._template: Final[str | None] = config.get("routing_key") or None
        self._require_route: Final = bool(config.get("require_route"))
        self._writer: Final = writer
        self._channel: ConfirmChannel | None = None
        self._sending: Final = asyncio.Lock()
        self._failures = 0

    async def prepare(self) -> None:
        """Declare the exchange, so that subscribers can bind to it before the first event."""
        self._upkeep.add(self)
        try:
            async with self._sending:
                await self._ready()
        except BrokerUnavailable:
            self._upkeep.on_lost()

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Publish all as soon as there is room, wait for the confirms, and return the outcomes."""
        failures_before = self._failures
        messages = [self._writer.write(event) for event in events]  # encode while other messages are in flight
        outcomes = await self._publish(events, messages, failures_before)
        if outcomes and isinstance(outcomes[-1], Retry):
            self._failures += 1
        return outcomes

    def describe(self, event: Event) -> dict[str, Any]:
        said = properties(event, self._writer.source, self._writer.form)
        return {
            "broker": self._publisher.address,
            "exchange": self._exchange,
            "routing_key": routing_key(event, self._template),
            "properties": {name: value for name, value in vars(said).items() if value is not None},
            "body": event.body,
        }

    async def close(self) -> None:
        self._upkeep.discard(self)
        if self._channel:
            self._channel.close()

    async def _publish(
        self, events: Sequence[Event], messages: Sequence[Outgoing], failures_before: int
    ) -> Sequence[Outcome]:
        tags = range(0)
        try:
            async with self._sending:
                channel = await self._ready()
                if blocked := self._blocked():
                    return [Retry(reason=blocked)]
                if not channel.confirmed(room_from := channel.published + len(messages) - WINDOW):
                    async with asyncio.timeout(CONFIRM_TIMEOUT):
                        await channel.settled(room_from)
                if self._failures != failures_before:
                    return []  # an earlier call failed while this one waited: sending now would break the order
                tags = channel.publish(self._exchange, messages, mandatory=self._require_route)
            async with asyncio.timeout(CONFIRM_TIMEOUT):
                await channel.settled(tags[-1])
            reason = str(channel.lost)
        except BrokerUnavailable as error:
            return [Retry(reason=self._blocked() or str(error))]
        except TimeoutError:
            reason = f"The broker at {self._publisher.address} confirmed nothing in time."
            if self._publisher.blocked is None and self._channel is channel:
                self._channel = None
                self._publisher.abandon()
        if tags and not self._writer.has_cut and channel.all_confirmed(tags):
            return [DELIVERED] * len(events)
        return self._outcomes(channel, zip(tags, events, strict=False), self._blocked() or reason)

    def _blocked(self) -> str | None:
        blocked = self._publisher.blocked
        return None if blocked is None else f"The broker at {self._publisher.address} takes no messages now: {blocked}."

    def _outcomes(
        self, channel: ConfirmChannel, published: Iterable[tuple[int, Event]], reason: str
    ) -> Sequence[Outcome]:
        outcomes: list[Outcome] = []
        for tag, event in published:
            if not channel.confirmed(tag):
                if channel.refused(tag):
                    self._leave(channel)
                    reason = "The broker refused the message (basic.nack)."
                return [*outcomes, Retry(reason=reason)]
            if self._require_route and channel.came_back(event.id):
                unrouted = f"No queue is bound to {self._exchange} for {routing_key(event, self._template)}."
                return [*outcomes, Retry(reason=unrouted)]
            outcomes.append(delivered(event, self._template))
        return outcomes or [Retry(reason=reason)]

    def _leave(self, channel: ConfirmChannel) -> None:
        """Send no more on a channel that refused a message.

        RabbitMQ asks once, at a channel's first message, which node leads a quorum queue. If that node is down by then,
        the channel refuses everything that comes after, although another node has long taken over.
        """
        if self._channel is channel:
            self._channel = None
            channel.close()

    async def _ready(self) -> ConfirmChannel:
        if self._channel is None or self._channel.lost:
            self._channel = await self._publisher.channel_for(self._exchange)
        return self._channel
