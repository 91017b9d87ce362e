"""Messages over AMQP 0-9-1, on pika.

    connect ──► exchange there? ──► queue, binding ──► consume
                     │ no: ask again

Nothing is made that stays, unless a queue is named: the exchange is only asked for, and the queue is exclusive and goes
with the connection.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from ssl import SSLCertVerificationError
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

from pulpit.amqp.amqp091.asking import Ask, Asking, open_channel
from pulpit.amqp.amqp091.connecting import connect, leave
from pulpit.amqp.amqp091.words import causes
from pulpit.subscriber.message import Message
from pulpit.subscriber.source import (
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
from pulpit.subscriber.wish import Wish

ANSWER_SECONDS: Final = 10.0
"""Until a broker must have answered a declaration."""
EXCHANGE_PAUSE: Final = 0.2
"""Seconds between two questions for an exchange that does not exist yet."""

_CONNECT_SECONDS: Final = 30.0
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

    def __init__(self, parameters: pika.ConnectionParameters, where: str) -> None:
        self._parameters: Final = parameters
        self._where: Final = where
        self._doubts: Final = Doubts()

    @property
    def where(self) -> str:
        """Its address."""
        return self._where

    async def open(self, wish: Wish, tell: Tell) -> Line:
        """Connect, wait for the exchange, bind and consume.

        Raises:
            Interrupted: it is not to be had now.
            SubscriptionRefused: credentials, virtual host, permission, certificate, queue or protocol are refused.
        """
        try:
            connection = await connect(AsyncioConnection, self._parameters, seconds=_CONNECT_SECONDS)
            line = await self._subscribed(connection, wish, tell)
        except (AMQPError, OSError, TimeoutError) as error:
            raise self._judged(error) from None
        self._doubts.clear()
        return line

    async def declare(self, wish: Wish, tell: Tell) -> str:
        """Make and bind the queue for somebody who receives from it in another way; answers its name.

        One that does not stay goes when its reader does, or after a minute if none comes.

        Raises:
            Interrupted: it is not to be had now.
            SubscriptionRefused: as in `open`.
        """
        try:
            connection = await connect(AsyncioConnection, self._parameters, seconds=_CONNECT_SECONDS)
            try:
                channel, asking = await _channel_with_exchange(connection, wish.exchange, tell)
                expiry = {} if wish.stays else {"x-expires": _UNREAD_MILLISECONDS}
                return await _bound_queue(channel, asking, wish, exclusive=False, more=expiry)
            finally:
                await leave(connection)
        except (AMQPError, OSError, TimeoutError) as error:
            raise self._judged(error) from None

    async def _subscribed(self, connection: AsyncioConnection, wish: Wish, tell: Tell) -> Line:
        try:
            channel, asking = await _channel_with_exchange(connection, wish.exchange, tell)
            queue = await _bound_queue(channel, asking, wish, exclusive=not wish.stays)
            line = _Line(connection, channel, Inbox(keeps=wish.stays), self._where)
            await line.consume(queue, asking)
        except BaseException:
            await leave(connection)
            raise
        return line

    def _judged(self, error: Exception) -> Interrupted | SubscriptionRefused:
        """Tell what may heal from what will not."""
        for cause in causes(error):
            reason = self._hopeless(cause)
            if reason is not None:
                return SubscriptionRefused(f"{self._where} {reason}")
        return Interrupted(_in_words(error))

    def _hopeless(self, cause: BaseException) -> str | None:
        reason = None
        match cause:
            case AuthenticationError():
                reason = "refuses the way of logging in"
            case ProbableAuthenticationError() if "(403)" in str(cause) or self._doubts.believed():
                reason = "refuses the user name or password"
            case ProbableAccessDeniedError() if "(530)" in str(cause) or self._doubts.believed():
                reason = f"refuses the virtual host {self._parameters.virtual_host}"
            case ConnectionClosedByBroker() if cause.reply_code in _HOPELESS_CLOSES:
                reason = f"closes the connection: {cause.reply_text}"
            case ChannelClosedByBroker() if cause.reply_code not in _HEALING_CLOSES:
                reason = f"refuses the subscription: {cause.reply_text}"
            case IncompatibleProtocolError() | ProtocolVersionMismatch() if self._doubts.believed():
                reason = "does not speak AMQP 0-9-1"
            case SSLCertVerificationError():
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

    async def consume(self, queue: str, asking: Asking) -> None:
        """Begin to receive."""
        await _ask(asking, lambda done: self._channel.basic_consume(queue, self._on_message, callback=done))

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
        await leave(self._connection)

    def _on_message(self, _: Channel, method: Basic.Deliver, properties: pika.BasicProperties, body: bytes) -> None:
        self._inbox.put(Delivery(message=_message(method, properties, body), line=self, tag=method.delivery_tag))

    def _on_cancel(self, _: Method) -> None:
        """The broker ends the consumer, for example because somebody deleted its queue."""
        reason = f"the queue at {self._where} is gone, making it again"
        self._inbox.end(Interrupted("the queue is gone", told=reason))

    def _on_close(self, _: Channel, reason: Exception) -> None:
        self._inbox.end(Interrupted(_in_words(reason)))


async def _channel_with_exchange(connection: AsyncioConnection, exchange: str, tell: Tell) -> tuple[Channel, Asking]:
    """Wait for the exchange; a question for one that is absent costs the channel (AMQP 0-9-1 section 1.3, 404)."""
    told = False
    while True:
        channel = await open_channel(connection, seconds=ANSWER_SECONDS)
        asking = Asking(channel)
        try:
            await _ask(asking, partial(_ask_for_exchange, channel, exchange))
        except ChannelClosedByBroker as closed:
            if closed.reply_code != _NOT_FOUND:
                raise
        else:
            return channel, asking
        if not told:
            tell(f"exchange {exchange} does not exist yet, waiting for it")
        told = True
        await asyncio.sleep(EXCHANGE_PAUSE)


def _ask_for_exchange(channel: Channel, exchange: str, done: Callable[[Any], None]) -> None:
    channel.exchange_declare(exchange, passive=True, callback=done)


async def _bound_queue(
    channel: Channel, asking: Asking, wish: Wish, *, exclusive: bool, more: Mapping[str, Any] = NOTHING_MORE
) -> str:
    stays = wish.stays
    declared = await _ask(
        asking,
        lambda done: channel.queue_declare(
            wish.queue or "",
            durable=stays,
            exclusive=exclusive,
            auto_delete=not stays,
            arguments={**wish.queue_arguments, **more},
            callback=done,
        ),
    )
    queue: str = declared.method.queue
    await _ask(asking, lambda done: channel.queue_bind(queue, wish.exchange, wish.subject, callback=done))
    await _ask(asking, lambda done: channel.basic_qos(prefetch_count=wish.prefetch, callback=done))
    return queue


async def _ask(asking: Asking, ask: Ask) -> Method:
    return await asking.answer(ask, seconds=ANSWER_SECONDS)


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
