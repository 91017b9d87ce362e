"""Questions to a broker on one channel: declarations and the like, as awaitables."""

import asyncio
from collections.abc import Callable
from typing import Any

from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel
from pika.frame import Method

from pulpit.amqp.amqp091.futures import fail, give

Ask = Callable[[Callable[[Any], None]], object]
"""Calls one of pika's methods with the callback that it is given."""


async def open_channel(connection: AsyncioConnection, *, seconds: float) -> Channel:
    """Open a channel on a connection.

    Raises:
        AMQPError: the connection is gone.
        TimeoutError: it takes longer than `seconds`.
    """
    opened: asyncio.Future[Channel] = asyncio.get_running_loop().create_future()
    connection.channel(on_open_callback=lambda channel: give(opened, channel))
    async with asyncio.timeout(seconds):
        return await opened


class Asking:
    """What is asked on a channel; its end is the answer to all that is open."""

    def __init__(self, channel: Channel) -> None:
        self._open: set[asyncio.Future[Any]] = set()
        self.closed: Exception | None = None
        """Why the channel is closed."""
        channel.add_on_close_callback(self._on_close)

    async def answer(self, ask: Ask, *, seconds: float) -> Method:
        """Ask, and wait for the broker's answer.

        Raises:
            AMQPError: the broker closed the channel or the connection instead.
            TimeoutError: there is none for `seconds`.
        """
        if self.closed:
            raise self.closed
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._open.add(future)
        try:
            ask(lambda frame: give(future, frame))
            async with asyncio.timeout(seconds):
                return await future
        finally:
            self._open.discard(future)

    def _on_close(self, _channel: Channel, reason: Exception) -> None:
        self.closed = reason
        for future in self._open:
            fail(future, reason)
