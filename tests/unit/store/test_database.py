"""Opening and migrating a database, wakeups, and a full disk."""

import asyncio
import contextlib
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from pulpit.clock import system_clock
from pulpit.errors import ConfigurationError, StorageFull
from pulpit.fire import fire
from pulpit.store import tasks
from pulpit.store.database import FILE_NAME, Database
from pulpit.store.migrations import HEAD
from pulpit.store.schema import metadata
from pulpit.store.wakeups import Wakeup, WakeupSocket
from support.database import fire_one, fresh, log

OLD_TASK = """
INSERT INTO tasks(object_id, id, task_type, arguments, tags, state, created_at, progress_report, spawned)
VALUES ('o', 't', 'sync', '{}', '[]', 'finished', 0, '{}', '[]')
"""
OLD_EVENT = """
INSERT INTO events(number, id, event_type, repo_id, repo_number, occurred_at, traceparent, body)
VALUES (:number, :id, 'a.b', 'farm', 1, 0, '', '{}')
"""
ENTRY = "INSERT INTO events(id, event_type, occurred_at, traceparent, body) VALUES (:id, 'a.b', 0, '', :body)"


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[Database, WakeupSocket]]:
    with fresh(tmp_path) as pair:
        yield pair


def test_a_new_database_is_what_the_steps_lead_to(tmp_path: Path, opened: tuple[Database, WakeupSocket]) -> None:
    stepwise = sa.create_engine(f"sqlite:///{tmp_path / 'stepwise.db'}")
    with stepwise.connect() as connection:
        run_steps(connection, "head")
        connection.commit()
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        expected = structure(connection)
    stepwise.dispose()
    with opened[0].read() as connection:
        assert structure(connection) == expected


def run_steps(connection: sa.Connection, until: str) -> None:
    config = Config()
    config.set_main_option("script_location", "pulpit.store:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, until)


def structure(connection: sa.Connection) -> dict[str, object]:
    """Columns and foreign keys of each table, however they are ordered, the SQL of all else, and the version."""
    found: dict[str, object] = {}
    for kind, name, sql in connection.execute(sa.text("SELECT type, name, sql FROM sqlite_master")).all():
        if kind == "table":
            for pragma in ("table_info", "foreign_key_list"):
                rows = connection.execute(sa.text(f"PRAGMA {pragma}({name})")).all()
                found[f"{pragma} {name}"] = sorted(str(row[1:]) for row in rows)
        else:
            found[f"{kind} {name}"] = sql
    found["version"] = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one()
    return found


def test_an_older_database_is_brought_up_to_date_with_what_it_holds(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / FILE_NAME}")
    with engine.connect() as connection:
        run_steps(connection, "0001")
        connection.execute(sa.text(OLD_TASK))
        for number in (3, 7):
            connection.execute(sa.text(OLD_EVENT), {"number": number, "id": f"id-{number}"})
        connection.commit()
    engine.dispose()
    with fresh(tmp_path) as (database, _):
        with database.read() as connection:
            assert tasks.get(connection, "t").schedule_id is None
            assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        fire_one(database)
        events = log(database)
    assert [event.number for event in events] == [3, 7, 8]
    assert [(event.id, event.repo_number, event.body) for event in events[:2]] == [("id-3", 1, "{}"), ("id-7", 1, "{}")]


def test_the_newest_step_is_the_one_that_a_start_looks_for() -> None:
    config = Config()
    config.set_main_option("script_location", "pulpit.store:migrations")
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_the_database_is_for_its_owner_alone(tmp_path: Path, opened: tuple[Database, WakeupSocket]) -> None:
    fire_one(opened[0])
    for file in tmp_path.glob("pulpit.db*"):
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file


def test_a_commit_rings_and_a_rollback_does_not(opened: tuple[Database, WakeupSocket]) -> None:
    database, wakeups = opened

    async def story() -> None:
        rang = asyncio.Event()
        with wakeups.handled_by({Wakeup.EVENTS: rang.set}):
            await asyncio.wait_for(rang.wait(), 5)  # once, because a sender may have found nobody a moment ago
            rang.clear()
            with pytest.raises(KeyError), database.write() as tx:
                tx.wakeups.add(Wakeup.EVENTS)
                raise KeyError
            await asyncio.sleep(0.05)
            assert not rang.is_set()
            await asyncio.to_thread(fire_one, database)
            await asyncio.wait_for(rang.wait(), 5)

    asyncio.run(story())


def test_what_fails_half_way_never_happened_and_leaves_a_connection_that_can_be_used(
    opened: tuple[Database, WakeupSocket],
) -> None:
    database, _ = opened
    kept = fire_one(database)
    for breaking in ("SELECT 1 FROM nowhere", "SELECT 1"):
        with pytest.raises(Exception, match=r"nowhere|broken"), database.write() as tx:
            fire(tx, "repo.sync.start", {"repo_id": "zoo"}, clock=system_clock)
            tx.connection.execute(sa.text(breaking))
            raise ValueError("broken")
        assert log(database) == [kept]
    assert fire_one(database).repo_number == 2


def test_transactions_within_others_have_connections_of_their_own(opened: tuple[Database, WakeupSocket]) -> None:
    database, _ = opened
    fire_one(database)
    with database.write() as tx:
        fire(tx, "repo.sync.start", {"repo_id": "zoo"}, clock=system_clock)
        assert len(log(database)) == 1
    assert len(log(database)) == 2


def test_more_threads_than_connections_that_are_kept_all_come_to_an_end(opened: tuple[Database, WakeupSocket]) -> None:
    database, _ = opened
    together = threading.Barrier(60)

    def fire_beside_others(number: int) -> None:
        together.wait()
        fire_one(database, repo_id=f"r{number}")

    with ThreadPoolExecutor(60) as pool:
        list(pool.map(fire_beside_others, range(60)))
    assert [event.number for event in log(database)] == list(range(1, 61))


def test_a_full_disk_is_said_so_and_nothing_is_accepted(opened: tuple[Database, WakeupSocket]) -> None:
    database, _ = opened
    fire_one(database)
    with pytest.raises(StorageFull, match="make room"), database.write() as tx:
        pages = tx.connection.execute(sa.text("PRAGMA page_count")).scalar_one()
        tx.connection.execute(sa.text(f"PRAGMA max_page_count = {pages}"))
        for number in range(100_000):
            row = {"id": f"{number:036}", "body": "x" * 1000}
            tx.connection.execute(sa.text(ENTRY), row)
    assert len(log(database)) == 1


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense", "not a URL"),
        ("postgresql://keeper:sec@ret@host/name", "not a URL"),
        ("postgresql://keeper@host:secret/name", "not a URL"),
        ("mysql://host/name", "use postgresql or sqlite"),
        ("sqlite:////nowhere/at/all.db", "cannot be opened"),
    ],
)
def test_a_database_that_cannot_be_is_said_in_a_sentence(tmp_path: Path, url: str, words: str) -> None:
    with WakeupSocket(tmp_path) as wakeups, pytest.raises(ConfigurationError, match=words) as caught:
        Database.open(tmp_path, wakeups, url=url)
    assert caught.value.key == "[database] url"
    assert "ret" not in str(caught.value).replace("retry", "")


