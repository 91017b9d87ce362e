"""Queries of API v1: pages of the log, idempotency keys, dead letters to redeliver, tasks by state."""

from collections import Counter
from datetime import UTC, datetime, timedelta

from pulpit.clock import system_clock
from pulpit.fire import fire
from pulpit.store import dead_letters, event_log, listeners, tasks
from pulpit.store.database import Database
from pulpit.store.dead_letters import NewDeadLetter
from pulpit.store.event_log import Answered
from pulpit.store.tasks import NewTask

THEN = datetime(2031, 5, 4, 10, tzinfo=UTC)


def fill(database: Database, *types: str) -> None:
    moments = (THEN + timedelta(minutes=minute) for minute in range(len(types)))
    with database.write() as tx:
        for each in types:
            fire(tx, each, {"repo_id": "zoo"}, clock=moments.__next__)


def test_pages_and_moments(database: Database) -> None:
    fill(database, "a.x", "a.y", "a.x")
    with database.read() as connection:
        page = event_log.page(connection, 0, lambda event: event.event_type == "a.y", limit=10)
        assert ([event.number for event in page.events], page.through) == ([2], 3)
        page = event_log.page(connection, 0, None, limit=2)
        assert ([event.number for event in page.events], page.through) == ([1, 2], 2)
        assert event_log.page(connection, 3, None, limit=2).through == 3
        assert event_log.time_after(connection, 1) == THEN + timedelta(minutes=1)
        assert event_log.time_after(connection, 3) is None
        assert event_log.first_since(connection, THEN + timedelta(seconds=61)) == 3
        assert event_log.first_since(connection, THEN + timedelta(hours=1)) is None


def test_a_key_is_taken_once_and_free_after_a_day(database: Database) -> None:
    with database.write() as tx:
        assert event_log.take_key(tx, "key", "digest", now=THEN) is None
        event_log.note_answer(tx, "key", [1, 2])
    with database.write() as tx:
        before = event_log.take_key(tx, "key", "other", now=THEN + timedelta(hours=23))
    assert before == Answered(request_digest="digest", answer=[1, 2])
    with database.write() as tx:
        assert event_log.take_key(tx, "key", "other", now=THEN + timedelta(hours=25)) is None


def test_letters_to_be_sent_again_leave_some_listeners_out(database: Database) -> None:
    fill(database, "a.x")
    with database.write() as tx:
        ids = [listeners.add(tx, "amqp", {}, ["*"], now=THEN).id for _ in range(2)]
        for listener_id in ids:
            dead_letters.add(tx, listener_id, [NewDeadLetter(event_number=1, reason="No.")], attempts=1, now=THEN)
            dead_letters.send_again(tx, listener_id, None)
        everyone = dead_letters.to_send_again(tx.connection, limit=10)
        others = dead_letters.to_send_again(tx.connection, limit=10, besides={ids[0]})
    assert [letter.listener_id for letter in everyone] == ids
    assert [letter.listener_id for letter in others] == ids[1:]


def test_tasks_are_counted_by_state(database: Database) -> None:
    with database.write() as tx:
        for _ in range(2):
            tasks.add(tx, NewTask(task_type="x", arguments={}, tags=[], resource=None), now=system_clock())
        tasks.claim(tx, "worker", now=system_clock())
        assert tasks.counts(tx.connection) == Counter({tasks.WAITING: 1, tasks.RUNNING: 1})
