"""Servers of one PostgreSQL that are restarted one after the other, also with a version that changes the tables."""

import contextlib
import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from pulpit.store import servers
from pulpit.store.database import Database
from pulpit.store.migrations import HEAD
from pulpit.store.servers import Instance
from pulpit.store.wakeups import WakeupSocket
from support import postgresql as pg
from support import upstream
from support.server import Server, pulpit
from support.shared import Shared, beside, check, read, shared_by
from support.waiting import until
from support.webhooks import Hook, hook

OLDER = "0019"
"""A step of the migrations before the newest one."""

pytestmark = pytest.mark.skipif(bool(pg.why_not()), reason=str(pg.why_not()))


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Shared]:
    with shared_by("shared folder", tmp_path) as shared:
        yield shared


def url_of(shared: Shared) -> str:
    return shared.conf.partition("url: ")[2].partition("\n")[0]


@contextlib.contextmanager
def connected(shared: Shared) -> Iterator[sa.Connection]:
    engine = sa.create_engine(url_of(shared).replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def step(shared: Shared) -> str:
    """The step of the migrations at which the tables are."""
    with connected(shared) as connection:
        return str(connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one())


@contextlib.contextmanager
def older_server(shared: Shared) -> Iterator[None]:
    """Tables as an older version made them, and the heartbeats of a server of that version."""
    with connected(shared) as connection:
        config = Config()
        config.set_main_option("script_location", "pulpit.store:migrations")
        config.attributes["connection"] = connection
        command.upgrade(config, OLDER)
    folder = shared.folder / "older"
    folder.mkdir()
    over = threading.Event()
    with WakeupSocket(folder) as wakeups, contextlib.closing(Database(folder, wakeups, url=url_of(shared))) as database:

        def beat() -> None:
            while not over.wait(1):
                with database.write() as tx:
                    servers.beat(tx, Instance(node="older1", id="older", home="elsewhere"))

        with database.write() as tx:
            servers.beat(tx, Instance(node="older1", id="older", home="elsewhere"))
        thread = threading.Thread(target=beat)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(60)


def refused(server: Server) -> str:
    """What a server says that does not start."""
    arguments = [sys.executable, "-m", "pulpit.cli", "serve", "--config", f"{server.data_dir}.conf"]
    arguments += ["--data-dir", str(server.data_dir), "--port", "0", "--broker-port", "0"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 78, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_tables_are_not_migrated_under_servers_that_still_run(shared: Shared) -> None:
    server = Server(shared.folder / "one", shared.conf)
    with older_server(shared):
        said = refused(server)
        assert "older1 still run on them" in said
        assert "stop all servers and workers of this database" in said
        assert step(shared) == OLDER
    server.start()
    assert server.stop() == 0, server.said
    assert step(shared) == HEAD
    with connected(shared) as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
        connection.commit()
    assert "was written by a newer version of Pulpit" in refused(server)


class Firing(threading.Thread):
    """Fires numbered events, each at the first server that accepts it."""

    def __init__(self, servers: Sequence[Server]) -> None:
        super().__init__()
        self._servers = servers
        self.over = threading.Event()
        self.count = 0

    def run(self) -> None:
        while not self.over.is_set():
            body = json.dumps({"event_type": "build.done", "payload": {"n": self.count}}).encode()
            while not any(self._accepts(server, body) for server in self._servers):
                pass
            self.count += 1

    def go_on(self, count: int) -> None:
        until(lambda: self.count > count, what="events")

    def _accepts(self, server: Server, body: bytes) -> bool:
        request = urllib.request.Request(f"{server.url}/pulpit/v1/events", method="POST")
        request.add_header("Authorization", server.basic)
        request.add_header("Content-Type", "application/json")
        request.add_header("Idempotency-Key", f"key {self.count}")
        try:
            urllib.request.urlopen(request, body, timeout=60).close()
        except (OSError, urllib.error.HTTPError):
            return False
        return True


def arrived(receiver: Hook, count: int) -> None:
    until(lambda: len(receiver.came) >= count, what="all events")
    assert [body["payload"]["n"] for body in receiver.came] == list(range(count))


def test_nothing_is_lost_doubled_or_mixed_up_by_a_rolling_restart(shared: Shared) -> None:
    conf = shared.conf + "[server]\nwebhook_allow: 127.0.0.0/8\n"
    with upstream.running() as feed, hook() as a, hook() as b, pulpit(shared.folder / "one", conf) as one:
        two = beside(shared, one, further="[server]\nwebhook_allow: 127.0.0.0/8\n")
        two.start()
        feed.put("a.iso", b"a")
        feed.manifest()
        one.create_iso("zoo", feed.url)
        assert one.ended(one.sync("zoo"))["state"] == "finished"
        for receiver in (a, b):
            body = {"notifier_type_id": "http", "notifier_config": {"url": receiver.url}}
            one.call("POST", "/pulp/api/v2/events/", {**body, "event_types": ["build.done"]})
        firing = Firing([one, two])
        firing.start()
        try:
            for server, other in ((one, two), (two, one)) * 2:
                before = firing.count
                task = other.sync("zoo")
                assert server.stop() == 0, server.said
                assert read(other, "isos/zoo/a.iso") == (200, b"a")
                server.start()
                firing.go_on(before + 10)
                other.ended(task)
        finally:
            firing.over.set()
            firing.join(60)
        for receiver in (a, b):
            arrived(receiver, firing.count)
        check(one)
        assert two.stop() == 0, two.said
