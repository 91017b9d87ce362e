"""Listeners, their positions and their dead letters."""

from datetime import timedelta

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from pulpit.clock import system_clock
from pulpit.errors import DuplicateResource, MissingResource
from pulpit.store import dead_letters, history, listeners, repositories, users
from pulpit.store.database import Database
from pulpit.store.dead_letters import NewDeadLetter
from pulpit.store.history import Ending
from pulpit.store.listeners import DELIVERIES_KEPT, Delivery, Failure, Listener, Move
from pulpit.store.schema import metadata
from support.database import fail, fire_one


def listener(database: Database) -> Listener:
    with database.write() as tx:
        return listeners.add(tx, "amqp", {"exchange": "pulp"}, ["*"], now=system_clock())


def settled(database: Database, of: Listener, position: int, epoch: int | None = None) -> Listener:
    with database.write() as tx:
        listeners.settle(tx, [Move(listener_id=of.id, epoch=epoch or of.epoch, position=position)])
        return listeners.get(tx.connection, of.id)


def test_migrations_lead_to_the_schema(database: Database) -> None:
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_listener_begins_at_the_head(database: Database) -> None:
    fire_one(database)
    made = listener(database)
    assert (made.position, made.revision, made.epoch, made.paused) == (1, 1, 1, False)


def test_a_position_moves_forward_only_and_in_its_epoch(database: Database) -> None:
    made = listener(database)
    assert settled(database, made, 5).position == 5
    assert settled(database, made, 3).position == 5
    assert settled(database, made, 9, epoch=2).position == 5


def test_a_replay_goes_back_and_outdates_what_was_under_way(database: Database) -> None:
    made = settled(database, listener(database), 8)
    with database.write() as tx:
        listeners.go_back(tx, listeners.replay(tx, made.id, 3, ["repo.sync.start"]))
        back = listeners.get(tx.connection, made.id)
    assert (back.position, back.replay_to, back.replay_from, back.epoch) == (2, 8, None, 2)
    assert settled(database, made, 9).position == 2


def test_the_first_failure_is_told_from_the_next_ones(database: Database) -> None:
    made = listener(database)
    with database.write() as tx:
        assert fail(tx, made.id, "one", now=system_clock())
        assert not fail(tx, made.id, "two", now=system_clock())
        failing = listeners.get(tx.connection, made.id)
        assert (failing.attempts, failing.last_error) == (2, "two")
        listeners.recover(tx, made.id)
        well = listeners.get(tx.connection, made.id)
        assert (well.attempts, well.last_error, well.failing_since) == (0, None, None)


def test_failures_of_many_listeners_are_recorded_together(database: Database) -> None:
    first, second, gone = (listener(database) for _ in range(3))
    began, now = system_clock() - timedelta(seconds=5), system_clock()
    with database.write() as tx:
        listeners.remove(tx, gone.id)
        fail(tx, second.id, "before", now=began)
        failures = [
            Failure(listener_id=listener.id, count=3, error="down", since=began, at=now)
            for listener in (second, gone, first)
        ]
        assert listeners.fail(tx, failures) == {first.id}
        assert listeners.fail(tx, []) == set()
        states = [listeners.get(tx.connection, listener.id) for listener in (first, second)]
    assert [(state.attempts, state.last_error) for state in states] == [(3, "down"), (4, "down")]
    assert {state.failing_since for state in states} == {began}
    assert {state.last_error_at for state in states} == {now}


def test_deleting_a_listener_takes_its_dead_letters_and_attempts_along(database: Database) -> None:
    made = listener(database)
    with database.write() as tx:
        dead_letters.add(tx, made.id, [NewDeadLetter(event_number=1, reason="no")], attempts=1, now=system_clock())
        listeners.add_deliveries(tx, [attempt(made, 1)])
        listeners.remove(tx, made.id)
        assert dead_letters.counts(tx.connection) == {}
        assert listeners.recent_deliveries(tx.connection, made.id, limit=1) == []
        with pytest.raises(MissingResource):
            listeners.remove(tx, made.id)


