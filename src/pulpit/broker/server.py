"""The broker with its I/O: sockets, the loop's clock, and the folder with the database."""

import asyncio
import contextlib
import fcntl
import gc
import logging
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pulpit.broker import schema
from pulpit.broker.authenticator import PasswordAuthenticator
from pulpit.broker.config import BrokerConfig, BrokerUser
from pulpit.broker.connection import BrokerState
from pulpit.broker.handshake import server_properties
from pulpit.broker.recovery import NewerStore, Stored, prepare, recover
from pulpit.broker.resources import Memory, Timer
from pulpit.broker.socket import Socket, Sockets
from pulpit.broker.status import BrokerStatus, read_status
from pulpit.broker.store import Store
from pulpit.broker.writer import Done, WriteBatch, Writer, open_database
from pulpit.errors import ConfigurationError, StorageFull
from pulpit.net.addresses import is_loopback
from pulpit.net.renewal import Watched, keep_fresh
from pulpit.text import host_and_port, system_reason

DATABASE: Final = "broker.db"
LOCK: Final = "broker.lock"
CHECK_SECONDS: Final = 1.0
"""Between two checks of memory, disk and rates."""
_log = logging.getLogger(__name__)


class LoopTimers:
    """The clock and the timers of an event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop: Final = loop

    def now(self) -> int:
        return time.time_ns() // 1_000_000

    def after(self, seconds: float, call: Callable[[], None]) -> Timer:
        return self._loop.call_later(seconds, call)

    def soon(self, call: Callable[[], None]) -> None:
        self._loop.call_soon(call)


class NoWriter:
    """Writes nothing, for a broker without a folder."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop: Final = loop

    def submit(self, batch: WriteBatch, done: Done) -> None:  # noqa: ARG002 - nothing of it is kept
        self._loop.call_soon(done, None)


