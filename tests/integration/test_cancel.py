"""Tasks cancelled at any moment: one finish event, nothing half published, and the next task completes the work."""

import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import upstream as serving
from support.server import API, Server, pulpit
from support.upstream import Upstream, gate, stall
from support.waiting import until

MOMENTS = 8
FILES = 60


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with pulpit(tmp_path_factory.mktemp("server") / "data", "[messaging]\nurl =\n") as running:
        yield running


@pytest.fixture
def feed() -> Iterator[Upstream]:
    with serving.running() as running:
        yield running


@pytest.fixture
def repo_id(request: pytest.FixtureRequest) -> str:
    return str(request.node.name).replace("[", "-").rstrip("]")


def cancel(server: Server, task_id: str) -> dict[str, Any]:
    server.call("DELETE", f"{API}/tasks/{task_id}/")
    return server.ended(task_id)


def publish(server: Server, repo_id: str) -> str:
    order = {"id": "iso_distributor", "override_config": {"force_full": True}}
    answer = server.call("POST", f"{API}/repositories/{repo_id}/actions/publish/", order)
    return str(answer["spawned_tasks"][0]["task_id"])


def results(server: Server, repo_id: str, kind: str) -> list[tuple[str, str | None]]:
    """The starts and finishes of one kind, as the log has them."""
    query = f"/pulpit/v1/events?limit=1000&repo_id={repo_id}&event_type=repo.{kind}.*"
    found = server.call("GET", query)["events"]
    return [(event["event_type"].rpartition(".")[2], event["result"]) for event in found]


def published(server: Server, repo_id: str) -> dict[str, bytes]:
    """What a reader sees: the manifest, and every file that it lists."""

    def read(name: str) -> bytes:
        with urllib.request.urlopen(f"{server.url}/pulp/isos/{repo_id}/{name}", timeout=60) as answer:
            return bytes(answer.read())

    lines = read("PULP_MANIFEST").decode().splitlines()
    return {name: read(name) for name in (line.split(",")[0] for line in lines)}


def test_a_waiting_task_ends_at_once_and_fires_neither_start_nor_finish(
    server: Server, feed: Upstream, repo_id: str
) -> None:
    arrived, opened = threading.Event(), threading.Event()
    feed.put("a.iso", b"a")
    feed.manifest()
    feed.misbehave("PULP_MANIFEST", gate(feed.files["PULP_MANIFEST"], opened, arrived))
    server.create_iso(repo_id, feed.url)
    first, second = server.sync(repo_id), server.sync(repo_id)
    assert arrived.wait(60)
    assert server.task(second)["state"] == "waiting"
    assert cancel(server, second)["state"] == "canceled"
    opened.set()
    assert server.ended(first)["state"] == "finished"
    assert results(server, repo_id, "sync") == [("start", None), ("finish", "success")]


@pytest.mark.parametrize("moment", ["metadata", "download"])
def test_a_running_sync_is_broken_off(server: Server, feed: Upstream, repo_id: str, moment: str) -> None:
    arrived, opened = threading.Event(), threading.Event()
    feed.put("a.iso", b"old")
    feed.manifest()
    server.create_iso(repo_id, feed.url)
    assert server.ended(server.sync(repo_id))["state"] == "finished"
    feed.put("a.iso", b"new")
    more = f"nobody has this but {repo_id}".encode()
    feed.put("b.iso", more)
    feed.manifest()
    if moment == "metadata":
        feed.misbehave("PULP_MANIFEST", gate(b"", opened, arrived))
    else:
        feed.misbehave("b.iso", stall(feed.files["b.iso"], 10))
    feed.forget()
    task_id = server.sync(repo_id)
    until(lambda: ("PULP_MANIFEST" if moment == "metadata" else "b.iso") in feed.paths(), what=f"the {moment}")
    task = cancel(server, task_id)
    assert (task["state"], task["spawned_tasks"]) == ("canceled", [])
    assert task["result"]["result"] == "canceled"
    assert task["progress_report"]["iso_importer"]["state"] == "cancelled"
    assert results(server, repo_id, "sync")[2:] == [("start", None), ("finish", "canceled")]
    assert published(server, repo_id) == {"a.iso": b"old"}
    feed.behaviours.clear()
    assert server.ended(server.sync(repo_id))["state"] == "finished"
    assert published(server, repo_id) == {"a.iso": b"new", "b.iso": more}


@pytest.mark.parametrize("kind", ["sync", "publish"])
def test_at_whatever_moment_it_comes(server: Server, feed: Upstream, repo_id: str, kind: str) -> None:
    """Cancel at moments that are spread over the whole work, from before it begins to after it has ended."""
    for number in range(FILES):
        feed.put(f"{number}.iso", f"content {number} of {repo_id}".encode())
    feed.manifest()
    server.create_iso(repo_id, feed.url)
    began = time.monotonic()
    assert server.ended(server.sync(repo_id))["state"] == "finished"
    lasts = time.monotonic() - began
    whole = published(server, repo_id)
    assert len(whole) == FILES
    for moment in range(MOMENTS):
        feed.put(f"{moment}.iso", f"change {moment} of {repo_id}".encode())
        feed.manifest()
        task_id = server.sync(repo_id) if kind == "sync" else publish(server, repo_id)
        time.sleep(lasts * moment / MOMENTS)  # the moment is what is tried; none is too early or too late
        assert cancel(server, task_id)["state"] in ("canceled", "finished")
        seen = published(server, repo_id)
        assert len(seen) == FILES
        assert set(seen) == set(whole)
    assert server.ended(server.sync(repo_id))["state"] == "finished"
    expected = {name: content for name, content in feed.files.items() if name != "PULP_MANIFEST"}
    assert published(server, repo_id) == expected
    for each in ("sync", "publish"):
        told = [name for name, _ in results(server, repo_id, each)]
        assert told == ["start", "finish"] * (len(told) // 2)


def test_what_was_cancelled_has_left_nothing_that_a_check_finds(server: Server) -> None:
    command = [
        sys.executable,
        "-m",
        "pulpit.cli.main",
        "check",
        "--data-dir",
        str(server.data_dir),
        "--config",
        "/dev/null",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list(Path(server.data_dir / "downloads").glob("*/*"))
