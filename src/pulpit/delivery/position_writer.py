"""Stores the position of every listener: many positions and failures in one transaction, dead letters at once.

A position lost with the process costs a repeated delivery with the same id, but no event. So positions may wait a
moment to be written together; dead letters may not. `fire()` needs the same database, so nothing here locks it for
long, and after each transaction it is left to others for as long as that took.
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
from pulpit.store.listeners import Delivery, Failure, Listener, Move

PATIENCE: Final = 0.2
"""Seconds for which a position may wait to be written."""
AT_ONCE: Final = 20
"""Recoveries and dead letters of different listeners in one transaction."""
MOST_LISTENERS: Final = 200
"""Listeners whose positions, attempts and failures go into one transaction."""
LONGEST_PAUSE: Final = 0.1
"""Seconds that the database is left to others at most after a transaction."""
FORGET_EVERY: Final = 100
"""Attempts of a listener after which its oldest ones are deleted."""

T = TypeVar("T")


class PositionWriter:
    """Everything that the delivery engine writes to the database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database: Final = database
        self._clock: Final = clock
        self._moved: Final[dict[str, Callable[[], Move]]] = {}
        self._attempts: Final[dict[str, list[Delivery]]] = {}
        self._failed: Final[dict[str, _Failed]] = {}
        self._written: Final[dict[str, int]] = {}
        self._idle: dict[str, Move] = {}
        self._noted: Final = asyncio.Event()
        self._waiting: Final[deque[_Work]] = deque()
        self._committing: asyncio.Task[None] | None = None
        self._paused_until = 0.0

    async def run(self) -> None:
        """Write positions as they come, until cancelled; then write the last ones."""
        writing: asyncio.Task[None] | None = None
        try:
            while True:
                await self._noted.wait()
                self._noted.clear()
                await asyncio.sleep(PATIENCE)
                writing = asyncio.create_task(self.flush())
                await asyncio.shield(writing)  # a write that has begun must finish
        finally:
            if writing is not None and not writing.done():
                await writing
            await asyncio.shield(self.flush())

    def settle(self, listener: Listener, position: int) -> None:
        """Note that a listener has settled everything up to a position."""
        move = Move(listener_id=listener.id, epoch=listener.epoch, position=position)
        self.settle_as(listener, lambda: move)

    def settle_as(self, listener: Listener, move: Callable[[], Move]) -> None:
        """Note that a listener has settled something; `move` is called for its progress when it is written."""
        self._moved[listener.id] = move
        self._noted.set()

    def note(self, attempt: Delivery, *, sum_up: bool = True) -> None:
        """Note an attempt.

        Successive successes are summed up, unless attempts for other events may lie between them.
        """
        noted = self._attempts.setdefault(attempt.listener_id, [])
        if (
            sum_up
            and noted
            and noted[-1].outcome == attempt.outcome == "delivered"
            and noted[-1].answer == attempt.answer
        ):
            noted[-1] = _sum(noted[-1], attempt)
        else:
            noted.append(attempt)
        self._noted.set()

    def fail(self, listener: Listener, reason: str) -> None:
        """Note a failed attempt; the first one fires an event for the other listeners."""
        now, before = self._clock(), self._failed.get(listener.id)
        self._failed[listener.id] = _Failed(
            listener,
            Failure(
                listener_id=listener.id,
                count=before.failure.count + 1 if before else 1,
                error=reason,
                since=before.failure.since if before else now,
                at=now,
            ),
        )
        self._noted.set()

    async def flush(self) -> None:
        for part in _parts(sorted(self._moved.keys() | self._attempts.keys() | self._failed.keys())):
            moved = [move() for listener_id in part if (move := self._moved.pop(listener_id, None))]
            noted = [attempts for listener_id in part if (attempts := self._attempts.pop(listener_id, None))]
            failed = [failure for listener_id in part if (failure := self._failed.pop(listener_id, None))]
            await self._write(partial(self._write_notes, moved, noted, failed))

    async def idle(self, moves: Sequence[Move]) -> None:
        """Move the positions of listeners that no event matched."""
        fresh = [move for move in moves if self._idle.get(move.listener_id) != move]
        self._idle = {move.listener_id: move for move in moves}
        for part in _parts(fresh):
            await self._write(partial(listeners.settle, moves=part))

    async def recover(self, listener: Listener) -> None:
        """Store that a listener takes events again, and fire the event about it."""
        failed = self._failed.pop(listener.id, None)

        def work(tx: Transaction) -> None:
            self._write_failures(tx, [failed] if failed else [])
            listeners.recover(tx, listener.id)
            payload = {"listener_id": listener.id, "notifier_type_id": listener.notifier_type_id}
            fire(tx, LISTENER_RECOVERED, payload, clock=self._clock)

        await self._write(work)

    async def pause(self, listener: Listener, reason: str) -> None:
        """Pause a listener whose receiver wants no more events."""
        await self._write(lambda tx: listeners.pause(tx, listener.id, reason))

    async def go_back(self, replayed: Sequence[Listener]) -> None:
        """Move listeners back that this server does not deliver to now."""

        def work(tx: Transaction) -> None:
            for listener in sorted(replayed, key=lambda listener: listener.id):
                listeners.go_back(tx, listeners.get(tx.connection, listener.id))

        await self._write(work)

    async def bury(
        self, listener: Listener, letters: Sequence[NewDeadLetter], *, attempts: int, move: Move | None = None
    ) -> None:
        """Store dead letters and the position behind them, or what `move` returns, in one transaction."""
        now = self._clock()
        last = max(letter.event_number for letter in letters)
        to = move or Move(listener_id=listener.id, epoch=listener.epoch, position=last)

        def work(tx: Transaction) -> None:
            dead_letters.add(tx, listener.id, letters, attempts=attempts, now=now)
            listeners.settle(tx, [to])

        await self._write(work)

    def _write_notes(
        self,
        moved: Sequence[Move],
        noted: Sequence[Sequence[Delivery]],
        failed: Sequence["_Failed"],
        tx: Transaction,
    ) -> None:
        listeners.settle(tx, moved)
        self._write_failures(tx, failed)
        ids = [attempts[0].listener_id for attempts in noted]
        known = listeners.existing(tx.connection, ids)  # others may have been deleted a moment ago
        listeners.add_deliveries(
            tx, [attempt for attempts in noted for attempt in attempts if attempt.listener_id in known]
        )
        for attempts in noted:
            listener_id = attempts[0].listener_id
            self._written[listener_id] = self._written.get(listener_id, 0) + len(attempts)
            if self._written[listener_id] >= FORGET_EVERY:
                listeners.remove_old_deliveries(tx, listener_id)
                self._written[listener_id] = 0

    def _write_failures(self, tx: Transaction, failed: Sequence["_Failed"]) -> None:
        first = listeners.fail(tx, [entry.failure for entry in failed])
        for listener, failure in ((entry.listener, entry.failure) for entry in failed if entry.listener.id in first):
            payload = {
                "listener_id": listener.id,
                "notifier_type_id": listener.notifier_type_id,
                "reason": failure.error,
            }
            fire(tx, LISTENER_FAILING, payload, clock=self._clock)

    async def _write(self, write: Callable[[Transaction], object]) -> None:
        """Write in a transaction, together with everything that others have queued by then."""
        work = _Work(write, asyncio.get_running_loop().create_future())
        self._waiting.append(work)
        if self._committing is None or self._committing.done():
            self._committing = asyncio.create_task(self._commit_waiting())
        await work.done

    async def _commit_waiting(self) -> None:
        clock = asyncio.get_running_loop().time
        while self._waiting:
            await asyncio.sleep(self._paused_until - clock())
            started = clock()
            together = [self._waiting.popleft() for _ in range(min(len(self._waiting), AT_ONCE))]
            together = [work for work in together if not work.done.cancelled()]  # a cancelled cursor will do it again
            try:
                await when_available(lambda: self._commit(together))  # noqa: B023 - it has ended before the next round
            except Exception:  # noqa: BLE001 - retried one by one below, so that each fails by itself
                for work in together:
                    try:
                        await when_available(lambda: self._commit([work]))  # noqa: B023 - the same
                    except Exception as error:  # noqa: BLE001 - raised to its waiter
                        if not work.done.done():
                            work.done.set_exception(error)
            for work in together:
                if not work.done.done():
                    work.done.set_result(None)
            self._paused_until = clock() + min(clock() - started, LONGEST_PAUSE)

    def _commit(self, together: Sequence["_Work"]) -> None:
        with self._database.write() as tx:
            for work in together:
                work.write(tx)


@dataclass(frozen=True, slots=True)
class _Failed:
    """A listener, and its failures that are not stored yet."""

    listener: Listener
    failure: Failure


@dataclass(frozen=True, slots=True)
class _Work:
    write: Callable[[Transaction], object]
    done: asyncio.Future[None]


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Split work into transactions that do not lock others out for long."""
    for start in range(0, len(items), MOST_LISTENERS):
        yield items[start : start + MOST_LISTENERS]


def _sum(before: Delivery, after: Delivery) -> Delivery:
    return replace(
        before,
        duration_ms=before.duration_ms + after.duration_ms,
        last_event=after.last_event,
        event_count=before.event_count + after.event_count,
    )
