"""Only the broker: `pulpit broker`."""

import asyncio
import logging
import signal
from collections.abc import Callable, Sequence

from pulpit.broker.config import BrokerConfig
from pulpit.broker.server import Broker
from pulpit.net.config_files import Watched, keep_fresh

_log = logging.getLogger(__name__)


async def run(config: BrokerConfig, watch: Callable[[Broker], Sequence[Watched]] = lambda _: ()) -> None:
    """Run a broker until the process gets SIGTERM or SIGINT; `watch` says which files to read again for it."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, ended.set)
    try:
        async with Broker(config) as broker:
            _log.info("The broker listens on %s:%d", config.host, broker.port, extra={"action": "broker_started"})
            fresh = loop.create_task(keep_fresh(watch(broker)))
            fresh.add_done_callback(lambda _: ended.set())
            await ended.wait()
            fresh.cancel()
            await asyncio.wait([fresh])
    finally:
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(each)
