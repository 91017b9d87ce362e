"""The embedded broker in a thread of the test, for settings that only Python can say, and to look inside."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from pulpit.broker.config import BrokerConfig
from pulpit.broker.server import Broker

T = TypeVar("T")


class BrokerThread:
    """A running broker and its loop."""

    def __init__(self, config: BrokerConfig) -> None:
        self._config = config
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="broker")
        self.broker = Broker(config)
        self.port = 0

    def start(self) -> None:
        """Start it and wait until it listens."""
        self._thread.start()
        assert self._ready.wait(60)
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(60)

    def ask(self, question: Callable[[Broker], T]) -> T:
        """Ask on the broker's own thread."""

        async def answer() -> T:
            return question(self.broker)

        return asyncio.run_coroutine_threadsafe(answer(), self._loop).result(20)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        try:
            async with self.broker:
                self.port = self.broker.port
                self._ready.set()
                await self._ended.wait()
        except BaseException as error:  # noqa: BLE001 - it is raised in the test's thread
            self._failure = error
            self._ready.set()


@contextmanager
def broker_thread(**settings: Any) -> Iterator[BrokerThread]:
    """Run a broker on a free port."""
    thread = BrokerThread(BrokerConfig(**({"port": 0, "data_dir": None} | settings)))
    thread.start()
    try:
        yield thread
    finally:
        thread.stop()
