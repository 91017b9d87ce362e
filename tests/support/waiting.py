"""Waiting for a condition, with an end."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds for which a test waits for what takes a moment on a machine that has nothing else to do."""


def until(condition: Callable[[], T], *, seconds: float = PATIENCE, what: str = "the condition") -> T:
    """Answer the first true value of the condition; fail when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain for {what}; last seen: {value!r}")
        time.sleep(0.02)
