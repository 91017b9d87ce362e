"""Queues syncs and publishes when they are due, and records how they end.

Slots missed because no server ran are made up by one late run, however many there were. A slot that comes while the
task of the last one is still waiting or running is skipped, so tasks do not pile up.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from pulpit import intervals
from pulpit.clock import Clock
from pulpit.errors import MissingResource, PulpitError
from pulpit.events import SCHEDULE_DISABLED
from pulpit.fire import fire
from pulpit.store import event_log, schedules, tasks
from pulpit.store.database import Database, Transaction, when_available
from pulpit.store.schedules import Schedule
from pulpit.store.tasks import Task
from pulpit.store.wakeups import Wakeup
from pulpit.tasks import queue
from pulpit.tasks.reports import call_report

LOOK_AROUND: Final = 20.0
"""Seconds between looks at the schedules without a wakeup: the clock may be set, or another server of the same database
may have changed one.
"""
CLOCK_IS_SET: Final = 1.0
"""Difference in seconds between elapsed wall-clock and monotonic time from which the clock counts as set."""
AT_ONCE: Final = 100
"""Schedules in one transaction."""

_log = logging.getLogger(__name__)


class Scheduler:
    """Runs every slot when it is due."""

    def __init__(self, database: Database, clock: Clock, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._database: Final = database
        self._clock: Final = clock
        self._monotonic: Final = monotonic
        self._ahead: float | None = None
        """Wall clock minus monotonic clock at the last look, in seconds."""
        self._woken: Final = asyncio.Event()

    @property
    def wakeup_handlers(self) -> dict[Wakeup, Callable[[], None]]:
        """The handler of each wakeup."""
        return {Wakeup.SCHEDULES: self._woken.set}

    async def run(self) -> None:
        """Run slots until cancelled."""
        while True:
            self._woken.clear()
            pause = await when_available(self.look)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._woken.wait()

    def look(self) -> float:
        """Run the slots that are due, and return the seconds until the next one.

        Slots that were computed while the clock was wrong, even before a restart, are recomputed.
        """
        ahead = self._clock().timestamp() - self._monotonic()
        if self._ahead is None or abs(ahead - self._ahead) > CLOCK_IS_SET:
            reckon_anew(self._database, self._clock)
        self._ahead = ahead
        coming = meet_slots(self._database, self._clock)
        if coming is None:
            return LOOK_AROUND
        return min(LOOK_AROUND, max((coming - self._clock()).total_seconds(), 0))


def reckon_anew(database: Database, clock: Clock) -> None:
    """Recompute slots so that no schedule sleeps past its next slot after a clock that was ahead has been set back."""
    now = clock()
    with database.write() as tx:
        for schedule in schedules.later_than(tx, now):
            with contextlib.suppress(PulpitError):  # an invalid one is found when its slot is due
                interval = intervals.parse(schedule.schedule)
                first = schedule.first_run if interval.start else min(schedule.first_run, first_slot(interval, now=now))
                coming = coming_slot(interval, first, total_run_count=schedule.total_run_count, now=now)
                if coming < schedule.next_run:
                    schedules.reckon(tx, schedule.id, first_run=first, next_run=coming)
                    extra = {"action": "schedule_reckoned", "schedule": schedule.id, "repository": schedule.repo_id}
                    _log.warning("the clock was set back: a schedule runs earlier than it was to", extra=extra)


def meet_slots(database: Database, clock: Clock) -> datetime | None:
    """Queue the task of every due slot, and return the time of the next slot, if there is one."""
    while True:
        with database.read() as connection:
            coming = schedules.next_slot(connection)
        now = clock()
        if coming is None or coming > now:
            return coming
        with database.write() as tx:
            found = schedules.due(tx, now=now, limit=AT_ONCE)
            event_log.lock(tx)  # before any row of a schedule; see `event_log.lock`
            outcomes = [(schedule, _meet(tx, schedule, now)) for schedule in found]
        for schedule, outcome in outcomes:
            extra = {"action": f"schedule_{outcome}", "schedule": schedule.id, "repository": schedule.repo_id}
            _log.info("a slot of a schedule: %s", outcome, extra=extra)


def first_slot(interval: intervals.Interval, *, now: datetime) -> datetime:
    """Return the slot from which all others of an interval are computed: its start, or the current second."""
    return interval.start or now.replace(microsecond=0)


def coming_slot(interval: intervals.Interval, first: datetime, *, total_run_count: int, now: datetime) -> datetime:
    """Return the next run of a new or changed schedule: as in Pulp 2 at once, if a slot has passed and it never ran."""
    if total_run_count == 0:
        return max(first, now)
    return interval.next_slot(first, now)


def note_end(tx: Transaction, task: Task, clock: Clock) -> None:
    """Record on its schedule how a task ended; too many failures in a row disable the schedule."""
    if task.schedule_id is None:
        return
    if task.state == tasks.FINISHED:
        schedules.succeed(tx, task.schedule_id)
    elif task.state == tasks.ERROR:
        disabled = schedules.fail(tx, task.schedule_id)
        if disabled:
            _announce_disabled(tx, disabled, task, clock)


def resource(schedule: Schedule) -> str:
    """Return what a schedule works on, as Pulp 2 wrote it."""
    kind = "importer" if schedule.action == schedules.SYNC else "distributor"
    return f"pulp:{kind}:{schedule.repo_id}:{schedule.plugin_id}"


def _meet(tx: Transaction, schedule: Schedule, now: datetime) -> str:
    """Queue the task of a slot, or skip it; return a word for the log.

    A schedule that cannot run is disabled: it must not stop the others or the server.
    """
    try:
        following = intervals.parse(schedule.schedule).next_slot(schedule.first_run, now)
        if _is_running(tx, schedule.last_task_id):
            schedules.skip(tx, schedule.id, next_run=following)
            return "skipped"
        task = _QUEUED_BY[schedule.action](tx, schedule, lambda: now)
    except PulpitError:
        schedules.change(tx, schedule.id, enabled=False)
        return "impossible"
    schedules.met(tx, schedule, task.id, next_run=following, now=now)
    return "met"


def _is_running(tx: Transaction, task_id: str | None) -> bool:
    try:
        return task_id is not None and tasks.get(tx.connection, task_id).state not in tasks.ENDED
    except MissingResource:  # it was purged
        return False


def _sync(tx: Transaction, schedule: Schedule, clock: Clock) -> Task:
    return queue.sync(
        tx,
        schedule.repo_id,
        schedule.override_config or None,
        login=schedule.principal_login,
        clock=clock,
        schedule_id=schedule.id,
    )


def _publish(tx: Transaction, schedule: Schedule, clock: Clock) -> Task:
    return queue.publish(
        tx,
        schedule.repo_id,
        schedule.plugin_id,
        schedule.override_config or None,
        login=schedule.principal_login,
        clock=clock,
        schedule_id=schedule.id,
    )


def _announce_disabled(tx: Transaction, schedule: Schedule, task: Task, clock: Clock) -> None:
    payload: dict[str, Any] = {
        "schedule_id": schedule.id,
        "repo_id": schedule.repo_id,
        "resource": resource(schedule),
        "schedule": schedule.schedule,
        "consecutive_failures": schedule.consecutive_failures,
        "reason": (task.error or {}).get("description", ""),
    }
    fire(tx, SCHEDULE_DISABLED, payload, clock=clock, call_report=call_report(task))
    extra = {"action": "schedule_disabled", "schedule": schedule.id, "repository": schedule.repo_id}
    _log.warning("a schedule has failed too often and is disabled", extra=extra)


_QUEUED_BY: Final[Mapping[str, Callable[[Transaction, Schedule, Clock], Task]]] = {
    schedules.SYNC: _sync,
    schedules.PUBLISH: _publish,
}
