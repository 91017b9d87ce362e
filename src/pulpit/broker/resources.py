"""Time and memory, as arguments, so that the broker's inside needs no event loop."""

from collections.abc import Callable
from typing import Final, Protocol

QUEUE_SHARE: Final = 8
"""One queue may hold an eighth of the limit in memory before its new messages go to the disk alone."""
SHORT_SHARE: Final = 0.5
"""Above this share of the limit every queue sends its new messages to the disk alone, but for a few."""
SMALL_QUEUE: Final = 256 * 1024
"""Bytes that a queue may always hold in memory."""


class Timer(Protocol):
    """A call that was asked for and has not been made."""

    def cancel(self) -> None:
        """Do not make it."""


class Timers(Protocol):
    """The clock of an event loop, or one that a test turns."""

    def now(self) -> int:
        """Milliseconds since 1970."""

    def after(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call once after some time."""

    def soon(self, call: Callable[[], None]) -> None:
        """Call once when the work at hand is done."""


class Memory:
    """Counts bytes of messages that are held; `limit` is where publishers are stopped.

    `has_disk` says that messages can be kept elsewhere. Above `spare` bytes, bodies that are on the disk too are not
    kept while a consumer has them; one consumer may hold `consumer_limit` bytes that are nowhere else.
    """

    __slots__ = ("_has_disk", "_queue_limit", "_short_limit", "consumer_limit", "limit", "spare", "used")

    def __init__(self, limit: int, *, has_disk: bool) -> None:
        self.limit: Final = limit
        self._has_disk: Final = has_disk
        self.used = 0
        self.spare: Final = limit // QUEUE_SHARE if has_disk else limit * 1000
        self.consumer_limit: Final = limit // 2
        self._queue_limit: Final = max(limit // QUEUE_SHARE, SMALL_QUEUE)
        self._short_limit: Final = int(limit * SHORT_SHARE)

    def is_short_for(self, resident: int) -> bool:
        """Whether a queue that holds so many bytes should keep further messages on the disk only."""
        if resident <= SMALL_QUEUE or not self._has_disk:
            return False
        return resident > self._queue_limit or self.used > self._short_limit

    @property
    def is_exhausted(self) -> bool:
        """Whether publishers must wait."""
        return self.used > self.limit
