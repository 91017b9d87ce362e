"""What dead workers and servers leave: tasks that run nowhere, and uploads whose import will never come."""

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from pulpit.clock import Clock
from pulpit.events import MOST_CHANGES
from pulpit.store import tasks
from pulpit.store.database import Database
from pulpit.store.tasks import Task
from pulpit.tasks import queue
from pulpit.tasks.completion import end, lost

QUEUED_UPLOADS: Final = Path("uploads", "queued")
"""Below the data folder; whoever queues an import puts the file there."""
LOOK_SPACING: Final = 15.0
"""Least seconds between two looks at the heartbeats of other servers."""
LOOKS: Final = 4
"""Looks over which a heartbeat must stand still: a minute."""


def sweep(
    database: Database,
    worker_pattern: str,
    reason: str,
    clock: Clock,
    recover: Callable[[Task], None] = lambda _: None,
    *,
    most_changes: int = MOST_CHANGES,
) -> int:
    """End every task that runs at dead workers, whose names end in the pattern, and return how many.

    `recover` puts right what a task left; it comes before the end, which lets the next task of the repository begin.
    """
    with database.read() as connection:
        orphans = tasks.running_at(connection, worker_pattern)
    count = 0
    for task in orphans:
        recover(task)
        count += end(database, task, lost(task, reason), clock, most_changes=most_changes)
    return count


class SilentServers:
    """Which of the servers that share a database are dead: those whose heartbeat stood still over several looks.

    No two clocks are compared, and a look that the database keeps waiting is one look: neither a clock that is wrong
    nor a database that paused makes a server look dead.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic: Final = monotonic
        self._next_look = 0.0
        self._unchanged: dict[str, tuple[datetime | None, int]] = {}
        """The last heartbeat of each, and for how many looks it has been that."""

    def dead(self, heartbeats: Mapping[str, datetime | None]) -> list[str]:
        """Note what is seen now, and return the names of those that are dead."""
        now = self._monotonic()
        if now < self._next_look:
            return []
        self._next_look = now + LOOK_SPACING
        before = self._unchanged
        self._unchanged = {}
        for node, beat in heartbeats.items():
            last, looks = before.get(node, (beat, -1))
            self._unchanged[node] = (beat, looks + 1 if beat == last else 0)
        return [node for node, (_, looks) in self._unchanged.items() if looks >= LOOKS]


def sweep_uploads(database: Database, data_dir: Path) -> int:
    """Remove files that no task waits for, and return how many; call it before imports can be queued."""
    with database.read() as connection:
        alive = tasks.search(connection, states=[tasks.WAITING, tasks.RUNNING])
    wanted = {data_dir / task.arguments["path"] for task in alive if task.task_type == queue.IMPORT_UPLOAD}
    left = [path for path in (data_dir / QUEUED_UPLOADS).glob("*") if path not in wanted]
    for path in left:
        path.unlink(missing_ok=True)
    return len(left)
