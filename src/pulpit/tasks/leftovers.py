"""Uploaded files whose import will never come: the task was cancelled before it began, or its worker was killed."""

from pathlib import Path
from typing import Final

from pulpit.store import tasks
from pulpit.store.database import Database
from pulpit.tasks import queue

QUEUED_UPLOADS: Final = Path("uploads", "queued")
"""Below the data folder; whoever queues an import puts the file there."""


def sweep_uploads(database: Database, data_dir: Path) -> int:
    """Remove files that no task waits for, and answer how many; call it before imports can be queued."""
    with database.read() as connection:
        alive = tasks.search(connection, states=[tasks.WAITING, tasks.RUNNING])
    wanted = {data_dir / task.arguments["path"] for task in alive if task.task_type == queue.IMPORT_UPLOAD}
    left = [path for path in (data_dir / QUEUED_UPLOADS).glob("*") if path not in wanted]
    for path in left:
        path.unlink(missing_ok=True)
    return len(left)
