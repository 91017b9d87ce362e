"""How much memory the messages take, and when that is too much."""

from typing import Final

QUEUE_SHARE: Final = 8
"""One queue may hold an eighth of the limit in memory before its new messages go to the disk alone."""
SHORT_SHARE: Final = 0.5
"""Above this share of the limit every queue sends its new messages to the disk alone, but for a few."""
SMALL_QUEUE: Final = 256 * 1024
"""Bytes that a queue may always hold in memory."""

OVERRUN: Final = 1.5
"""Above this share of the limit even those are stopped who use up what they had leave for."""


class Memory:
    """Counts bytes of messages that are held; `limit` is where publishers are stopped.

    `has_disk` says that messages can be kept elsewhere.
    """

    __slots__ = ("_has_disk", "_queue_limit", "_short_limit", "limit", "used")

    def __init__(self, limit: int, *, has_disk: bool) -> None:
        self.limit: Final = limit
        self._has_disk: Final = has_disk
        self.used = 0
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

    @property
    def is_overrun(self) -> bool:
        """Whether publishers that were asked to wait went on all the same, so that nothing may be read from them."""
        return self.used > self.limit * OVERRUN
