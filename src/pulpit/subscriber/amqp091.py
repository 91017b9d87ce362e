# SPDX-License-Identifier: Apache-2.0
"""Messages over AMQP 0-9-1, on pika.

    connect ──► exchange exists? ──► queue, binding ──► consume
                 │ no: retry

Nothing permanent is created, unless a queue is named: the exchange is only checked, and the queue is exclusive and
deleted with the connection. A queue that we may use but not declare is used as it is.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Coroutine, Mapping
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
from pulpit.amqp.amqp091.content_headers import PROPERTIES, ContentProperties, TolerantConnection, short_text
from pulpit.net import tls
from pulpit.subscriber.event import Message
from pulpit.subscriber.source import (
    Binding,
    Delivery,
    Inbox,
    Interrupted,
    Line,
    Outgoing,
    Refusals,
    SubscriptionRefused,
    Tell,
    Verdict,
)
from pulpit.text import escaped

EXCHANGE_PAUSE: Final = 0.2
"""Seconds between two checks for an exchange that does not exist yet."""

_CONNECT_TIMEOUT: Final = 20.0
_HEARTBEAT: Final = 30
_UNREAD_MILLISECONDS: Final = 60_000
_NOT_FOUND: Final = 404
_TURNS_TO_WRITE: Final = 2
"""pika writes when the loop finds the socket writable: one turn to find out, one to write."""
NOTHING_MORE: Final[Mapping[str, Any]] = MappingProxyType({})
_HEALING_CLOSES: Final = frozenset({_NOT_FOUND, 506, 541})
"""Transient reasons to close a channel: the queue's node is down (not found), no majority (internal error)."""
_HOPELESS_CLOSES: Final = frozenset({402, 403, 530})
_ACCESS_REFUSED: Final = 403
_PRECONDITION_FAILED: Final = 406
_ESSENTIAL: Final = frozenset({"durable", "auto_delete", "exclusive", "x-queue-type"})
"""What a queue must have as requested; a limit or the like is up to its owner."""
LOOK_SECONDS: Final = 10.0
"""Between two checks whether the queue is still bound."""
_LOOKS_APART: Final = 3
"""Factor by which the interval is longer if a check needs a connection."""

Ask = Callable[[Channel, Callable[[Any], None]], object]
"""Calls one of the channel's methods with a callback."""


