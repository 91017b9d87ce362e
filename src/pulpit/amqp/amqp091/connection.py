# SPDX-License-Identifier: Apache-2.0
"""pika's connections and channels as awaitables: opening, calling, closing, and errors as sentences."""

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.channel import Channel
from pika.credentials import ExternalCredentials
from pika.exceptions import (
    AMQPConnectionError,
    AMQPError,
    ChannelClosedByBroker,
    IncompatibleProtocolError,
    NoFreeChannels,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
    StreamLostError,
)
from pika.frame import Method

from pulpit.amqp.address import BrokerAddress
from pulpit.net import tls

CONNECT_TIMEOUT: Final = 10.0
"""Timeout in seconds for a connection, a channel or a declaration."""
GOODBYE_TIMEOUT: Final = 2.0
"""Timeout in seconds for a clean close."""

Made = TypeVar("Made", bound=AsyncioConnection)
Call = Callable[[Callable[[Any], None]], object]
"""Calls one of pika's methods with the given callback."""


def parameters(
    address: BrokerAddress,
    *,
    name: str,
    heartbeat: int,
    context: ssl.SSLContext | None,
    by_certificate: bool = False,
    timeout: float = CONNECT_TIMEOUT,
) -> pika.ConnectionParameters:
    """Return pika's connection parameters.

    Args:
        address: the broker and the user; the default user is `guest`.
        name: the connection's name, for the broker's operators.
        heartbeat: seconds, unless the address has its own.
        context: for an address with TLS.
        by_certificate: whether the context's client certificate is the login, if the address names no user.
        timeout: seconds for the login, unless the address has its own.
    """
    timeout = address.connect_timeout or timeout
    user, password = ("guest", "guest") if address.user is None else (address.user, address.password)
    external = by_certificate and address.tls and address.user is None
    return pika.ConnectionParameters(
        host=address.host,
        port=address.port,
        virtual_host=address.virtual_host,
        credentials=ExternalCredentials() if external else pika.PlainCredentials(user, password),
        ssl_options=pika.SSLOptions(context, address.host) if address.tls and context else None,
        heartbeat=heartbeat if address.heartbeat is None else address.heartbeat,
        socket_timeout=timeout,
        stack_timeout=timeout,
        connection_attempts=1,
        client_properties={"product": "Pulpit", "connection_name": name},
    )


async def connect(
    kind: type[Made],
    parameters: pika.ConnectionParameters,
    *,
    prepare: Callable[[Made], None] = lambda _: None,
) -> Made:
    """Open a connection; a failed or cancelled attempt leaves nothing behind once pika's own timeouts have passed.

    Args:
        kind: a class of pika's asyncio connections.
        parameters: the broker and the user.
        prepare: may set callbacks on the connection before its first byte.

    Raises:
        AMQPError: the broker refuses or does not speak AMQP.
        OSError: it cannot be reached.
        TimeoutError: it takes longer than the parameters allow.
    """
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[Made] = loop.create_future()
    connection = kind(
        parameters,
        on_open_callback=lambda made: give(opened, made),
        on_open_error_callback=lambda _made, error: fail(opened, error),
        on_close_callback=lambda _made, error: fail(opened, error),
        custom_ioloop=loop,
    )
    prepare(connection)
    try:
        async with asyncio.timeout(parameters.stack_timeout + 1):
            return await opened
    except AMQPConnectorException as error:  # not a subclass of pika's AMQPError
        raise AMQPConnectionError(error) from None
    except BaseException:
        if connection.is_open:
            abort(connection)
        else:  # pika's callbacks fail if it is closed while it connects
            connection.add_on_open_callback(abort)
        raise


def abort(connection: AsyncioConnection) -> None:
    """Start to close a connection, whatever its state."""
    with contextlib.suppress(AMQPError):
        connection.close()


async def close(connection: AsyncioConnection) -> None:
    """Close a connection cleanly, within two seconds; pending output is sent first."""
    if connection.is_closed:
        return
    closed = asyncio.Event()
    connection.add_on_close_callback(lambda *_: closed.set())
    with contextlib.suppress(AMQPError, TimeoutError):
        connection.close()
        async with asyncio.timeout(GOODBYE_TIMEOUT):
            await closed.wait()


async def open_channel(connection: AsyncioConnection) -> Channel:
    """Open a channel on a connection.

    Raises:
        AMQPError: the connection is gone.
        TimeoutError: there is no reply in time.
    """
    opened: asyncio.Future[Channel] = asyncio.get_running_loop().create_future()
    connection.channel(on_open_callback=lambda channel: give(opened, channel))
    async with asyncio.timeout(CONNECT_TIMEOUT):
        return await opened


class Calls:
    """Synchronous methods on a channel, such as declarations; all pending calls fail when it closes."""

    def __init__(self, channel: Channel) -> None:
        self._open: set[asyncio.Future[Any]] = set()
        self.closed: Exception | None = None
        """Why the channel is closed."""
        channel.add_on_close_callback(self._on_close)

    async def call(self, call: Call) -> Method:
        """Call a method, and wait for the broker's reply.

        Raises:
            AMQPError: the broker closed the channel or the connection instead.
            TimeoutError: there is no reply in time.
        """
        if self.closed:
            raise self.closed
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._open.add(future)
        try:
            call(lambda frame: give(future, frame))
            async with asyncio.timeout(CONNECT_TIMEOUT):
                return await future
        finally:
            self._open.discard(future)

    def _on_close(self, _channel: Channel, reason: Exception) -> None:
        self.closed = reason
        for future in self._open:
            fail(future, reason)


def give(future: "asyncio.Future[Any]", result: object = None) -> None:
    """Set a future's result, unless it is done."""
    if not future.done():
        future.set_result(result)


def fail(future: "asyncio.Future[Any]", error: BaseException) -> None:
    """Set a future's exception, unless it is done."""
    if not future.done():
        future.set_exception(error)


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that pika has wrapped in it."""
    yield error
    for inner in _packed(error):
        yield from causes(inner)


def sentence(error: BaseException) -> str:
    match error:
        case ProbableAuthenticationError():
            words = "the login was refused."
        case ProbableAccessDeniedError():
            words = "the user may not use this virtual host, or it does not exist."
        case ChannelClosedByBroker():
            words = f"the broker closed the channel: {error.reply_text} ({error.reply_code})."
        case NoFreeChannels():
            words = (
                "all channels that it allows on a connection are in use, and every amqp listener needs one; raise the "
                "broker's channel_max, or have one listener do for several."
            )
        case ssl.SSLError():
            words = tls.in_words(error)
        case TimeoutError():
            words = "no answer in time."
        case OSError() if error.strerror:
            words = f"{error.strerror}."
        case _:
            inner = _packed(error)
            words = sentence(inner[-1]) if inner else _of_pika(error)
    return words


def _of_pika(error: BaseException) -> str:
    """Describe what pika reports only as a text or a type."""
    if words := tls.reason_in(str(error)):
        return words
    if isinstance(error, IncompatibleProtocolError | StreamLostError):
        return "it broke off the connection; it may not speak AMQP 0-9-1."
    return f"{type(error).__name__} {error}".strip()


def _packed(error: BaseException) -> list[BaseException]:
    packed = [*error.args, *getattr(error, "exceptions", ()), getattr(error, "exception", None)]
    return [inner for inner in packed if isinstance(inner, BaseException)]
