"""`pulp-admin` against a real server: the usual commands of an administrator."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import upstream
from support.processes import clean_environment
from support.server import Server, pulpit
from support.upstream import Upstream

PROGRAM = [sys.executable, "-c", "from pulpit.admin.main import main; main()"]


class Admin:
    """An administrator at the server's machine: nothing is configured but the folder with the password."""

    def __init__(self, server: Server, home: Path) -> None:
        self.environment = {
            **clean_environment(),
            "HOME": str(home),
            "PULPIT_URL": server.url,
            "PULPIT_DATA_DIR": str(server.data_dir),
        }

    def run(self, *words: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [*PROGRAM, *words], env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == code, done
        return done

    def json(self, *words: str) -> Any:
        return json.loads(self.run("--json", *words).stdout)

    def begin(self, *words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*PROGRAM, *words], env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with pulpit(tmp_path_factory.mktemp("server") / "data", "[messaging]\nurl =\n") as server:
        yield server


@pytest.fixture
def admin(server: Server, tmp_path: Path) -> Admin:
    return Admin(server, tmp_path)


@pytest.fixture
def feed() -> Iterator[Upstream]:
    with upstream.running() as feed:
        yield feed


@pytest.fixture
def repo_id(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


def test_a_listener_from_its_creation_to_its_end(admin: Admin) -> None:
    created = admin.run("event", "listener", "amqp", "create", "--event-type", "*", "--exchange", "pulp").stdout
    listener_id = created.split()[-1]
    admin.run("event", "listener", "amqp", "update", "--listener-id", listener_id, "--event-type", "repo.*.finish")
    [listener] = [found for found in admin.json("event", "listener", "list") if found["id"] == listener_id]
    assert listener["event_types"] == ["repo.*.finish"]
    assert listener["notifier_config"] == {"exchange": "pulp"}
    shown = admin.run("event", "listener", "list").stdout
    assert f"Event Types:       repo.*.finish\nId:                {listener_id}\n" in shown
    admin.run("event", "listener", "delete", "--listener-id", listener_id)
    told = admin.run("event", "listener", "delete", "--listener-id", listener_id, code=65).stderr
    assert f"  {listener_id} (event_listener)" in told


def test_a_wrong_event_type_is_named(admin: Admin) -> None:
    told = admin.run("event", "listener", "amqp", "create", "--event-type", "nonsense", code=65).stderr
    assert "event_types" in told


def test_a_sync_is_followed_to_the_end_of_its_publish(admin: Admin, feed: Upstream, repo_id: str) -> None:
    feed.put("a.iso", b"a" * 1000)
    feed.put("b.iso", b"b" * 2000)
    feed.manifest()
    admin.run("iso", "repo", "create", "--repo-id", repo_id, "--feed", feed.url, "--serve-http", "true")
    shown = admin.run("iso", "repo", "sync", "run", "--repo-id", repo_id).stdout
    assert shown.splitlines()[-4:] == [
        "Downloading 2 files (3.0 kB)... completed",
        "Task succeeded",
        "Publishing... completed",
        "Task succeeded",
    ]
    assert [unit["metadata"]["name"] for unit in admin.json("iso", "repo", "isos", "--repo-id", repo_id)] == [
        "a.iso",
        "b.iso",
    ]
    [entry] = admin.json("repo", "history", "sync", "--repo-id", repo_id)
    assert (entry["result"], entry["added_count"]) == ("success", 2)
    [published] = admin.json("repo", "history", "publish", "--repo-id", repo_id)
    assert published["result"] == "success"
    assert len(admin.json("repo", "tasks", "list", "--repo-id", repo_id)) == 2


def test_a_failed_sync_fails_the_command_and_says_why(admin: Admin, feed: Upstream, repo_id: str) -> None:
    feed.put("a.iso", os.urandom(1000))
    feed.manifest()
    feed.put("a.iso", os.urandom(1000))
    admin.run("iso", "repo", "create", "--repo-id", repo_id, "--feed", feed.url)
    told = admin.run("iso", "repo", "sync", "run", "--repo-id", repo_id, code=1).stderr
    assert "failed." in told
    assert "a.iso" in told


def test_ctrl_c_leaves_the_sync_running_and_cancel_ends_it(admin: Admin, feed: Upstream, repo_id: str) -> None:
    content = os.urandom(1000)
    feed.put("a.iso", content)
    feed.manifest()
    arrived = threading.Event()
    feed.misbehave("a.iso", upstream.gate(content, threading.Event(), arrived))
    admin.run("iso", "repo", "create", "--repo-id", repo_id, "--feed", feed.url)
    sync = ["iso", "repo", "sync", "run", "--repo-id", repo_id]
    with admin.begin(*sync) as follower:
        assert arrived.wait(60)
        follower.send_signal(signal.SIGINT)
        _, told = follower.communicate(timeout=60)
    assert follower.returncode == 0
    assert "the server continues" in told
    [running] = admin.json("tasks", "list")
    with admin.begin(*sync) as second:
        assert second.stdout
        assert "under way already" in second.stdout.readline()
        admin.run("tasks", "cancel", "--task-id", running["task_id"])
        _, told = second.communicate(timeout=60)
    assert second.returncode == 1
    assert "was cancelled" in told


def test_own_files_can_be_brought_in(admin: Admin, tmp_path: Path, repo_id: str) -> None:
    admin.run("iso", "repo", "create", "--repo-id", repo_id)
    for name, size in (("big.iso", 2_500_000), ("empty.iso", 0)):
        (tmp_path / name).write_bytes(os.urandom(size))
    files = ["-f", str(tmp_path / "big.iso"), "-f", str(tmp_path / "empty.iso")]
    admin.run("iso", "repo", "uploads", "upload", "--repo-id", repo_id, *files)
    found = {unit["metadata"]["name"]: unit["metadata"]["size"] for unit in admin.json(*_isos(repo_id))}
    assert found == {"big.iso": 2_500_000, "empty.iso": 0}


def _isos(repo_id: str) -> list[str]:
    return ["iso", "repo", "isos", "--repo-id", repo_id]


def test_update_and_delete(admin: Admin, repo_id: str) -> None:
    admin.run("iso", "repo", "create", "--repo-id", repo_id, "--note", "a=b", "--feed", "http://127.0.0.1:1/")
    options = ["--description", "new", "--feed", "", "--note", "a=", "--relative-url", "elsewhere"]
    admin.run("iso", "repo", "update", "--repo-id", repo_id, *options)
    [found] = admin.json("iso", "repo", "list", "--details", "--repo-id", repo_id)
    assert found["description"] == "new"
    assert found["notes"] == {"_repo-type": "iso-repo"}
    assert found["importers"][0]["config"] == {}
    assert found["distributors"][0]["config"]["relative_url"] == "elsewhere"
    admin.run("iso", "repo", "create", "--repo-id", repo_id, code=65)
    admin.run("iso", "repo", "delete", "--repo-id", repo_id)
    admin.run("iso", "repo", "list", "--repo-id", repo_id, code=65)


def test_orphans_and_old_tasks_can_be_cleared_away(admin: Admin) -> None:
    admin.run("orphan", "remove", "--all")
    counts = [line.rpartition(":") for line in admin.run("orphan", "list").stdout.splitlines() if ":" in line]
    assert "Total" in [name.strip() for name, _, _ in counts]
    assert {count.strip() for _, _, count in counts} == {"0"}
    admin.run("tasks", "purge", "--all")
    states = {task["state"] for task in admin.json("tasks", "list", "--all")}
    assert not states & {"finished", "error", "skipped"}


def test_a_wrong_password_is_77_and_status_needs_none(admin: Admin) -> None:
    admin.run("-u", "admin", "-p", "wrong", "repo", "list", code=77)
    admin.environment["PULPIT_DATA_DIR"] = "/nonexistent"
    admin.run("repo", "list", code=77)
    assert "Database Connection" in admin.run("status").stdout
