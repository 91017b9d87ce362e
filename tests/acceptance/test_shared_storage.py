"""Two servers on one PostgreSQL and one storage: each serves every request, and every worker takes every task."""

import base64
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import postgresql as pg
from support import upstream
from support.server import API, Server, pulpit
from support.shared import Shared, beside, check, read, shared_by
from support.upstream import Upstream
from support.waiting import until

LARGE = bytes(range(256)) * 12_000
"""More than is fetched at once for a reader: it is streamed."""


@pytest.fixture(params=["shared folder", "object store"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shared]:
    why_not = pg.why_not()
    if why_not:
        pytest.skip(why_not)
    with shared_by(request.param, tmp_path) as shared:
        yield shared


def put(server: Server, path: str, content: bytes) -> None:
    token = base64.b64encode(f"admin:{server.password}".encode()).decode()
    headers = {"Authorization": f"Basic {token}"}
    request = urllib.request.Request(f"{server.url}{path}", data=content, headers=headers, method="PUT")
    urllib.request.urlopen(request, timeout=60).close()


def fill(feed: Upstream, content: bytes) -> None:
    feed.put("small.iso", content)
    feed.put("large.iso", LARGE + content)
    feed.manifest()


def test_a_sync_by_one_is_published_and_read_by_the_other(shared: Shared) -> None:
    with upstream.running() as feed, pulpit(shared.folder / "one", f"{shared.conf}[tasks]\nworkers: 0\n") as one:
        two = beside(shared, one)
        two.start()
        try:
            fill(feed, b"1")
            one.create_iso("zoo", feed.url)
            assert one.ended(one.sync("zoo"))["state"] == "finished"  # by the workers of the other
            for server in (one, two):
                assert read(server, "isos/zoo/small.iso") == (200, b"1")
                assert read(server, "isos/zoo/large.iso") == (200, LARGE + b"1")
                assert read(server, "isos/zoo/large.iso", Range="bytes=256-511") == (206, LARGE[:256])
            fill(feed, b"2")
            assert two.ended(two.sync("zoo"))["state"] == "finished"
            until(lambda: read(one, "isos/zoo/small.iso") == (200, b"2"), what="the other server to see the publish")
            upload = two.call("POST", f"{API}/content/uploads/")["upload_id"]
            for server, offset, piece in ((two, 0, b"by foot"), (one, 3, b"hand"), (two, 7, b" and foot")):
                put(server, f"{API}/content/uploads/{upload}/{offset}/", piece)
                size = offset + len(piece)
                for asked in (one, two):
                    assert asked.call("GET", f"{API}/content/uploads/{upload}/")["size"] == size
            assert one.call("GET", f"{API}/content/uploads/") == {"upload_ids": [upload]}
            with pytest.raises(urllib.error.HTTPError, match="400"):
                put(one, f"{API}/content/uploads/{upload}/99/", b"a hole")
            for server in (one, two):
                check(server)  # pieces are no leftovers
            body = {"upload_id": upload, "unit_type_id": "iso", "unit_key": {"name": "by-hand.iso"}}
            begun = two.call("POST", f"{API}/repositories/zoo/actions/import_upload/", body)
            one.call("DELETE", f"{API}/content/uploads/{upload}/")
            assert one.ended(begun["spawned_tasks"][0]["task_id"])["state"] == "finished"
            published = two.call("POST", f"{API}/repositories/zoo/actions/publish/", {"id": "iso_distributor"})
            assert one.ended(published["spawned_tasks"][0]["task_id"])["state"] == "finished"
            until(lambda: read(one, "isos/zoo/by-hand.iso") == (200, b"by hand and foot"), what="the upload")
            with pytest.raises(urllib.error.HTTPError, match="404"):
                put(two, f"{API}/content/uploads/{upload}/0/", b"gone")
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


def test_a_server_stops_though_its_database_is_away(tmp_path: Path) -> None:
    why_not = pg.why_not()
    if why_not:
        pytest.skip(why_not)
    with shared_by("shared folder", tmp_path) as shared:
        server = Server(tmp_path / "one", shared.conf)
        server.start()
        until(lambda: len(server.call("GET", f"{API}/status/")["known_workers"]) == 2, what="the workers")
    try:
        assert server.stop() == 0, server.said
    finally:
        server.kill()
