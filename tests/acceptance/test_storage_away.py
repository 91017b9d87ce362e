"""A storage that is unavailable, rejects requests or breaks off: 503 with a reason, and never wrong data."""

import contextlib
import http.client
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pulpit.settings import StorageSettings
from pulpit.storage.objects import FETCHED_AT_ONCE
from support import s3, upstream
from support.server import API, Server, pulpit
from support.upstream import Upstream
from support.waiting import until

LARGE = bytes(range(256)) * (3 * FETCHED_AT_ONCE // 256)
READ = ("small.iso", b"read before")
UNREAD = ("other.iso", b"not read before")


@pytest.fixture(scope="module")
def feed() -> Iterator[Upstream]:
    with upstream.running() as feed:
        for name, content in (READ, UNREAD, ("large.iso", LARGE)):
            feed.put(name, content)
        feed.manifest()
        yield feed


def conf_of(settings: StorageSettings) -> str:
    keys = ("url", "endpoint", "region", "credentials_file", "redirect")
    lines = "".join(f"{key}: {getattr(settings, key)}\n" for key in keys if getattr(settings, key))
    return f"[messaging]\nurl:\n[storage]\n{lines}[tasks]\nworkers: 1\n"


def filled(server: Server, feed: Upstream) -> None:
    server.create_iso("zoo", feed.url)
    assert server.ended(server.sync("zoo"))["state"] == "finished"
    assert read(server, READ[0]) == (200, READ[1])


def read(server: Server, name: str) -> tuple[int, bytes]:
    """Status and body; what breaks off has the status 0."""
    try:
        with urllib.request.urlopen(f"{server.url}/pulp/isos/zoo/{name}", timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read()
    except (OSError, http.client.HTTPException):
        return 0, b""


def said(server: Server) -> str:
    report = server.ended(server.sync("zoo"), seconds=240)
    assert report["state"] == "error", report
    assert report["traceback"] in (None, "")
    return str(report["error"]["description"])


def is_well(server: Server, feed: Upstream) -> None:
    """Readers get everything, and what was new meanwhile comes."""
    wanted = dict((READ, UNREAD, ("large.iso", LARGE)))
    until(lambda: {name: read(server, name)[1] for name in wanted} == wanted, what="the files to be back")
    number = len(feed.files)
    feed.put(f"new{number}.iso", b"%d" % number)
    feed.manifest()
    assert server.ended(server.sync("zoo"))["state"] == "finished"
    assert read(server, f"new{number}.iso") == (200, b"%d" % number)


def move(path: Path, target: Path) -> None:
    path.rename(target)


def mounted(kept: Path, shared: Path) -> tuple[Callable[[], None], Callable[[], None]]:
    """How a folder is removed, as by an unmount where that may be done, and brought back."""
    kept.mkdir()
    shared.mkdir()

    def mount() -> None:
        subprocess.run(["mount", "--bind", str(kept), str(shared)], check=True, capture_output=True)

    def unmount() -> None:
        subprocess.run(["umount", "-l", str(shared)], check=True, capture_output=True)

    try:
        mount()
    except (OSError, subprocess.CalledProcessError):  # nobody may mount here: the folder goes another way
        kept.rmdir()
        return lambda: move(shared, kept), lambda: move(kept, shared)
    return unmount, mount


def test_a_shared_folder_that_is_unmounted_and_mounted_again(tmp_path: Path, feed: Upstream) -> None:
    shared = tmp_path / "shared"
    take_away, bring_back = mounted(tmp_path / "kept", shared)
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: subprocess.run(["umount", "-l", str(shared)], check=False, capture_output=True))
        server = stack.enter_context(pulpit(tmp_path / "data", conf_of(StorageSettings(url=str(shared)))))
        filled(server, feed)
        take_away()
        assert read(server, UNREAD[0])[0] == read(server, "large.iso")[0] == 503
        assert read(server, READ[0]) in ((200, READ[1]), (503, read(server, UNREAD[0])[1]))
        feed.put("meanwhile.iso", b"meanwhile")
        feed.manifest()
        assert "mount it" in said(server)
        assert not shared.exists() or list(shared.iterdir()) == []  # nothing was written beneath the mount
        bring_back()
        is_well(server, feed)
        assert read(server, "meanwhile.iso") == (200, b"meanwhile")


def test_a_store_that_refuses_fails_or_breaks_off_gives_readers_503_and_no_wrong_byte(
    tmp_path: Path, feed: Upstream
) -> None:
    with s3.running(tmp_path) as store, s3.before(store.endpoint) as proxy:
        store.make_bucket("bucket")
        conf = conf_of(store.settings("bucket", endpoint=proxy.url))
        with pulpit(tmp_path / "data", conf) as server:
            filled(server, feed)
            forget_copies(server)
            for status in (503, 403):
                proxy.status = status
                assert read(server, UNREAD[0])[0] == read(server, "large.iso")[0] == 503
                with pytest.raises(urllib.error.HTTPError) as refused:
                    urllib.request.urlopen(f"{server.url}/pulp/isos/zoo/large.iso", timeout=60)
                with refused.value as answer:
                    assert (answer.code, answer.headers["Retry-After"]) == (503, "30")
                    assert s3.ACCESS_KEY not in answer.read().decode()
            feed.put("refused.iso", b"refused")
            feed.manifest()
            assert "refuses us, so check the credentials" in said(server)
            proxy.status, proxy.half = 0, True
            assert read(server, "large.iso")[0] in (0, 503)
            assert read(server, UNREAD[0])[0] == 503
            proxy.half, proxy.delay = False, 0.2
            is_well(server, feed)
            assert not [line for line in server.said if s3.ACCESS_KEY in line or s3.SECRET_KEY in line]


def forget_copies(server: Server) -> None:
    """Empty the cache, as when all of it was pushed out."""
    for folder in (server.data_dir / "cache").glob("??"):
        shutil.rmtree(folder)


def test_readers_are_sent_to_the_store_by_a_signed_url(tmp_path: Path, feed: Upstream) -> None:
    with s3.running(tmp_path) as store:
        store.make_bucket("bucket")
        with pulpit(tmp_path / "data", conf_of(store.settings("bucket", redirect=True))) as server:
            filled(server, feed)
            forget_copies(server)
            for method in ("GET", "HEAD"):
                line = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
                line.request(method, "/pulp/isos/zoo/large.iso")
                answer = line.getresponse()
                assert (answer.status, answer.headers["Cache-Control"]) == (
                    (302, "no-store") if method == "GET" else (200, "no-cache")
                )
                where = answer.headers["Location"] or ""
                answer.read()
                line.close()
                if method == "GET":
                    assert f"{urlsplit(where).scheme}://{urlsplit(where).netloc}" == store.endpoint
                    assert "X-Amz-Expires=3600" in where
                    assert s3.SECRET_KEY not in where
            assert read(server, "large.iso") == (200, LARGE)  # urllib goes where it is sent
            part = urllib.request.Request(f"{server.url}/pulp/isos/zoo/large.iso", headers={"Range": "bytes=256-511"})
            with urllib.request.urlopen(part, timeout=60) as answered:
                assert (answered.status, answered.read()) == (206, LARGE[256:512])
            assert read(server, UNREAD[0]) == (200, UNREAD[1])


def test_what_strangers_have_in_the_bucket_is_left_alone_and_never_served(tmp_path: Path, feed: Upstream) -> None:
    strangers = ("readme.txt", "files/notes", "files/ab/short", f"files/ab/cd/{'ab' * 32}", f"files/zz/{'ab' * 32}")
    with s3.running(tmp_path) as store:
        store.make_bucket("bucket")
        for key in strangers:
            store.put("bucket", key, b"another's")
        with pulpit(tmp_path / "data", conf_of(store.settings("bucket"))) as server:
            filled(server, feed)
            server.call("DELETE", f"{API}/repositories/zoo/")
            until(lambda: read(server, READ[0])[0] == 404, what="the repository to be gone")
            removal = server.call("DELETE", f"{API}/content/orphans/")
            assert server.ended(removal["spawned_tasks"][0]["task_id"])["state"] == "finished"
            for key in strangers:
                assert store.get("bucket", key) == b"another's"
            filled(server, feed)
