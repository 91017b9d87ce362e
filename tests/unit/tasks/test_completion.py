"""Every start event has exactly one finish event, whoever ends the task and however often."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pulpit.clock import system_clock
from pulpit.errors import WorkFailed
from pulpit.events import SYNC_START
from pulpit.fire import fire
from pulpit.store import changes, history, holdings, repositories, tasks
from pulpit.store.changes import Description, Recorder
from pulpit.store.database import Database
from pulpit.store.history import Ending
from pulpit.store.tasks import NewTask, Task
from pulpit.store.units import NewUnit
from pulpit.tasks import queue
from pulpit.tasks.completion import Completion, canceled, end, failed
from pulpit.tasks.recovery import sweep
from pulpit.tasks.reports import call_report
from support.database import fresh, log, told
from support.made_events import check

NOTHING = {"added": 0, "removed": 0, "replaced": 0, "truncated": False, "units": []}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with fresh(tmp_path) as (opened, _):
        yield opened


def started_sync(database: Database, worker: str = "worker-0.aa@here") -> Task:
    new = NewTask(task_type="sync", arguments={"repo_id": "zoo"}, tags=[], resource="pulp:repository:zoo")
    with database.write() as tx:
        tasks.add(tx, new, now=system_clock())
        task = tasks.claim(tx, worker, now=system_clock())
        assert task
        history.begin(
            tx,
            history.SYNC,
            repo_id="zoo",
            plugin_id="iso_importer",
            plugin_type_id="iso_importer",
            task_id=task.id,
            now=system_clock(),
        )
        fire(tx, SYNC_START, {"repo_id": "zoo"}, clock=system_clock, call_report=call_report(task))
    return task


def test_a_success_is_finished_in_one_transaction_and_the_call_report_says_the_last_state(database: Database) -> None:
    task = started_sync(database)
    ending = Ending(result="success", added_count=3, updated_count=0, removed_count=1, summary={"a": 1})
    assert end(database, task, Completion(state=tasks.FINISHED, ending=ending), system_clock)
    start, finish = told(database)
    body = json.loads(finish.body)
    assert (start.event_type, finish.event_type, finish.result) == ("repo.sync.start", "repo.sync.finish", "success")
    assert body["payload"]["added_count"] == 3
    assert body["payload"]["importer_id"] == "iso_importer"
    assert body["payload"]["_ns"] == "repo_sync_results"
    assert body["call_report"]["state"] == "finished"
    assert body["call_report"]["finish_time"] is not None
    with database.read() as connection:
        result = tasks.get(connection, task.id).result
    assert body["payload"] == result | {"changes": NOTHING}
    assert list(body["payload"])[-1] == "changes"  # Pulp 2's keys stand as they stood


def test_what_a_killed_upload_had_changed_is_told_once(database: Database) -> None:
    new = NewTask(task_type=queue.IMPORT_UPLOAD, arguments={"repo_id": "zoo"}, tags=[])
    recorder = Recorder(task_id=None, describe=lambda _, key, __: Description(name=key["name"]))
    with database.write() as tx:
        repositories.add(tx, "zoo", display_name=None, description=None, notes={}, now=system_clock())
        tasks.add(tx, new, now=system_clock())
        task = tasks.claim(tx, "worker-0.aa@here", now=system_clock())
        assert task
        unit = NewUnit(type_id="iso", key={"name": "ant"}, metadata={}, files=(), slot=None)
        holdings.save(tx, "zoo", [unit], now=system_clock(), recorder=replace(recorder, task_id=task.id))
    for _ in range(2):
        sweep(database, "@here", "The worker died (signal 9).", system_clock, most_changes=0)
    [event] = [event for event in log(database) if event.event_type == "repo.content.update"]
    check(event)
    assert event.payload["action"] == "upload"
    assert event.payload["changes"] == NOTHING | {"added": 1, "truncated": True}
    with database.read() as connection:
        [change] = changes.between(connection, "zoo", 0, event.number, limit=9)
        assert changes.names(connection, [event.number]) == {event.number: ["ant"]}
    assert change.change.unit["name"] == "ant"


def test_every_event_of_a_task_keeps_the_contract(database: Database) -> None:
    for completion in (
        Completion(
            state=tasks.FINISHED, ending=Ending(result="success", added_count=1, updated_count=0, removed_count=0)
        ),
        canceled("It was cancelled."),
        failed(KeyError("x"), ["trace"]),
    ):
        end(database, started_sync(database), completion, system_clock)
    for event in log(database):
        check(event)


def test_a_second_ending_changes_nothing_and_fires_nothing(database: Database) -> None:
    task = started_sync(database)
    assert end(database, task, canceled("It was cancelled."), system_clock)
    assert not end(database, task, failed(WorkFailed("late"), ()), system_clock)
    assert [event.result for event in told(database)] == [None, "canceled"]


def test_the_tasks_of_dead_workers_are_ended_as_errors_with_their_finish(database: Database) -> None:
    task = started_sync(database)
    assert sweep(database, "@elsewhere", "died", system_clock) == 0
    assert sweep(database, "@here", "The worker died (signal 9).", system_clock) == 1
    assert sweep(database, "@here", "again", system_clock) == 0
    _, finish = told(database)
    body = json.loads(finish.body)
    assert (body["payload"]["result"], body["payload"]["added_count"]) == ("error", None)
    assert body["payload"]["error_message"] == "The worker died (signal 9)."
    assert body["call_report"]["state"] == "error"
    with database.read() as connection:
        assert tasks.get(connection, task.id).error == {
            "code": "PLP0000",
            "description": "The worker died (signal 9).",
            "data": {},
            "sub_errors": [],
        }


def test_a_cancelled_task_whose_worker_had_to_be_killed_is_canceled(database: Database) -> None:
    task = started_sync(database)
    with database.write() as tx:
        tasks.cancel(tx, task.id, now=system_clock())
    sweep(database, "@here", "killed", system_clock)
    assert told(database)[-1].result == "canceled"


def test_a_foreseen_failure_has_no_traceback_and_a_bug_has_one(database: Database) -> None:
    started = [started_sync(database, "w1")]
    end(database, started[0], failed(WorkFailed("The feed said 404."), ["trace"]), system_clock)
    started.append(started_sync(database, "w2"))
    end(database, started[1], failed(KeyError("x"), ["trace"]), system_clock)
    records = [event.payload for event in told(database) if event.event_type == "repo.sync.finish"]
    assert [record["traceback"] for record in records] == [None, ["trace"]]
    assert records[0]["error_message"] == "The feed said 404."
    assert records[1]["error_message"] == "Internal error: KeyError: 'x'"


def test_a_task_that_began_nothing_ends_without_an_event(database: Database) -> None:
    with database.write() as tx:
        tasks.add(tx, NewTask(task_type="t", arguments={}, tags=[]), now=system_clock())
        task = tasks.claim(tx, "w", now=system_clock())
    assert task
    assert end(database, task, failed(WorkFailed("no such repository"), ()), system_clock)
    assert [event.event_type for event in log(database)] == ["tasks.error"]
