"""Writes down how far every listener is: many positions in one transaction, failures and dead letters at once.

A position that is lost with the process costs a repeated delivery, with the same id, and no event. So positions may
wait a moment for company; what puts an event aside for good may not.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from pulpit.clock import Clock
from pulpit.errors import StorageFull
from pulpit.store import dead_letters, listeners
from pulpit.store.database import Database, Transaction

PATIENCE: Final = 0.2
"""Seconds for which a position may wait to be written."""
FULL_DISK_PAUSE: Final = 5.0
"""Seconds between tries to write while the disk is full."""

_log = logging.getLogger(__name__)


class Ledger:
    """The delivery engine's only pen."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database: Final = database
        self._clock: Final = clock
        self._moved: dict[str, int] = {}
        self._news: Final = asyncio.Event()

    async def run(self) -> None:
        """Write positions as they come, until cancelled; then write the last ones."""
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                await asyncio.sleep(PATIENCE)
                await self.flush()
        finally:
            await asyncio.shield(self.flush())

    def settle(self, listener_id: str, position: int) -> None:
        """Note that a listener is through up to a position."""
        self._moved[listener_id] = position
        self._news.set()

    async def flush(self) -> None:
        """Write every position that is noted."""
        moved, self._moved = self._moved, {}

        def work(tx: Transaction) -> None:
            for listener_id, position in moved.items():
                listeners.settle(tx, listener_id, position)

        if moved:
            await self._write(work)

    async def idle(self, listener_ids: Sequence[str], position: int) -> None:
        """Move listeners that wanted nothing up to a position."""
        await self._write(lambda tx: listeners.settle_many(tx, listener_ids, position))

    async def fail(self, listener_id: str, reason: str) -> None:
        """Write down a failed attempt."""
        await self._write(lambda tx: listeners.fail(tx, listener_id, reason, now=self._clock()))

    async def recover(self, listener_id: str) -> None:
        """Write down that a listener takes events again."""
        await self._write(lambda tx: listeners.recover(tx, listener_id))

    async def bury(self, listener_id: str, numbers: Sequence[int], reason: str, *, attempts: int) -> None:
        """Put events aside as dead letters and the position behind them, in one transaction."""
        now = self._clock()

        def work(tx: Transaction) -> None:
            dead_letters.add(tx, listener_id, numbers, reason=reason, attempts=attempts, now=now)
            listeners.settle(tx, listener_id, max(numbers))

        await self._write(work)

    async def _write(self, work: Callable[[Transaction], object]) -> None:
        while True:
            try:
                await asyncio.to_thread(self._commit, work)
            except StorageFull:
                _log.warning("the disk is full; positions wait", extra={"action": "ledger_disk_full"})
                await asyncio.sleep(FULL_DISK_PAUSE)
            else:
                return

    def _commit(self, work: Callable[[Transaction], object]) -> None:
        with self._database.write() as tx:
            work(tx)
