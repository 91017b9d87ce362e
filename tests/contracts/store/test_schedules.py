"""Schedules: each slot runs once, and too many failures disable one."""

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pulpit import intervals
from pulpit.store import repositories, schedules, tasks
from pulpit.store.database import Database
from pulpit.store.schedules import NewSchedule, Schedule
from pulpit.store.tasks import Task
from pulpit.tasks import queue
from pulpit.tasks.completion import Completion, canceled, end, error_report
from pulpit.tasks.schedules import Scheduler, coming_slot, first_slot, meet_slots
from support.database import log
from support.made_events import check

NOON = datetime(2031, 5, 4, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def clock_at(moment: datetime) -> Callable[[], datetime]:
    return lambda: moment


def add_repository(database: Database, repo_id: str = "zoo") -> None:
    with database.write() as tx:
        repositories.add(tx, repo_id, display_name=None, description=None, notes={}, now=NOON)
        repositories.add_importer(tx, repo_id, "iso_importer", {}, now=NOON)
        repositories.add_distributor(
            tx, repo_id, "iso_distributor", "iso_distributor", {}, auto_publish=False, now=NOON
        )


def add_schedule(
    database: Database, interval: str = "PT1H", *, repo_id: str = "zoo", action: str = "sync", **more: Any
) -> Schedule:
    parsed = intervals.parse(interval)
    first = first_slot(parsed, now=NOON)
    given: dict[str, Any] = {
        "repo_id": repo_id,
        "action": action,
        "plugin_id": "iso_importer" if action == "sync" else "iso_distributor",
        "schedule": interval,
        "override_config": {},
        "principal_login": "admin",
        "enabled": True,
        "failure_threshold": None,
        "first_run": first,
        "next_run": coming_slot(parsed, first, total_run_count=0, now=NOON),
        "remaining_runs": parsed.runs,
    }
    with database.write() as tx:
        return schedules.add(tx, NewSchedule(**{**given, **more}), now=NOON)


def look(database: Database, schedule: Schedule) -> Schedule:
    with database.read() as connection:
        return schedules.get(connection, schedule.id)


def queued(database: Database) -> list[Task]:
    with database.read() as connection:
        return tasks.search(connection)


def run_the_task(database: Database, state: str, at: datetime) -> None:
    with database.write() as tx:
        task = tasks.claim(tx, "worker-0@here", now=at)
    assert task
    error = error_report("The feed is gone.") if state == tasks.ERROR else None
    completion = canceled("stop") if state == tasks.CANCELED else Completion(state=state, error=error)
    assert end(database, task, completion, clock_at(at))


def test_a_schedule_without_a_start_runs_at_once_and_then_after_each_period(database: Database) -> None:
    add_repository(database)
    schedule = add_schedule(database)
    assert meet_slots(database, clock_at(NOON)) == NOON + HOUR
    [task] = queued(database)
    assert (task.task_type, task.schedule_id, task.principal_login) == (queue.SYNC, schedule.id, "admin")
    met = look(database, schedule)
    assert (met.total_run_count, met.last_run_at, met.next_run) == (1, NOON, NOON + HOUR)


def test_a_start_in_the_future_is_waited_for(database: Database) -> None:
    add_repository(database)
    add_schedule(database, "2031-05-05T03:00:00Z/P1D")
    three = datetime(2031, 5, 5, 3, tzinfo=UTC)
    assert meet_slots(database, clock_at(three - timedelta(seconds=1))) == three
    assert queued(database) == []
    assert meet_slots(database, clock_at(three)) == three + timedelta(days=1)
    assert len(queued(database)) == 1


def test_slots_that_nobody_could_meet_are_met_once_and_the_grid_stays(database: Database) -> None:
    add_repository(database)
    schedule = add_schedule(database)
    late = NOON + timedelta(days=3, minutes=20)
    assert meet_slots(database, clock_at(late)) == NOON + timedelta(days=3, hours=1)
    assert len(queued(database)) == 1
    assert look(database, schedule).total_run_count == 1


def test_a_slot_goes_by_while_the_last_task_is_queued_or_running(database: Database) -> None:
    add_repository(database)
    schedule = add_schedule(database)
    meet_slots(database, clock_at(NOON))
    assert meet_slots(database, clock_at(NOON + HOUR)) == NOON + 2 * HOUR
    with database.write() as tx:
        tasks.claim(tx, "worker-0@here", now=NOON)
    assert meet_slots(database, clock_at(NOON + 2 * HOUR)) == NOON + 3 * HOUR
    assert len(queued(database)) == 1
    assert look(database, schedule).total_run_count == 1


def test_a_task_that_was_purged_does_not_stand_in_the_way(database: Database) -> None:
    add_repository(database)
    add_schedule(database)
    meet_slots(database, clock_at(NOON))
    run_the_task(database, tasks.FINISHED, NOON)
    with database.write() as tx:
        tasks.purge(tx, [tasks.FINISHED])
    meet_slots(database, clock_at(NOON + HOUR))
    assert len(queued(database)) == 1


def test_a_limited_number_of_runs_is_used_up(database: Database) -> None:
    add_repository(database)
    schedule = add_schedule(database, "R2/PT1H")
    for number in range(4):
        moment = NOON + number * HOUR
        meet_slots(database, clock_at(moment))
        if number < 2:
            run_the_task(database, tasks.FINISHED, moment)
    used_up = look(database, schedule)
    assert (used_up.remaining_runs, used_up.enabled, used_up.total_run_count) == (0, False, 2)
    assert len(queued(database)) == 2
    assert meet_slots(database, clock_at(NOON)) is None


def test_failures_in_a_row_disable_it_and_say_so(database: Database) -> None:
    add_repository(database)
    schedule = add_schedule(database, failure_threshold=2)
    states = [tasks.ERROR, tasks.FINISHED, tasks.ERROR, tasks.CANCELED, tasks.ERROR]
    counts = []
    for number, state in enumerate(states):
        moment = NOON + number * HOUR
        meet_slots(database, clock_at(moment))
        run_the_task(database, state, moment)
        counts.append(look(database, schedule).consecutive_failures)
    assert counts == [1, 0, 1, 1, 2]
    assert not look(database, schedule).enabled
    [told] = [event for event in log(database) if event.event_type == "schedule.disabled"]
    check(told)
    body = json.loads(told.body)
    assert body["payload"] == {
        "schedule_id": schedule.id,
        "repo_id": "zoo",
        "resource": "pulp:importer:zoo:iso_importer",
        "schedule": "PT1H",
        "consecutive_failures": 2,
        "reason": "The feed is gone.",
    }
    assert body["call_report"]["schedule_id"] == schedule.id
    assert meet_slots(database, clock_at(NOON + 99 * HOUR)) is None


def test_without_a_threshold_failures_are_counted_and_nothing_else(database: Database) -> None:
    add_repository(database)
    schedule = add_schedule(database)
    for number in range(5):
        meet_slots(database, clock_at(NOON + number * HOUR))
        run_the_task(database, tasks.ERROR, NOON + number * HOUR)
    assert (look(database, schedule).consecutive_failures, look(database, schedule).enabled) == (5, True)


def test_a_publish_is_queued_by_its_distributor(database: Database) -> None:
    add_repository(database)
    add_schedule(database, action="publish", override_config={"force_full": True})
    meet_slots(database, clock_at(NOON))
    [task] = queued(database)
    assert task.task_type == queue.PUBLISH
    assert task.arguments["distributor_id"] == "iso_distributor"
    assert task.arguments["override_config"] == {"force_full": True}


@pytest.mark.parametrize("what", ["importer", "distributor", "repository"])
def test_schedules_go_with_what_they_work_with(database: Database, what: str) -> None:
    add_repository(database)
    sync, publish = add_schedule(database), add_schedule(database, action="publish")
    with database.write() as tx:
        if what == "importer":
            repositories.remove_importer(tx, "zoo")
        elif what == "distributor":
            repositories.remove_distributor(tx, "zoo", "iso_distributor")
        else:
            repositories.remove(tx, "zoo")
    with database.read() as connection:
        left = [schedule.id for schedule in schedules.every(connection)]
    assert left == {"importer": [publish.id], "distributor": [sync.id], "repository": []}[what]


def test_one_that_cannot_be_met_is_disabled_and_the_others_go_on(database: Database) -> None:
    add_repository(database)
    broken = add_schedule(database, action="publish", plugin_id="nobody knows it")
    well = add_schedule(database)
    assert meet_slots(database, clock_at(NOON)) == NOON + HOUR
    assert not look(database, broken).enabled
    assert [task.schedule_id for task in queued(database)] == [well.id]


def test_a_task_that_outlives_its_schedule_ends_as_any_other(database: Database) -> None:
    add_repository(database)
    schedule = add_schedule(database, failure_threshold=1)
    meet_slots(database, clock_at(NOON))
    with database.write() as tx:
        schedules.remove(tx, schedule.id)
    run_the_task(database, tasks.ERROR, NOON)


def test_several_servers_meet_each_slot_once(database: Database) -> None:
    for number in range(30):
        add_repository(database, f"zoo-{number}")
        add_schedule(database, repo_id=f"zoo-{number}")
    servers = [threading.Thread(target=meet_slots, args=(database, clock_at(NOON))) for _ in range(4)]
    for server in servers:
        server.start()
    for server in servers:
        server.join()
    assert sorted(task.arguments["repo_id"] for task in queued(database)) == sorted(f"zoo-{n}" for n in range(30))


class Machine:
    """A clock that can be set, and one that cannot."""

    def __init__(self, moment: datetime) -> None:
        self.moment, self.passed = moment, 0.0

    def clock(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.passed

    def go_on(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)
        self.passed += seconds


@pytest.mark.parametrize("restarted", [True, False])
@pytest.mark.parametrize("interval", ["PT10S", "2031-05-04T12:00:00Z/PT10S", "R100/PT10S", "2031-01-31T12:00:00Z/P1M"])
def test_a_clock_that_was_ahead_and_is_right_again_keeps_no_schedule_asleep(
    database: Database, interval: str, restarted: bool
) -> None:
    """Twenty days ahead for half a minute."""
    machine = Machine(NOON)
    add_repository(database)
    schedule = add_schedule(database, interval)
    scheduler = Scheduler(database, machine.clock, machine.monotonic)
    scheduler.look()
    expected = look(database, schedule).next_run
    machine.moment += timedelta(days=40)
    run_the_task(database, tasks.FINISHED, machine.moment)
    scheduler.look()
    machine.go_on(30)
    machine.moment -= timedelta(days=40)
    assert look(database, schedule).next_run > machine.moment + timedelta(days=9)
    if restarted:
        scheduler = Scheduler(database, machine.clock, machine.monotonic)
    scheduler.look()
    assert look(database, schedule).next_run <= max(machine.moment + timedelta(seconds=10), expected)
    assert look(database, schedule).next_run > machine.moment


def test_a_schedule_made_while_the_clock_was_ahead_runs_from_when_it_is_right(database: Database) -> None:
    """Without a start of its own, its first slot is the clock's too."""
    machine = Machine(NOON)
    add_repository(database)
    schedule = add_schedule(database, "PT10S")
    machine.moment -= timedelta(days=20)
    scheduler = Scheduler(database, machine.clock, machine.monotonic)
    scheduler.look()
    assert len(queued(database)) == 1
    assert look(database, schedule).next_run == machine.moment + timedelta(seconds=10)


def test_a_start_in_the_future_stays_there_when_the_clock_is_set(database: Database) -> None:
    """What a person wrote is no slip of the clock."""
    machine = Machine(NOON)
    add_repository(database)
    schedule = add_schedule(database, "2031-06-01T00:00:00Z/P1D")
    scheduler = Scheduler(database, machine.clock, machine.monotonic)
    scheduler.look()
    machine.moment -= timedelta(days=300)
    scheduler.look()
    assert look(database, schedule).next_run == datetime(2031, 6, 1, tzinfo=UTC)
    assert queued(database) == []


def test_a_clock_that_was_behind_and_is_right_again_meets_what_is_overdue_once(database: Database) -> None:
    """A machine that begins in 1970 until it has asked for the time."""
    machine = Machine(datetime(1970, 1, 1, 0, 5, tzinfo=UTC))
    add_repository(database)
    schedule = add_schedule(database, "PT1H")
    scheduler = Scheduler(database, machine.clock, machine.monotonic)
    scheduler.look()
    assert len(queued(database)) == 1, "its first slot was reckoned from a clock that was ahead of this one"
    run_the_task(database, tasks.FINISHED, machine.moment)
    machine.moment = NOON + timedelta(minutes=20)
    scheduler.look()
    assert len([task for task in queued(database) if task.state == tasks.WAITING]) == 1
    assert NOON < look(database, schedule).next_run <= machine.moment + timedelta(hours=1)
