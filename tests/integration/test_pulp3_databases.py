"""Outages, restores and upgrades of a Pulp 3's database, and where Pulpit's own database may be.

The tables are real ones, and tasks are written into them as Pulp's API and workers do.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pulpit.clock import system_clock
from pulpit.pulp3.attachment import conninfo
from pulpit.pulp3.progress import State
from pulpit.pulp3.reader import Reader
from pulpit.settings import Pulp3Settings
from support import postgresql, pulp3
from support.database import fresh, told
from support.ports import free_port
from support.pulp3 import Cluster, Pulp3
from support.server import Server, pulpit
from support.waiting import until

REASON = postgresql.why_not()
pytestmark = [
    pytest.mark.skipif(REASON is not None, reason=REASON or ""),
    pytest.mark.timeout(1200),
]
SYNC = "pulp_file.app.tasks.synchronizing.synchronize"
CLEANUP = "pulpcore.app.tasks.orphan.orphan_cleanup"
START = "UPDATE core_task SET state = 'running', started_at = now() WHERE pulp_id = %s AND state = 'waiting'"
FINISH = "UPDATE core_task SET state = 'completed', finished_at = now() WHERE pulp_id = %s AND state = 'running'"
PAIR = ["repo.sync.start", "repo.sync.finish"]


@pytest.fixture(scope="module")
def pulp() -> Iterator[Pulp3]:
    """Pulp's database; none of its processes run."""
    with pulp3.pulp3(start=False) as running:
        yield running


