"""Wakes readers that wait for new events or tasks, in this process or another one on the same data folder.

A wakeup carries no data: if one is lost, the reader looks after its polling interval, and no event is lost.
"""

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_FILE_NAME: Final = "bell"
NOBODY: Final = 0.01
"""Seconds for which a sender that found no reader does not try again; a new reader looks once more after that."""

_log = logging.getLogger(__name__)


class Wakeup(Enum):
    """What to look for."""

    EVENTS = b"e"
    LISTENERS = b"l"
    TASKS = b"t"
    SCHEDULES = b"s"
    PLACES = b"p"


class WakeupSocket:
    """A Unix datagram socket in the data folder; every process that may write there may send to it."""

    def __init__(self, data_dir: Path) -> None:
        # A socket's path may have at most 107 bytes, a data folder's more: use an open folder's descriptor.
        self._folder = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
        self._address = f"/proc/self/fd/{self._folder}/{_FILE_NAME}"
        self._out = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._silent_until = 0.0

    def send(self, wakeup: Wakeup) -> None:
        """Send one byte.

        Never fails or blocks, because a full socket is awake already and a missing one has no reader.
        """
        now = time.monotonic()
        if now >= self._silent_until:
            try:
                self._out.sendto(wakeup.value, self._address)
            except BlockingIOError:
                return
            except OSError:
                self._silent_until = now + NOBODY

    @contextlib.contextmanager
    def handled_by(self, handlers: Mapping[Wakeup, Callable[[], None]]) -> Iterator[None]:
        """Call the handler of each wakeup on the running loop while the context is open."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_FILE_NAME, dir_fd=self._folder)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as inbound:
            try:
                inbound.bind(self._address)
            except OSError as error:  # a full disk: readers poll instead
                _log.warning("no wakeups: %s", error.strerror, extra={"action": "wakeups_missing"})
            loop = asyncio.get_running_loop()
            loop.add_reader(inbound, _receive, inbound, handlers)
            once_more = loop.call_later(2 * NOBODY, _call_all, handlers)
            try:
                yield
            finally:
                once_more.cancel()
                loop.remove_reader(inbound)

    def close(self) -> None:
        self._out.close()
        os.close(self._folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _call_all(handlers: Mapping[Wakeup, Callable[[], None]]) -> None:
    for handler in handlers.values():
        handler()


def _receive(inbound: socket.socket, handlers: Mapping[Wakeup, Callable[[], None]]) -> None:
    received: set[bytes] = set()
    with contextlib.suppress(BlockingIOError):
        while True:
            received.add(inbound.recv(1))
    for wakeup, handler in handlers.items():
        if wakeup.value in received:
            handler()
