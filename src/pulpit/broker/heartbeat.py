"""Heartbeats (AMQP 0-9-1, section 4.2.7): sending when idle, and detecting a dead peer."""

from collections.abc import Callable
from typing import Final

from pulpit.broker.frames import HEARTBEAT
from pulpit.broker.outbox import Outbox
from pulpit.broker.resources import Timer, Timers

MAX_SILENCE: Final = 4
"""Half heartbeats of silence after which a peer counts as dead."""


class Heartbeat:
    """Ticks twice per heartbeat; the reader sets `heard`, and `lost` is called when the peer was silent too long.

    `excused` says that reading is paused, so silence means nothing.
    """

    __slots__ = ("_excused", "_lost", "_outbox", "_seconds", "_silence", "_timer", "_timers", "heard")

    def __init__(
        self, *, timers: Timers, outbox: Outbox, lost: Callable[[], None], excused: Callable[[], bool]
    ) -> None:
        self.heard = True
        self._timers: Final = timers
        self._outbox: Final = outbox
        self._lost: Final = lost
        self._excused: Final = excused
        self._silence = 0
        self._seconds = 0.0
        self._timer: Timer | None = None

    def start(self, heartbeat: int) -> None:
        """Start, with the negotiated seconds; 0 is never."""
        if heartbeat:
            self._seconds = heartbeat / 2
            self._timer = self._timers.after(self._seconds, self._beat)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _beat(self) -> None:
        self._timer = self._timers.after(self._seconds, self._beat)
        if not self._outbox.spoke:
            self._outbox.send(HEARTBEAT)
        self._outbox.spoke = False
        self._silence = 0 if self.heard or self._excused() else self._silence + 1
        self.heard = False
        if self._silence >= MAX_SILENCE:
            self.stop()
            self._lost()
