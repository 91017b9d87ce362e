"""Two servers on one PostgreSQL and one storage: any of them answers anything, and workers take whatever there is."""

import base64
import os
import random
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pulpit.settings import StorageSettings
from support import postgresql as pg
from support import s3, upstream
from support.server import API, Server, pulpit
from support.upstream import Upstream
from support.waiting import until

SECONDS = float(os.environ.get("PULPIT_SHARED_CAMPAIGN_SECONDS", "5"))
"""For how long servers and workers are killed."""
LARGE = bytes(range(256)) * 12_000
"""More than is fetched at once for a reader: it is streamed."""


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What the servers of a test share."""

    folder: Path
    conf: str
    settings: StorageSettings
    s3: s3.S3


@pytest.fixture(params=["shared folder", "object store"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shared]:
    why_not = pg.why_not()
    if why_not:
        pytest.skip(why_not)
    with pg.postgresql() as cluster, s3.running(tmp_path) as store:
        if request.param == "object store":
            store.make_bucket("bucket")
            settings = store.settings("bucket")
        else:
            settings = StorageSettings(url=str(tmp_path / "shared"))
        keys = ("url", "endpoint", "region", "credentials_file")
        section = "".join(f"{key}: {getattr(settings, key)}\n" for key in keys if getattr(settings, key))
        conf = f"[database]\nurl: {cluster.fresh()}\n[messaging]\nurl:\n[storage]\n{section}"
        yield Shared(folder=tmp_path, conf=conf, settings=settings, s3=store)


def second(shared: Shared, first: Server, name: str = "two", further: str = "") -> Server:
    """A server beside the first, which has made the administrator."""
    server = Server(shared.folder / name, shared.conf + further)
    server.data_dir.mkdir(mode=0o700)
    (server.data_dir / "node").write_text(f"{name:_<6}")
    (server.data_dir / "admin-password").write_text(first.password)
    return server


def read(server: Server, path: str, **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(f"{server.url}/pulp/isos/{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def put(server: Server, path: str, content: bytes) -> None:
    token = base64.b64encode(f"admin:{server.password}".encode()).decode()
    headers = {"Authorization": f"Basic {token}"}
    request = urllib.request.Request(f"{server.url}{path}", data=content, headers=headers, method="PUT")
    urllib.request.urlopen(request, timeout=60).close()


def fill(feed: Upstream, content: bytes) -> None:
    feed.put("small.iso", content)
    feed.put("large.iso", LARGE + content)
    feed.manifest()


def check(server: Server) -> None:
    conf = server.data_dir.parent / f"{server.data_dir.name}.conf"
    command = [sys.executable, "-m", "pulpit.cli", "check", "--deep", "--config", str(conf)]
    done = subprocess.run([*command, "--data-dir", str(server.data_dir)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_sync_by_one_is_published_and_read_by_the_other(shared: Shared) -> None:
    with upstream.running() as feed, pulpit(shared.folder / "one", f"{shared.conf}[tasks]\nworkers: 0\n") as one:
        two = second(shared, one)
        two.start()
        try:
            fill(feed, b"1")
            one.create_iso("zoo", feed.url)
            assert one.ended(one.sync("zoo"))["state"] == "finished"  # by the workers of the other
            for server in (one, two):
                assert read(server, "zoo/small.iso") == (200, b"1")
                assert read(server, "zoo/large.iso") == (200, LARGE + b"1")
                assert read(server, "zoo/large.iso", Range="bytes=256-511") == (206, LARGE[:256])
            fill(feed, b"2")
            assert two.ended(two.sync("zoo"))["state"] == "finished"
            until(lambda: read(one, "zoo/small.iso") == (200, b"2"), what="the other server to see the publish")
            upload = two.call("POST", f"{API}/content/uploads/")["upload_id"]
            put(two, f"{API}/content/uploads/{upload}/0/", b"by hand")
            body = {"upload_id": upload, "unit_type_id": "iso", "unit_key": {"name": "by-hand.iso"}}
            begun = two.call("POST", f"{API}/repositories/zoo/actions/import_upload/", body)
            two.call("DELETE", f"{API}/content/uploads/{upload}/")
            assert one.ended(begun["spawned_tasks"][0]["task_id"])["state"] == "finished"
            for server in (one, two):
                check(server)
        finally:
            assert two.stop() == 0, two.said


def test_a_server_with_files_of_its_own_is_refused(shared: Shared) -> None:
    with pulpit(shared.folder / "one", shared.conf):
        alone = shared.folder / "alone.conf"
        alone.write_text(shared.conf.partition("[storage]")[0])
        command = [sys.executable, "-m", "pulpit.cli", "serve", "--config", str(alone), "--port", "0"]
        command += ["--data-dir", str(shared.folder / "alone")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 78
        assert "pulpit: [storage] url: the server " in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("shared", ["shared folder"], indirect=True)
def test_whatever_is_killed_every_start_has_one_finish_and_readers_see_no_mixture(shared: Shared) -> None:
    chosen = random.Random(1)  # noqa: S311 - no secret
    with upstream.running() as feed, pulpit(shared.folder / "one", shared.conf) as one:
        two = second(shared, one)
        two.start()
        worker = Workers(shared)
        worker.start()
        try:
            one.create_iso("zoo", feed.url)
            begun, number, tasks = time.monotonic(), 0, []
            while number < 3 or time.monotonic() - begun < SECONDS:
                number += 1
                fill(feed, str(number).encode())
                tasks.append(one.sync("zoo"))
                time.sleep(chosen.random())
                victim: Server | Workers = chosen.choice((two, worker))
                victim.kill()
                victim.start()
                status, small = read(one, "zoo/small.iso")
                assert status in (200, 404)
                assert small.isdigit() or status == 404
            for task in tasks:
                one.ended(task, seconds=180)
            fill(feed, b"0")
            assert one.ended(one.sync("zoo"), seconds=180)["state"] == "finished"
            assert read(two, "zoo/large.iso") == (200, LARGE + b"0")
            events = one.call("GET", "/pulpit/v1/events?limit=1000")["events"]
            for kind in ("repo.sync", "repo.publish"):
                counts = [
                    sum(event["event_type"] == f"{kind}.{end}" for event in events) for end in ("start", "finish")
                ]
                assert counts[0] == counts[1] > 0
            check(one)
        finally:
            worker.stop()
            two.stop()


class Workers:
    """`pulpit worker`, which can be killed and started again."""

    def __init__(self, shared: Shared) -> None:
        self._data_dir = shared.folder / "workers"
        self._data_dir.mkdir(mode=0o700)
        (self._data_dir / "node").write_text("worker")
        self._conf = shared.folder / "workers.conf"
        self._conf.write_text(shared.conf)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "pulpit.cli", "worker", "--config", str(self._conf)]
        self._process = subprocess.Popen([*command, "--data-dir", str(self._data_dir)])

    def kill(self) -> None:
        assert self._process
        self._process.kill()
        self._process.wait(60)

    def stop(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(60) == 0
