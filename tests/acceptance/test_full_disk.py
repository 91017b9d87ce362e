"""The disk of the data folder fills: clear refusals, nothing lost, and work continues by itself when there is space."""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import threading
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.server import Server, pulpit
from support.subscriber import subscribed
from support.upstream import gate, running
from support.waiting import until

SIZE = "24m"
EVENTS = "/pulpit/v1/events"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of its own that is soon full."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting a small disk is not permitted here ({done.stderr.strip()})")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


class Ballast:
    """A file that takes all the room there is."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "ballast"

    def fill(self) -> None:
        """Write until there is no byte left."""
        with self._file.open("ab", buffering=0) as file:
            for size in (2**20, 2**12, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))

    def drop(self) -> None:
        self._file.unlink()


def fire(server: Server, step: int) -> tuple[int, Any]:
    """Fire an event of some size and answer status and body."""
    event = {"event_type": "disk.step", "payload": {"step": step, "filler": "x" * 4000}}
    try:
        return 201, server.call("POST", EVENTS, event)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.loads(refused.read())


def test_a_full_disk_refuses_clearly_loses_nothing_and_heals_by_itself(small_disk: Path, tmp_path: Path) -> None:
    ballast, accepted = Ballast(small_disk), []
    data = tmp_path / "house"
    data.symlink_to(small_disk, target_is_directory=True)
    conf = "[broker]\ndisk_free_limit: 1\n"
    with running() as upstream, pulpit(data, conf) as server, subscribed(server.amqp_url, "pulp") as subscriber:
        server.listen("pulp", "*", "disk.#")
        pid = server.pid
        arrived, opened = threading.Event(), threading.Event()
        upstream.put("held.iso", b"held")
        upstream.manifest()
        upstream.misbehave("held.iso", gate(b"held", opened, arrived))
        server.create_iso("files", upstream.url)
        task_id = server.sync("files")
        assert arrived.wait(60)
        subscriber.wait_for(1)
        ballast.fill()
        for step in range(2000):
            status, answer = fire(server, step)
            if status != 201:
                break
            accepted.append(step)
            ballast.fill()
        assert status == 507, answer
        assert "full" in json.dumps(answer)
        assert "Traceback" not in json.dumps(answer)
        opened.set()
        assert server.call("GET", f"{EVENTS}?limit=1")["events"]
        assert fire(server, -1)[0] == 507
        ballast.drop()
        report = server.ended(task_id)
        assert report["state"] in ("error", "finished")
        status, answer = fire(server, 5000)
        assert status == 201, answer
        accepted.append(5000)
        until(lambda: 5000 in _steps(subscriber.arrived), what="the event after the full disk")
        assert _steps(subscriber.arrived) == accepted
        assert subscriber.numbers == sorted(subscriber.numbers)
        finishes = [one for one in subscriber.arrived if one.subject.endswith("sync.finish")]
        assert len(finishes) == 1
        ended = finishes[0].body["payload"]
        assert ended["result"] == "success" or "full" in ended["error_message"], ended
        assert server.pid == pid
        assert server.ended(server.sync("files"))["state"] == "finished"


@pytest.mark.parametrize("gone", [[], ["pulpit.db-shm"], ["pulpit.db-shm", "pulpit.db-wal"], ["bell"]])
def test_a_server_killed_on_a_full_disk_starts_says_so_and_goes_on_when_there_is_room(
    small_disk: Path, tmp_path: Path, gone: list[str]
) -> None:
    """With a task that must get its end, and with what SQLite keeps beside its file there or not."""
    ballast = Ballast(small_disk)
    data = tmp_path / "house"
    data.symlink_to(small_disk, target_is_directory=True)
    with running() as upstream, pulpit(data, "[broker]\ndisk_free_limit: 1\n") as server:
        with subscribed(server.amqp_url, "pulp") as subscriber:
            server.listen("pulp", "*", "disk.#")
            assert fire(server, 0)[0] == 201
            subscriber.wait_for(1)
        arrived, opened = threading.Event(), threading.Event()
        upstream.put("held.iso", b"held")
        upstream.manifest()
        upstream.misbehave("held.iso", gate(b"held", opened, arrived))
        server.create_iso("files", upstream.url)
        task_id = server.sync("files")
        assert arrived.wait(60)
        server.kill()
        opened.set()
        if gone:
            with contextlib.closing(sqlite3.connect(data / "pulpit.db")) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for name in gone:
            (data / name).unlink(missing_ok=True)
        ballast.fill()
        said = len(server.said)
        server.start()
        until(lambda: any("no work until there is room" in line for line in server.said[said:]), what="the warning")
        assert not any("Traceback" in line for line in server.said[said:])
        status, answer = fire(server, 1)
        assert (status, "full" in json.dumps(answer)) == (507, True)
        ballast.drop()
        until(lambda: fire(server, 2)[0] == 201, what="an event to be accepted again")
        report = server.ended(task_id)
        assert report["state"] == "error"
        assert server.ended(server.sync("files"))["state"] == "finished"


def test_a_first_start_on_a_full_disk_is_one_sentence(small_disk: Path) -> None:
    """There is nothing yet that could be served."""
    (small_disk / "data").mkdir(mode=0o700)
    Ballast(small_disk).fill()
    command = [sys.executable, "-m", "pulpit.cli", "serve", "--data-dir", str(small_disk / "data")]
    done = subprocess.run(
        [*command, "--port", "0", "--broker-port", "0"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "is full; make room and try again." in done.stderr
    assert "Traceback" not in done.stderr


def _steps(arrived: Any) -> list[int]:
    return [one.body["payload"]["step"] for one in arrived if "step" in one.body["payload"]]
