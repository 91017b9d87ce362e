"""Opening, migrating, waking and running out of room."""

import asyncio
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from pulpit.errors import ConfigurationError, StorageFull
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
ENTRY = "INSERT INTO events(id, event_type, occurred_at, traceparent, body) VALUES (:id, 'a.b', 0, '', :body)"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[tuple[Database, WakeupSocket]]:
    with fresh(tmp_path) as opened:
        yield opened


def test_migrations_lead_to_the_schema(house: tuple[Database, WakeupSocket]) -> None:
    with house[0].read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_an_older_database_is_brought_up_to_date_with_what_it_holds(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / FILE_NAME}")
    config = Config()
    config.set_main_option("script_location", "pulpit.store:migrations")
    config.set_main_option("path_separator", "os")
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(sa.text(OLD_TASK))
        connection.commit()
    engine.dispose()
    with fresh(tmp_path) as (database, _), database.read() as connection:
        assert tasks.get(connection, "t").schedule_id is None
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_the_newest_step_is_the_one_that_a_start_looks_for() -> None:
    config = Config()
    config.set_main_option("script_location", "pulpit.store:migrations")
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_the_database_is_for_its_owner_alone(tmp_path: Path, house: tuple[Database, WakeupSocket]) -> None:
    fire_one(house[0])
    for file in tmp_path.glob("pulpit.db*"):
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file


def test_a_commit_rings_and_a_rollback_does_not(house: tuple[Database, WakeupSocket]) -> None:
    database, wakeups = house

    async def story() -> None:
        rang = asyncio.Event()
        with wakeups.handled_by({Wakeup.EVENTS: rang.set}):
            with pytest.raises(KeyError), database.write() as tx:
                tx.wakeups.add(Wakeup.EVENTS)
                raise KeyError
            await asyncio.sleep(0.05)
            assert not rang.is_set()
            await asyncio.to_thread(fire_one, database)
            await asyncio.wait_for(rang.wait(), 5)

    asyncio.run(story())


def test_a_full_disk_is_said_so_and_nothing_is_accepted(house: tuple[Database, WakeupSocket]) -> None:
    database, _ = house
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
        ("mysql://host/name", "use postgresql or sqlite"),
        ("sqlite:////nowhere/at/all.db", "cannot be opened"),
    ],
)
def test_a_database_that_cannot_be_is_said_in_a_sentence(tmp_path: Path, url: str, words: str) -> None:
    with WakeupSocket(tmp_path) as wakeups, pytest.raises(ConfigurationError, match=words) as caught:
        Database.open(tmp_path, wakeups, url=url)
    assert caught.value.key == "[database] url"