def junk(path: Path) -> None:
    path.write_bytes(b"\x89junk" * 1000)


def truncated(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(20_000)


def mangled(path: Path) -> None:
    """Pages of zeros where tables were, behind a header that is right."""
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(bytes(path.stat().st_size - 4096))


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def told(statement: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute(statement)
            connection.commit()

    return change


def of_another_program(path: Path) -> None:
    path.unlink()
    told("CREATE TABLE users(name)")(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (junk, "is damaged or no database"),
        (truncated, "is damaged or no database"),
        (mangled, "is damaged or no database"),
        (a_folder, "is a folder"),
        (told("UPDATE alembic_version SET version_num = '0999'"), "written by a newer version of Pulpit"),
        (of_another_program, r"tables of another program \(users\)"),
    ],
)
@pytest.mark.parametrize("open_it", [Database.open, Database.look_into])
def test_a_file_that_is_no_database_of_ours_is_one_sentence(
    tmp_path: Path, change: Callable[[Path], None], words: str, open_it: Callable[..., Database]
) -> None:
    with fresh(tmp_path):
        pass
    path = tmp_path / FILE_NAME
    for beside in tmp_path.glob(f"{FILE_NAME}-*"):
        beside.unlink()
    change(path)
    with WakeupSocket(tmp_path) as wakeups, pytest.raises(ConfigurationError, match=words) as caught:
        open_it(tmp_path, wakeups)
    assert caught.value.key == "[server] data_dir"
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_database_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    """The file may be read, and nothing else."""
    with fresh(tmp_path):
        pass
    url = f"sqlite:///file:{tmp_path / FILE_NAME}?mode=ro&uri=true"
    with WakeupSocket(tmp_path) as wakeups, pytest.raises(ConfigurationError, match="cannot be written"):
        Database.open(tmp_path, wakeups, url=url)
