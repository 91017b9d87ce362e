"""One listener's progress through the log where repositories do not wait for each other.

    log ──▶ a lane for each repository with open events ──▶ slots, the calls in flight at a time ──▶ settled
                      │ Retry: each lane has its own pause, failures and give-up time

    position      everything up to it is settled
    ahead         what is settled beyond it: all up to a number, except what some repositories hold back

Both are written together, so that after a kill only unsettled events are sent again. A lane keeps few events in
memory, and only one while it fails; the others are read from the log again when their turn comes. So a repository
that fails for days costs one event in memory, and the position waits for it.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Final

from pulpit.delivery.attempts import NOT_TRIED, Tried, bug_of, letters_of, log_buried, pause_after, runs_of
from pulpit.delivery.cursor import ListenerCursor, Shared
from pulpit.delivery.notifiers.port import Delivered, Gone, Later, Notifier, Outcome, Pace, Retry
from pulpit.events import Event
from pulpit.store.dead_letters import NewDeadLetter
from pulpit.store.listeners import Ahead, Listener, Move

MOST_LANES: Final = 1_000
"""Repositories with open events; beyond, the log is not read further."""
MOST_IN_LANE: Final = 50
"""Events of one repository in memory, unless its notifier takes larger batches."""
MOST_WAITING: Final = 1_000
"""Events of one listener in memory, besides one for each failing repository."""


@dataclass(kw_only=True, slots=True)
class _Lane:
    """The open events of one repository; "" is the lane of those without."""

    name: str
    settled_to: int
    """Its events up to this number are settled or do not match."""
    tried: Tried
    events: deque[Event] = field(default_factory=deque)
    more: bool = False
    """Whether the log has further events of the lane that were left unread."""
    failures: int = 0
    since: datetime | None = None

    @property
    def first_open(self) -> int:
        return self.events[0].number if self.events else self.settled_to + 1


class LaneCursor(ListenerCursor):
    """Keeps the order of each repository: a failing event holds back its own repository only."""

    def __init__(self, listener: Listener, notifier: Notifier, pace: Pace, shared: Shared) -> None:
        super().__init__(listener, notifier, pace, shared)
        self._monotonic: Final = shared.monotonic
        self._before: Final = listener.settled_ahead or Ahead(to=listener.position, held={}, failing={})
        self._not_read: Final = dict(self._before.held)
        """Repositories whose open events from before the restart have not been reached yet."""
        self._most_in_lane: Final = max(MOST_IN_LANE, pace.batch)
        self._failing = listener.failing_since is not None
        self._lanes: Final[dict[str, _Lane]] = {}
        self._slots: Final = asyncio.Semaphore(pace.lanes)
        self._slots_of_failing: Final = asyncio.Semaphore(max(1, pace.lanes // 2))
        """A limit for failing lanes: receivers that hang would otherwise take every slot."""

    async def run(self) -> None:
        """Deliver until cancelled.

        If the listener no longer has lanes, until nothing is settled beyond its position.
        """
        try:
            await self._notifier.prepare()
            async with asyncio.TaskGroup() as group:
                while not (self._parked and self._pace.lanes == 1):
                    await self._awake.wait()
                    self._awake.clear()
                    await self._read_on(group)
        finally:
            await self._notifier.close()

    async def _read_on(self, group: asyncio.TaskGroup) -> None:
        """Put the next events into their lanes, as far as there is room, and park when nothing is left."""
        while self._read_to < self._reader.head and self._has_room():
            batch = await self._next_batch(self._read_to, self._is_open, MOST_IN_LANE)
            self._read_to = batch.scanned_to
            for event in batch.events:
                self._put(event, group)
            if self._read_to >= self._before.to:
                self._not_read.clear()  # what is left there does not match any more
            self._writer.settle_as(self._listener, self._move)
        if self._read_to >= self._reader.head and not self._lanes:
            self._parked = True  # no await since the check, so no announcement was missed

    def _has_room(self) -> bool:
        waiting = sum(len(lane.events) for lane in self._lanes.values() if not lane.failures)
        return waiting < MOST_WAITING and len(self._lanes) < MOST_LANES

    def _is_open(self, event: Event) -> bool:
        """Whether an event matches and was not settled before the restart."""
        if not self._wanted(event):
            return False
        held = self._before.held.get(event.repo_id or "")
        return event.number > self._before.to or (held is not None and event.number >= held)

    def _put(self, event: Event, group: asyncio.TaskGroup) -> None:
        name = event.repo_id or ""
        self._not_read.pop(name, None)
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = self._new_lane(name, event.number - 1)
            group.create_task(self._drain(lane))
        if lane.more or len(lane.events) >= (1 if lane.failures else self._most_in_lane):
            lane.more = True
        else:
            lane.events.append(event)

    def _new_lane(self, name: str, settled_to: int) -> _Lane:
        tried = Tried(self._listener.give_up_after, self._monotonic)
        lane = _Lane(name=name, settled_to=settled_to, tried=tried)
        if name in self._before.failing and settled_to < self._before.to:
            lane.failures, lane.since = self._before.failing[name]
            longest = self._pace.longest_retry
            now = self._clock()
            tried.resume(self._reader.head, attempts=lane.failures, since=lane.since, now=now, longest_retry=longest)
        return lane

    async def _drain(self, lane: _Lane) -> None:
        while lane.events or lane.more:
            if not lane.events:
                await self._read_again(lane)
                continue
            trouble = await self._deliver(lane)
            self._awake.set()  # there may be room
            if trouble:
                await self._wait_after(lane, trouble)
        del self._lanes[lane.name]
        self._writer.settle_as(self._listener, self._move)
        self._awake.set()

    async def _read_again(self, lane: _Lane) -> None:
        """Read on in the log for one lane, up to where the whole log has been read."""
        up_to = self._read_to

        def is_next(event: Event) -> bool:
            return event.number <= up_to and (event.repo_id or "") == lane.name and self._is_open(event)

        batch = await self._next_batch(lane.settled_to, is_next, self._most_in_lane)
        lane.events.extend(batch.events)
        if not batch.events:
            lane.settled_to = up_to
        lane.more = min(batch.scanned_to, up_to) < self._read_to

    async def _deliver(self, lane: _Lane) -> Retry | None:
        """Deliver the next events of a lane and settle them, up to one that must be retried."""
        events = list(islice(lane.events, 1 if lane.failures else self._pace.batch))
        async with AsyncExitStack() as slots:
            if lane.failures:
                await slots.enter_async_context(self._slots_of_failing)
            await slots.enter_async_context(self._slots)
            await self._held(self._listener.id)
            begun, begun_at = asyncio.get_running_loop().time(), self._clock()
            outcomes = await self._outcomes(events)
        seconds = asyncio.get_running_loop().time() - begun
        for attempt in runs_of(self._listener.id, events, outcomes, at=begun_at, seconds=seconds):
            self._writer.note(attempt, sum_up=False)
        if any(isinstance(outcome, Delivered) for outcome in outcomes):
            await self._recover(lane)
        for event, outcome in zip(events, outcomes, strict=False):
            if isinstance(outcome, Retry):
                await self._give_up(lane, outcome)
                return outcome
            await self._bury(lane, letters_of(event, outcome), event.number)
        return NOT_TRIED if len(outcomes) < len(events) else None

    async def _outcomes(self, events: Sequence[Event]) -> Sequence[Outcome]:
        try:
            return await self._notifier.deliver(events)
        except Exception as error:  # noqa: BLE001 - whatever it was, it must not reach the other repositories
            return [bug_of(self._listener.id, error)]

    async def _recover(self, lane: _Lane) -> None:
        lane.failures, lane.since = 0, None
        lane.tried.forget()
        others = any(other.failures for other in self._lanes.values()) or self._before.failing.keys() & self._not_read
        if self._failing and not others:
            self._failing = False
            await self._note_recovery()

    async def _give_up(self, lane: _Lane, trouble: Retry) -> None:
        """Dead-letter the events of a lane that have been tried for too long."""
        reason = f"Given up after {lane.failures + 1} attempts: {trouble.reason}"
        while expired := await self._expired(lane):
            letters = [NewDeadLetter(event_number=event.number, reason=reason) for event in expired]
            await self._bury(lane, letters, expired[-1].number)

    async def _expired(self, lane: _Lane) -> list[Event]:
        """Return a lane's next events that have matched and failed for all of `give_up_after`."""
        since, tried_up_to = lane.since, lane.tried.up_to
        if since is None or tried_up_to <= lane.settled_to:
            return []
        while not lane.events and lane.more:
            await self._read_again(lane)
        return self._expired_of(lane.events, since, tried_up_to)

    async def _bury(self, lane: _Lane, letters: Sequence[NewDeadLetter], number: int) -> None:
        """Settle the next events of a lane up to a number, writing their dead letters first if there are any."""
        if letters:
            log_buried(self._listener.id, letters)
            move = self._move(through={lane.name: number})
            await self._writer.bury(self._listener, letters, attempts=lane.failures + 1, move=move)
        while lane.events and lane.events[0].number <= number:
            lane.events.popleft()
        lane.settled_to = number
        self._writer.settle_as(self._listener, self._move)

    async def _wait_after(self, lane: _Lane, trouble: Retry) -> None:
        if isinstance(trouble, Gone):
            await self._stop_at(trouble)
        if not isinstance(trouble, Later) and trouble is not NOT_TRIED:
            self._note_failure(lane, trouble)
        await asyncio.sleep(pause_after(trouble, lane.failures, self._pace, self._random).total_seconds())

    def _note_failure(self, lane: _Lane, trouble: Retry) -> None:
        lane.failures += 1
        lane.since = lane.since or self._clock()
        lane.tried.note(self._reader.head)
        while len(lane.events) > 1:
            lane.events.pop()
            lane.more = True
        self._failing = True
        self._log_failure(lane.failures, trouble.reason, of=f" for {lane.name or 'events without a repository'}")
        self._writer.fail(self._listener, f"{lane.name}: {trouble.reason}" if lane.name else trouble.reason)
        self._writer.settle_as(self._listener, self._move)

    def _move(self, *, through: dict[str, int] | None = None) -> Move:
        """Return the listener's progress; `through` names events that are settled in the same transaction."""
        held = dict(self._not_read)
        for name, lane in self._lanes.items():
            held[name] = lane.first_open
        for name, number in (through or {}).items():
            held[name] = number + 1
        position, to = min([*held.values(), self._read_to + 1]) - 1, max(self._read_to, self._before.to)
        failing = {name: count for name, count in self._before.failing.items() if name in self._not_read}
        for name, lane in self._lanes.items():
            if lane.failures and lane.since:
                failing[name] = (lane.failures, lane.since)
        ahead = Ahead(to=to, held=held, failing=failing) if to > position else None
        return Move(listener_id=self._listener.id, epoch=self._listener.epoch, position=position, ahead=ahead)


def in_lanes(listener: Listener, pace: Pace) -> bool:
    """Whether a listener is served in lanes, or was and still has events settled ahead of its position."""
    return pace.lanes > 1 or listener.settled_ahead is not None
