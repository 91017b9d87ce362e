"""What dead workers and servers leave: tasks that run nowhere, and uploads whose import will never come."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from pulpit.clock import Clock
from pulpit.store import tasks
from pulpit.store.database import Database
from pulpit.store.tasks import Task
from pulpit.tasks import queue
from pulpit.tasks.completion import end, lost

QUEUED_UPLOADS: Final = Path("uploads", "queued")
"""Below the data folder; whoever queues an import puts the file there."""


def sweep(
    database: Database, worker_pattern: str, reason: str, clock: Clock, recover: Callable[[Task], None] = lambda _: None
) -> int:
    """End every task that runs at dead workers, whose names end in the pattern, and return how many.

    `recover` puts right what a task left; it comes before the end, which lets the next task of the repository begin.
    """
    with database.read() as connection:
        orphans = tasks.running_at(connection, worker_pattern)
    count = 0
    for task in orphans:
        recover(task)
        count += end(database, task, lost(task, reason), clock)
    return count


def sweep_uploads(database: Database, data_dir: Path) -> int:
    """Remove files that no task waits for, and return how many; call it before imports can be queued."""
    with database.read() as connection:
        alive = tasks.search(connection, states=[tasks.WAITING, tasks.RUNNING])
    wanted = {data_dir / task.arguments["path"] for task in alive if task.task_type == queue.IMPORT_UPLOAD}
    left = [path for path in (data_dir / QUEUED_UPLOADS).glob("*") if path not in wanted]
    for path in left:
        path.unlink(missing_ok=True)
    return len(left)
