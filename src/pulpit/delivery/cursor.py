"""One listener's progress through the log: read, deliver in order, settle, move on.

    parked ──offer──▶ reading ──▶ in flight ──outcomes──▶ settled ──▶ reading … ──nothing left──▶ parked
                                     │ Retry
                                     ▼
                                  waiting ──▶ reading, from the first event that is not settled

A cursor is parked when it has handled everything announced; it then costs nothing. Several batches may be in flight at
a time, but only the oldest settles, so the position never passes an event whose outcome is unknown.
"""

import asyncio
import logging
import random
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Final

from pulpit.clock import Clock
from pulpit.delivery.attempts import NOT_TRIED, Tried, bug_of, letters_of, log_buried, pause_after, runs_of
from pulpit.delivery.log_reader import Batch, Filter, LogReader, filter_of
from pulpit.delivery.notifiers.port import (
    Delivered,
    Gone,
    Later,
    Notifier,
    Outcome,
    Pace,
    Retry,
)
from pulpit.delivery.position_writer import PositionWriter
from pulpit.events import Event
from pulpit.store.dead_letters import NewDeadLetter
from pulpit.store.listeners import Listener

_BURY_AT_ONCE: Final = 500

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class _InFlight:
    """A batch that the notifier is working on, with its start by the monotonic and by the wall clock."""

    batch: Batch
    task: asyncio.Task[Sequence[Outcome]]
    begun: float
    begun_at: datetime


