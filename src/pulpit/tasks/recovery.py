"""Cleans up after dead workers and servers: tasks that run nowhere, and uploads whose import will never run."""

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from pulpit.clock import Clock
from pulpit.events import MOST_CHANGES
from pulpit.repositories.pending_uploads import LINKED
from pulpit.store import tasks
from pulpit.store.database import Database
from pulpit.store.tasks import Task
from pulpit.tasks import queue
from pulpit.tasks.completion import end, lost

LOOK_SPACING: Final = 15.0
"""Least seconds between two looks at the heartbeats of other servers."""
LOOKS: Final = 4
"""Looks during which a dead server's heartbeat must not change: a minute."""


def sweep(
    database: Database,
    worker_pattern: str,
    reason: str,
    clock: Clock,
    recover: Callable[[Task], None] = lambda _: None,
    *,
    most_changes: int = MOST_CHANGES,
) -> int:
    """End every task of dead workers, whose names end in the pattern, and return how many.

    `recover` repairs what a task left behind; it runs before the task ends, which lets the next one of the repository
    start.
    """
    with database.read() as connection:
        orphans = tasks.running_at(connection, worker_pattern)
    count = 0
    for task in orphans:
        recover(task)
        count += end(database, task, lost(task, reason), clock, most_changes=most_changes)
    return count


class SilentServers:
    """Detects dead servers among those that share a database: their heartbeat did not change over several looks.

    No two clocks are compared, and a look that has to wait for the database counts once: neither a wrong clock nor a
    paused database makes a server look dead.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic: Final = monotonic
        self._next_look = 0.0
        self._unchanged: dict[str, tuple[datetime | None, int]] = {}
        """The last heartbeat of each, and the number of looks at which it was the same."""

    def dead(self, heartbeats: Mapping[str, datetime | None]) -> list[str]:
        """Record the heartbeats seen now, and return the names of the dead servers."""
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
    left = [path for path in (data_dir / LINKED).glob("*") if path not in wanted]
    for path in left:
        path.unlink(missing_ok=True)
    return len(left)
