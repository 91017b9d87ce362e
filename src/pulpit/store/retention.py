"""Deletes old rows a few at a time: no table grows without bound, and no other writer waits for long."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pulpit.clock import Clock
from pulpit.store import changes, event_log, history, tasks
from pulpit.store.database import Database, when_available

EVERY: Final = 600.0
"""Seconds between two rounds."""
AT_ONCE: Final = 1_000
"""Rows of a table in one transaction."""
_PAUSE: Final = 0.05
"""Seconds between two transactions, so that others can write."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Retention:
    """How long rows are kept; `None` is forever."""

    events: timedelta | None = None
    event_count: int | None = None
    for_listeners: bool = True
    """Whether an event stays, however old, until every listener has settled it."""
    tasks: timedelta | None = None
    history: timedelta | None = None

    async def run(self, database: Database, clock: Clock) -> None:
        """Delete until cancelled."""
        while True:
            await _until_done("events", lambda: self.remove_events(database, clock()))
            await _until_done("changes", lambda: self.remove_changes(database))
            await _until_done("tasks", lambda: self.remove_tasks(database, clock()))
            await asyncio.sleep(EVERY)

    def remove_events(self, database: Database, now: datetime) -> int:
        """Delete some of the events that need not be kept, and return how many."""
        older_than = None if self.events is None else now - self.events
        with database.write() as tx:
            return event_log.forget(
                tx,
                older_than=older_than,
                beyond=self.event_count,
                past_cursors=not self.for_listeners,
                limit=AT_ONCE,
            )

    def remove_changes(self, database: Database) -> int:
        """Delete some of the changes whose events are no longer in the log, and return the number of rows."""
        with database.write() as tx:
            return changes.forget(tx, limit=AT_ONCE)

    def remove_tasks(self, database: Database, now: datetime) -> int:
        """Delete some of the expired tasks and history records, and return how many."""
        removed = 0
        with database.write() as tx:
            if self.tasks is not None:
                removed += tasks.forget(tx, ended_before=now - self.tasks, limit=AT_ONCE)
            if self.history is not None:
                removed += history.forget(tx, ended_before=now - self.history, limit=AT_ONCE)
        return removed


async def _until_done(what: str, remove_some: Callable[[], int]) -> None:
    removed = 0
    while some := await when_available(remove_some):
        removed += some
        await asyncio.sleep(_PAUSE)
    if removed:
        _log.info("%d old %s deleted", removed, what, extra={"action": f"{what}_forgotten"})