async def _always_held(_listener_id: str) -> None:
    """Return at once: no other server delivers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shared:
    """What all cursors of a dispatcher use."""

    reader: LogReader
    writer: PositionWriter
    clock: Clock
    monotonic: Callable[[], float] = time.monotonic
    random: Callable[[], float] = random.random
    held: Callable[[str], Awaitable[None]] = _always_held
    """Waits until this server may deliver to a listener."""


class ListenerCursor(ABC):
    """Carries one listener from its stored position to the head of the log; parked when nothing is left to settle."""

    def __init__(self, listener: Listener, notifier: Notifier, pace: Pace, shared: Shared) -> None:
        self._listener: Final = listener
        self._notifier: Final = notifier
        self._pace: Final = pace
        self._reader: Final = shared.reader
        self._writer: Final = shared.writer
        self._clock: Final = shared.clock
        self._random: Final = shared.random
        self._held: Final = shared.held
        self._wanted: Final = filter_of(listener)
        self._read_to = listener.position
        self._parked = False
        self._awake: Final = asyncio.Event()
        self._awake.set()

    @property
    def parked(self) -> bool:
        """Whether everything that was announced is settled."""
        return self._parked

    def offer(self, number: int) -> None:
        """Announce a matching event; a parked cursor has settled everything before it.

        `wake` makes the cursor start.
        """
        if self._parked:
            self._parked = False
            self._read_to = number - 1

    def wake(self) -> None:
        """Start on what has been offered."""
        self._awake.set()

    @abstractmethod
    async def run(self) -> None:
        """Deliver until cancelled."""

    async def _next_batch(self, position: int, wanted: Filter, limit: int) -> Batch:
        """Read on once this server is sure that it alone delivers to the listener."""
        await self._held(self._listener.id)
        return await self._reader.next_batch(position, wanted, limit, self._listener.packages)

    def _expired_of(self, events: Sequence[Event], since: datetime, tried_up_to: int) -> list[Event]:
        """Return the first of some events that were tried for all of `give_up_after`, by both clocks.

        If the wall clock alone jumps ahead, nothing is given up.
        """
        latest = self._clock() - timedelta(seconds=self._listener.give_up_after)
        return list(
            takewhile(lambda event: event.number <= tried_up_to and max(since, event.occurred_at) <= latest, events)
        )

    async def _stop_at(self, trouble: Gone) -> None:
        """Pause the listener, and wait until the dispatcher notices and cancels this cursor."""
        extra = {"action": "listener_paused", "listener": self._listener.id}
        _log.warning("listener paused: %s", trouble.reason, extra=extra)
        await self._writer.pause(self._listener, trouble.reason)
        await asyncio.Event().wait()

    def _log_failure(self, attempts: int, reason: str, *, of: str = "") -> None:
        extra = {"action": "delivery_postponed", "listener": self._listener.id, "attempts": attempts}
        _log.warning("delivery failed%s: %s", of, reason, extra=extra)

    async def _note_recovery(self) -> None:
        _log.info("listener recovered", extra={"action": "listener_recovered", "listener": self._listener.id})
        await self._writer.recover(self._listener)


class Cursor(ListenerCursor):
    """Keeps the order of the log: an event that must be retried holds back all that follow."""

    def __init__(self, listener: Listener, notifier: Notifier, pace: Pace, shared: Shared) -> None:
        super().__init__(listener, notifier, pace, shared)
        self._in_flight: Final[deque[_InFlight]] = deque()
        self._failures = listener.attempts
        self._failing_since = listener.failing_since
        self._tried: Final = Tried(listener.give_up_after, shared.monotonic)
        if self._failing_since:
            since, longest, now = self._failing_since, pace.longest_retry, self._clock()
            self._tried.resume(self._reader.head, attempts=self._failures, since=since, now=now, longest_retry=longest)

    async def run(self) -> None:
        """Deliver until cancelled."""
        try:
            await self._notifier.prepare()
            while True:
                await self._awake.wait()
                trouble = await self._advance()
                if trouble:
                    await self._drop_in_flight()
                    await self._wait_after(trouble)
        finally:
            await self._drop_in_flight()
            await self._notifier.close()

    async def _advance(self) -> Retry | None:
        """Do one round: start as many batches as may be in flight, then settle the oldest if it has ended."""
        self._awake.clear()
        await self._start_batches()
        if not self._in_flight:
            # Park unless more was announced meanwhile. There is no await between the check and parking, so no
            # announcement is missed.
            if self._read_to >= self._reader.head:
                self._parked = True
            else:
                self._awake.set()
            return None
        oldest = self._in_flight[0]
        await self._until_done_or_awake(oldest.task)
        if not oldest.task.done():
            return None
        trouble = await self._settle(oldest)
        if not trouble:
            self._in_flight.popleft()
        self._awake.set()
        return trouble

    async def _start_batches(self) -> None:
        while len(self._in_flight) < self._pace.overlap:
            batch = await self._next_batch(self._read_to, self._wanted, self._pace.batch)
            self._read_to = batch.scanned_to
            if not batch.events:
                return
            task = asyncio.create_task(self._notifier.deliver(batch.events))
            begun = asyncio.get_running_loop().time()
            self._in_flight.append(_InFlight(batch=batch, task=task, begun=begun, begun_at=self._clock()))
            await asyncio.sleep(0)  # the notifier begins before we look for more

    async def _until_done_or_awake(self, task: asyncio.Task[Sequence[Outcome]]) -> None:
        if len(self._in_flight) >= self._pace.overlap:
            await asyncio.wait({task})
            return
        woken = asyncio.create_task(self._awake.wait())
        await asyncio.wait({task, woken}, return_when=asyncio.FIRST_COMPLETED)
        woken.cancel()

    async def _settle(self, done: _InFlight) -> Retry | None:
        """Record the outcomes of a batch, in order, up to the first event that must be retried."""
        events, outcomes = done.batch.events, self._outcomes(done.task)
        first = outcomes[0] if outcomes else NOT_TRIED
        plain = isinstance(first, Delivered) and not first.refused and outcomes.count(first) == len(events)
        self._note(done, outcomes)
        if self._failures and any(isinstance(outcome, Delivered) for outcome in outcomes):
            self._failures, self._failing_since = 0, None
            self._tried.forget()
            await self._note_recovery()
        for event, outcome in zip(events, () if plain else outcomes, strict=False):
            if isinstance(outcome, Retry):
                return await self._postpone(event, outcome)
            await self._bury(letters_of(event, outcome))
        if len(outcomes) < len(events):
            return await self._postpone(events[len(outcomes)], NOT_TRIED)
        self._writer.settle(self._listener, done.batch.scanned_to)
        return None

    def _outcomes(self, task: asyncio.Task[Sequence[Outcome]]) -> Sequence[Outcome]:
        error = task.exception()
        if error is None:
            return task.result()
        return [bug_of(self._listener.id, error)]

    def _note(self, done: _InFlight, outcomes: Sequence[Outcome]) -> None:
        """Record what an operator wants to see: runs of deliveries summed up, everything else individually."""
        seconds = asyncio.get_running_loop().time() - done.begun
        for attempt in runs_of(self._listener.id, done.batch.events, outcomes, at=done.begun_at, seconds=seconds):
            self._writer.note(attempt)

    async def _postpone(self, event: Event, trouble: Retry) -> Retry:
        """Go back to before an event that must be retried, and dead-letter what has been tried for too long."""
        self._read_to = event.number - 1
        self._writer.settle(self._listener, self._read_to)
        reason = f"Given up after {self._failures + 1} attempts: {trouble.reason}"
        while expired := await self._expired():
            await self._bury([NewDeadLetter(event_number=each.number, reason=reason) for each in expired])
            self._read_to = expired[-1].number
        return trouble

    async def _expired(self) -> list[Event]:
        """Return the next events that matched while the listener failed for all of `give_up_after`."""
        tried_up_to = self._tried.up_to
        if self._failing_since is None or tried_up_to <= self._read_to:
            return []
        batch = await self._next_batch(self._read_to, self._wanted, _BURY_AT_ONCE)
        return self._expired_of(batch.events, self._failing_since, tried_up_to)

    async def _bury(self, letters: Sequence[NewDeadLetter]) -> None:
        if letters:
            log_buried(self._listener.id, letters)
            await self._writer.bury(self._listener, letters, attempts=self._failures + 1)

    async def _wait_after(self, trouble: Retry) -> None:
        if isinstance(trouble, Gone):
            await self._stop_at(trouble)
        if not isinstance(trouble, Later) and trouble is not NOT_TRIED:
            self._note_failure(trouble)
        await asyncio.sleep(pause_after(trouble, self._failures, self._pace, self._random).total_seconds())
        self._awake.set()

    def _note_failure(self, trouble: Retry) -> None:
        self._failures += 1
        self._failing_since = self._failing_since or self._clock()
        self._tried.note(self._reader.head)
        self._log_failure(self._failures, trouble.reason)
        self._writer.fail(self._listener, trouble.reason)

    async def _drop_in_flight(self) -> None:
        """Abandon the batches in flight; they will be read again from the position."""
        dropped = {each.task for each in self._in_flight}
        self._in_flight.clear()
        for task in dropped:
            task.cancel()
        if dropped:
            await asyncio.wait(dropped)
        for task in dropped:
            _ = task.cancelled() or task.exception()  # retrieved, so that asyncio does not log it
