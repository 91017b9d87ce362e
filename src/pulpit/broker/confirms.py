"""Publisher confirms of one channel: which publishes still wait, and how to say most with few frames."""

import struct
from collections.abc import Callable
from typing import Final

_ACK: Final = b"\x00\x3c\x00\x50"
_NACK: Final = b"\x00\x3c\x00\x78"
_ANSWER: Final = struct.Struct(">Q?")
_REFUSAL: Final = struct.Struct(">QB")
_REQUEUE: Final = 2  # means nothing to a publisher, but RabbitMQ sets it
_LAST_PUBLISHED: Final = 0


class Confirms:
    """Collects what was confirmed within a turn; `say` gets the payloads, `soon` arranges the end of the turn.

    One ack with `multiple` covers everything below the oldest publish that still waits; the rest is named one by one.
    """

    __slots__ = ("_confirmed", "_refused", "_say", "_soon", "_waiting", "published")

    def __init__(self, *, say: Callable[[bytes], None], soon: Callable[[Callable[[], None]], None]) -> None:
        self.published = _LAST_PUBLISHED
        self._waiting: dict[int, None] = {}
        self._confirmed: list[int] = []
        self._refused: list[int] = []
        self._say = say
        self._soon = soon

    def expect(self) -> int:
        """Number one more publish."""
        self.published += 1
        self._waiting[self.published] = None
        return self.published

    def confirm(self, number: int) -> None:
        """The broker has taken responsibility for it."""
        if not self._confirmed and not self._refused:
            self._soon(self.flush)
        self._confirmed.append(number)

    def refuse(self, number: int) -> None:
        """The message was not accepted."""
        if not self._confirmed and not self._refused:
            self._soon(self.flush)
        self._refused.append(number)

    def flush(self) -> None:
        """Say what was collected."""
        confirmed, refused = sorted(self._confirmed), self._refused
        self._confirmed, self._refused = [], []
        for number in refused:
            del self._waiting[number]
            self._say(_NACK + _REFUSAL.pack(number, _REQUEUE))
        for number in confirmed:
            del self._waiting[number]
        oldest = next(iter(self._waiting), self.published + 1)
        covered = sum(number < oldest for number in confirmed)
        if covered:
            self._say(_ACK + _ANSWER.pack(confirmed[covered - 1], covered > 1))
        for number in confirmed[covered:]:
            self._say(_ACK + _ANSWER.pack(number, False))
