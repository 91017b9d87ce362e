"""A cache of small files as complete responses: a repeated request needs neither a thread nor the disk.

A file is cached with what its place showed when it was found, and sent only while the place is known to show the same.
Its content matches its SHA-256: that was verified when it was stored.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from starlette.types import Message

from pulpit.store.publications import Shown

LARGEST: Final = 64 * 1024
"""Bytes of the largest file that is cached."""
MOST: Final = 32 * 2**20
"""Bytes of all of them together."""
_OVERHEAD: Final = 2048
"""Approximate memory per file besides its content."""


@dataclass(kw_only=True, slots=True)
class ReadyFile:
    """A whole file and its headers, shared by many requests."""

    shown: Shown
    headers: Sequence[tuple[bytes, bytes]]
    content: bytes
    start: Message = field(init=False)
    body: Message = field(init=False)
    head: bytes = field(init=False)
    """The headers as HTTP/1.1 sends them, up to the content."""

    def __post_init__(self) -> None:
        self.start = {"type": "http.response.start", "status": 200, "headers": self.headers}
        self.body = {"type": "http.response.body", "body": self.content}
        self.head = b"".join(b"%s: %s\r\n" % header for header in self.headers) + b"\r\n"

    @property
    def cost(self) -> int:
        return len(self.content) + _OVERHEAD


class ReadyFiles:
    """The files of one kind, by path; the oldest are evicted first. Thread-safe."""

    def __init__(self, most: int = MOST) -> None:
        self._most: Final = most
        self._files: Final[OrderedDict[str, ReadyFile]] = OrderedDict()
        self._lock: Final = threading.Lock()
        self._cost = 0
        self.find: Final = self._files.get

    def keep(self, path: str, file: ReadyFile) -> None:
        """Cache a file of at most `LARGEST` bytes."""
        with self._lock:
            former = self._files.pop(path, None)
            self._cost += file.cost - (former.cost if former else 0)
            self._files[path] = file
            while self._cost > self._most:
                self._cost -= self._files.popitem(last=False)[1].cost
