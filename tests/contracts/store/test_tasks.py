"""The task queue: one task per resource at a time, in order, and only its worker can end a task."""

import threading
import time
from datetime import datetime, timedelta

import pytest

from pulpit.clock import system_clock
from pulpit.errors import MissingResource
from pulpit.store import history, tasks
from pulpit.store.database import Database, Transaction
from pulpit.store.history import Ending
from pulpit.store.retention import Retention
from pulpit.store.tasks import EndedTask, NewTask, Task
from pulpit.tasks import queue


def queued(database: Database, resource: str | None = None, *tags: str) -> Task:
    new = NewTask(task_type="t", arguments={}, tags=[*tags], resource=resource)
    with database.write() as tx:
        return tasks.add(tx, new, now=system_clock())


def claimed(database: Database, worker: str = "w") -> Task | None:
    with database.write() as tx:
        return tasks.claim(tx, worker, now=system_clock())


def ended(database: Database, task: Task, worker: str = "w", state: str = tasks.FINISHED) -> Task | None:
    with database.write() as tx:
        return tasks.end(tx, task.id, worker, EndedTask(state=state), now=system_clock())


def test_tasks_of_one_resource_run_one_at_a_time_and_in_order(database: Database) -> None:
    first, second, other = queued(database, "zoo"), queued(database, "zoo"), queued(database, "farm")
    free = queued(database)
    taken = [claimed(database) for _ in range(4)]
    assert [task.id if task else None for task in taken] == [first.id, other.id, free.id, None]
    assert ended(database, first)
    again = claimed(database)
    assert again
    assert again.id == second.id


TYPES = [value for value in vars(queue).values() if isinstance(value, str) and value.startswith(("pulp.", "pulpit."))]


@pytest.mark.parametrize("task_type", [name for name in TYPES if name != queue.__name__])
def test_every_type_of_a_task_has_room(database: Database, task_type: str) -> None:
    with database.write() as tx:
        task = tasks.add(tx, NewTask(task_type=task_type, arguments={}, tags=[]), now=system_clock())
    with database.read() as connection:
        assert tasks.get(connection, task.id).task_type == task_type


def test_only_the_worker_that_has_a_task_can_end_it_and_only_once(database: Database) -> None:
    queued(database)
    task = claimed(database, "one")
    assert task
    assert ended(database, task, "another") is None
    assert ended(database, task, "one")
    assert ended(database, task, "one", tasks.ERROR) is None
    with database.read() as connection:
        assert tasks.get(connection, task.id).state == tasks.FINISHED


def test_cancelling_ends_a_waiting_task_and_asks_a_running_one(database: Database) -> None:
    running, waiting = queued(database, "zoo"), queued(database, "zoo")
    claimed(database)
    with database.write() as tx:
        for task in (running, waiting):
            tasks.cancel(tx, task.id, now=system_clock())
    with database.read() as connection:
        one, other = tasks.get(connection, running.id), tasks.get(connection, waiting.id)
    assert (one.state, one.cancel_requested) == (tasks.RUNNING, True)
    assert (other.state, other.finish_time is None) == (tasks.CANCELED, False)
    with pytest.raises(MissingResource), database.write() as tx:
        tasks.cancel(tx, "no such task", now=system_clock())


def test_searching_by_state_and_by_whole_tags(database: Database) -> None:
    zoo = queued(database, None, "pulp:repository:zoo", "pulp:action:sync")
    queued(database, None, "pulp:repository:zoo_2", "pulp:action:sync")
    claimed(database)
    with database.read() as connection:
        assert [task.id for task in tasks.search(connection, tags=["pulp:repository:zoo"])] == [zoo.id]
        assert [task.id for task in tasks.search(connection, states=[tasks.RUNNING])] == [zoo.id]
        assert tasks.search(connection, tags=["pulp:repository:zoo", "pulp:action:publish"]) == []
        assert len(tasks.search(connection, states=[tasks.WAITING])) == 1
        assert tasks.search(connection, tags=["%"]) == []


def test_purging_takes_ended_tasks_alone(database: Database) -> None:
    queued(database)
    done = claimed(database)
    assert done
    ended(database, done)
    queued(database)
    with database.write() as tx:
        assert tasks.purge(tx, [tasks.FINISHED, tasks.WAITING]) == 1


def test_many_workers_never_take_one_task_twice_nor_one_resource_at_a_time(database: Database) -> None:
    for number in range(12):
        queued(database, f"resource-{number % 3}")
    taken: list[Task] = []
    busy: set[str | None] = set()
    lock = threading.Lock()

    def work(name: str) -> None:
        deadline = time.monotonic() + 20
        while len(taken) < 12 and time.monotonic() < deadline:
            task = claimed(database, name)
            if task is None:
                continue
            with lock:
                assert task.resource not in busy
                busy.add(task.resource)
                taken.append(task)
            with lock:
                busy.discard(task.resource)
            ended(database, task, name)

    workers = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len({task.id for task in taken}) == len(taken) == 12
    for number in range(3):
        of_one = [task.object_id for task in taken if task.resource == f"resource-{number}"]
        assert of_one == sorted(of_one)


def test_what_ended_long_ago_is_forgotten_a_few_at_a_time(database: Database) -> None:
    old = [queued(database) for _ in range(3)]
    for task in old:
        claimed(database)
        ended(database, task)
    waiting = queued(database)
    now = system_clock()
    nothing = Retention(history=None)
    assert nothing.remove_tasks(database, now + timedelta(days=9)) == 0
    month = Retention(tasks=timedelta(days=30), history=None)
    assert month.remove_tasks(database, now) == 0
    with database.write() as tx:
        assert tasks.forget(tx, ended_before=now + timedelta(days=1), limit=2) == 2
    assert month.remove_tasks(database, now + timedelta(days=31)) == 1
    with database.read() as connection:
        assert [task.id for task in tasks.search(connection)] == [waiting.id]


def test_old_history_is_forgotten_and_what_is_open_stays(database: Database) -> None:
    now = system_clock()
    with database.write() as tx:
        for moment in (now - timedelta(days=400), now):
            closed = begin(tx, moment)
            history.close(tx, closed, Ending(result="success"), now=moment)
        begin(tx, now - timedelta(days=400))
    assert Retention(history=timedelta(days=365)).remove_tasks(database, now) == 1
    with database.read() as connection:
        assert len(history.of_repository(connection, "zoo", history.SYNC)) == 1
        assert len(history.open_records(connection, "t")) == 1


def begin(tx: Transaction, moment: datetime) -> str:
    return history.begin(tx, history.SYNC, repo_id="zoo", plugin_id="i", plugin_type_id="i", task_id="t", now=moment)
