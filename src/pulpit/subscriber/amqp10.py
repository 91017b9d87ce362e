# SPDX-License-Identifier: Apache-2.0
"""Messages over AMQP 1.0, on the client of `pulpit.amqp.amqp10`.

    connect ──► which broker? ──► how it subscribes (its profile) ──► attach with a window of credit

If a broker speaks AMQP 0-9-1 on the same port, that is used to declare and bind a queue, for which AMQP 1.0 has no
operations.
"""

import asyncio
import json
import secrets
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from pulpit.amqp.amqp10 import client, message, types
from pulpit.amqp.amqp10.client import ClientSettings, Connection
from pulpit.amqp.amqp10.client_links import ClientReceiver
from pulpit.amqp.amqp10.codec import DecodeError
from pulpit.amqp.amqp10.links import Opened
from pulpit.amqp.amqp10.profiles import Profile, recognised
from pulpit.amqp.amqp10.types import Cause, Lost
from pulpit.subscriber.amqp091 import EXCHANGE_PAUSE, Amqp091Source
from pulpit.subscriber.event import Message, plain
from pulpit.subscriber.source import (
    Binding,
    Delivery,
    Interrupted,
    Line,
    Outgoing,
    Refusals,
    SubscriptionRefused,
    Tell,
    Verdict,
)
from pulpit.topics import matches

_HOPELESS: Final = frozenset(
    {
        types.UNAUTHORIZED,
        types.NOT_ALLOWED,
        types.PRECONDITION_FAILED,
        types.INVALID_FIELD,
        types.NOT_IMPLEMENTED,
        types.RESOURCE_LOCKED,
    }
)
_OUTCOMES: Final[Mapping[Verdict, types.Outcome]] = {
    Verdict.ACCEPTED: types.ACCEPTED,
    Verdict.RELEASED: types.RELEASED,
    Verdict.REJECTED: types.Rejected(types.Condition(types.DECODE_ERROR, "the subscriber cannot read it")),
}
_SAME: Final = (
    "content_type",
    "content_encoding",
    "correlation_id",
    "reply_to",
    "message_id",
    "user_id",
    "to",
    "group_id",
)
_ANNOTATED: Final = {"type": "x-basic-type", "app_id": "x-basic-app-id"}
"""Properties that AMQP 1.0 does not have; brokers that speak both protocols send them as annotations."""
_EARLIEST_MILLISECONDS: Final = 100_000_000_000
"""March 1973. RabbitMQ 3 passes on the seconds of AMQP 0-9-1 unchanged, where milliseconds are expected."""
_PERSISTENT: Final = 2


class Amqp10Source:
    def __init__(self, over_091: Amqp091Source, recognised: Callable[[Opened | None], Profile] = recognised) -> None:
        """Create it; `over_091` declares queues, if the broker speaks AMQP 0-9-1 too."""
        self.where: Final = over_091.where
        self._over_091: Final = over_091
        self._recognised: Final = recognised
        self._refusals: Final = Refusals()

    async def open(self, binding: Binding, tell: Tell) -> Line:
        """Connect, find the address to receive from, and attach.

        Raises:
            Interrupted: it is unavailable now.
            SubscriptionRefused: credentials, certificate, permission, queue or protocol are rejected.
        """
        over_091 = self._over_091
        # Brokers identify a durable subscription by container and link, and need unique names for others.
        name = binding.queue or f"{over_091.name}-{secrets.token_hex(4)}"
        settings = ClientSettings(name=name, context=over_091.context, by_certificate=over_091.by_certificate)
        try:
            connection = await client.connect(over_091.address, settings)
        except Lost as lost:
            raise self._judged(lost) from None
        try:
            line = await self._subscribed(connection, binding, tell)
        except Lost as lost:
            await connection.close()
            raise self._judged(lost) from None
        except BaseException:
            await connection.close()
            raise
        self._refusals.clear()
        return line

    async def _subscribed(self, connection: Connection, binding: Binding, tell: Tell) -> Line:
        profile = self._recognised(connection.remote)
        if not profile.queue:
            receiver = await self._attached(connection, profile, binding, tell)
            return _Line(connection, receiver, binding=binding, profile=profile, where=self.where)
        queue = await self._over_091.declare(binding, tell)
        receiver = await connection.receiver(profile.queue_source(queue), window=binding.prefetch)
        line = _Line(connection, receiver, binding=binding, profile=profile, where=self.where)
        line.keep(self._over_091.keep_bound(queue, binding, tell))
        return line

    async def _attached(self, connection: Connection, profile: Profile, binding: Binding, tell: Tell) -> ClientReceiver:
        source = profile.exchange_source(binding.exchange, binding.subject, durable=binding.stays)
        told = False
        while True:
            try:
                return await connection.receiver(source, name=binding.queue or "", window=binding.prefetch)
            except Lost as lost:
                if connection.lost or lost.condition is None or lost.condition.name != types.NOT_FOUND:
                    raise
            if not told:
                tell(f"exchange {binding.exchange} does not exist yet, waiting for it")
            told = True
            await asyncio.sleep(EXCHANGE_PAUSE)

    def _judged(self, lost: Lost) -> Interrupted | SubscriptionRefused:
        """Classify an error as transient or permanent."""
        reason = self._hopeless(lost)
        return Interrupted(_in_words(lost)) if reason is None else SubscriptionRefused(f"{self.where} {reason}")

    def _hopeless(self, lost: Lost) -> str | None:
        match lost.cause:
            case Cause.LOGIN:
                return "refuses the user name or password"
            case Cause.MECHANISM:
                return f"refuses the way of logging in: {_in_words(lost)}"
            case Cause.CERTIFICATE:
                return f"shows a certificate that is not trusted: {_in_words(lost)}"
            case Cause.PROTOCOL if self._refusals.is_permanent():
                return f"does not speak AMQP 1.0: {_in_words(lost)}"
            case Cause.CLOSED if lost.condition and lost.condition.name in _HOPELESS:
                return f"refuses the subscription: {lost.condition}"
        return None


