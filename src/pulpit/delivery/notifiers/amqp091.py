"""The amqp notifier: events as persistent messages to a topic exchange, over AMQP 0-9-1.

Messages go out in a pipelined window of publisher confirms and count as delivered when the broker has confirmed them.
The exchange is made when it is missing: durable and of type topic. Names that begin with `amq.` belong to brokers and
are never declared (AMQP 0-9-1 section 3.1.3); an exchange that stands already is used as it is, if it is of type topic.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from pika.spec import BasicProperties

from pulpit.delivery.notifiers.amqp_link import ConfirmChannel, Link, LinkLost
from pulpit.delivery.notifiers.port import DELIVERED, Notifier, Outcome, Pace, Retry
from pulpit.errors import InvalidValue
from pulpit.events import Event

CONFIRM_TIMEOUT: Final = 30.0
"""Seconds until a broker must have confirmed a window of messages."""
APP_ID: Final = "pulpit"
PERSISTENT: Final = 2
PRECONDITION_FAILED: Final = 406
LONGEST_NAME: Final = 127
"""Bytes of an exchange name (AMQP 0-9-1, domain `exchange-name`)."""


class Amqp091:
    """Publishes to one broker; listeners share the connection and have a channel each."""

    pace: Final = Pace(batch=250, overlap=2, first_retry=timedelta(seconds=0.5), longest_retry=timedelta(seconds=15))
    secret_keys: Final = frozenset[str]()

    def __init__(self, link: Link, default_exchange: str) -> None:
        self._link: Final = link
        self._default_exchange: Final = default_exchange

    def check_config(self, config: Mapping[str, Any]) -> None:
        """Accept `exchange`, a name or nothing.

        Raises:
            InvalidValue: `notifier_config`.
        """
        check_config(config)

    def open(self, config: Mapping[str, Any]) -> Notifier:
        """Publish to the listener's exchange, or to the default one if it names none (Pulp 2's precedence)."""
        return _Publisher(self._link, config.get("exchange") or self._default_exchange)

    async def close(self) -> None:
        """Close the connection."""
        await self._link.close()


class Amqp091Disabled:
    """What `[messaging] url` set to nothing means: amqp listeners exist and nothing is sent (Pulp 2's rule)."""

    pace: Final = Amqp091.pace
    secret_keys: Final = Amqp091.secret_keys

    def check_config(self, config: Mapping[str, Any]) -> None:
        """Accept what would be accepted.

        Raises:
            InvalidValue: `notifier_config`.
        """
        check_config(config)

    def open(self, config: Mapping[str, Any]) -> Notifier:  # noqa: ARG002 - the port's form
        """Take every event and send none."""
        return _Nowhere()

    async def close(self) -> None:
        """Have nothing to close."""


def check_config(config: Mapping[str, Any]) -> None:
    """Refuse unknown keys and names that AMQP does not allow.

    Raises:
        InvalidValue: `notifier_config`.
    """
    strangers = sorted(config.keys() - {"exchange"})
    if strangers:
        raise InvalidValue("notifier_config", f"an amqp listener has no {', '.join(strangers)}; it has exchange.")
    exchange = config.get("exchange")
    if exchange is not None and not isinstance(exchange, str):
        raise InvalidValue("notifier_config", "exchange must be the name of an exchange.")
    if exchange and (len(exchange.encode()) > LONGEST_NAME or not exchange.isprintable()):
        raise InvalidValue("notifier_config", f"exchange must be at most {LONGEST_NAME} bytes of printable characters.")


class _Publisher:
    """Publishes the events of one listener."""

    def __init__(self, link: Link, exchange: str) -> None:
        self._link: Final = link
        self._exchange: Final = exchange
        self._channel: ConfirmChannel | None = None
        self._opening: Final = asyncio.Lock()
        self._failures = 0

    async def prepare(self) -> None:
        """Make the exchange, so that subscribers can bind to it before the first event."""
        with contextlib.suppress(LinkLost):
            async with self._opening:
                await self._ready()

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Publish all, wait for the confirms, and say how far they came."""
        failures_before = self._failures
        try:
            async with self._opening:
                channel = await self._ready()
        except LinkLost as error:
            self._failures += 1
            return [Retry(reason=str(error))]
        if self._failures != failures_before:
            return []  # an earlier call failed while this one waited: to go on would overtake it
        outcomes = await self._publish(channel, events)
        if outcomes and isinstance(outcomes[-1], Retry):
            self._failures += 1
        return outcomes

    def describe(self, event: Event) -> dict[str, Any]:
        """The message and where it is published."""
        return {
            "broker": self._link.address,
            "exchange": self._exchange,
            "routing_key": event.subject,
            "properties": {name: value for name, value in vars(properties(event)).items() if value is not None},
            "body": event.body,
        }

    async def close(self) -> None:
        """Close the channel."""
        if self._channel:
            self._channel.close()

    async def _publish(self, channel: ConfirmChannel, events: Sequence[Event]) -> Sequence[Outcome]:
        tags: list[int] = []
        try:
            for event in events:
                tag = channel.publish(self._exchange, event.subject, properties(event), event.body.encode())
                tags.append(tag)
            async with asyncio.timeout(CONFIRM_TIMEOUT):
                await channel.settled(tags[-1])
        except LinkLost as error:
            return self._outcomes(channel, tags, str(error))
        except TimeoutError:
            self._channel = None
            self._link.abandon()
            return self._outcomes(channel, tags, f"The broker at {self._link.address} confirmed nothing in time.")
        return self._outcomes(channel, tags, str(channel.lost))

    def _outcomes(self, channel: ConfirmChannel, tags: Sequence[int], reason: str) -> Sequence[Outcome]:
        outcomes: list[Outcome] = []
        for tag in tags:
            if not channel.confirmed(tag):
                refusal = "The broker refused the message (basic.nack)."
                outcomes.append(Retry(reason=refusal if channel.refused(tag) else reason))
                return outcomes
            outcomes.append(DELIVERED)
        return outcomes or [Retry(reason=reason)]

    async def _ready(self) -> ConfirmChannel:
        if self._channel is None or self._channel.lost:
            self._channel = await self._open()
        return self._channel

    async def _open(self) -> ConfirmChannel:
        channel = await self._link.channel()
        if self._exchange.startswith("amq."):
            return channel
        try:
            await channel.declare_exchange(self._exchange)
        except LinkLost as error:
            if error.code != PRECONDITION_FAILED:
                raise
            if "'type'" in str(error):
                raise LinkLost(f"The exchange {self._exchange} exists and is no topic exchange: {error}") from None
            return await self._link.channel()  # it differs in durability or the like, and is used as it is
        return channel


class _Nowhere:
    """Takes everything."""

    async def prepare(self) -> None:
        """Have nothing to prepare."""

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Say yes."""
        return [DELIVERED] * len(events)

    def describe(self, event: Event) -> dict[str, Any]:  # noqa: ARG002 - the port's form
        """Say that nothing is sent."""
        return {}

    async def close(self) -> None:
        """Have nothing to close."""


def properties(event: Event) -> BasicProperties:
    """The basic properties of an event's message; they are the same on every attempt."""
    headers: dict[str, Any] = {"qpid.subject": event.subject, "pulpit-number": event.number}
    if event.repo_id is not None:
        headers["pulpit-repo-id"] = event.repo_id
    if event.repo_number is not None:
        headers["pulpit-repo-number"] = event.repo_number
    return BasicProperties(
        content_type="application/json",
        content_encoding="utf-8",
        delivery_mode=PERSISTENT,
        message_id=event.id,
        timestamp=int(event.occurred_at.timestamp()),
        type=event.event_type,
        app_id=APP_ID,
        headers=headers,
    )
