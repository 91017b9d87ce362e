"""S3 servers of tests, spoken to over HTTP as any other: moto's, in this process, and rclone's, of another make."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import obstore
import pytest
from moto.server import ThreadedMotoServer
from obstore.store import S3Store

from pulpit.settings import StorageSettings
from support.ports import free_port
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
        until(lambda: _answers(port), what="rclone")
        yield S3(endpoint=f"http://127.0.0.1:{port}", credentials=credentials, folder=buckets)
    finally:
        process.terminate()
        process.wait(60)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False
