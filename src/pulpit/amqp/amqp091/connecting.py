"""A connection that can be awaited, and one that can be left."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final, TypeVar

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import AMQPConnectionError, AMQPError

from pulpit.amqp.amqp091.futures import fail, give

GOODBYE_SECONDS: Final = 2.0
"""How long a polite end may take."""

Made = TypeVar("Made", bound=AsyncioConnection)


async def connect(
    kind: type[Made],
    parameters: pika.ConnectionParameters,
    *,
    seconds: float,
    prepare: Callable[[Made], None] = lambda _: None,
) -> Made:
    """Open a connection; one that does not come about, or is cancelled, leaves nothing behind.

    Args:
        kind: a class of pika's asyncio connections.
        parameters: where and as whom.
        seconds: until everything must have been answered.
        prepare: may set callbacks on the connection before its first byte.

    Raises:
        AMQPError: the broker refuses or does not speak AMQP.
        OSError: there is no way to it.
        TimeoutError: it takes longer than `seconds`.
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
        async with asyncio.timeout(seconds):
            return await opened
    except AMQPConnectorException as error:  # pika keeps these out of its own tree
        abort(connection)
        raise AMQPConnectionError(error) from None
    except BaseException:
        abort(connection)
        raise


def abort(connection: AsyncioConnection) -> None:
    """Begin the end of a connection, whatever state it is in."""
    with contextlib.suppress(AMQPError):
        connection.close()


async def leave(connection: AsyncioConnection) -> None:
    """Say goodbye to the broker, for two seconds at most; what was written before gets there first."""
    if connection.is_closed:
        return
    closed = asyncio.Event()
    connection.add_on_close_callback(lambda *_: closed.set())
    with contextlib.suppress(AMQPError, TimeoutError):
        connection.close()
        async with asyncio.timeout(GOODBYE_SECONDS):
            await closed.wait()
