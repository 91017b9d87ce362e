"""Writes down how far every listener is: many positions in one transaction, failures and dead letters at once.

A position that is lost with the process costs a repeated delivery, with the same id, and no event. So positions may
wait a moment for company; what puts an event aside for good may not.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeVar

from pulpit.clock import Clock
from pulpit.events import LISTENER_FAILING, LISTENER_RECOVERED
from pulpit.fire import fire
from pulpit.store import dead_letters, listeners
from pulpit.store.database import Database, Transaction, when_available
from pulpit.store.dead_letters import NewDeadLetter
from pulpit.store.listeners import Delivery, Listener, Move

PATIENCE: Final = 0.2
"""Seconds for which a position may wait to be written."""
AT_ONCE: Final = 100
"""Failures, recoveries and dead letters of different listeners that are written in one transaction."""
MOST_LISTENERS: Final = 500
"""Listeners whose positions and attempts are."""
FORGET_EVERY: Final = 100
"""Attempts of a listener after which its oldest ones are forgotten."""

T = TypeVar("T")


class PositionWriter:
    """Everything that the delivery engine writes."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database: Final = database
        self._clock: Final = clock
        self._moved: dict[str, Move] = {}
        self._attempts: dict[str, list[Delivery]] = {}
        self._written: Final[dict[str, int]] = {}
        self._idle: dict[str, Move] = {}
        self._noted: Final = asyncio.Event()
        self._waiting: Final[deque[_Work]] = deque()
        self._committing: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Write positions as they come, until cancelled; then write the last ones."""
        writing: asyncio.Task[None] | None = None
        try:
            while True:
                await self._noted.wait()
                self._noted.clear()
                await asyncio.sleep(PATIENCE)
                writing = asyncio.create_task(self.flush())
                await asyncio.shield(writing)  # what it has taken must not be lost with us
        finally:
            if writing is not None and not writing.done():
                await writing
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

        def work(part: Sequence[str], tx: Transaction) -> None:
            listeners.settle(tx, [moved[listener_id] for listener_id in part if listener_id in moved])
            known = listeners.revisions(tx.connection)  # others may have been deleted a moment ago
            for listener_id in part:
                if listener_id in known and listener_id in attempts:
                    self._write_attempts(tx, listener_id, attempts[listener_id])

        for part in _parts(sorted(moved.keys() | attempts.keys())):
            await self._write(partial(work, part))

    async def idle(self, moves: Sequence[Move]) -> None:
        """Move listeners that wanted nothing."""
        fresh = [move for move in moves if self._idle.get(move.listener_id) != move]
        self._idle = {move.listener_id: move for move in moves}
        for part in _parts(fresh):
            await self._write(partial(listeners.settle, moves=part))

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
        listeners.add_deliveries(tx, noted)
        written = self._written.get(listener_id, 0) + len(noted)
        if written >= FORGET_EVERY:
            listeners.remove_old_deliveries(tx, listener_id)
            written = 0
        self._written[listener_id] = written

    async def _write(self, write: Callable[[Transaction], object]) -> None:
        """Write in a transaction, together with all that others want to write by then."""
        work = _Work(write, asyncio.get_running_loop().create_future())
        self._waiting.append(work)
        if self._committing is None or self._committing.done():
            self._committing = asyncio.create_task(self._commit_waiting())
        await work.done

    async def _commit_waiting(self) -> None:
        while self._waiting:
            together = [self._waiting.popleft() for _ in range(min(len(self._waiting), AT_ONCE))]
            together = [work for work in together if not work.done.cancelled()]  # a cursor that ended does it again
            try:
                await when_available(lambda: self._commit(together))  # noqa: B023 - it has ended before the next round
            except Exception:  # noqa: BLE001 - each must answer for itself
                for work in together:
                    try:
                        await when_available(lambda: self._commit([work]))  # noqa: B023 - the same
                    except Exception as error:  # noqa: BLE001 - whoever waits has it
                        if not work.done.done():
                            work.done.set_exception(error)
            for work in together:
                if not work.done.done():
                    work.done.set_result(None)

    def _commit(self, together: Sequence["_Work"]) -> None:
        with self._database.write() as tx:
            for work in together:
                work.write(tx)


@dataclass(frozen=True, slots=True)
class _Work:
    """Something to be written, and who waits for it."""

    write: Callable[[Transaction], object]
    done: asyncio.Future[None]


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Portions that do not keep others from writing for long."""
    for start in range(0, len(items), MOST_LISTENERS):
        yield items[start : start + MOST_LISTENERS]


def _sum(before: Delivery, after: Delivery) -> Delivery:
    return replace(
        before,
        duration_ms=before.duration_ms + after.duration_ms,
        last_event=after.last_event,
        event_count=before.event_count + after.event_count,
    )
