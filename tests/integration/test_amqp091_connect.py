"""Opening a connection over AMQP 0-9-1, when somebody no longer wants it."""

import asyncio
import contextlib
from itertools import product, starmap
from typing import Any

import uvloop
from pika.adapters.asyncio_connection import AsyncioConnection

from pulpit.amqp.address import parse
from pulpit.amqp.amqp091.connection import connect, parameters
from support.ports import free_port

TIMEOUTS = (0.002, 0.005, 0.3)
"""Seconds after which an attempt ends by itself."""
MOMENTS = (0, 0.0002, 0.0005, 0.001, 0.002, 0.004, 0.006, 0.01)


async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take a connection, say nothing, and close it."""
    await asyncio.sleep(0.02)
    writer.close()


def test_an_attempt_may_be_cancelled_at_any_moment() -> None:
    failures: list[dict[str, Any]] = []

    async def attempt(port: int, seconds: float, cancelled_after: float) -> None:
        address = parse(f"amqp://guest:guest@127.0.0.1:{port}", "test")
        settings = parameters(address, name="test", heartbeat=0, context=None, timeout=seconds)
        connecting = asyncio.ensure_future(connect(AsyncioConnection, settings))
        await asyncio.sleep(cancelled_after)
        connecting.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await connecting

    async def story() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failures.append(context))
        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        ports = (server.sockets[0].getsockname()[1], free_port())
        for _ in range(40):
            await asyncio.gather(*starmap(attempt, product(ports, TIMEOUTS, MOMENTS)))
        await asyncio.sleep(2 * max(TIMEOUTS))
        server.close()

    uvloop.run(story())

    assert failures == []
