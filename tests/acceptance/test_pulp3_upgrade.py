"""An older Pulp 3 is upgraded by its own migrations with the triggers in place, which cuts off a sync under way.

`PULPIT_PULP3_UPGRADE_FROM=3.73.47` runs it, which installs that pulpcore and makes its tables: minutes, once.
"""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from support import postgresql, pulp3
from support.pulp3 import VERSION
from support.pulp3_upstreams import serve_files
from support.server import Server, pulpit
from support.upstream import running
from support.waiting import until

FROM = os.environ.get("PULPIT_PULP3_UPGRADE_FROM", "")
REASON = postgresql.why_not() or (None if FROM else "PULPIT_PULP3_UPGRADE_FROM names no older pulpcore to install")
pytestmark = [
    pytest.mark.skipif(REASON is not None, reason=REASON or ""),
    pytest.mark.timeout(3600),
]


def test_events_go_on_through_the_migrations_of_an_upgrade(tmp_path: Path) -> None:
    with pulp3.pulp3(FROM) as pulp, running() as upstream:
        assert said(pulp, "attach") == "Attached.\n"
        conf = f"[pulp3]\ndatabase_url: {pulp.cluster.url()}\nreconcile_seconds: 1\n"
        with pulpit(tmp_path / "data", conf) as server:
            repository = pulp.create("file/file", "zoo", serve_files(upstream, "zoo", "a.iso"))
            pulp.ended(pulp.sync(repository))
            arrived, content = threading.Event(), upstream.files["zoo/PULP_MANIFEST"]

            def behave(answering: Any) -> None:
                arrived.set()
                upstream.released.wait(120)
                answering.answer(200, content)

            upstream.misbehave("zoo/PULP_MANIFEST", behave)
            pulp.sync(repository)
            until(arrived.is_set, what="the sync at the upstream", seconds=60)
            assert [result for _, result in told(server, 3)] == [None, "success", None]
            pulp.upgrade(VERSION)
            upstream.released.set()
            pulp.start()
            pulp.ended(pulp.sync(repository, optimize=False), seconds=300)
            start, finish = ("repo.sync.start", None), "repo.sync.finish"
            assert told(server, 6) == [start, (finish, "success"), start, (finish, "error"), start, (finish, "success")]
        assert said(pulp, "attach") == "Already attached; nothing was changed.\n"


def said(pulp: pulp3.Pulp3, verb: str) -> str:
    """Run `pulpit pulp3 …`."""
    command = [sys.executable, "-m", "pulpit.cli", "pulp3", verb, "--config", "/dev/null"]
    command += ["--database-url", pulp.cluster.url()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def told(server: Server, count: int) -> list[tuple[str, str | None]]:
    """Types and results of the repository's events of syncs, once there are enough."""

    def found() -> list[tuple[str, str | None]]:
        page = server.call("GET", "/pulpit/v1/events?repo_id=zoo&event_type=repo.sync.*&limit=1000&after=0")
        return [(event["event_type"], event["result"]) for event in page["events"]]

    until(lambda: len(found()) >= count, what=f"{count} events", seconds=300)
    return found()
