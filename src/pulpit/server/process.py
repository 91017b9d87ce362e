"""A serving or working process: its standard streams, log and limit of open files, its end, and reports to systemd."""

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import uvloop

from pulpit import logs
from pulpit.settings import Settings

OPEN_FILES: Final = 65_536
_SOCKET: Final = "NOTIFY_SOCKET"
_WATCHDOG: Final = "WATCHDOG_USEC"
_WATCHDOG_PID: Final = "WATCHDOG_PID"
_MICROSECONDS: Final = 1_000_000
STOP_LIMIT_S: Final = 60.0
"""Seconds that a stop may take; usually it takes a few, unless a database or disk does not respond."""
_STOP_AS_SYSTEMD_S: Final = 30
"""`TimeoutStopSec=` of the units."""

THREADS: Final = 64
THREADS_LIMIT_S: Final = 0.5
"""Seconds that a closed server waits for its threads."""

_log = logging.getLogger(__name__)


def begin(settings: Settings, warnings: Iterable[str] = ()) -> None:
    """Do what comes before anything else, and log warnings about the configuration."""
    fill_standard_streams()
    logs.configure(settings.server.log_level, settings.server.log_format)
    for warning in warnings:
        _log.warning(warning, extra={"action": "setting_unknown"})


def end_wanted(drain: float = 0, begin_drain: Callable[[], None] | None = None) -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set from now on, in the running loop.

    A stop that takes too long is cut off.

    Args:
        drain: seconds after the first signal until the event is set; a second signal sets it at once.
        begin_drain: called at the first signal, if there are such seconds.
    """
    wanted, is_draining, loop = asyncio.Event(), False, asyncio.get_running_loop()

    def signalled() -> None:
        nonlocal is_draining
        if begin_drain is None or not drain or is_draining:
            end()
            return
        is_draining = True
        begin_drain()
        loop.call_later(drain, end)

    def end() -> None:
        if not wanted.is_set():
            wanted.set()
            cut_off = threading.Timer(STOP_LIMIT_S, _cut_off)
            cut_off.daemon = True
            cut_off.start()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled)
    return wanted


def _cut_off() -> None:
    """Exit although a thread is still waiting; the next start treats it as a crash, which loses nothing."""
    _log.warning("something does not answer, so the stop is cut off", extra={"action": "stop_cut_off"})
    os._exit(1)


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run a server on an event loop of its own until it ends, and leave soon after everything is closed.

    Threads may then still wait for a database or disk that does not respond; nobody needs any more what they do.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_with_threads(work))
        left = threading.Timer(THREADS_LIMIT_S, os._exit, [os.EX_OK])
        left.daemon = True
        left.start()


async def _with_threads(work: Awaitable[None]) -> None:
    """Give the loop enough threads, so that what needs no database never waits behind what does.

    By default there are a few more than processors, and all may be waiting for a database that does not respond.
    """
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="pulpit"))
    await work


def fill_standard_streams() -> None:
    """Open /dev/null where standard input, output or error is closed; call it before anything else is opened.

    Otherwise the first sockets would get their numbers: output would go to a client, and the event loop aborts when
    it closes one.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - they stay open as long as the process
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - as above
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115 - as above


def say(text: str) -> None:
    """Print a line on standard error; a full disk must not end a server."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - for whoever started it


def raise_open_files() -> None:
    """Raise the limit of open files to the maximum, because each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def collect_garbage() -> None:
    """Start garbage collection, exempting objects created so far: they live as long as the process."""
    gc.collect()
    gc.freeze()
    gc.enable()


@contextlib.asynccontextmanager
async def running(
    name: str, work: Any, stop: asyncio.Event, *, cancel: bool = True
) -> AsyncIterator[asyncio.Task[None]]:
    """Run a part of the server in a task; if it ends by itself, the server stops."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(lambda _: stop.set())
    try:
        yield task
    finally:
        if cancel:
            task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass
        except Exception:
            _log.exception("a part of the server failed", extra={"action": "server_bug", "part": name})
            raise


class ServiceManager:
    """systemd's notify protocol (sd_notify(3)): a service reports that it is ready, alive, or stopping.

    Without `NOTIFY_SOCKET` in the environment nothing is sent. The variable is removed, so that child processes do not
    use the socket.
    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        path = environment.pop(_SOCKET, "")
        self._address: Final = f"\0{path[1:]}" if path.startswith("@") else path
        microseconds, pid = environment.pop(_WATCHDOG, ""), environment.pop(_WATCHDOG_PID, "")
        is_meant = pid in ("", str(os.getpid()))
        self.pause: Final = int(microseconds) / _MICROSECONDS / 2 if microseconds.isdecimal() and is_meant else 0.0
        """Seconds between watchdog messages, half of the timeout; 0 without a watchdog."""

    def say(self, *assignments: str) -> None:
        """Send one message, such as `READY=1`; a failure must not end the service."""
        if not self._address:
            return
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line,
        ):
            line.setblocking(False)
            line.sendto("\n".join(assignments).encode(), self._address)

    def say_draining(self, seconds: float) -> None:
        """Report that the service stops, and ask for the time until then beside that of the stop itself."""
        self.say("STOPPING=1", f"EXTEND_TIMEOUT_USEC={round((seconds + _STOP_AS_SYSTEMD_S) * _MICROSECONDS)}")

    async def keep_telling(self) -> None:
        """Send watchdog messages for as long as the event loop runs; otherwise systemd restarts the service."""
        while self.pause:
            self.say("WATCHDOG=1")
            await asyncio.sleep(self.pause)
        await asyncio.Event().wait()