def test_dead_letters_are_found_marked_and_dropped(database: Database) -> None:
    made, other = listener(database), listener(database)
    with database.write() as tx:
        letters = [NewDeadLetter(event_number=number, reason="no", recipient="a@b") for number in (2, 1)]
        dead_letters.add(tx, made.id, letters, attempts=3, now=system_clock())
        found = dead_letters.of_listener(tx.connection, made.id)
        assert [(letter.event_number, letter.recipient, letter.attempts) for letter in found] == [
            (1, "a@b", 3),
            (2, "a@b", 3),
        ]
        with pytest.raises(MissingResource):
            dead_letters.get(tx.connection, other.id, found[0].id)
        assert dead_letters.send_again(tx, made.id, [found[0].id]) == 1
        (marked,) = dead_letters.to_send_again(tx.connection, limit=9)
        dead_letters.refused_again(tx, marked, "still no", now=system_clock())
        again = dead_letters.get(tx.connection, made.id, marked.id)
        assert (again.send_again, again.attempts, again.reason) == (False, 4, "still no")
        assert dead_letters.drop(tx, other.id, None) == 0
        assert dead_letters.drop(tx, made.id, None) == 2


def attempt(of: Listener, number: int) -> Delivery:
    return Delivery(
        listener_id=of.id,
        at=system_clock(),
        duration_ms=1,
        outcome="delivered",
        first_event=number,
        last_event=number,
        event_count=1,
        answer="",
    )


def test_only_the_latest_attempts_are_kept(database: Database) -> None:
    made = listener(database)
    with database.write() as tx:
        listeners.add_deliveries(tx, [attempt(made, number) for number in range(1, DELIVERIES_KEPT + 11)])
        listeners.remove_old_deliveries(tx, made.id)
        assert len(listeners.recent_deliveries(tx.connection, made.id, limit=10_000)) == DELIVERIES_KEPT
        assert [delivery.first_event for delivery in listeners.recent_deliveries(tx.connection, made.id, limit=2)] == [
            DELIVERIES_KEPT + 10,
            DELIVERIES_KEPT + 9,
        ]


def test_a_history_record_closes_once(database: Database) -> None:
    names = {"repo_id": "zoo", "plugin_id": "iso_importer", "plugin_type_id": "iso_importer", "task_id": "t"}
    with database.write() as tx:
        record_id = history.begin(tx, history.SYNC, now=system_clock(), **names)
        assert [record.id for record in history.open_records(tx.connection, "t")] == [record_id]
        closed = history.close(tx, record_id, Ending(result="success", added_count=1), now=system_clock())
        assert closed
        assert closed.result == "success"
        assert history.close(tx, record_id, Ending(result="error"), now=system_clock()) is None
        assert history.of_repository(tx.connection, "zoo", history.SYNC) == [closed]


def test_a_name_that_is_taken_is_refused_and_the_transaction_is_lost(database: Database) -> None:
    def add_twice() -> None:
        with database.write() as tx:
            for _ in range(2):
                repositories.add(tx, "zoo", display_name=None, description=None, notes={}, now=system_clock())

    with pytest.raises(DuplicateResource):
        add_twice()
    with database.read() as connection:
        assert repositories.every(connection) == []


def test_users_are_kept(database: Database) -> None:
    with database.write() as tx:
        users.add(tx, "ann", name="Ann", password_hash="h", role="reader", now=system_clock())
        assert users.change(tx, "ann", role="admin").role == "admin"
        users.remove(tx, "ann")
        assert users.find(tx.connection, "ann") is None


def test_opening_again_changes_nothing(database: Database) -> None:
    fire_one(database)
    with database.write() as tx:
        versions = tx.connection.execute(sa.text("SELECT version_num FROM alembic_version")).all()
    assert len(versions) == 1