@pytest.fixture
def database(pulp: Pulp3) -> Iterator[str]:
    """A database of a Pulp of its own that is attached."""
    name = f"pulp_{uuid.uuid4().hex[:8]}"
    with pulp.cluster.connect("postgres") as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE pulp".encode())
    run("pulp3", "attach", "--database-url", pulp.cluster.url(name))
    yield name
    with pulp.cluster.connect("postgres") as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def run(*words: str, config: str = "/dev/null", code: int = 0) -> str:
    """Run `pulpit …`."""
    command = [sys.executable, "-m", "pulpit.cli", *words, "--config", config]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def said(verb: str, url: str) -> str:
    """What `pulpit pulp3 …` says as it refuses."""
    command = [sys.executable, "-m", "pulpit.cli", "pulp3", verb, "--database-url", url, "--config", "/dev/null"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 78, done.stdout + done.stderr
    return done.stderr


class Pulp:
    """The tables of one Pulp with one repository, and tasks in them."""

    def __init__(self, connection: "psycopg.Connection[Any]", name: str = "zoo") -> None:
        self._connection, self._id = connection, uuid.uuid4()
        connection.execute(pulp3.ADD_REPOSITORY, {"id": self._id, "name": name})

    def begin(self, task_name: str = SYNC) -> uuid.UUID:
        task, resource = uuid.uuid4(), f"prn:file.filerepository:{self._id}"
        self._connection.execute(pulp3.ADD_TASK, {"id": task, "name": task_name, "resource": resource})
        self._connection.execute(START, (task,))
        return task

    def end(self, task: uuid.UUID) -> None:
        self._connection.execute(FINISH, (task,))

    def sync(self) -> uuid.UUID:
        task = self.begin()
        self.end(task)
        return task


@contextlib.contextmanager
def connected(cluster: Cluster, database: str) -> Iterator[Pulp]:
    with cluster.connect(database) as connection:
        yield Pulp(connection)


def types(server: Server, repo_id: str, count: int) -> list[str]:
    """The events of a repository, once there are enough."""

    def found() -> list[str]:
        page = server.call("GET", f"/pulpit/v1/events?repo_id={repo_id}&limit=1000&after=0")
        return [event["event_type"] for event in page["events"]]

    until(lambda: len(found()) >= count, what=f"{count} events of {repo_id}", seconds=120)
    return found()


def pulps(server: Server) -> dict[str, dict[str, Any]]:
    """How it stands with each Pulp."""
    return {shown["name"]: shown for shown in server.call("GET", "/pulpit/v1/pulp3")}


@pytest.mark.parametrize("beside", ["in the database of Pulp", "in one beside it"])
def test_pulpits_own_tables_may_stand_in_the_same_server(
    pulp: Pulp3, database: str, tmp_path: Path, beside: str
) -> None:
    own = database
    if beside == "in one beside it":
        own = f"{database}_own"
        with pulp.cluster.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {own}".encode())
    conf = f"[database]\nurl: {pulp.cluster.url(own)}\n[pulp3]\ndatabase_url: {pulp.cluster.url(database)}\n"
    with pulpit(tmp_path / "data", conf) as server, connected(pulp.cluster, database) as tables:
        tables.sync()
        assert types(server, "zoo", 2) == PAIR
        server.kill()
        tables.sync()
        server.start()
        assert types(server, "zoo", 4) == PAIR * 2
        run("pulp3", "detach", "--database-url", pulp.cluster.url(database))
        assert types(server, "zoo", 4) == PAIR * 2
    with pulp.cluster.connect("postgres") as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {database}_own WITH (FORCE)".encode())


def test_who_owns_pulps_tables_owns_what_is_attached_and_backs_it_up(pulp: Pulp3, database: str) -> None:
    owner, other = f"{database}_owner", f"{database}_other"
    url = pulp.cluster.url(database)
    run("pulp3", "detach", "--database-url", url)
    with pulp.cluster.connect(database) as connection:
        for role in (owner, other):
            connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{pulp.cluster.password}'".encode())
        tables = connection.execute(
            "SELECT format('%I', tablename) FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall()
        for (table,) in tables:
            connection.execute(f"ALTER TABLE {table} OWNER TO {owner}".encode())
        try:
            assert f"connect as {owner} or as a superuser" in said("attach", url.replace("//postgres:", f"//{other}:"))
            run("pulp3", "attach", "--database-url", url)
            assert pulp.cluster.dump(database, user=owner)
            run("pulp3", "detach", "--database-url", url.replace("//postgres:", f"//{owner}:"))
        finally:
            connection.execute(f"REASSIGN OWNED BY {owner} TO postgres; DROP ROLE {owner}, {other}".encode())


POOLER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextlib.contextmanager
def pool(cluster: Cluster, mode: str) -> Iterator[int]:
    """A pgbouncer before a cluster; yields its port."""
    port, folder = free_port(), Path(tempfile.mkdtemp(prefix="pulpit-pool-"))
    (folder / "users").write_text(f'"postgres" "{cluster.password}"\n')
    (folder / "ini").write_text(
        f"[databases]\n* = host=127.0.0.1 port={cluster.port}\n[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port={port}\n"
        f"unix_socket_dir=\nauth_type=plain\nauth_file={folder}/users\npool_mode={mode}\n"
    )
    as_user = []
    if os.geteuid() == 0:  # as which it does not run
        as_user = ["-u", "postgres"]
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, "postgres")
    command = [str(POOLER), *as_user, str(folder / "ini")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield port
        finally:
            process.terminate()
            process.wait(60)
            shutil.rmtree(folder)


@pytest.mark.skipif(POOLER is None, reason="pgbouncer is not installed")
@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_a_pool_that_passes_on_no_notifications_is_noticed(
    pulp: Pulp3, database: str, tmp_path: Path, mode: str
) -> None:
    """What is set or locked in the session of another one goes astray there, so that a second reader would stand by."""

    async def story(port: int) -> None:
        url = pulp.cluster.url(database).replace(f":{pulp.cluster.port}/", f":{port}/")
        with fresh(tmp_path) as (own, _), pulp.cluster.connect(database) as connection:
            tables = Pulp(connection)
            for count in (2, 4):
                reader = Reader("", Pulp3Settings(database_url=url, reconcile_seconds=1), own, system_clock)
                reading = asyncio.create_task(reader.run())
                await becomes(reader, State.READING)
                assert (reader.progress.reason is None) == (mode == "session")
                tables.sync()
                await asyncio.to_thread(until, lambda n=count: len(told(own)) == n, what="the events", seconds=120)
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    with pool(pulp.cluster, mode) as port:
        asyncio.run(story(port))


def test_a_database_in_another_encoding_is_read(pulp: Pulp3, database: str) -> None:
    name = f"{database}_latin"
    with pulp.cluster.connect("postgres") as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'".encode())
        section = Pulp3Settings(database_url=pulp.cluster.url(name))
        with psycopg.connect(conninfo(section)) as latin:
            assert latin.execute("SELECT jsonb_build_object('name', %s::text)", ("café",)).fetchall() == [
                ({"name": "café"},)
            ]
        connection.execute(f"DROP DATABASE {name}".encode())


def test_several_pulps_have_names_and_one_of_them_tells_every_task(pulp: Pulp3, database: str, tmp_path: Path) -> None:
    second = f"{database}_second"
    with pulp.cluster.connect("postgres") as connection:
        connection.execute(f"CREATE DATABASE {second} TEMPLATE {database}".encode())
    conf = f"[pulp3]\ndatabase_url: {pulp.cluster.url(database)}\n"
    conf += f"[pulp3:east]\ndatabase_url: {pulp.cluster.url(second)}\ntasks: true\n"
    with (
        pulpit(tmp_path / "data", conf) as server,
        connected(pulp.cluster, database) as first,
        connected(pulp.cluster, second) as east,
    ):
        until(lambda: {of["state"] for of in pulps(server).values()} == {"reading"}, what="both readers")
        for tables in (first, east):
            tables.end(tables.begin(CLEANUP))
            tables.sync()
        wanted = ["tasks.waiting", "tasks.running", "tasks.finished"] * 2
        assert sorted(types(server, "east:zoo", 8)) == sorted(wanted + PAIR)
        assert types(server, "zoo", 2) == PAIR
        first.end(first.begin(CLEANUP))
        assert types(server, "zoo", 2) == PAIR
    with pulp.cluster.connect("postgres") as connection:
        connection.execute(f"DROP DATABASE {second} WITH (FORCE)".encode())


def test_a_backup_that_is_put_back_tells_nothing_twice_and_ends_what_it_forgot(
    pulp: Pulp3, database: str, tmp_path: Path
) -> None:
    conf = f"[pulp3]\ndatabase_url: {pulp.cluster.url(database)}\nreconcile_seconds: 1\n"
    with pulpit(tmp_path / "data", conf) as server:
        with connected(pulp.cluster, database) as tables:
            tables.sync()
            known = tables.begin()
            assert types(server, "zoo", 3) == [*PAIR, PAIR[0]]
            backup = pulp.cluster.dump(database)
            tables.end(known)
            tables.sync()
            tables.begin()
            assert types(server, "zoo", 7) == [*PAIR, *PAIR, *PAIR, PAIR[0]]
        pulp.cluster.restore(database, backup)
        until(lambda: pulps(server)[""]["state"] == "reading", what="the reader", seconds=120)
        with pulp.cluster.connect(database) as connection:
            connection.execute(FINISH, (known,))  # which ends a second time, and was told to have ended
            events = until(lambda: (page := pages(server))[7:] and page, what="the finish of what is gone", seconds=120)
            after = Pulp(connection, "later")
            after.sync()
        assert types(server, "later", 2) == PAIR
        assert types(server, "zoo", 8) == [*PAIR, *PAIR, *PAIR, *PAIR]
        assert "restored from a backup" in events[7]["payload"]["error_message"]


def pages(server: Server) -> list[dict[str, Any]]:
    """All events of the repository `zoo`."""
    found: list[dict[str, Any]] = server.call("GET", "/pulpit/v1/events?repo_id=zoo&limit=1000&after=0")["events"]
    return found


def test_a_server_that_is_frozen_is_told_and_left(pulp: Pulp3, database: str, tmp_path: Path) -> None:
    """Its sockets go on, so that nothing but patience finds out."""
    patience = timedelta(seconds=2)
    section = Pulp3Settings(database_url=pulp.cluster.url(database), reconcile_seconds=1)

    async def story() -> None:
        with fresh(tmp_path) as (own, _), pulp.cluster.connect(database) as connection:
            reader = Reader("", section, own, system_clock, patience=patience)
            reading = asyncio.create_task(reader.run())
            tables = Pulp(connection)
            await becomes(reader, State.READING)
            tables.sync()
            await asyncio.to_thread(until, lambda: len(told(own)) == 2, what="the events")
            (frozen,) = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'pulpit' AND datname = current_database()"
            ).fetchall()
            os.kill(frozen[0], signal.SIGSTOP)
            try:
                await becomes(reader, State.DOWN)
                assert reader.progress.reason == "it does not answer"
                tables.sync()
                await becomes(reader, State.STANDBY)  # for the frozen one still has the lock
            finally:
                os.kill(frozen[0], signal.SIGCONT)
            await asyncio.to_thread(until, lambda: len(told(own)) == 4, what="the events", seconds=120)
            assert [event.event_type for event in told(own)] == PAIR * 2
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    asyncio.run(story())


async def becomes(reader: Reader, state: State) -> None:
    await asyncio.to_thread(until, lambda: reader.progress.state is state, what=str(state), seconds=120)


def test_the_doctor_sees_what_is_wrong_with_a_pulp(pulp: Pulp3, database: str, tmp_path: Path) -> None:
    conf = tmp_path / "server.conf"
    url = pulp.cluster.url(database)
    conf.write_text(f"[server]\ndata_dir: {tmp_path / 'data'}\n[pulp3]\ndatabase_url: {url}\n")
    conf.chmod(0o600)

    def seen() -> tuple[str, str]:
        command = [sys.executable, "-m", "pulpit.cli", "doctor", "--json", "--config", str(conf)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert pulp.cluster.password not in done.stdout + done.stderr
        found = [finding for finding in json.loads(done.stdout)["findings"] if finding["part"] == "pulp3"]
        return found[-1]["state"], " ".join(finding["sentence"] for finding in found)

    assert seen() == ("ok", "The database of [pulp3] records what happens there; 0 entries wait.")
    with pulp.cluster.connect(database) as connection:
        Pulp(connection).sync()
        assert "2 entries wait" in seen()[1]
        connection.execute("UPDATE pulpit.outbox SET problem = 'KeyError', taken_at = now() WHERE phase = 'start'")
        assert seen()[0] == "warning"
        connection.execute("ALTER TABLE core_task DISABLE TRIGGER pulpit_task")
        assert "these triggers are gone or off: pulpit_task" in seen()[1]
    run("pulp3", "detach", "--discard", "--database-url", url)
    assert seen() == ("problem", "Nothing in the database of [pulp3] records what happens there.")
    conf.write_text(conf.read_text().replace(database, "postgres"))
    assert "no table core_task" in seen()[1]


def test_the_reader_goes_where_a_failover_goes(pulp: Pulp3, database: str, tmp_path: Path) -> None:
    """Of the two hosts in the URL, the one that takes writes is read."""
    folder = Path(tempfile.mkdtemp(prefix="pulpit-standby-"))
    first, second = pulp.cluster, Cluster(folder)
    try:
        second.follow(first)
        url = first.url(database).replace(f":{first.port}/", f":{second.port},127.0.0.1:{first.port}/")
        with pulpit(tmp_path / "data", f"[pulp3]\ndatabase_url: {url}\n") as server:
            with connected(first, database) as tables:
                tables.sync()
                assert types(server, "zoo", 2) == PAIR
                begun = tables.begin()
                assert types(server, "zoo", 3) == [*PAIR, PAIR[0]]
            with second.connect(database) as there:
                until(lambda: len(there.execute("SELECT FROM pulpit.outbox").fetchall()) == 3, what="the standby")
            assert "name the primary server" in said("detach", second.url(database))
            first.stop(signal.SIGQUIT)
            until(lambda: pulps(server)[""]["state"] == "down", what="the reader to notice", seconds=120)
            second.promote()
            with second.connect(database) as connection:
                connection.execute(FINISH, (begun,))
                Pulp(connection, "later").sync()
            assert types(server, "later", 2) == PAIR
            assert types(server, "zoo", 4) == PAIR * 2
            assert pulps(server)[""]["state"] == "reading"
            assert not [line for line in server.said if first.password in line]
    finally:
        second.stop(signal.SIGQUIT)
        shutil.rmtree(folder)
        first.start()
