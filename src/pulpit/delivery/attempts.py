"""What both kinds of cursor do with outcomes: record attempts, write dead letters, and time how long events failed."""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final

from pulpit import backoff
from pulpit.delivery.notifiers.port import Delivered, Later, Outcome, Pace, Refused, Retry, described
from pulpit.events import Event
from pulpit.store.dead_letters import NewDeadLetter
from pulpit.store.listeners import Delivery

NOT_TRIED: Final = Retry(reason="It was not tried.", after=timedelta(0))
"""The outcome of an event that the notifier did not get to."""
_LONGEST_ATTEMPT: Final = timedelta(minutes=1)
"""Upper bound for one attempt; with the longest pause it bounds how long a number of attempts before a restart took."""
_SAMPLES: Final = 100

_log = logging.getLogger(__name__)


class Tried:
    """Which events have been tried for as long as `give_up_after`, by the monotonic clock.

    Each failure records the head of the log, at most a hundred times per `give_up_after`: events that were in the log
    that long ago have been tried ever since.
    """

    def __init__(self, patience: float, monotonic: Callable[[], float]) -> None:
        self._patience: Final = patience
        self._monotonic: Final = monotonic
        self._heads: Final[deque[tuple[float, int]]] = deque()

    def note(self, head: int, *, before: float = 0) -> None:
        """Record a failure; `before` is for how many seconds deliveries had been failing before this one."""
        now = self._monotonic()
        if not self._heads or now - self._heads[-1][0] >= self._patience / _SAMPLES:
            self._heads.append((now - before, head))

    def resume(self, head: int, *, attempts: int, since: datetime, now: datetime, longest_retry: timedelta) -> None:
        """Restore the state after a restart from the stored failures.

        That many cannot have taken longer than this assumes.
        """
        most = attempts * (longest_retry + _LONGEST_ATTEMPT).total_seconds()
        self.note(head, before=min(max((now - since).total_seconds(), 0), most))

    def forget(self) -> None:
        """Reset: the listener takes events again."""
        self._heads.clear()

    @property
    def up_to(self) -> int:
        """Return the number of the last event that has been tried for long enough, 0 if none has."""
        began = self._monotonic() - self._patience
        while len(self._heads) > 1 and self._heads[1][0] <= began:
            self._heads.popleft()
        return self._heads[0][1] if self._heads and self._heads[0][0] <= began else 0


def letters_of(event: Event, outcome: Outcome) -> list[NewDeadLetter]:
    """Return the dead letters for an outcome: the event, or the addresses that refused it."""
    if isinstance(outcome, Refused):
        return [NewDeadLetter(event_number=event.number, reason=outcome.reason)]
    if isinstance(outcome, Delivered):
        refused = outcome.refused.items()
        return [NewDeadLetter(event_number=event.number, reason=why, recipient=who) for who, why in refused]
    return []


def runs_of(
    listener_id: str, events: Sequence[Event], outcomes: Sequence[Outcome], *, at: datetime, seconds: float
) -> list[Delivery]:
    """Return what an operator sees of a call: runs of equal outcomes summed up, without events that were not tried."""
    if outcomes and outcomes.count(outcomes[0]) == len(events) and not isinstance(outcomes[0], Later):
        return [_attempt(listener_id, events, described(outcomes[0]), at, seconds)]
    tried = [(e, o) for e, o in zip(events, outcomes, strict=False) if not isinstance(o, Later)]
    runs = [(said, [event for event, _ in run]) for said, run in groupby(tried, key=lambda pair: described(pair[1]))]
    return [_attempt(listener_id, some, said, at, seconds * len(some) / len(tried)) for said, some in runs]


def bug_of(listener_id: str, error: BaseException) -> Retry:
    """Log an exception of a notifier; it must not reach other listeners, and the event is retried."""
    _log.error("a notifier failed", exc_info=error, extra={"action": "notifier_bug", "listener": listener_id})
    return Retry(reason=f"Internal error: {type(error).__name__}.")


def log_buried(listener_id: str, letters: Sequence[NewDeadLetter]) -> None:
    """Log the dead letters, with the reason of the first one."""
    numbers = [letter.event_number for letter in letters]
    extra = {"action": "delivery_buried", "listener": listener_id, "events": numbers}
    _log.warning("put aside as dead letters: %s", letters[0].reason, extra=extra)


def pause_after(trouble: Retry, failures: int, pace: Pace, random: Callable[[], float]) -> timedelta:
    """Return the pause before the next attempt: what the receiver asked for, or longer with each failure."""
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
