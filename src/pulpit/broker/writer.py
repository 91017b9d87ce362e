"""The thread that writes batches into SQLite and commits them."""

import contextlib
import json
import logging
import queue
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from pulpit.broker import schema
from pulpit.broker.message import Message, Row
from pulpit.broker.schema import SqlValue

_log = logging.getLogger(__name__)

_CHUNKS: Final = (256, 64, 16, 4, 1)
"""Rows per statement; a few fixed sizes keep the number of prepared statements small."""
IDLE_SECONDS: Final = 1.0
"""Without a batch, before the file is shrunk."""
_RUN: Final = 8
"""Length of consecutive ids from which a range is cheaper than a list."""


@dataclass(slots=True, eq=False)
class WriteBatch:
    """What is committed together.

    If it is not `durable`, it contains only transient messages, whose disk write nobody waits for.
    """

    number: int
    """Batches are counted from 1."""
    durable: bool = False
    size: int = 0
    """Bytes of bodies."""
    entries: list[Row] = field(default_factory=list)
    deletes: list[int] = field(default_factory=list)
    uses: Counter[int] = field(default_factory=Counter)
    """References that end, by message."""
    wipes: list[tuple[int, int, int, int]] = field(default_factory=list)
    statements: list[tuple[str, tuple[SqlValue, ...]]] = field(default_factory=list)
    callbacks: list[Callable[[], None]] = field(default_factory=list)
    confirms: list[tuple[Callable[[int], None], int]] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (self.entries or self.deletes or self.wipes or self.statements)


Done = Callable[[Exception | None], None]


class Writer:
    """One thread, one connection; `post` schedules a call on the loop."""

    def __init__(self, path: Path, post: Callable[[Callable[[], None]], None]) -> None:
        self._path: Final = path
        self._post: Final = post
        self._work: queue.SimpleQueue[tuple[WriteBatch, Done] | None] = queue.SimpleQueue()
        self._untidy = True  # the file may have free pages
        self._thread: Final = threading.Thread(target=self._run, name="broker-store", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, batch: WriteBatch, done: Done) -> None:
        """Write a batch; `done` is called on the loop with None, or with the error."""
        self._work.put((batch, done))

    def stop(self) -> None:
        """Finish what was submitted, then stop the thread."""
        self._work.put(None)
        self._thread.join()

    def _run(self) -> None:
        connection = open_database(self._path)
        try:
            while (job := self._next(connection)) is not None:
                batch, done = job
                self._untidy = self._untidy or bool(batch.deletes or batch.wipes)
                self._post(partial(done, _commit(connection, batch)))
        finally:
            connection.close()

    def _next(self, connection: sqlite3.Connection) -> tuple[WriteBatch, Done] | None:
        """Return the next batch; if none comes for a while, tidy up."""
        if self._untidy:
            with contextlib.suppress(queue.Empty):
                return self._work.get(timeout=IDLE_SECONDS)
            _give_room_back(connection)
            self._untidy = False
        return self._work.get()


def open_database(path: Path) -> sqlite3.Connection:
    """Open a connection without implicit transactions."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    for pragma in schema.PRAGMAS:
        connection.execute(pragma)
    return connection


def _give_room_back(connection: sqlite3.Connection) -> None:
    """Vacuum the file if it has many free and few used pages.

    Incremental vacuuming (`auto_vacuum`) would make every insert a fifth slower.
    """
    try:
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        if free > max(schema.SPARE_PAGES, pages // 2) and pages - free <= schema.QUICKLY_REWRITTEN:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except sqlite3.Error:  # a full disk, perhaps; it does not matter
        _log.info("The broker's store keeps its free pages", extra={"action": "broker_store_kept"}, exc_info=True)


def _commit(connection: sqlite3.Connection, batch: WriteBatch) -> Exception | None:
    try:
        connection.execute(schema.WAIT_FOR_DISK if batch.durable else schema.DO_NOT_WAIT)
        connection.execute("BEGIN IMMEDIATE")
        _write(connection, batch)
        connection.execute("COMMIT")
    except Exception as error:  # noqa: BLE001 - the thread must survive and the batch be retried
        _log.exception("The broker's store refused a batch", extra={"action": "broker_store_failed"})
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        return error
    return None


def _write(connection: sqlite3.Connection, batch: WriteBatch) -> None:
    """Insert before deleting, because a batch may delete what it inserts."""
    shared = Counter(entry.message for entry in batch.entries if entry.message.id)
    rows = [(message.id, uses, *_content(message)) for message, uses in shared.items()]
    _insert(connection, schema.INSERT_MESSAGES, schema.MESSAGE, rows, schema.USED_AGAIN)
    _insert(connection, schema.INSERT_ENTRIES, schema.ENTRY, [_row(entry) for entry in batch.entries], "")
    _delete(connection, batch.deletes)
    uses = batch.uses
    for wipe in batch.wipes:
        uses = uses + Counter(dict(connection.execute(schema.WIPE_USES, wipe).fetchall()))
        connection.execute(schema.WIPE, wipe)
    if uses:
        counts = json.dumps(list(uses.items()))
        connection.execute(schema.USE_LESS, (counts,))
        connection.execute(schema.DELETE_UNUSED, (counts,))
    for statement, values in batch.statements:
        connection.execute(statement, values)


def _row(entry: Row) -> tuple[SqlValue, ...]:
    """Return values for `schema.ENTRY`: sqlite3 looks up an adapter for every None, bool and bytes.

    That takes longer than the insertion, so there are as few of them as possible.
    """
    message = entry.message
    return (
        entry.id,
        entry.queue_id,
        entry.priority,
        int(entry.durable),
        int(entry.redelivered),
        entry.expires_at or 0,
        message.id,
        entry.size,
        *((None, None, None) if message.id else _content(message)),
    )


def _content(message: Message) -> tuple[bytearray, bytearray, bytearray]:
    return bytearray(message.address), bytearray(message.header), bytearray(message.body)


def _insert(
    connection: sqlite3.Connection, statement: str, row_values: str, rows: Sequence[tuple[SqlValue, ...]], suffix: str
) -> None:
    start = 0
    for size in _CHUNKS:
        while len(rows) - start >= size:
            values = [value for row in rows[start : start + size] for value in row]
            connection.execute(statement + ",".join([row_values] * size) + suffix, values)
            start += size


def _delete(connection: sqlite3.Connection, ids: list[int]) -> None:
    lone: list[int] = []
    for first, last in _runs(sorted(ids)):
        if last - first >= _RUN:
            connection.execute(schema.DELETE_RANGE, (first, last))
        else:
            lone.extend(range(first, last + 1))
    if lone:
        connection.execute(schema.DELETE_LISTED, (json.dumps(lone),))


def _runs(ids: list[int]) -> Iterator[tuple[int, int]]:
    if not ids:
        return
    first = last = ids[0]
    for number in ids[1:]:
        if number != last + 1:
            yield first, last
            first = number
        last = number
    yield first, last