class _Line:
    def __init__(
        self, connection: Connection, receiver: ClientReceiver, *, binding: Binding, profile: Profile, where: str
    ) -> None:
        self._connection: Final = connection
        self._receiver: Final = receiver
        self._binding: Final = binding
        self._profile: Final = profile
        self._where: Final = where
        self._outgoing: Final = Outgoing(1)
        self._keeping: asyncio.Task[None] | None = None

    def keep(self, keeping: Coroutine[Any, Any, None]) -> None:
        """Run a task as long as the line is open."""
        self._keeping = asyncio.ensure_future(keeping)

    async def next(self) -> Delivery:
        """Wait for the next message, skipping those that the broker could not filter."""
        while True:
            await self._outgoing.written()
            try:
                arrived = await self._receiver.next()
            except Lost as lost:
                raise self._interrupted(lost) from None
            if self._binding.stays and self._receiver.lost:
                raise self._interrupted(self._receiver.lost)
            read = read_message(arrived.message, self._binding.exchange, self._profile)
            unreadable = read.body == arrived.message
            if self._profile.queue or unreadable or matches(self._binding.subject, read.subject):
                return Delivery(message=read, line=self, tag=arrived)
            self._receiver.settle(arrived, types.ACCEPTED)

    def settle(self, delivery: Delivery, verdict: Verdict) -> None:
        self._receiver.settle(delivery.tag, _OUTCOMES[verdict])

    async def close(self) -> None:
        if self._keeping:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
        await self._connection.close()

    def _interrupted(self, lost: Lost) -> Interrupted:
        gone = self._connection.lost is None
        sentence = f"the queue at {self._where} is gone, making it again" if gone else None
        return Interrupted(_in_words(lost), sentence=sentence)


def _in_words(lost: Lost) -> str:
    """Return the reason without the broker's name, which the client puts before it."""
    sentence = str(lost).rstrip(".")
    return sentence.partition(": ")[2] or sentence


def read_message(data: bytes, exchange: str, profile: Profile) -> Message:
    """Parse a message received from an exchange; undecodable bytes become a message with this body.

    RabbitMQ 4 names exchange and routing key in annotations. In a body, data are unchanged, a text is encoded, and
    other values become JSON.
    """
    try:
        arrived = message.decode(data)
    except DecodeError:
        return Message(subject="", exchange=exchange, properties={}, headers={}, body=data)
    body = arrived.body
    if not isinstance(body, bytes):
        value = body.value if isinstance(body, message.Value) else [list(values) for values in body.lists]
        body = value.encode() if isinstance(value, str) else json.dumps(plain(value)).encode()
    return Message(
        subject=str(arrived.annotations.get("x-routing-key", arrived.subject or "")),
        exchange=str(arrived.annotations.get("x-exchange", exchange)),
        properties=_properties(arrived),
        headers={str(name): value for name, value in arrived.application_properties.items()},
        body=body,
        redelivered=arrived.delivery_count > 0 or (profile.marks_first and not arrived.first_acquirer),
    )


def _properties(arrived: message.Message) -> dict[str, Any]:
    known = {name: getattr(arrived, name) for name in _SAME}
    known |= {name: arrived.annotations.get(annotation) for name, annotation in _ANNOTATED.items()}
    known["delivery_mode"] = _PERSISTENT if arrived.durable else None
    created = arrived.creation_time
    known["timestamp"] = created if created is None or created < _EARLIEST_MILLISECONDS else int(created) // 1000
    return {name: value for name, value in known.items() if value is not None}
