"""How fast messages come and go: counters, looked at now and then."""

from collections.abc import Iterable
from typing import Final

from pulpit.broker.queue import Queue

Counts = tuple[int, int, int]
"""Published, delivered and acknowledged."""
NO_RATES: Final = (0.0, 0.0, 0.0)


class Rates:
    """Messages a second of each queue between the last two looks."""

    def __init__(self) -> None:
        self._at = 0
        self._counts: dict[int, Counts] = {}
        self._rates: dict[int, tuple[float, float, float]] = {}

    def look(self, queues: Iterable[Queue], now: int) -> None:
        """Take the counts; `now` is in milliseconds."""
        seconds = max(now - self._at, 1) / 1000
        counts = {queue.id: (queue.published, queue.delivered, queue.acknowledged) for queue in queues}
        self._rates = {
            key: (
                (counts[key][0] - before[0]) / seconds,
                (counts[key][1] - before[1]) / seconds,
                (counts[key][2] - before[2]) / seconds,
            )
            for key, before in self._counts.items()
            if key in counts
        }
        self._at, self._counts = now, counts

    def of(self, queue: Queue) -> tuple[float, float, float]:
        """Published, delivered and acknowledged messages a second."""
        return self._rates.get(queue.id, NO_RATES)
