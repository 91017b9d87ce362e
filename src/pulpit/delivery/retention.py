"""Lets go of old events, a few at a time, so that the log does not grow for ever and nobody waits for it."""

import asyncio
import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from pulpit.clock import Clock
from pulpit.store import event_log
from pulpit.store.database import Database, when_available

EVERY: Final = 600.0
"""Seconds between two rounds."""
AT_ONCE: Final = 2_000
"""Events in one transaction."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Retention:
    """What is kept; see `event_log.forget`."""

    age: timedelta | None
    count: int | None
    past_cursors: bool

    async def run(self, database: Database, clock: Clock) -> None:
        """Forget until cancelled."""
        while True:
            forgotten = 0
            while part := await when_available(lambda: self._forget(database, clock)):
                forgotten += part
                await asyncio.sleep(0.05)  # others want to write too
            if forgotten:
                _log.info("%d old events forgotten", forgotten, extra={"action": "events_forgotten"})
            await asyncio.sleep(EVERY)

    def _forget(self, database: Database, clock: Clock) -> int:
        older_than = None if self.age is None else clock() - self.age
        with database.write() as tx:
            return event_log.forget(
                tx, older_than=older_than, beyond=self.count, past_cursors=self.past_cursors, limit=AT_ONCE
            )
