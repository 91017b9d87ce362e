"""Time and memory, as arguments, so that the broker's core needs no event loop."""

from collections.abc import Callable
from typing import Final, Protocol

QUEUE_SHARE: Final = 8
"""One queue may hold an eighth of the limit in memory; beyond, its new messages are kept on disk only."""
SHORT_SHARE: Final = 0.5
"""Above this share of the limit every queue keeps its new messages on disk only, except for a few."""
SMALL_QUEUE: Final = 256 * 1024
"""Bytes that a queue may always hold in memory."""


class Timer(Protocol):
    def cancel(self) -> None:
        """Cancel it."""


class Timers(Protocol):
    """The clock of an event loop, or a test's."""

    def now(self) -> int:
        """Milliseconds since 1970."""

    def after(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call once after some time."""

    def soon(self, call: Callable[[], None]) -> None:
        """Call after the current work."""


class Memory:
    """Counts the bytes of messages in memory; at `limit` publishers are blocked.

    `has_disk` says that messages can be paged out. Above `spare` bytes, bodies that are also on disk are dropped
    from memory while a consumer has them; one consumer may hold `consumer_limit` bytes that are nowhere else.
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
        """Whether a queue that holds so many bytes should keep further messages on disk only."""
        if resident <= SMALL_QUEUE or not self._has_disk:
            return False
        return resident > self._queue_limit or self.used > self._short_limit

    @property
    def is_exhausted(self) -> bool:
        """Whether publishers are blocked."""
        return self.used > self.limit
