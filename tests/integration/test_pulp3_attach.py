"""`pulpit pulp3 attach`, `status` and `detach` on a real Pulp 3, whose statements must never fail because of them."""

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from pulpit.pulp3.attachment import VERSION
from support import postgresql, pulp3
from support.pulp3 import Pulp3

REASON = postgresql.why_not()
pytestmark = [
    pytest.mark.skipif(REASON is not None, reason=REASON or ""),
    pytest.mark.timeout(1200),
]
AS_VERSION_3 = b"""
    DROP TRIGGER pulpit_repository ON core_repository;
    DROP TRIGGER pulpit_remote ON core_remote;
    DROP TRIGGER pulpit_domain ON core_domain;
    DROP TRIGGER pulpit_counts ON core_repositoryversioncontentdetails;
    DROP TABLE pulpit.former, pulpit.counted;
    DROP FUNCTION pulpit.on_counts(), pulpit.on_name();
    DROP FUNCTION pulpit.version(uuid), pulpit.created(uuid), pulpit.reserved(jsonb, bigint);
    CREATE FUNCTION pulpit.version(wanted uuid, known jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT NULL::jsonb';
    CREATE FUNCTION pulpit.created(task uuid, known jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT NULL::jsonb';
    CREATE FUNCTION pulpit.reserved(task jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT NULL::jsonb';
    CREATE FUNCTION pulpit.slim(task jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT task';
    CREATE FUNCTION pulpit.note_task(its_row jsonb, is_made_up boolean) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    UPDATE pulpit.outbox SET data = '{"task": {}, "domain": "default", "repository": {"name": "zoo"}}';
    UPDATE pulpit.attachment SET version = 3
"""
"""What versions 3 and 4 differ in, beside what functions of the same name do; rows said all of it themselves."""
AS_VERSION_2 = b"""
    CREATE INDEX outbox_task ON pulpit.outbox (task);
    CREATE FUNCTION pulpit.outcome(task uuid) RETURNS jsonb LANGUAGE sql AS 'SELECT NULL::jsonb';
    CREATE FUNCTION pulpit.version(wanted uuid) RETURNS jsonb LANGUAGE sql AS 'SELECT NULL::jsonb';
    UPDATE pulpit.attachment SET version = 2
"""
FULL = "UPDATE pulpit.attachment SET is_full = true"
SYNC = "pulp_file.app.tasks.synchronizing.synchronize"


@pytest.fixture(scope="module")
def pulp() -> Iterator[Pulp3]:
    """Pulp's database; none of its processes run."""
    with pulp3.pulp3(start=False) as running:
        yield running


@pytest.fixture
def connection(pulp: Pulp3) -> Iterator["psycopg.Connection[tuple[Any, ...]]"]:
    with pulp.cluster.connect() as connection:
        yield connection
        run(pulp, "detach", "--discard")


