"""A worker obeys orders at any time, even before the task that they name has begun."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from pulpit.clock import system_clock
from pulpit.repositories.context import TaskContext
from pulpit.storage.folder import FolderStorage
from pulpit.store import tasks
from pulpit.store.database import Database
from pulpit.store.tasks import NewTask, Task
from pulpit.tasks.completion import Completion
from pulpit.tasks.operations import Work
from pulpit.tasks.worker import Worker
from support.database import fresh, log


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with fresh(tmp_path) as (opened, _):
        yield opened


def queued(database: Database, task_type: str) -> Task:
    with database.write() as tx:
        return tasks.add(tx, NewTask(task_type=task_type, arguments={}, tags=[]), now=system_clock())


async def for_ever(_: Work) -> Completion:
    await asyncio.Event().wait()
    raise AssertionError


async def at_once(_: Work) -> Completion:
    return Completion(state=tasks.FINISHED)


def test_an_order_to_cancel_may_come_before_the_task_has_begun(database: Database, tmp_path: Path) -> None:
    unwanted, wanted = queued(database, "for ever"), queued(database, "at once")
    context = TaskContext(
        database=database,
        storage=FolderStorage(tmp_path / "content"),
        data_dir=tmp_path,
        clock=system_clock,
        content_types={},
    )

    async def story() -> None:
        worker = Worker("w@here", database, context, {"for ever": for_ever, "at once": at_once}, system_clock)
        orders = asyncio.StreamReader()
        orders.feed_data(f"cancel {unwanted.id}\n".encode())
        working = asyncio.create_task(worker.run(orders))
        async with asyncio.timeout(60):
            while state(wanted) not in tasks.ENDED:  # noqa: ASYNC110 - only the database tells
                await asyncio.sleep(0.01)
        orders.feed_data(b"stop\n")
        await working

    def state(task: Task) -> str:
        with database.read() as connection:
            return tasks.get(connection, task.id).state

    asyncio.run(story())
    assert (state(unwanted), state(wanted)) == (tasks.CANCELED, tasks.FINISHED)
    assert [event.event_type for event in log(database) if event.event_type == "tasks.canceled"] == ["tasks.canceled"]