class Broker:
    """`async with Broker(config) as broker:` listens on `broker.port` until the block ends."""

    def __init__(self, config: BrokerConfig) -> None:
        self.config: Final = config
        self._authenticator: Final = PasswordAuthenticator(config)
        self._exits: Final = contextlib.AsyncExitStack()
        self._sockets: Sockets | None = None
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The actual TCP port."""
        assert self._server is not None  # noqa: S101 - only while the broker runs
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def sockets(self) -> Sockets:
        assert self._sockets is not None  # noqa: S101 - only while the broker runs
        return self._sockets

    @property
    def state(self) -> BrokerState:
        return self.sockets.state

    def admit(self, users: Mapping[str, BrokerUser]) -> None:
        """Use these users from now on; connections of removed or changed users are closed.

        Raises:
            ConfigurationError: they are not allowed at the broker's address.
        """
        check_exposure(self.config.host, users, encrypted=self.config.ssl_context is not None)
        changed = self._authenticator.admit(users)
        for socket in list(self.sockets.open):
            socket.dismiss(changed)

    def status(self) -> BrokerStatus:
        """Return a snapshot of everything, for people and metrics."""
        return read_status(self.state)

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._exits.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exits.aclose()

    async def _start(self) -> None:
        check_exposure(self.config.host, self.config.users, encrypted=self.config.ssl_context is not None)
        loop = asyncio.get_running_loop()
        timers = LoopTimers(loop)
        memory = Memory(self.config.memory_limit, has_disk=self.config.data_dir is not None)
        self._exits.push_async_callback(self._authenticator.close)
        reader, stored, writer = await self._open_store(loop)
        store = Store(
            writer=writer, reader=reader, timers=timers, memory=memory, last_id=stored.last_id if stored else 0
        )
        state = BrokerState(
            config=self.config,
            store=store,
            timers=timers,
            authenticator=self._authenticator,
            server_properties=server_properties(self.config.product, f"pulpit@{self.config.host}", version("pulpit")),
        )
        if stored is not None:
            recover(stored, state)
        self._sockets = Sockets(state, self.check_alarms)
        self._exits.push_async_callback(self._settle_store)
        await self._listen(loop)
        state.store.on_change = self.check_alarms
        self._exits.push_async_callback(_cancelled, loop.create_task(self._keep_watch()))

    async def _open_store(
        self, loop: asyncio.AbstractEventLoop
    ) -> tuple[sqlite3.Connection | None, Stored | None, Writer | NoWriter]:
        if self.config.data_dir is None:
            return None, None, NoWriter(loop)
        path = _database(self.config.data_dir)
        self._exits.callback(os.close, _locked(self.config.data_dir))
        try:
            reader = open_database(path)
            self._exits.callback(reader.close)
            stored = await asyncio.to_thread(prepare, reader)
        except NewerStore:
            sentence = (
                f"{path} was written by a later version of Pulpit; start that version, or move the file away to begin"
                " with an empty broker."
            )
            raise ConfigurationError("[broker] data_dir", sentence) from None
        except sqlite3.Error as error:
            if "full" in str(error):  # the disk may have room at the next start
                raise StorageFull(f"The disk of {path} is full; make room and try again.") from error
            raise ConfigurationError("[broker] data_dir", f"{path} cannot be opened as a database: {error}.") from error

        def post(call: Callable[[], None]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended before the thread
                loop.call_soon_threadsafe(call)

        writer = Writer(path, post)
        writer.start()
        self._exits.push_async_callback(asyncio.to_thread, writer.stop)
        return reader, stored, writer

    async def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        config = self.config
        try:
            self._server = await loop.create_server(
                lambda: Socket(self.sockets),
                config.host,
                config.port,
                ssl=config.ssl_context,
                ssl_handshake_timeout=config.handshake_timeout if config.ssl_context else None,
                backlog=512,
            )
        except OSError as error:
            reason = f"nothing can listen on {host_and_port(config.host, config.port)}: {system_reason(error)}."
            raise ConfigurationError("[broker] port", reason) from error
        self._exits.push_async_callback(self._hang_up)

    async def _hang_up(self) -> None:
        """Close every connection, and disconnect clients that do not answer in time."""
        assert self._server is not None  # noqa: S101 - only called while the broker runs
        self._server.close()
        for socket in list(self.sockets.open):
            socket.shut()
        deadline = time.monotonic() + self.config.shutdown_timeout
        while self.sockets.open and time.monotonic() < deadline:  # noqa: ASYNC110 - one look in 10 ms, once in a life
            await asyncio.sleep(0.01)
        for socket in list(self.sockets.open):
            socket.abort()
        await asyncio.sleep(0)

    async def _settle_store(self) -> None:
        """Record the requeued messages as redelivered, and no others, before a clean shutdown."""
        state = self.state
        again: list[int] = []
        for host in state.hosts.values():
            for queue in host.queues.values():
                queue.close()
                again += queue.backlog.redelivered_rows()
        state.store.execute(schema.MARK_REDELIVERED, f"[{','.join(map(str, again))}]")
        if not state.store.failing:
            state.store.execute(schema.UNTOUCH_ALL)
        written = asyncio.Event()
        state.store.after(written.set)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.config.shutdown_timeout):
                await written.wait()

    async def _keep_watch(self) -> None:
        before = time.monotonic()
        while True:
            self.check_alarms()
            await asyncio.sleep(CHECK_SECONDS)
            now = time.monotonic()
            for host in self.state.hosts.values():
                for queue in host.queues.values():
                    queue.measure(now - before)
            before = now

    def check_alarms(self) -> None:
        """Block publishers when memory or disk run short, and unblock them when there is room again."""
        state = self.state
        reason = self._shortage()
        if reason == state.alarm:
            if reason:
                self._let_one_finish()
            return
        state.alarm = reason
        _log.warning("Resources: %s", reason or "sufficient again", extra={"action": "broker_alarm", "reason": reason})
        if not reason:
            for connection in list(state.connections):
                connection.unblock()
            self._read_again()

    def _read_again(self) -> None:
        for socket in list(self.sockets.open):
            socket.consider_reading()

    def _let_one_finish(self) -> None:
        """Let one connection complete its message, so that they do not all hold memory and wait."""
        state = self.state
        if state.finisher is None:
            for connection in state.connections:
                if connection.blocked and connection.session.unfinished.is_used:
                    state.finisher = connection
                    connection.blocked = False
                    self._read_again()
                    return

    def _shortage(self) -> str:
        store = self.state.store
        if store.memory.is_exhausted:
            return "low on memory"
        if store.failing:
            return "low on disk"
        folder = self.config.data_dir
        if folder is not None and shutil.disk_usage(folder).free < self.config.disk_free_limit:
            return "low on disk"
        return ""


async def run(config: BrokerConfig, watch: Callable[[Broker], Sequence[Watched]] = lambda _: ()) -> None:
    """Run a broker until the process gets SIGTERM or SIGINT; `watch` names files to reload."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    try:
        async with Broker(config) as broker:
            _log.info("The broker listens on %s:%d", config.host, broker.port, extra={"action": "broker_started"})
            gc.collect()
            gc.freeze()  # what is here now stays as long as the process, so that no collection needs to look at it
            fresh = loop.create_task(keep_fresh(watch(broker)))
            fresh.add_done_callback(lambda _: ended.set())
            await ended.wait()
            fresh.cancel()
            await asyncio.wait([fresh])
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def check_exposure(host: str, users: Mapping[str, BrokerUser], *, encrypted: bool) -> None:
    """Check that the broker listens beyond this machine only with TLS and without the default user.

    Raises:
        ConfigurationError: it does not.
    """
    known = "guest" in users and users["guest"].password.fits("guest")
    if not is_loopback(host) and (known or not encrypted):
        reason = f"{host or 'every address'} can be reached from other machines, which needs TLS and users of your own."
        raise ConfigurationError("[broker] host", reason)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _database(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigurationError("[broker] data_dir", f"{folder} cannot be created: {error.strerror}.") from error
    return folder / DATABASE


def _locked(folder: Path) -> int:
    """Lock the folder against a second broker; return the descriptor that holds the lock."""
    lock = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        sentence = f"{folder} is used by another broker; choose another folder with --data-dir."
        raise ConfigurationError("[broker] data_dir", sentence) from error
    return lock
