"""Lets go of tasks that ended long ago, and of old entries of the history, a few at a time."""

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pulpit.clock import Clock
from pulpit.store import history, tasks
from pulpit.store.database import Database, when_available

EVERY: Final = 600.0
"""Seconds between two rounds."""
AT_ONCE: Final = 1_000
"""Rows in one transaction."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Forgetting:
    """For how long each is kept; null is for ever."""

    tasks: timedelta | None
    history: timedelta | None

    async def run(self, database: Database, clock: Clock) -> None:
        """Forget until cancelled."""
        while True:
            forgotten = 0
            while part := await when_available(lambda: self.forget(database, clock())):
                forgotten += part
                await asyncio.sleep(0.05)  # others want to write too
            if forgotten:
                _log.info("%d old tasks and entries forgotten", forgotten, extra={"action": "tasks_forgotten"})
            await asyncio.sleep(EVERY)

    def forget(self, database: Database, now: datetime) -> int:
        """Forget the oldest of what is too old, and answer how many rows that were."""
        with database.write() as tx:
            forgotten = 0
            if self.tasks is not None:
                forgotten += tasks.forget(tx, ended_before=now - self.tasks, limit=AT_ONCE)
            if self.history is not None:
                forgotten += history.forget(tx, ended_before=now - self.history, limit=AT_ONCE)
            return forgotten
