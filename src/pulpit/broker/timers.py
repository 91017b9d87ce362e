"""Time and later, as arguments, so that the broker's inside needs no event loop."""

from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """Something that will happen."""

    def cancel(self) -> None:
        """Let it not happen."""


class Timers(Protocol):
    """What the inside of the broker asks of the world."""

    def now(self) -> int:
        """Milliseconds since 1970."""

    def after(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call once after some time."""

    def soon(self, call: Callable[[], None]) -> None:
        """Call once when the work at hand is done."""