def run(pulp: Pulp3, *arguments: str, database: str = "pulp") -> "subprocess.CompletedProcess[str]":
    """Run `pulpit pulp3 …`."""
    command = [sys.executable, "-m", "pulpit.cli", "pulp3", *arguments, "--config", "/dev/null"]
    command += ["--database-url", pulp.cluster.url(database)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_attaching_and_detaching_may_be_repeated_and_leave_nothing(
    pulp: Pulp3, connection: "psycopg.Connection[Any]"
) -> None:
    before = schema(connection)
    assert (run(pulp, "status").returncode, run(pulp, "detach").stdout) == (3, "Nothing of Pulpit was there.\n")
    said = [run(pulp, "attach") for _ in range(2)]
    assert [done.stdout for done in said] == ["Attached.\n", "Already attached; nothing was changed.\n"]
    status = run(pulp, "status", "--json")
    assert status.returncode == 0
    shown = json.loads(status.stdout)
    assert (shown["attached"], shown["version"], shown["waiting"], shown["being_read"]) == (True, VERSION, 0, False)
    assert set(shown["triggers"].values()) == {"in place"}
    assert run(pulp, "detach").stdout == "Detached; nothing of Pulpit is left there.\n"
    assert schema(connection) == before


def test_an_administrator_may_run_the_statements_himself(pulp: Pulp3, connection: "psycopg.Connection[Any]") -> None:
    before = schema(connection)
    for _ in range(2):
        connection.execute(run(pulp, "attach", "--print-sql").stdout.encode())
    assert run(pulp, "attach").stdout == "Already attached; nothing was changed.\n"
    for _ in range(2):
        connection.execute(run(pulp, "detach", "--print-sql").stdout.encode())
    assert schema(connection) == before


def test_a_lost_trigger_is_told_and_put_back(pulp: Pulp3, connection: "psycopg.Connection[Any]") -> None:
    run(pulp, "attach")
    connection.execute("DROP TRIGGER pulpit_created ON core_createdresource")
    connection.execute("ALTER TABLE core_publication DISABLE TRIGGER pulpit_publication")
    status = run(pulp, "status", "--json")
    assert status.returncode == 3
    states = json.loads(status.stdout)["triggers"]
    assert (states["pulpit_task"], states["pulpit_created"], states["pulpit_publication"]) == (
        "in place",
        "missing",
        "disabled",
    )
    assert run(pulp, "attach").stdout == "Attached.\n"
    assert run(pulp, "status").returncode == 0


@pytest.mark.parametrize("version", [3, 2])
def test_what_an_older_pulpit_has_attached_is_led_here_and_its_rows_stay(
    pulp: Pulp3, connection: "psycopg.Connection[Any]", version: int
) -> None:
    run(pulp, "attach")
    fresh = schema(connection)
    task = add_task(connection)
    connection.execute(AS_VERSION_3)
    if version == 2:
        connection.execute(AS_VERSION_2)
    assert json.loads(run(pulp, "status", "--json").stdout)["version"] == version
    assert run(pulp, "attach").stdout == "Attached.\n"
    assert schema(connection) == fresh
    connection.execute("UPDATE core_task SET state = 'completed', finished_at = now() WHERE pulp_id = %s", (task,))
    told = connection.execute(
        "SELECT phase, pulpit.whole(o) #>> '{repository,name}' FROM pulpit.outbox o WHERE object = %s ORDER BY id",
        (task,),
    ).fetchall()
    assert told == [("start", "zoo"), ("finish", "zoo")]


def test_what_is_no_pulp_3_or_an_unknown_one_is_refused_with_a_sentence(
    pulp: Pulp3, connection: "psycopg.Connection[Any]"
) -> None:
    other = run(pulp, "attach", database="postgres")
    assert other.returncode == 78
    assert "has no table core_task" in other.stderr
    connection.execute("ALTER TABLE core_task RENAME COLUMN logging_cid TO correlation")
    try:
        strange = run(pulp, "attach")
    finally:
        connection.execute("ALTER TABLE core_task RENAME COLUMN correlation TO logging_cid")
    assert strange.returncode == 78
    assert "core_task.logging_cid is missing. Nothing was changed." in strange.stderr
    run(pulp, "attach")
    connection.execute("UPDATE pulpit.attachment SET version = 99")
    newer = run(pulp, "attach")
    assert newer.returncode == 78
    assert "by a newer Pulpit (version 99" in newer.stderr
    assert pulp.cluster.password not in other.stderr + strange.stderr + newer.stderr


def test_rows_that_wait_are_not_thrown_away_unasked(pulp: Pulp3, connection: "psycopg.Connection[Any]") -> None:
    run(pulp, "attach")
    add_task(connection)
    refused = run(pulp, "detach")
    assert refused.returncode == 1
    assert "1 rows wait that no server has taken" in refused.stderr
    assert json.loads(run(pulp, "status", "--json").stdout)["waiting"] == 1
    assert run(pulp, "detach", "--discard").returncode == 0


def test_a_lock_on_pulps_tables_is_waited_for_without_being_in_the_way(
    pulp: Pulp3, connection: "psycopg.Connection[Any]"
) -> None:
    """Who asks for a lock once and waits makes everybody behind him wait, too."""
    with pulp.cluster.connect() as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE core_task IN ROW EXCLUSIVE MODE")
        command = [sys.executable, "-m", "pulpit.cli", "pulp3", "attach", "--config", "/dev/null"]
        with subprocess.Popen([*command, "--database-url", pulp.cluster.url()], stdout=subprocess.PIPE) as attaching:
            connection.execute("SET statement_timeout = '60s'")
            for _ in range(3):
                connection.execute("UPDATE core_task SET state = 'running' WHERE false")
            other.execute("ROLLBACK")
            assert attaching.communicate(timeout=90)[0] == b"Attached.\n"


def test_pulps_statements_succeed_whatever_becomes_of_the_outbox(
    pulp: Pulp3, connection: "psycopg.Connection[Any]"
) -> None:
    damages = (
        "DROP TABLE pulpit.outbox CASCADE",
        "DROP TABLE pulpit.attachment",
        "DROP FUNCTION pulpit.put",
        "ALTER TABLE pulpit.outbox ADD CHECK (false) NOT VALID",
        FULL,
        "DROP TABLE pulpit.former",
        "ALTER TABLE core_createdresource RENAME TO hidden",
    )
    for damage in damages:
        run(pulp, "attach")
        repository = uuid.uuid4()
        connection.execute(pulp3.ADD_REPOSITORY, {"id": repository, "name": f"zoo-{repository}"})
        connection.execute(damage.encode())
        connection.execute("UPDATE core_repository SET name = 'camel' WHERE pulp_id = %s", (repository,))
        assert connection.execute("DELETE FROM core_repository WHERE pulp_id = %s", (repository,)).rowcount == 1
        task = add_task(connection)
        connection.execute("UPDATE core_task SET state = 'completed', finished_at = now() WHERE pulp_id = %s", (task,))
        states = connection.execute("SELECT state FROM core_task WHERE pulp_id = %s", (task,)).fetchall()
        assert states == [("completed",)], damage
        if "hidden" in damage:
            connection.execute("ALTER TABLE hidden RENAME TO core_createdresource")
            phases = connection.execute("SELECT phase FROM pulpit.outbox WHERE object = %s ORDER BY id", (task,))
            assert phases.fetchall() == [("start",), ("finish",)]
        assert run(pulp, "detach", "--discard").returncode == 0, damage


def test_who_locks_the_outbox_holds_up_no_task(pulp: Pulp3, connection: "psycopg.Connection[Any]") -> None:
    run(pulp, "attach")
    connection.execute("SET statement_timeout = '60s'")
    with pulp.cluster.connect() as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE pulpit.outbox")
        task = add_task(connection)
        other.execute("ROLLBACK")
    connection.execute("RESET statement_timeout")
    assert connection.execute("SELECT state FROM core_task WHERE pulp_id = %s", (task,)).fetchall() == [("running",)]


def test_a_reader_that_never_comes_back_does_not_fill_the_disk(
    pulp: Pulp3, connection: "psycopg.Connection[Any]"
) -> None:
    run(pulp, "attach")
    connection.execute("UPDATE pulpit.attachment SET most_waiting = 100")
    for _ in range(257):
        add_task(connection)
    (count, last), *_ = connection.execute("SELECT count(*), max(id) FROM pulpit.outbox").fetchall()
    assert (count, last) == (256, 256)
    assert json.loads(run(pulp, "status", "--json").stdout)["full"]


def test_a_migration_may_alter_every_column_under_the_triggers(
    pulp: Pulp3, connection: "psycopg.Connection[Any]"
) -> None:
    run(pulp, "attach")
    connection.execute("ALTER TABLE core_task ALTER COLUMN state TYPE varchar(20), ALTER COLUMN name TYPE varchar(200)")
    task = add_task(connection)
    connection.execute("UPDATE core_task SET state = 'failed' WHERE pulp_id = %s", (task,))
    connection.execute("ALTER TABLE core_task ALTER COLUMN state TYPE text, ALTER COLUMN name TYPE text")
    phases = connection.execute("SELECT phase FROM pulpit.outbox WHERE object = %s ORDER BY id", (task,)).fetchall()
    assert phases == [("start",), ("finish",)]


def add_task(connection: "psycopg.Connection[Any]", name: str = SYNC) -> uuid.UUID:
    """Put a task there that runs, as Pulp's worker does."""
    task = uuid.uuid4()
    connection.execute(pulp3.ADD_TASK, {"id": task, "name": name, "resource": "prn:file.filerepository:0"})
    connection.execute("UPDATE core_task SET state = 'running', started_at = now() WHERE pulp_id = %s", (task,))
    return task


def schema(connection: "psycopg.Connection[Any]") -> list[tuple[Any, ...]]:
    """What there is beside tables' rows: relations, functions, triggers."""
    return connection.execute(
        "SELECT 'r', relname, relnamespace::regnamespace::text FROM pg_class WHERE relnamespace::regnamespace::text "
        "NOT IN ('pg_toast', 'pg_catalog') UNION SELECT 'f', proname, pronamespace::regnamespace::text FROM pg_proc "
        "UNION SELECT 't', tgname, tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal "
        "UNION SELECT 's', nspname, '' FROM pg_namespace ORDER BY 1, 2, 3"
    ).fetchall()
