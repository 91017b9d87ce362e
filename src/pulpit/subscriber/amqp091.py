"""Messages over AMQP 0-9-1, on pika.

    connect ──► exchange there? ──► queue, binding ──► consume
                     │ no: ask again

Nothing is made that stays, unless a queue is named: the exchange is only asked for, and the queue is exclusive and goes
with the connection.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel
from pika.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    IncompatibleProtocolError,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
    ProtocolVersionMismatch,
)
from pika.frame import Method
from pika.spec import Basic

from pulpit.amqp.address import BrokerAddress
from pulpit.amqp.amqp091 import connection as amqp091
from pulpit.amqp.amqp091.connection import Calls, causes, connect, open_channel
from pulpit.subscriber.event import Message
from pulpit.subscriber.source import (
    Binding,
    Delivery,
    Doubts,
    Inbox,
    Interrupted,
    Line,
    Outgoing,
    SubscriptionRefused,
    Tell,
    Verdict,
)

EXCHANGE_PAUSE: Final = 0.2
"""Seconds between two questions for an exchange that does not exist yet."""

_CONNECT_TIMEOUT: Final = 20.0
_HEARTBEAT: Final = 30
_UNREAD_MILLISECONDS: Final = 60_000
_NOT_FOUND: Final = 404
_TURNS_TO_WRITE: Final = 2
"""pika writes when the loop has found the socket writable: one turn to find out, one to write."""
NOTHING_MORE: Final[Mapping[str, Any]] = MappingProxyType({})
_HEALING_CLOSES: Final = frozenset({_NOT_FOUND, 506, 541})
"""Of a channel: a queue whose node is down is not found, and one without a majority is an internal error."""
_HOPELESS_CLOSES: Final = frozenset({402, 403, 530})
_PROPERTIES: Final = (
    "content_type",
    "content_encoding",
    "delivery_mode",
    "priority",
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    "timestamp",
    "type",
    "user_id",
    "app_id",
    "cluster_id",
)


class Amqp091Source:
    """One broker that speaks AMQP 0-9-1."""

    def __init__(
        self, address: BrokerAddress, name: str, context: ssl.SSLContext | None = None, *, by_certificate: bool = False
    ) -> None:
        self.address: Final = address
        self.context: Final = context
        self.by_certificate: Final = by_certificate
        self.name: Final = name
        self.where: Final = str(address)
        self._doubts: Final = Doubts()

    async def open(self, binding: Binding, tell: Tell) -> Line:
        """Connect, wait for the exchange, bind and consume.

        Raises:
            Interrupted: it is not to be had now.
            SubscriptionRefused: credentials, virtual host, permission, certificate, queue or protocol are refused.
        """
        try:
            connection = await self._connect()
            line = await self._subscribed(connection, binding, tell)
        except (AMQPError, OSError, TimeoutError) as error:
            raise self._judged(error) from None
        self._doubts.clear()
        return line

    async def declare(self, binding: Binding, tell: Tell) -> str:
        """Make and bind the queue for somebody who receives from it in another way; answers its name.

        One that does not stay goes when its reader does, or after a minute if none comes.

        Raises:
            Interrupted: it is not to be had now.
            SubscriptionRefused: as in `open`.
        """
        try:
            connection = await self._connect()
            try:
                channel, calls = await _channel_with_exchange(connection, binding.exchange, tell)
                expiry = {} if binding.stays else {"x-expires": _UNREAD_MILLISECONDS}
                return await _bound_queue(channel, calls, binding, exclusive=False, more=expiry)
            finally:
                await amqp091.close(connection)
        except (AMQPError, OSError, TimeoutError) as error:
            raise self._judged(error) from None

    async def _connect(self) -> AsyncioConnection:
        parameters = amqp091.parameters(
            self.address,
            name=self.name,
            heartbeat=_HEARTBEAT,
            context=self.context,
            by_certificate=self.by_certificate,
            timeout=_CONNECT_TIMEOUT,
        )
        return await connect(AsyncioConnection, parameters)

    async def _subscribed(self, connection: AsyncioConnection, binding: Binding, tell: Tell) -> Line:
        try:
            channel, calls = await _channel_with_exchange(connection, binding.exchange, tell)
            queue = await _bound_queue(channel, calls, binding, exclusive=not binding.stays)
            line = _Line(connection, channel, Inbox(keeps=binding.stays), self.where)
            await line.consume(queue, calls)
        except BaseException:
            await amqp091.close(connection)
            raise
        return line

    def _judged(self, error: Exception) -> Interrupted | SubscriptionRefused:
        """Tell what may heal from what will not."""
        for cause in causes(error):
            reason = self._hopeless(cause)
            if reason is not None:
                return SubscriptionRefused(f"{self.where} {reason}")
        return Interrupted(_in_words(error))

    def _hopeless(self, cause: BaseException) -> str | None:
        reason = None
        match cause:
            case AuthenticationError():
                reason = "refuses the way of logging in"
            case ProbableAuthenticationError() if "(403)" in str(cause) or self._doubts.believed():
                reason = "refuses the user name or password"
            case ProbableAccessDeniedError() if "(530)" in str(cause) or self._doubts.believed():
                reason = f"refuses the virtual host {self.address.virtual_host}"
            case ConnectionClosedByBroker() if cause.reply_code in _HOPELESS_CLOSES:
                reason = f"closes the connection: {cause.reply_text}"
            case ChannelClosedByBroker() if cause.reply_code not in _HEALING_CLOSES:
                reason = f"refuses the subscription: {cause.reply_text}"
            case IncompatibleProtocolError() | ProtocolVersionMismatch() if self._doubts.believed():
                reason = "does not speak AMQP 0-9-1"
            case ssl.SSLCertVerificationError():
                reason = f"shows a certificate that is not trusted: {cause.verify_message}"
        return reason


class _Line:
    """A consumer on a channel of its own."""

    def __init__(self, connection: AsyncioConnection, channel: Channel, inbox: Inbox, where: str) -> None:
        self._connection: Final = connection
        self._channel: Final = channel
        self._inbox: Final = inbox
        self._where: Final = where
        self._outgoing: Final = Outgoing(_TURNS_TO_WRITE)
        channel.add_on_cancel_callback(self._on_cancel)
        channel.add_on_close_callback(self._on_close)

    async def consume(self, queue: str, calls: Calls) -> None:
        """Begin to receive."""
        await calls.call(lambda done: self._channel.basic_consume(queue, self._on_message, callback=done))

    async def next(self) -> Delivery:
        """Wait for the next message."""
        await self._outgoing.written()
        return await self._inbox.next()

    def settle(self, delivery: Delivery, verdict: Verdict) -> None:
        """Acknowledge or give back."""
        if not self._channel.is_open:
            return
        if verdict is Verdict.ACCEPTED:
            self._channel.basic_ack(delivery.tag)
        else:
            self._channel.basic_nack(delivery.tag, requeue=True)

    async def close(self) -> None:
        """Close the connection."""
        self._inbox.end(Interrupted("closed"))
        await amqp091.close(self._connection)

    def _on_message(self, _: Channel, method: Basic.Deliver, properties: pika.BasicProperties, body: bytes) -> None:
        self._inbox.put(Delivery(message=_message(method, properties, body), line=self, tag=method.delivery_tag))

    def _on_cancel(self, _: Method) -> None:
        """The broker ends the consumer, for example because somebody deleted its queue."""
        reason = f"the queue at {self._where} is gone, making it again"
        self._inbox.end(Interrupted("the queue is gone", told=reason))

    def _on_close(self, _: Channel, reason: Exception) -> None:
        self._inbox.end(Interrupted(_in_words(reason)))


async def _channel_with_exchange(connection: AsyncioConnection, exchange: str, tell: Tell) -> tuple[Channel, Calls]:
    """Wait for the exchange; a question for one that is absent costs the channel (AMQP 0-9-1 section 1.3, 404)."""
    told = False
    while True:
        channel = await open_channel(connection)
        calls = Calls(channel)
        try:
            await calls.call(partial(_ask_for_exchange, channel, exchange))
        except ChannelClosedByBroker as closed:
            if closed.reply_code != _NOT_FOUND:
                raise
        else:
            return channel, calls
        if not told:
            tell(f"exchange {exchange} does not exist yet, waiting for it")
        told = True
        await asyncio.sleep(EXCHANGE_PAUSE)


def _ask_for_exchange(channel: Channel, exchange: str, done: Callable[[Any], None]) -> None:
    channel.exchange_declare(exchange, passive=True, callback=done)


async def _bound_queue(
    channel: Channel, calls: Calls, binding: Binding, *, exclusive: bool, more: Mapping[str, Any] = NOTHING_MORE
) -> str:
    stays = binding.stays
    declared = await calls.call(
        lambda done: channel.queue_declare(
            binding.queue or "",
            durable=stays,
            exclusive=exclusive,
            auto_delete=not stays,
            arguments={**binding.queue_arguments, **more},
            callback=done,
        ),
    )
    queue: str = declared.method.queue
    await calls.call(lambda done: channel.queue_bind(queue, binding.exchange, binding.subject, callback=done))
    await calls.call(lambda done: channel.basic_qos(prefetch_count=binding.prefetch, callback=done))
    return queue


def _in_words(error: Exception) -> str:
    for cause in causes(error):
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    return "it broke off the log-in" if isinstance(error, AMQPError) else type(error).__name__


def _message(method: Basic.Deliver, properties: pika.BasicProperties, body: bytes) -> Message:
    return Message(
        subject=method.routing_key or "",
        exchange=method.exchange or "",
        redelivered=bool(method.redelivered),
        properties={name: value for name in _PROPERTIES if (value := getattr(properties, name, None)) is not None},
        headers=properties.headers or {},
        body=body,
    )