class Amqp091Source:
    def __init__(
        self,
        address: BrokerAddress,
        name: str,
        context: ssl.SSLContext | None = None,
        *,
        by_certificate: bool = False,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self.address: Final = address
        self.context: Final = context
        self.by_certificate: Final = by_certificate
        self.name: Final = name
        self.where: Final = str(address)
        self._look_seconds: Final = look_seconds
        self._refusals: Final = Refusals()

    async def open(self, binding: Binding, tell: Tell) -> Line:
        """Connect, wait for the exchange, bind and consume.

        Raises:
            Interrupted: it is unavailable now.
            SubscriptionRefused: credentials, virtual host, permission, certificate, queue or protocol are rejected.
        """
        try:
            connection = await self._connect()
            line = await self._subscribed(connection, binding, tell)
        except (AMQPError, OSError, TimeoutError) as error:
            raise self._judged(error) from None
        self._refusals.clear()
        return line

    async def declare(self, binding: Binding, tell: Tell) -> str:
        """Declare and bind the queue for a consumer that uses another protocol; return its name.

        A temporary one is deleted with its last consumer, or after a minute without one.

        Raises:
            Interrupted: it is unavailable now.
            SubscriptionRefused: as in `open`.
        """
        try:
            connection = await self._connect()
            try:
                expiry = {} if binding.stays else {"x-expires": _UNREAD_MILLISECONDS}
                return await _Queue(connection, binding, tell).declared(exclusive=False, more=expiry)
            finally:
                await amqp091.close(connection)
        except (AMQPError, OSError, TimeoutError) as error:
            raise self._judged(error) from None

    async def keep_bound(self, queue: str, binding: Binding, tell: Tell) -> None:
        """Bind the queue of a consumer that uses another protocol again, at intervals."""
        while True:
            await asyncio.sleep(_LOOKS_APART * self._look_seconds)
            with contextlib.suppress(AMQPError, OSError, TimeoutError):
                connection = await self._connect()
                try:
                    await _Queue(connection, binding, tell, queue).bind_again()
                finally:
                    await amqp091.close(connection)

    async def _connect(self) -> AsyncioConnection:
        parameters = amqp091.parameters(
            self.address,
            name=self.name,
            heartbeat=_HEARTBEAT,
            context=self.context,
            by_certificate=self.by_certificate,
            timeout=_CONNECT_TIMEOUT,
        )
        return await connect(TolerantConnection, parameters)

    async def _subscribed(self, connection: AsyncioConnection, binding: Binding, tell: Tell) -> Line:
        try:
            queue = _Queue(connection, binding, tell)
            name = await queue.declared(exclusive=not binding.stays)
            line = _Line(connection, await open_channel(connection), Inbox(keeps=binding.stays), self.where, tell)
            await line.consume(name, binding.prefetch)
            line.keep(queue.kept_bound(self._look_seconds))
        except BaseException:
            await amqp091.close(connection)
            raise
        return line

    def _judged(self, error: Exception) -> Interrupted | SubscriptionRefused:
        """Classify an error as transient or permanent."""
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
            case ProbableAuthenticationError() if "(403)" in str(cause) or self._refusals.is_permanent():
                reason = "refuses the user name or password"
            case ProbableAccessDeniedError() if "(530)" in str(cause) or self._refusals.is_permanent():
                reason = f"refuses the virtual host {self.address.virtual_host}"
            case ConnectionClosedByBroker() if cause.reply_code in _HOPELESS_CLOSES:
                reason = f"closes the connection: {cause.reply_text}"
            case ChannelClosedByBroker() if cause.reply_code not in _HEALING_CLOSES:
                reason = f"refuses the subscription: {cause.reply_text}"
            case IncompatibleProtocolError() | ProtocolVersionMismatch() if self._refusals.is_permanent():
                reason = "does not speak AMQP 0-9-1"
            case ssl.SSLCertVerificationError():
                reason = f"shows a certificate that is not trusted: {cause.verify_message}"
        return reason


class _Line:
    """A consumer on a channel of its own."""

    def __init__(self, connection: AsyncioConnection, channel: Channel, inbox: Inbox, where: str, tell: Tell) -> None:
        self._connection: Final = connection
        self._channel: Final = channel
        self._inbox: Final = inbox
        self._tell: Final = tell
        self._outgoing: Final = Outgoing(_TURNS_TO_WRITE)
        self._keeping: asyncio.Task[None] | None = None
        sentence = f"the queue at {where} is gone, making it again"  # somebody deleted it
        channel.add_on_cancel_callback(lambda _frame: inbox.end(Interrupted("the queue is gone", sentence=sentence)))
        channel.add_on_close_callback(lambda _channel, reason: inbox.end(Interrupted(_in_words(reason))))

    async def consume(self, queue: str, prefetch: int) -> None:
        calls = Calls(self._channel)
        await calls.call(lambda done: self._channel.basic_qos(prefetch_count=prefetch, callback=done))
        await calls.call(lambda done: self._channel.basic_consume(queue, self._on_message, callback=done))

    def keep(self, keeping: Coroutine[Any, Any, None]) -> None:
        """Run a task as long as the line is open."""
        self._keeping = asyncio.ensure_future(keeping)

    async def next(self) -> Delivery:
        await self._outgoing.written()
        return await self._inbox.next()

    def settle(self, delivery: Delivery, verdict: Verdict) -> None:
        if not self._channel.is_open:
            return
        if verdict is Verdict.ACCEPTED:
            self._channel.basic_ack(delivery.tag)
        else:
            self._channel.basic_nack(delivery.tag, requeue=verdict is Verdict.RELEASED)

    async def close(self) -> None:
        self._inbox.end(Interrupted("closed"))
        if self._keeping:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
        await amqp091.close(self._connection)

    def _on_message(self, _: Channel, method: Basic.Deliver, properties: pika.BasicProperties, body: bytes) -> None:
        if isinstance(properties, ContentProperties) and (reason := properties.unreadable or properties.incomplete):
            subject = escaped(short_text(method.routing_key))
            if properties.unreadable:
                self._tell(f"a message with the subject {subject} cannot be read ({reason}) and is rejected")
                self._channel.basic_nack(method.delivery_tag, requeue=False)
                return
            self._tell(f"a message with the subject {subject} comes without some of its headers ({reason})")
        self._inbox.put(Delivery(message=_message(method, properties, body), line=self, tag=method.delivery_tag))


class _Queue:
    """The queue of a subscription: found or declared, bound, and kept bound.

    A failed passive declaration closes the channel (AMQP 0-9-1 section 1.3), so the next one uses another.
    """

    def __init__(self, connection: AsyncioConnection, binding: Binding, tell: Tell, name: str = "") -> None:
        self._connection: Final = connection
        self._binding: Final = binding
        self._tell: Final = tell
        self._on: tuple[Channel, Calls] | None = None
        self._name = name
        self._may_bind = True

    async def declared(self, *, exclusive: bool, more: Mapping[str, Any] = NOTHING_MORE) -> str:
        """Wait for the exchange, find or declare the queue, and bind it; return its name.

        Raises:
            AMQPError: the broker refuses, or the connection is lost.
            TimeoutError: there is no reply in time.
        """
        binding = self._binding
        if not await self._exchange_is_there():
            self._tell(f"exchange {binding.exchange} does not exist yet, waiting for it")
            await self._exchange_comes()
        self._name = binding.queue or ""
        if not binding.stays or not await self._queue_is_there():
            declared = await self._call(
                lambda channel, done: channel.queue_declare(
                    self._name,
                    durable=binding.stays,
                    exclusive=exclusive,
                    auto_delete=not binding.stays,
                    arguments={**binding.queue_arguments, **more},
                    callback=done,
                )
            )
            self._name = declared.method.queue
        await self._bind()
        return self._name

    async def kept_bound(self, seconds: float) -> None:
        """Bind again at intervals: deleting an exchange deletes its bindings without notice."""
        with contextlib.suppress(AMQPError, TimeoutError):  # the line ends for the same reason
            while True:
                await asyncio.sleep(seconds)
                await self.bind_again()

    async def bind_again(self) -> None:
        """Wait for the exchange, if it is missing, and bind the queue, which has no effect if it is bound."""
        missing = not await self._exchange_is_there()
        if missing:
            self._tell(f"exchange {self._binding.exchange} was deleted, waiting for it")
            await self._exchange_comes()
        await self._bind()
        if missing:
            self._tell(f"exchange {self._binding.exchange} is there again, and the queue is bound to it")

    async def _exchange_comes(self) -> None:
        while not await self._exchange_is_there():  # noqa: ASYNC110 - the broker has no notification
            await asyncio.sleep(EXCHANGE_PAUSE)

    async def _exchange_is_there(self) -> bool:
        exchange = self._binding.exchange
        answer = await self._try(
            lambda channel, done: channel.exchange_declare(exchange, passive=True, callback=done), _NOT_FOUND
        )
        return not isinstance(answer, ChannelClosedByBroker)

    async def _queue_is_there(self) -> bool:
        """Whether a suitable queue exists; it is declared anyway, to learn how it differs.

        Raises:
            ChannelClosedByBroker: it is temporary, or of another type than requested.
        """
        found = await self._try(
            lambda channel, done: channel.queue_declare(self._name, passive=True, callback=done), _NOT_FOUND
        )
        if isinstance(found, ChannelClosedByBroker):
            return False
        arguments = dict(self._binding.queue_arguments)
        differs = await self._try(
            lambda channel, done: channel.queue_declare(self._name, durable=True, arguments=arguments, callback=done),
            _ACCESS_REFUSED,
            _PRECONDITION_FAILED,
        )
        essential = _ESSENTIAL if arguments else _ESSENTIAL - {"x-queue-type"}
        if isinstance(differs, ChannelClosedByBroker) and any(f"'{name}'" in differs.reply_text for name in essential):
            raise differs
        return True

    async def _bind(self) -> None:
        exchange, subject = self._binding.exchange, self._binding.subject
        if not self._may_bind:
            return
        answer = await self._try(
            lambda channel, done: channel.queue_bind(self._name, exchange, subject, callback=done), _ACCESS_REFUSED
        )
        if isinstance(answer, ChannelClosedByBroker):
            if not self._binding.stays:
                raise answer
            self._may_bind = False
            sentence = f"queue {self._name} may not be bound here ({answer.reply_text}) and is used as it is"
            self._tell(sentence)

    async def _try(self, ask: Ask, *codes: int) -> Method | ChannelClosedByBroker:
        """Call a method that the broker may refuse by closing the channel with one of these codes."""
        try:
            return await self._call(ask)
        except ChannelClosedByBroker as closed:
            if closed.reply_code not in codes:
                raise
            return closed

    async def _call(self, ask: Ask) -> Method:
        if self._on is None or self._on[1].closed:
            channel = await open_channel(self._connection)
            self._on = channel, Calls(channel)
        channel, calls = self._on
        return await calls.call(lambda done: ask(channel, done))


def _in_words(error: Exception) -> str:
    for cause in causes(error):
        if isinstance(cause, ssl.SSLError):
            return tls.in_words(cause).removesuffix(".")
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    return "it broke off the login" if isinstance(error, AMQPError) else type(error).__name__


def _message(method: Basic.Deliver, properties: pika.BasicProperties, body: bytes) -> Message:
    known = {name: value for name in PROPERTIES if (value := getattr(properties, name, None)) is not None}
    headers = known.pop("headers", {})
    return Message(
        subject=short_text(method.routing_key),
        exchange=short_text(method.exchange),
        redelivered=bool(method.redelivered),
        properties=known,
        headers=headers,
        body=body,
    )
