"""Schedules in a real server: they run when due, continue after a restart, and report when they are disabled."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import upstream
from support.server import API, Server, pulpit
from support.upstream import Upstream
from support.waiting import until

WIRE: dict[str, Any] = {"override_config": {}, "failure_threshold": None, "enabled": True}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with pulpit(tmp_path / "data", "[messaging]\nurl =\n") as running:
        yield running


@pytest.fixture
def feed() -> Iterator[Upstream]:
    with upstream.running() as running:
        running.put("a.iso", b"a")
        running.manifest()
        yield running


def schedules_of(repo_id: str) -> str:
    return f"{API}/repositories/{repo_id}/importers/iso_importer/schedules/sync/"


def schedule(server: Server, repo_id: str, interval: str, **more: Any) -> str:
    made = server.call("POST", schedules_of(repo_id), {**WIRE, "schedule": interval, **more})
    return str(made["_href"])


def test_it_syncs_and_publishes_by_itself_before_and_after_a_restart(server: Server, feed: Upstream) -> None:
    server.create_iso("files", feed.url)
    href = schedule(server, "files", "PT1S")

    def successes() -> list[str]:
        found = server.call("GET", f"{API}/repositories/files/history/sync/")
        return [entry["id"] for entry in found if entry["result"] == "success"]

    until(lambda: len(successes()) >= 2, what="two syncs by themselves")
    assert server.call("GET", f"{API}/repositories/files/history/publish/iso_distributor/")
    before = server.call("GET", href)["total_run_count"]
    server.kill()
    server.start()
    known = set(successes())
    until(lambda: set(successes()) - known, what="a sync after the restart")
    assert server.call("GET", href)["total_run_count"] > before


def test_one_that_fails_too_often_is_disabled_and_the_listeners_can_know(server: Server) -> None:
    server.create_iso("broken", "http://127.0.0.1:1/")
    href = schedule(server, "broken", "PT1S", failure_threshold=2)
    until(lambda: not server.call("GET", href)["enabled"], what="the schedule to be disabled")
    assert server.call("GET", href)["consecutive_failures"] == 2
    found = server.call("GET", "/pulpit/v1/events?event_type=schedule.disabled")["events"]
    assert [event["payload"]["repo_id"] for event in found] == ["broken"]
    until(lambda: any("schedule_disabled" in line for line in server.said), what="a line in the log")
