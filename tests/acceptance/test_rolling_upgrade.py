"""Servers of one PostgreSQL that are restarted one after the other, also with a version that changes the tables."""

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

from support import postgresql as pg
from support import upstream
from support.server import Server, pulpit
from support.shared import Shared, beside, check, read, shared_by
from support.waiting import until
from support.webhooks import Hook, hook

pytestmark = pytest.mark.skipif(bool(pg.why_not()), reason=str(pg.why_not()))


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Shared]:
    with shared_by("shared folder", tmp_path) as shared:
        yield shared


def run(shared: Shared, statement: str) -> list[str]:
    """Execute SQL on the shared database; returns the first column."""
    url = shared.conf.partition("url: ")[2].partition("\n")[0]
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        done = connection.execute(sa.text(statement))
        rows = [str(row[0]) for row in done] if done.returns_rows else []
    engine.dispose()
    return rows


def test_tables_are_not_migrated_under_servers_that_still_run(shared: Shared) -> None:
    with pulpit(shared.folder / "one", f"{shared.conf}[tasks]\nworkers: 0\n") as one:  # whose starts would migrate
        two = beside(shared, one)
        (newest,) = run(shared, "SELECT version_num FROM alembic_version")
        run(shared, "UPDATE alembic_version SET version_num = '0019'")  # whose next step changes nothing here
        command = [sys.executable, "-m", "pulpit.cli", "serve", "--config", str(shared.folder / "two.conf")]
        command += ["--data-dir", str(two.data_dir), "--port", "0", "--broker-port", "0"]
        refused = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert refused.returncode == 78, refused.stderr
        assert "stop all servers and workers of this database" in refused.stderr
        assert (one.data_dir / "node").read_text().strip() in refused.stderr
        assert "Traceback" not in refused.stderr
        assert run(shared, "SELECT version_num FROM alembic_version") == ["0019"]
        one.stop()
        two.start()
        assert run(shared, "SELECT version_num FROM alembic_version") == [newest]
        one.start()
        assert two.stop() == 0, two.said
        run(shared, "UPDATE alembic_version SET version_num = '9999'")
        refused = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert refused.returncode == 78, refused.stderr
        assert "was written by a newer version of Pulpit" in refused.stderr
        run(shared, f"UPDATE alembic_version SET version_num = '{newest}'")  # noqa: S608 - ours


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
