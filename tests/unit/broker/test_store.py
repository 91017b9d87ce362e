"""The store: batches in order, no confirm too early, and a disk that fails for a while."""

from pathlib import Path
from typing import Any

import pytest

from pulpit.broker import schema
from pulpit.broker.message import Message, Row
from pulpit.broker.recovery import prepare
from pulpit.broker.resources import Memory
from pulpit.broker.store import Store, message_from
from pulpit.broker.writer import Done, WriteBatch, Writer, open_database
from support.broker_box import HandTimers
from support.waiting import until


class Reluctant:
    """A writer that does nothing before it is told how it went."""

    def __init__(self) -> None:
        self.waiting: list[tuple[WriteBatch, Done]] = []

    def submit(self, batch: WriteBatch, done: Done) -> None:
        self.waiting.append((batch, done))

    def finish(self, error: Exception | None = None) -> WriteBatch:
        batch, done = self.waiting.pop(0)
        done(error)
        return batch


@pytest.fixture
def timers() -> HandTimers:
    return HandTimers()


def row(number: int, message: Message, expires_at: int | None = None, *, durable: bool = True) -> Row:
    return Row(id=number, queue_id=7, message=message, durable=durable, priority=0, expires_at=expires_at)


def entry(store: Store, body: bytes = b"body", *, durable: bool = True) -> Row:
    message = message_from(b"\x02ex\x03key", b"header", body)
    return row(store.next_id(), message, durable=durable)


def made(timers: HandTimers, writer: Any) -> Store:
    return Store(writer=writer, reader=None, timers=timers, memory=Memory(10**6, has_disk=True))


def test_a_confirm_waits_for_its_batch(timers: HandTimers) -> None:
    writer = Reluctant()
    store = made(timers, writer)
    confirmed: list[int] = []
    store.insert(entry(store))
    store.confirm(confirmed.append, 1)
    timers.settle()
    store.insert(entry(store))
    store.confirm(confirmed.append, 2)
    timers.settle()
    assert (confirmed, len(writer.waiting)) == ([], 1)
    writer.finish()
    assert confirmed == [1]
    writer.finish()
    assert confirmed == [1, 2]


def test_what_is_settled_early_is_never_written(timers: HandTimers) -> None:
    writer = Reluctant()
    store = made(timers, writer)
    gone, kept = entry(store), entry(store)
    store.insert(gone)
    store.insert(kept)
    store.remove(gone)
    timers.settle()
    batch = writer.finish()
    assert (batch.entries, batch.deletes) == ([kept], [])


def test_nobody_waits_for_the_disk_for_transient_messages_alone(timers: HandTimers) -> None:
    writer = Reluctant()
    store = made(timers, writer)
    transient, persistent = entry(store, durable=False), entry(store)

    def waits() -> bool:
        timers.settle()
        return writer.finish().durable

    store.insert(transient)
    assert not waits()
    store.remove(transient)
    assert not waits()
    store.insert(entry(store, durable=False))
    store.insert(persistent)
    assert waits()
    store.remove(persistent)
    assert waits()
    store.wipe(7, 0, 0, store.last_id)
    assert waits()
    store.execute(schema.TOUCH_QUEUE, 7)
    assert waits()


def test_a_refused_batch_is_tried_again_and_confirms_nothing_meanwhile(timers: HandTimers) -> None:
    writer = Reluctant()
    store = made(timers, writer)
    confirmed: list[int] = []
    store.insert(entry(store))
    store.confirm(confirmed.append, 1)
    timers.settle()
    first = writer.finish(OSError("no space"))
    assert (store.failing, confirmed) == (True, [])
    timers.pass_time(2000)
    assert writer.finish() is first
    assert (store.failing, confirmed) == (False, [1])


def test_messages_come_back_from_sqlite(tmp_path: Path, timers: HandTimers) -> None:
    reader = open_database(tmp_path / "broker.db")
    prepare(reader)
    done: list[Exception | None] = []
    writer = Writer(tmp_path / "broker.db", lambda call: call())
    writer.start()
    store = Store(writer=writer, reader=reader, timers=timers, memory=Memory(10**6, has_disk=True))
    entries = [entry(store, b"%d" % number) for number in range(700)]
    shared = entry(store, b"shared")
    shared.message.id = store.next_id()
    for item in [*entries, shared]:
        store.insert(item)
    store.execute(schema.SAVE_QUEUE, 7, "/", "q", 0, b"\0\0\0\0")
    store.after(lambda: done.append(None))
    timers.settle()
    until(lambda: done)
    for item in entries[:650]:
        store.remove(item)
    store.after(lambda: done.append(None))
    timers.settle()
    until(lambda: len(done) == 2)
    loaded = store.load(row, 7, 0, 0, 256, 10**6)
    assert [item.message.body for item in loaded] == [*(b"%d" % number for number in range(650, 700)), b"shared"]
    assert (loaded[0].message.exchange, loaded[0].message.routing_key) == ("ex", "key")
    assert len(store.load(row, 7, 0, 0, 256, 5)) == 2
    store.wipe(7, 0, 0, store.last_id)
    store.after(lambda: done.append(None))
    timers.settle()
    until(lambda: len(done) == 3)
    assert store.load(row, 7, 0, 0, 256, 10**6) == []
    assert reader.execute("SELECT count(*) FROM message").fetchone() == (0,)
    writer.stop()
    reader.close()


def test_messages_that_came_over_amqp_10_keep_the_form_of_0_9_1(tmp_path: Path) -> None:
    """Version 1 of the tables kept the other form behind the header."""
    database = open_database(tmp_path / "broker.db")
    prepare(database)
    header = bytes.fromhex("003c0000") + bytes(10)
    wrapped = b"\x01" + len(header).to_bytes(4) + header + b"what came over AMQP 1.0"
    database.execute("INSERT INTO queue VALUES (1, '/', 'q', 0, x'00000000', 0)")
    for number, kept in enumerate((wrapped, header), 1):
        values = (number, 1, 0, 1, 0, None, None, 4, b"\x00\x01q", kept, b"body")
        database.execute("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
    database.execute("PRAGMA user_version = 0")
    prepare(database)
    assert database.execute("SELECT header FROM entry").fetchall() == [(header,), (header,)]
    assert database.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
    database.close()
