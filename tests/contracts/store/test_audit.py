"""The queries of `pulpit check` return the same on every database."""

import json
from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from pulpit.clock import system_clock
from pulpit.fire import fire
from pulpit.store import audit, dead_letters, history, holdings, listeners, repositories, tasks
from pulpit.store.database import Database
from pulpit.store.dead_letters import NewDeadLetter
from pulpit.store.units import NewUnit, StoredFile
from support.database import NOBODY

THEN = datetime(2031, 5, 4, 10, tzinfo=UTC)
SHA256 = "ab" * 32
PLUGIN = {"plugin_id": "iso_importer", "plugin_type_id": "iso_importer"}


def fill(database: Database, count: int) -> None:
    for _ in range(count):
        with database.write() as tx:
            fire(tx, "repo.sync.start", {"repo_id": "zoo"}, clock=system_clock)


def execute(database: Database, *statements: str) -> None:
    with database.write() as tx:
        for statement in statements:
            tx.connection.execute(text(statement))


def hold_a_file(database: Database) -> None:
    with database.write() as tx:
        repositories.add(tx, "zoo", display_name=None, description=None, notes={}, now=THEN)
        file = StoredFile(relative_path="a.iso", sha256=SHA256, size=3)
        unit = NewUnit(type_id="iso", key={}, metadata={}, files=(file,), slot=None)
        holdings.save(tx, "zoo", [unit], now=THEN, recorder=NOBODY)


def test_kept_files_are_found_by_the_folder_that_they_are_in(database: Database) -> None:
    hold_a_file(database)
    with database.read() as connection:
        (kept,) = audit.kept_beneath(connection, "ab")
        assert (kept.sha256, kept.size, kept.used) == (SHA256, 3, True)
        assert audit.kept_beneath(connection, "aa") == audit.kept_beneath(connection, "ac") == []
        (use,) = audit.uses(connection, SHA256)
        assert (use.repo_id, use.relative_path) == ("zoo", "a.iso")
        assert audit.sizes_apart(connection) == []
        assert list(audit.types_apart(connection)) == []


def test_tables_that_contradict_one_another_are_found(database: Database) -> None:
    hold_a_file(database)
    execute(database, "UPDATE unit_files SET size = 4", "UPDATE associations SET unit_type_id = 'rpm'")
    with database.read() as connection:
        ((_, file, size),) = audit.sizes_apart(connection)
        assert (file.size, size) == (4, 3)
        (row,) = audit.types_apart(connection)
        assert (row.repo_id, row.unit_type_id, row.type_id) == ("zoo", "rpm", "iso")


def test_a_gap_is_found_where_retention_has_not_been(database: Database) -> None:
    fill(database, 5)
    with database.read() as connection:
        assert list(audit.gaps(connection, 0)) == list(audit.counters_behind(connection)) == []
    execute(database, "DELETE FROM events WHERE number = 3", "UPDATE event_counters SET last_number = 4")
    with database.read() as connection:
        (gap,) = audit.gaps(connection, 0)
        assert (gap.repo_id, gap.before, gap.after, gap.number) == ("zoo", 2, 4, 4)
        assert list(audit.gaps(connection, 2)) == []
        (counter,) = audit.counters_behind(connection)
        assert (counter.highest, counter.last_number) == (5, 4)
        assert audit.surely_kept_from(connection, older_than=None, beyond=2) == 4
        assert audit.surely_kept_from(connection, older_than=system_clock() + timedelta(1), beyond=None) == 5
        assert [number for number, _, _ in audit.bodies(connection, ["repo.sync.start"], 1)] == [2, 4, 5]


def test_what_follows_a_dead_letter_is_not_judged(database: Database) -> None:
    fill(database, 4)
    with database.write() as tx:
        listener = listeners.add(tx, "http", {}, ["*"], now=THEN)
        letters = [NewDeadLetter(event_number=2, reason="no"), NewDeadLetter(event_number=9, reason="no")]
        dead_letters.add(tx, listener.id, letters, attempts=1, now=THEN)
    execute(database, "DELETE FROM events WHERE number = 3", "UPDATE listeners SET position = 7")
    with database.read() as connection:
        assert list(audit.gaps(connection, 0)) == []
        assert [number for _, number in audit.letters_without_event(connection)] == [9]
        assert audit.positions_beyond(connection, 4) == [(listener.id, 7)]


def test_records_are_left_open_when_no_task_does_their_work(database: Database) -> None:
    new = tasks.NewTask(task_type="sync", arguments={"repo_id": "zoo"}, tags=[], resource="zoo")
    with database.write() as tx:
        task = tasks.add(tx, new, now=THEN)
        tasks.claim(tx, "worker", now=THEN)
        for task_id in (task.id, "gone"):
            history.begin(tx, history.SYNC, repo_id="zoo", task_id=task_id, now=THEN, **PLUGIN)
    with database.read() as connection:
        assert [(row.task_id, row.known) for row in audit.records_left_open(connection)] == [("gone", False)]
        assert {row.task_id for row in audit.open_records(connection)} == {task.id, "gone"}
        assert [row.arguments for row in audit.running(connection)] == [{"repo_id": "zoo"}]
    execute(database, "UPDATE tasks SET state = 'finished'")
    with database.read() as connection:
        assert {row.task_id for row in audit.records_left_open(connection)} == {task.id, "gone"}


def test_a_whole_database_is_undamaged(database: Database) -> None:
    with database.read() as connection:
        assert audit.damage(connection) == []
        assert audit.broken_references(connection) == []


def test_who_may_have_what_it_published(database: Database) -> None:
    config = {"auth_ca": "-----BEGIN CERTIFICATE-----"}
    with database.write() as tx:
        repositories.add(tx, "zoo", display_name=None, description=None, notes={}, now=THEN)
        made = repositories.add_distributor(tx, "zoo", "d", "d", config, auto_publish=True, now=THEN)
        repositories.add_distributor(tx, "zoo", "e", "e", {}, auto_publish=True, now=THEN)
    with database.read() as connection:
        assert repositories.distributor_configs(connection, {made.object_id, "gone"}) == {made.object_id: config}
        assert json.dumps(repositories.authorities(connection)) == json.dumps([config])
