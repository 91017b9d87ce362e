"""The store: everything durable, written in batches by a thread.

Writes are collected in a batch. When the thread is idle, it gets the batch and commits it while the next one is
collected; so under load many messages share one `fsync`, and a single message waits for no other. Batches commit in
order. An entry that is settled before its batch is taken is never written.

SQLite gets whole rows in few long statements, because the interpreter's lock is released once per statement.
"""

import json
import logging
import sqlite3
from collections.abc import Callable, Iterator
from typing import Final, Protocol, TypeVar

from pulpit.broker import schema
from pulpit.broker.message import Message, Row
from pulpit.broker.resources import Memory, Timers
from pulpit.broker.schema import SqlValue
from pulpit.broker.writer import Done, WriteBatch

R = TypeVar("R", bound=Row)
GONE: Final = -1
RETRY_SECONDS: Final = 1.0
"""Between two attempts to write when the disk fails."""

_log = logging.getLogger(__name__)


class BatchWriter(Protocol):
    """Commits batches: a thread, or a fake in tests of the logic."""

    def submit(self, batch: WriteBatch, done: Done) -> None:
        """Write, then call `done` on the loop."""


class Store:
    """The loop's side: nothing here waits for the disk, except `load`, which reads a piece of a backlog.

    `entry.state` is the number of the batch that holds its row, 0 for an entry without a row, GONE for a settled one.
    """

    def __init__(
        self,
        *,
        writer: BatchWriter,
        reader: sqlite3.Connection | None,
        timers: Timers,
        memory: Memory,
        last_id: int = 0,
    ) -> None:
        self._writer: Final = writer
        self._reader: Final = reader
        self._timers: Final = timers
        self.memory: Final = memory
        self.last_id = last_id
        self.failing = False
        self.on_change: Callable[[], None] = lambda: None
        self._batch = WriteBatch(2)  # rows from earlier runs count as batch 1
        self._in_flight: WriteBatch | None = None
        self._committed = 1
        self._scheduled = False

    def next_id(self) -> int:
        """A number greater than all before."""
        self.last_id += 1
        return self.last_id

    @property
    def has_unwritten(self) -> bool:
        """Whether entries of this turn are still unwritten."""
        return bool(self._batch.entries)

    @property
    def unwritten_bytes(self) -> int:
        return self._batch.size + (self._in_flight.size if self._in_flight else 0)

    def insert(self, entry: Row) -> None:
        if entry.state:
            return
        batch = self._batch
        entry.state = batch.number
        batch.durable = batch.durable or entry.durable
        batch.entries.append(entry)
        batch.size += len(entry.message.body)
        if not self._scheduled:
            self._schedule()

    def remove(self, entry: Row) -> None:
        """Delete a settled entry, if it was written."""
        batch = self._batch
        if 0 < entry.state < batch.number:
            batch.durable = batch.durable or entry.durable
            batch.deletes.append(entry.id)
            if entry.message.id:
                batch.uses[entry.message.id] += 1
            if not self._scheduled:
                self._schedule()
        entry.state = GONE

    def wipe(self, queue: int, priority: int, above: int, up_to: int) -> None:
        """Delete a queue's rows within these ids."""
        self._batch.durable = True
        self._batch.wipes.append((queue, priority, above, up_to))
        self._schedule()

    def execute(self, statement: str, *values: SqlValue) -> None:
        """Run a statement of the schema in the next commit."""
        self._batch.durable = True
        self._batch.statements.append((statement, values))
        self._schedule()

    def after(self, callback: Callable[[], None]) -> None:
        """Call when everything so far is on disk."""
        self._batch.callbacks.append(callback)
        self._schedule()

    def confirm(self, confirmed: Callable[[int], None], tag: int) -> None:
        """Call `confirmed(tag)` when everything so far is on disk."""
        self._batch.confirms.append((confirmed, tag))

    def is_written(self, entry: Row) -> bool:
        """Whether the entry's row is committed."""
        return 0 < entry.state <= self._committed

    def load(  # noqa: PLR0917 - a key range and limits
        self,
        make: Callable[[int, Message, int | None], R],
        queue: int,
        priority: int,
        after: int,
        count: int,
        size: int,
    ) -> list[R]:
        """Read the next entries of a queue, at most `count` and not much more than `size` bytes."""
        assert self._reader is not None  # noqa: S101 - only a store without a disk has none, and never writes
        loaded: list[R] = []
        rows = self._reader.execute(schema.LOAD, (queue, priority, after, count))
        for number, redelivered, expires_at, message_id, length, *content in rows:
            message = message_from(*content)
            message.id = message_id or 0
            row = make(number, message, expires_at)
            row.redelivered = bool(redelivered)
            row.durable = True
            row.state = self._committed
            loaded.append(row)
            size -= length
            if size <= 0:
                break
        rows.close()
        return loaded

    def load_messages(self, rows: list[int]) -> Iterator[tuple[int, Message]]:
        """Read the messages of these rows, which are written."""
        assert self._reader is not None  # noqa: S101 - as above
        if rows:
            for number, message_id, *content in self._reader.execute(schema.LOAD_LISTED, (json.dumps(rows),)):
                message = message_from(*content)
                message.id = message_id or 0
                yield number, message

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._timers.soon(self._hand_over)

    def _hand_over(self) -> None:
        """Pass the batch to the writer, unless it is busy; then `_done` calls this again."""
        if self._in_flight is not None:
            return
        self._scheduled = False
        batch = self._batch
        self._batch = WriteBatch(batch.number + 1)
        batch.entries = [entry for entry in batch.entries if entry.state != GONE]
        self._in_flight = batch
        if batch.is_empty:
            self._done(None)
        else:
            self._writer.submit(batch, self._done)

    def _done(self, error: Exception | None) -> None:
        batch = self._in_flight
        assert batch is not None  # noqa: S101 - only a batch in flight can end
        if (error is not None) != self.failing:
            self.failing = error is not None
            self.on_change()
        if error is not None:
            self._timers.after(RETRY_SECONDS, lambda: self._writer.submit(batch, self._done))
            return
        self._in_flight = None
        self._committed = batch.number
        for confirmed, tag in batch.confirms:
            confirmed(tag)
        for callback in batch.callbacks:
            callback()
        if self._scheduled:
            self._hand_over()


def message_from(address: bytes, header: bytes, body: bytes) -> Message:
    """Decode a stored message; the address is two short strings."""
    middle = 1 + address[0]
    exchange = address[1:middle].decode("utf-8", "surrogateescape")
    routing_key = address[middle + 1 :].decode("utf-8", "surrogateescape")
    return Message(exchange, routing_key, address, header, body, None)
