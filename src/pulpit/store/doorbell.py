"""Wakes whoever waits for new events or tasks, in this process or another of the same data folder.

A ring carries no news, only the hint to look: losing one costs the listener's polling interval, never an event.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

_FILE_NAME: Final = "bell"


class Bell(Enum):
    """What there is to look for."""

    EVENTS = b"e"
    LISTENERS = b"l"
    TASKS = b"t"
    SCHEDULES = b"s"


class Ringer(Protocol):
    """Whatever can wake the server; it never fails and never waits."""

    def ring(self, bell: Bell) -> None:
        """Hint that something has been committed."""


class Doorbell:
    """A Unix datagram socket in the data folder; anybody who may write there may ring it."""

    def __init__(self, data_dir: Path) -> None:
        # A socket's path may have 107 bytes at most, a data folder's path more: reach it through an open folder.
        self._folder = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
        self._address = f"/proc/self/fd/{self._folder}/{_FILE_NAME}"
        self._out = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def ring(self, bell: Bell) -> None:
        """Send one byte; a full or absent listener is awake or gone, so both are fine."""
        with contextlib.suppress(OSError):
            self._out.sendto(bell.value, self._address)

    @contextlib.contextmanager
    def answered(self, answers: dict[Bell, Callable[[], None]]) -> Iterator[None]:
        """Call the answer of each bell on the running loop while the context is open."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_FILE_NAME, dir_fd=self._folder)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as inbound:
            inbound.bind(self._address)
            loop = asyncio.get_running_loop()
            loop.add_reader(inbound, _hear, inbound, answers)
            try:
                yield
            finally:
                loop.remove_reader(inbound)

    def close(self) -> None:
        """Stop being able to ring."""
        self._out.close()
        os.close(self._folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _hear(inbound: socket.socket, answers: dict[Bell, Callable[[], None]]) -> None:
    heard: set[bytes] = set()
    with contextlib.suppress(BlockingIOError):
        while True:
            heard.add(inbound.recv(1))
    for bell, answer in answers.items():
        if bell.value in heard:
            answer()
