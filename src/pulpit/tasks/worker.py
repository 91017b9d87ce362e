"""The inside of a worker process: it runs one task after another.

The server sends orders over standard input, one per line: `wake` (look for tasks), `cancel <task id>`, `stop` (end the
running task as cancelled, then exit). End of input means that the server is dead: the worker exits at once, and the
next server ends its task and starts other workers.
"""

import asyncio
import contextlib
import logging
import os
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from pulpit.clock import Clock
from pulpit.errors import DatabaseUnavailable, PulpitError, StorageFull, WorkFailed
from pulpit.events import MOST_CHANGES
from pulpit.fire import fire
from pulpit.repositories.context import TaskContext
from pulpit.store import tasks
from pulpit.store.database import Database, when_available
from pulpit.store.tasks import Task
from pulpit.tasks.completion import Completion, canceled, end, failed
from pulpit.tasks.operations import Operation, Work
from pulpit.tasks.queue import announce
from pulpit.tasks.reports import call_report

POLL: Final = 5.0
"""Seconds between looks at the queue without an order."""
PROGRESS_EVERY: Final = 0.4
"""Seconds between two writes of a progress report."""

_log = logging.getLogger(__name__)


@dataclass(eq=False, repr=False)
class Worker:
    """Runs tasks until told to stop."""

    name: str
    database: Database
    context: TaskContext
    operations: Mapping[str, Operation]
    clock: Clock
    most_changes: int = MOST_CHANGES
    _called: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _stopping: bool = field(init=False, default=False)
    _task_id: str = field(init=False, default="")
    _unwanted: str = field(init=False, default="")
    """The task that the last `cancel` named; the order may arrive before the task begins here."""
    _running: asyncio.Task[Completion] | None = field(init=False, default=None)

    async def run(self, orders: asyncio.StreamReader) -> None:
        """Obey orders and run tasks until `stop`."""
        listening = asyncio.create_task(self._obey(orders))
        try:
            while not self._stopping:
                self._called.clear()
                task = await when_available(self._claim)
                if task:
                    await self._perform(task)
                else:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(POLL):
                            await self._called.wait()
        finally:
            listening.cancel()

    async def _obey(self, orders: asyncio.StreamReader) -> None:
        while line := await orders.readline():
            order, _, task_id = line.decode().strip().partition(" ")
            self._stopping = self._stopping or order == "stop"
            self._unwanted = task_id if order == "cancel" else self._unwanted
            if self._running and self._must_stop:
                self._running.cancel()
            self._called.set()
        os._exit(os.EX_UNAVAILABLE)

    @property
    def _must_stop(self) -> bool:
        return self._stopping or self._unwanted == self._task_id

    def _claim(self) -> Task | None:
        with self.database.write() as tx:
            task = tasks.claim(tx, self.name, now=self.clock())
            if task:
                announce(tx, task, self.clock)
            return task

    async def _perform(self, task: Task) -> None:
        extra = {"action": "task_started", "task": task.id, "task_type": task.task_type}
        _log.info("task started", extra=extra)
        progress = _Progress(self.database, task)
        completion = await self._completion(task, progress)
        complete = progress.complete(completion)
        most = self.most_changes
        await when_available(lambda: end(self.database, task, complete, self.clock, most_changes=most))
        _log.info(
            "task ended: %s",
            completion.state,
            extra={"action": "task_ended", "task": task.id, "state": completion.state},
        )

    async def _completion(self, task: Task, progress: "_Progress") -> Completion:
        tell = partial(fire, clock=self.clock, call_report=call_report(task))
        work = Work(task=task, context=replace(self.context, task_id=task.id, tell=tell), report=progress.take)
        writing = asyncio.create_task(progress.write_now_and_then())
        self._task_id = task.id
        self._running = asyncio.create_task(self._operate(work))
        if self._must_stop:
            self._running.cancel()
        try:
            return await self._running
        except asyncio.CancelledError:
            return canceled("The server was stopped." if self._stopping else "The task was cancelled.")
        except PulpitError as error:
            return failed(error, ())
        except Exception as error:  # noqa: BLE001 - whatever it was becomes the task's error
            _log.exception("task failed", extra={"action": "task_bug", "task": task.id})
            return failed(error, traceback.format_exception(error))
        finally:
            self._running = None
            writing.cancel()
            await asyncio.wait({writing})

    async def _operate(self, work: Work) -> Completion:
        operation = self.operations.get(work.task.task_type)
        if operation is None:
            raise WorkFailed(f"This server does not know how to do {work.task.task_type}.")
        return await operation(work)


class _Progress:
    """The latest progress report, written at intervals."""

    def __init__(self, database: Database, task: Task) -> None:
        self._database: Final = database
        self._task: Final = task
        self._latest: dict[str, Any] | None = None
        self._fresh = False

    def take(self, report: dict[str, Any]) -> None:
        self._latest = report
        self._fresh = True

    async def write_now_and_then(self) -> None:
        while True:
            if self._fresh and self._latest is not None:
                self._fresh = False
                with contextlib.suppress(StorageFull, DatabaseUnavailable):  # the task itself will fail on it
                    await asyncio.to_thread(self._write, self._latest)
            await asyncio.sleep(PROGRESS_EVERY)

    def complete(self, completion: Completion) -> Completion:
        """Add the last report to the completion, so that it is written with the end."""
        return replace(completion, progress_report=self._latest)

    def _write(self, report: dict[str, Any]) -> None:
        with self._database.write() as tx:
            tasks.report_progress(tx, self._task.id, self._task.worker_name or "", report)
