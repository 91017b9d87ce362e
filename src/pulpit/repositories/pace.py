"""How often a download is tried, and how fast it comes."""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from pulpit.backoff import delay
from pulpit.content.limits import MIB, Limits
from pulpit.repositories.failures import DownloadFailed

_WORTH_ANOTHER_TRY: Final = MIB
"""A try that brought so many bytes does not count against the limit of tries."""


class Tries:
    """Counts the tries of one download, one URL after another, and pauses between them."""

    def __init__(self, limits: Limits, urls: Sequence[str]) -> None:
        self._limits: Final = limits
        self._urls: Final = list(urls)
        self._failed = 0

    @property
    def url(self) -> str:
        """The URL to ask now."""
        return self._urls[0]

    async def another(self, error: DownloadFailed, *, came: int) -> None:
        """Return when it is time for another try; a URL that finally has not got it is not asked again.

        Raises:
            DownloadFailed: there is no point in one.
        """
        url = self._urls.pop(0)
        if not error.transient:
            if not self._urls:
                raise error
            return
        self._urls.append(url)
        self._failed = 1 if came >= _WORTH_ANOTHER_TRY else self._failed + 1
        if self._failed >= self._limits.tries:
            raise error
        first, longest = timedelta(seconds=self._limits.first_pause), timedelta(seconds=self._limits.longest_pause)
        pause = delay(self._failed, first=first, longest=longest, random=random.random())  # noqa: S311 - no secret
        await asyncio.sleep(pause.total_seconds())


@dataclass(slots=True)
class Pace:
    """How fast a body comes."""

    limits: Limits
    most: float | None
    began: float = 0.0
    came: int = 0
    window_began: float = 0.0
    window_came: int = 0

    def __post_init__(self) -> None:
        self.began = self.window_began = time.monotonic()

    @property
    def least(self) -> float:
        """The slowest that is worth waiting for, in bytes per second."""
        return min(self.limits.slow_bytes_per_second, (self.most or float("inf")) / 2)

    def too_slow(self, came: int) -> bool:
        """Count bytes; true at the end of a window in which too few came."""
        self.came += came
        self.window_came += came
        elapsed = time.monotonic() - self.window_began
        if elapsed < self.limits.slow_window:
            return False
        slow = self.window_came < self.least * elapsed
        self.window_began, self.window_came = time.monotonic(), 0
        return slow

    def ahead(self) -> float:
        """How many seconds to wait so that it is not faster than allowed."""
        return max(0.0, self.came / (self.most or float("inf")) - (time.monotonic() - self.began))
