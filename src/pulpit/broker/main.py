"""Only the broker: `pulpit broker`."""

import asyncio
import logging
import signal

from pulpit.broker.config import BrokerConfig
from pulpit.broker.server import Broker

_log = logging.getLogger(__name__)


async def run(config: BrokerConfig) -> None:
    """Run a broker until the process gets SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, ended.set)
    try:
        async with Broker(config) as broker:
            _log.info("The broker listens on %s:%d", config.host, broker.port, extra={"action": "broker_started"})
            await ended.wait()
    finally:
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(each)
