"""Writes down how far every listener is: many positions in one transaction, failures and dead letters at once.

A position that is lost with the process costs a repeated delivery, with the same id, and no event. So positions may
wait a moment for company; what puts an event aside for good may not.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from pulpit.clock import Clock
from pulpit.events import LISTENER_FAILING, LISTENER_RECOVERED
from pulpit.fire import fire
from pulpit.store import dead_letters, listeners
from pulpit.store.database import Database, Transaction, when_available
from pulpit.store.dead_letters import NewDeadLetter
from pulpit.store.listeners import Delivery, Listener, Move

PATIENCE: Final = 0.2
"""Seconds for which a position may wait to be written."""
FORGET_EVERY: Final = 100
"""Attempts of a listener after which its oldest ones are forgotten."""


class PositionWriter:
    """Everything that the delivery engine writes."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database: Final = database
        self._clock: Final = clock
        self._moved: dict[str, Move] = {}
        self._attempts: dict[str, list[Delivery]] = {}
        self._written: Final[dict[str, int]] = {}
        self._noted: Final = asyncio.Event()

    async def run(self) -> None:
        """Write positions as they come, until cancelled; then write the last ones."""
        try:
            while True:
                await self._noted.wait()
                self._noted.clear()
                await asyncio.sleep(PATIENCE)
                await self.flush()
        finally:
            await asyncio.shield(self.flush())

    def settle(self, listener: Listener, position: int) -> None:
        """Note that a listener is through up to a position."""
        self._moved[listener.id] = Move(listener_id=listener.id, epoch=listener.epoch, position=position)
        self._noted.set()

    def note(self, attempt: Delivery) -> None:
        """Note an attempt; successes in a row are summed up."""
        noted = self._attempts.setdefault(attempt.listener_id, [])
        if noted and noted[-1].outcome == attempt.outcome == "delivered" and noted[-1].answer == attempt.answer:
            noted[-1] = _sum(noted[-1], attempt)
        else:
            noted.append(attempt)
        self._noted.set()

    async def flush(self) -> None:
        """Write everything that is noted."""
        moved, self._moved = self._moved, {}
        attempts, self._attempts = self._attempts, {}

        def work(tx: Transaction) -> None:
            listeners.settle(tx, moved.values())
            for listener_id, noted in attempts.items():
                self._write_attempts(tx, listener_id, noted)

        if moved or attempts:
            await self._write(work)

    async def idle(self, moves: Sequence[Move]) -> None:
        """Move listeners that wanted nothing."""
        await self._write(lambda tx: listeners.settle(tx, moves))

    async def fail(self, listener: Listener, reason: str) -> None:
        """Write down a failed attempt, and tell the other listeners of the first one."""

        def work(tx: Transaction) -> None:
            if listeners.fail(tx, listener.id, reason, now=self._clock()):
                payload = {"listener_id": listener.id, "notifier_type_id": listener.notifier_type_id, "reason": reason}
                fire(tx, LISTENER_FAILING, payload, clock=self._clock)

        await self._write(work)

    async def recover(self, listener: Listener) -> None:
        """Write down that a listener takes events again, and tell the others."""

        def work(tx: Transaction) -> None:
            listeners.recover(tx, listener.id)
            payload = {"listener_id": listener.id, "notifier_type_id": listener.notifier_type_id}
            fire(tx, LISTENER_RECOVERED, payload, clock=self._clock)

        await self._write(work)

    async def pause(self, listener: Listener, reason: str) -> None:
        """Pause a listener whose far side wants no more."""
        await self._write(lambda tx: listeners.pause(tx, listener.id, reason))

    async def go_back(self, replayed: Sequence[Listener]) -> None:
        """Send listeners back that nobody delivers to now."""

        def work(tx: Transaction) -> None:
            for listener in sorted(replayed, key=lambda listener: listener.id):
                listeners.go_back(tx, listeners.get(tx.connection, listener.id))

        await self._write(work)

    async def bury(self, listener: Listener, letters: Sequence[NewDeadLetter], *, attempts: int) -> None:
        """Put events aside as dead letters and the position behind them, in one transaction."""
        now = self._clock()
        last = max(letter.event_number for letter in letters)

        def work(tx: Transaction) -> None:
            dead_letters.add(tx, listener.id, letters, attempts=attempts, now=now)
            listeners.settle(tx, [Move(listener_id=listener.id, epoch=listener.epoch, position=last)])

        await self._write(work)

    def _write_attempts(self, tx: Transaction, listener_id: str, noted: Sequence[Delivery]) -> None:
        if listener_id not in listeners.revisions(tx.connection):
            return  # it was deleted a moment ago
        listeners.add_deliveries(tx, noted)
        written = self._written.get(listener_id, 0) + len(noted)
        if written >= FORGET_EVERY:
            listeners.remove_old_deliveries(tx, listener_id)
            written = 0
        self._written[listener_id] = written

    async def _write(self, work: Callable[[Transaction], object]) -> None:
        await when_available(lambda: self._commit(work))

    def _commit(self, work: Callable[[Transaction], object]) -> None:
        with self._database.write() as tx:
            work(tx)


def _sum(before: Delivery, after: Delivery) -> Delivery:
    return replace(
        before,
        duration_ms=before.duration_ms + after.duration_ms,
        last_event=after.last_event,
        event_count=before.event_count + after.event_count,
    )
