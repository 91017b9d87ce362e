"""The embedded broker alone: in a process that can be killed, or in a thread of the test, to look inside.

Run as a script the file is the process, with the settings as JSON.
"""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from pulpit.broker.config import BrokerConfig
from pulpit.broker.server import Broker, run
from pulpit.broker.users import UserFiles
from support.processes import Process, listens
from support.waiting import until

T = TypeVar("T")


class BrokerProcess(Process):
    """It can be killed and started again with what it had on disk, on the same port."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"
        self.log = folder / "broker.log"
        self._settings = json.dumps(settings | {"port": self.port, "data_dir": str(folder / "data")})
        folder.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        with self.log.open("ab") as log:
            environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
            command = [sys.executable, __file__, self._settings]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        until(self._answers, what=f"the broker; see {self.log}")

    def _answers(self) -> bool:
        assert self._process
        assert self._process.poll() is None, self.log.read_text()[-2000:]
        return listens(self.port)


@contextlib.contextmanager
def broker_process(folder: Path, **settings: Any) -> Iterator[BrokerProcess]:
    """Run the broker with its data in a folder.

    `settings` are those of `BrokerConfig` that JSON can say, and the files of users and permissions.
    """
    broker = BrokerProcess(folder, **settings)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


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


@contextlib.contextmanager
def broker_thread(**settings: Any) -> Iterator[BrokerThread]:
    """Run a broker on a free port."""
    thread = BrokerThread(BrokerConfig(**({"port": 0, "data_dir": None} | settings)))
    thread.start()
    try:
        yield thread
    finally:
        thread.stop()


def _main(text: str) -> None:
    settings = json.loads(text)
    settings["data_dir"] = Path(settings["data_dir"])
    if "virtual_hosts" in settings:
        settings["virtual_hosts"] = tuple(settings["virtual_hosts"])
    if "users_file" in settings:
        users, permissions = (Path(settings.pop(name)) for name in ("users_file", "permissions_file"))
        settings["users"] = UserFiles(users_file=users, permissions_file=permissions).read()
    uvloop.run(run(BrokerConfig(**settings)))


if __name__ == "__main__":
    _main(sys.argv[1])
