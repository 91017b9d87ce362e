"""Noticing that a client says nothing any more (part 2, section 2.4.5).

Proton itself speaks when we have nothing to say.
"""

from collections.abc import Callable
from typing import Final

from pulpit.broker.timers import Timer, Timers

LOOKS: Final = 4
"""Looks within the time that a client may be silent."""


class Silence:
    """`heard` is set by whoever reads, `lost` is called when the client was silent for too long.

    `excused` says that nothing is read on purpose, so silence means nothing.
    """

    __slots__ = ("_excused", "_lost", "_seconds", "_silent", "_timer", "_timers", "heard")

    def __init__(self, *, timers: Timers, lost: Callable[[], None], excused: Callable[[], bool]) -> None:
        self.heard = True
        self._timers: Final = timers
        self._lost: Final = lost
        self._excused: Final = excused
        self._silent = 0
        self._seconds = 0.0
        self._timer: Timer | None = None

    def start(self, seconds: float) -> None:
        """Begin to look; 0 is never."""
        if seconds:
            self._seconds = seconds / LOOKS
            self._timer = self._timers.after(self._seconds, self._look)

    def stop(self) -> None:
        """End."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = self._timers.after(self._seconds, self._look)
        self._silent = 0 if self.heard or self._excused() else self._silent + 1
        self.heard = False
        if self._silent > LOOKS:
            self.stop()
            self._lost()
