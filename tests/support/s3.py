"""S3 servers over HTTP: moto's in this process, rclone's in another one, and a proxy that fails as a test says."""

import contextlib
import http.client
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import obstore
import pytest
from moto.server import ThreadedMotoServer
from obstore.store import S3Store

from pulpit.settings import StorageSettings
from support.ports import free_port
from support.processes import listens
from support.waiting import until

ACCESS_KEY = "the-access-key"
SECRET_KEY = "the-secret-key"


@dataclass(frozen=True, kw_only=True)
class S3:
    """A server and the file with its credentials."""

    endpoint: str
    credentials: Path
    folder: Path | None = None
    """Where the buckets are folders."""

    def make_bucket(self, name: str) -> None:
        if self.folder is not None:
            (self.folder / name).mkdir()
            return
        request = urllib.request.Request(f"{self.endpoint}/{name}", method="PUT")
        urllib.request.urlopen(request, timeout=60).close()

    def put(self, bucket: str, key: str, content: bytes) -> None:
        """Put an object beside Pulpit, as another user of the bucket does."""
        obstore.put(self._store(bucket), key, content)

    def get(self, bucket: str, key: str) -> bytes:
        """The bytes of an object."""
        return bytes(obstore.get(self._store(bucket), key).bytes())

    def _store(self, bucket: str) -> S3Store:
        return S3Store(
            bucket,
            endpoint=self.endpoint,
            region="us-east-1",
            access_key_id=ACCESS_KEY,
            secret_access_key=SECRET_KEY,
            client_options={"allow_http": True},
        )

    def settings(self, bucket: str, *, endpoint: str = "", redirect: bool = False) -> StorageSettings:
        """How Pulpit is told of a bucket that was made."""
        return StorageSettings(
            url=f"s3://{bucket}/files",
            endpoint=endpoint or self.endpoint,
            region="us-east-1",
            credentials_file=str(self.credentials),
            redirect=redirect,
            cache_size=64,
        )


def credentials_in(folder: Path) -> Path:
    credentials = folder / "credentials"
    credentials.write_text(f"access_key_id = {ACCESS_KEY}\nsecret_access_key = {SECRET_KEY}\n", encoding="ascii")
    credentials.chmod(0o600)
    return credentials


@contextlib.contextmanager
def running(folder: Path) -> Iterator[S3]:
    """Start moto's; what it holds is gone with it."""
    credentials = credentials_in(folder)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield S3(endpoint=f"http://{host}:{port}", credentials=credentials)
    finally:
        server.stop()


@contextlib.contextmanager
def rclone(folder: Path) -> Iterator[S3]:
    """Start rclone's, which keeps buckets as folders."""
    program = shutil.which("rclone", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("rclone is not installed (the extra `test` brings it where there is a wheel)")
    credentials, port = credentials_in(folder), free_port()
    buckets = folder / "buckets"
    buckets.mkdir()
    options = [f"--addr=127.0.0.1:{port}", f"--auth-key={ACCESS_KEY},{SECRET_KEY}", f"--config={os.devnull}"]
    options.append("--dir-cache-time=0s")  # so that a new folder is a bucket at once
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve", "s3", *options, str(buckets)], stdout=log, stderr=log)
    try:
        until(lambda: listens(port), what="rclone")
        yield S3(endpoint=f"http://127.0.0.1:{port}", credentials=credentials, folder=buckets)
    finally:
        process.terminate()
        process.wait(60)


class Proxy(ThreadingHTTPServer):
    """Stands before the object store and does to answers what a test says."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), Passing)
        self.target = target
        self.status = 0
        """Answers everything with it; 0 lets the store answer."""
        self.once: list[tuple[str, str, int, str]] = []
        """Failures that happen once: method, a part of the address, status and code."""
        self.half = False
        """Sends half of each body and hangs up."""
        self.delay = 0.0
        """Seconds before each answer."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Passing(BaseHTTPRequestHandler):
    """One request by way of the proxy."""

    server: Proxy
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        time.sleep(self.server.delay)
        if self.server.status:
            self._answer(self.server.status, {}, b"<Error><Code>the-access-key</Code></Error>")
            return
        for failure in self.server.once:
            method, part, status, code = failure
            if (method, part in self.path) == (self.command, True):
                self.server.once.remove(failure)
                self._answer(status, {}, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode())
                return
        store = http.client.HTTPConnection(self.server.target.removeprefix("http://"), timeout=30)
        store.request(self.command, self.path, body, dict(self.headers))
        answer = store.getresponse()
        self._answer(answer.status, dict(answer.headers), answer.read())
        store.close()

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815 - the names of the library

    def _answer(self, status: int, headers: dict[str, Any], body: bytes) -> None:
        self.send_response(status)
        kept = {name: text for name, text in headers.items() if name.lower() not in {"connection", "server", "date"}}
        if "content-length" not in {name.lower() for name in kept}:
            kept["Content-Length"] = str(len(body))
        for name, text in kept.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(OSError):  # the client may be gone
                self.wfile.write(body[: len(body) // 2] if self.server.half else body)
        if self.server.half:
            self.close_connection = True


@contextlib.contextmanager
def before(endpoint: str) -> Iterator[Proxy]:
    with Proxy(endpoint) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield proxy
        proxy.shutdown()
