"""What cursors make of outcomes: what is noted of an attempt, what is put aside, and since when something is tried."""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final

from pulpit import backoff
from pulpit.delivery.notifiers.port import DELIVERED, Delivered, Later, Outcome, Pace, Refused, Retry, described
from pulpit.events import Event
from pulpit.store.dead_letters import NewDeadLetter
from pulpit.store.listeners import Delivery

NOT_TRIED: Final = Retry(reason="It was not tried.", after=timedelta(0))
"""What stands for the outcome of an event that a notifier did not come to."""
_LONGEST_ATTEMPT: Final = timedelta(minutes=1)
"""What one attempt may take; with the longest pause it bounds how long so many attempts have taken before a restart."""
_SAMPLES: Final = 100

_log = logging.getLogger(__name__)


class Tried:
    """Which events have been tried for as long as a listener's patience, by a clock that nobody sets.

    At failures it is noted how far the log went, at most a hundred times in the patience: what was there so long ago
    has been tried since.
    """

    def __init__(self, patience: float, monotonic: Callable[[], float]) -> None:
        self._patience: Final = patience
        self._monotonic: Final = monotonic
        self._heads: Final[deque[tuple[float, int]]] = deque()

    def note(self, head: int, *, before: float = 0) -> None:
        """Note a failure; `before` is for how many seconds there have been failures before this one."""
        now = self._monotonic()
        if not self._heads or now - self._heads[-1][0] >= self._patience / _SAMPLES:
            self._heads.append((now - before, head))

    def resume(self, head: int, *, attempts: int, since: datetime, now: datetime, longest_retry: timedelta) -> None:
        """Go on after a restart with what is written down of failures; so many cannot have taken longer than that."""
        most = attempts * (longest_retry + _LONGEST_ATTEMPT).total_seconds()
        self.note(head, before=min(max((now - since).total_seconds(), 0), most))

    def forget(self) -> None:
        """Begin anew: the listener takes events again."""
        self._heads.clear()

    @property
    def up_to(self) -> int:
        """The number of the last event that has been tried for long enough, 0 if none has."""
        began = self._monotonic() - self._patience
        while len(self._heads) > 1 and self._heads[1][0] <= began:
            self._heads.popleft()
        return self._heads[0][1] if self._heads and self._heads[0][0] <= began else 0


def letters_of(event: Event, outcome: Outcome) -> list[NewDeadLetter]:
    """The dead letters that an outcome leaves: the event, or the addresses that refused it."""
    if isinstance(outcome, Refused):
        return [NewDeadLetter(event_number=event.number, reason=outcome.reason)]
    if isinstance(outcome, Delivered):
        refused = outcome.refused.items()
        return [NewDeadLetter(event_number=event.number, reason=why, recipient=who) for who, why in refused]
    return []


def runs_of(
    listener_id: str, events: Sequence[Event], outcomes: Sequence[Outcome], *, at: datetime, seconds: float
) -> list[Delivery]:
    """What an operator wants to see of a call: equal outcomes in a row summed up, nothing of what was not tried."""
    if outcomes.count(DELIVERED) == len(events):  # there is nothing to say about any of them
        return [_attempt(listener_id, events, described(DELIVERED), at, seconds)]
    tried = [(e, o) for e, o in zip(events, outcomes, strict=False) if not isinstance(o, Later)]
    runs = [(said, [event for event, _ in run]) for said, run in groupby(tried, key=lambda pair: described(pair[1]))]
    return [_attempt(listener_id, some, said, at, seconds * len(some) / len(tried)) for said, some in runs]


def bug_of(listener_id: str, error: BaseException) -> Retry:
    """Log what a notifier raised, whatever it was; it must not reach other listeners, and the event is tried again."""
    _log.error("a notifier failed", exc_info=error, extra={"action": "notifier_bug", "listener": listener_id})
    return Retry(reason=f"Internal error: {type(error).__name__}.")


def log_buried(listener_id: str, letters: Sequence[NewDeadLetter]) -> None:
    """Say what is put aside, and why the first of it is."""
    numbers = [letter.event_number for letter in letters]
    extra = {"action": "delivery_buried", "listener": listener_id, "events": numbers}
    _log.warning("put aside as dead letters: %s", letters[0].reason, extra=extra)


def pause_after(trouble: Retry, failures: int, pace: Pace, random: Callable[[], float]) -> timedelta:
    """How long to wait before the next attempt: as the receiver asked for, or longer with each failure."""
    if trouble.after is not None:
        return trouble.after
    return backoff.delay(failures, first=pace.first_retry, longest=pace.longest_retry, random=random())


def _attempt(
    listener_id: str, events: Sequence[Event], said: tuple[str, str], at: datetime, seconds: float
) -> Delivery:
    return Delivery(
        listener_id=listener_id,
        at=at,
        duration_ms=round(seconds * 1000),
        outcome=said[0],
        first_event=events[0].number,
        last_event=events[-1].number,
        event_count=len(events),
        answer=said[1],
    )
