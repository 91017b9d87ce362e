"""The newest events, kept in memory and shared, so that a thousand listeners do not read the same rows."""

from collections import deque
from collections.abc import Sequence
from typing import Final

from pulpit.events import Event

MOST_EVENTS: Final = 2_000
MOST_CHARACTERS: Final = 16 * 1024 * 1024


class Tail:
    """A window on the end of the log: every event after `start`, up to `head`, without a gap."""

    def __init__(self, head: int) -> None:
        self.start = head
        self.head = head
        self._events: deque[Event] = deque()
        self._characters = 0

    def extend(self, events: Sequence[Event]) -> None:
        """Take in the next events of the log and let go of the oldest when there are too many."""
        for event in events:
            self._events.append(event)
            self._characters += len(event.body)
            self.head = event.number
        while self._events and (len(self._events) > MOST_EVENTS or self._characters > MOST_CHARACTERS):
            oldest = self._events.popleft()
            self._characters -= len(oldest.body)
            self.start = oldest.number

    def covers(self, position: int) -> bool:
        """Whether everything after a position is here."""
        return position >= self.start

    def after(self, position: int, limit: int) -> list[Event]:
        """The next events after a position that is covered."""
        found: list[Event] = []
        for event in reversed(self._events):
            if event.number <= position:
                break
            found.append(event)
        found.reverse()
        return found[:limit]
