"""A queue of one's own on a topic exchange, kept up through every loss of the connection.

    connect ──► exchange there? ──► queue, binding ──► consume: handle, then acknowledge
       ▲             │ no: ask again                        │
       └─────────────┴──── connection lost: pause ◄─────────┘

Nothing is made that stays, unless a queue is named: the exchange is only asked for, and the queue is exclusive and goes
with the connection.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ssl import SSLCertVerificationError
from typing import Final

import pika
from pika.adapters.blocking_connection import BlockingChannel
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
from pika.spec import Basic

from pulpit.errors import PulpitError
from pulpit.listen.text import Message

EVERYTHING: Final = "#"

_PREFETCH: Final = 100
_PAUSES: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
_EXCHANGE_PAUSE: Final = 0.2
_DOUBTS_ALLOWED: Final = 3
_NOT_FOUND: Final = 404
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

Handle = Callable[[Message], bool]
Tell = Callable[[str], None]


class Hopeless(PulpitError):
    """The broker said no in a way that waiting will not change; the text says to what."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What to hear: messages of `exchange` whose subject matches; kept in the durable `queue` if one is named."""

    exchange: str
    subject: str = EVERYTHING
    queue: str | None = None
    at_most: int | None = None


class Subscription:
    """One wish at one broker; `follow()` ends when the handler has enough."""

    def __init__(self, parameters: pika.ConnectionParameters, where: str, wish: Wish, tell: Tell) -> None:
        self._parameters = parameters
        self._where = where
        self._wish = wish
        self._tell = tell
        self._told: set[str] = set()
        self._failures = 0
        self._doubts = 0

    def follow(self, handle: Handle, sleep: Callable[[float], None]) -> None:
        """Hand over each message, acknowledging it after `handle` returned, until that answers False.

        Raises:
            Hopeless: credentials, virtual host, permission, certificate or protocol are refused.
        """
        while True:
            try:
                if self._visit(handle):
                    return
            except (AMQPError, OSError) as error:
                self._judge(error)
            sleep(_PAUSES[min(self._failures, len(_PAUSES) - 1)])
            self._failures += 1

    def _visit(self, handle: Handle) -> bool:
        """Listen for as long as one connection lives; True when the handler has enough."""
        connection = pika.BlockingConnection(self._parameters)
        try:
            channel = self._channel_with_exchange(connection)
            queue = self._bound_queue(channel)
            self._failures = self._doubts = 0
            self._tell_once("listening", f"listening on exchange {self._wish.exchange} for {self._wish.subject}")
            return self._consume(channel, queue, handle)
        finally:
            if connection.is_open:
                connection.close()

    def _channel_with_exchange(self, connection: pika.BlockingConnection) -> BlockingChannel:
        """Wait for the exchange; a question for one that is absent costs the channel (AMQP 0-9-1 section 1.3, 404)."""
        while True:
            channel = connection.channel()
            try:
                channel.exchange_declare(self._wish.exchange, passive=True)
            except ChannelClosedByBroker as closed:
                if closed.reply_code != _NOT_FOUND:
                    raise
            else:
                return channel
            self._tell_once("absent", f"exchange {self._wish.exchange} does not exist yet, waiting for it")
            connection.sleep(_EXCHANGE_PAUSE)

    def _bound_queue(self, channel: BlockingChannel) -> str:
        stays = self._wish.queue is not None
        declared = channel.queue_declare(
            self._wish.queue or "", durable=stays, exclusive=not stays, auto_delete=not stays
        )
        queue: str = declared.method.queue
        channel.queue_bind(queue, self._wish.exchange, self._wish.subject)
        channel.basic_qos(prefetch_count=min(self._wish.at_most or _PREFETCH, _PREFETCH))
        return queue

    def _consume(self, channel: BlockingChannel, queue: str, handle: Handle) -> bool:
        for method, properties, body in channel.consume(queue):
            goes_on = handle(_message(method, properties, body))
            channel.basic_ack(method.delivery_tag)
            if not goes_on:
                return True
        self._tell_once("lost", f"the queue at {self._where} is gone, making it again")
        return False

    def _judge(self, error: Exception) -> None:
        """Say once that the connection is gone, or give up where trying again is no use."""
        for cause in causes(error):
            reason = self._hopeless(cause)
            if reason is not None:
                raise Hopeless(reason) from None
        if "listening" in self._told:
            self._told.discard("listening")
            self._told.add("unreachable")  # one sentence for both
            self._tell(f"connection to {self._where} lost, trying again")
        else:
            self._tell_once("unreachable", f"cannot connect to {self._where} ({_in_words(error)}), trying again")

    def _hopeless(self, cause: BaseException) -> str | None:
        reason = None
        match cause:
            case AuthenticationError():
                reason = "refuses the way of logging in"
            case ProbableAuthenticationError() if "(403)" in str(cause) or self._doubted():
                reason = "refuses the user name or password"
            case ProbableAccessDeniedError() if "(530)" in str(cause) or self._doubted():
                reason = f"refuses the virtual host {self._parameters.virtual_host}"
            case ConnectionClosedByBroker() if cause.reply_code in _HOPELESS_CLOSES:
                reason = f"closes the connection: {cause.reply_text}"
            case ChannelClosedByBroker() if cause.reply_code != _NOT_FOUND:
                reason = f"refuses the subscription: {cause.reply_text}"
            case IncompatibleProtocolError() | ProtocolVersionMismatch() if self._doubted():
                reason = "does not speak AMQP 0-9-1"
            case SSLCertVerificationError():
                reason = f"shows a certificate that is not trusted: {cause.verify_message}"
        return reason and f"{self._where} {reason}"

    def _doubted(self) -> bool:
        """A broker that dies during the log-in looks like one that refuses it; believe in a refusal the third time."""
        self._doubts += 1
        return self._doubts >= _DOUBTS_ALLOWED

    def _tell_once(self, key: str, sentence: str) -> None:
        if key not in self._told:
            self._told.add(key)
            self._tell(sentence)


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and those that pika has packed into it."""
    yield error
    packed = [*error.args, *getattr(error, "exceptions", ()), getattr(error, "exception", None)]
    for inner in packed:
        if isinstance(inner, BaseException):
            yield from causes(inner)


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
