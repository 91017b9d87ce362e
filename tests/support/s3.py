"""An S3 server of a test: moto's, in this process, spoken to over HTTP as any other."""

import contextlib
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import obstore
from moto.server import ThreadedMotoServer
from obstore.store import S3Store

from pulpit.settings import StorageSettings

ACCESS_KEY = "the-access-key"
SECRET_KEY = "the-secret-key"


@dataclass(frozen=True, kw_only=True)
class S3:
    """A server and the file with its credentials."""

    endpoint: str
    credentials: Path

    def make_bucket(self, name: str) -> None:
        """Make a bucket."""
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


@contextlib.contextmanager
def running(folder: Path) -> Iterator[S3]:
    """Start one; what it holds is gone with it."""
    credentials = folder / "credentials"
    credentials.write_text(f"access_key_id = {ACCESS_KEY}\nsecret_access_key = {SECRET_KEY}\n", encoding="ascii")
    credentials.chmod(0o600)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield S3(endpoint=f"http://{host}:{port}", credentials=credentials)
    finally:
        server.stop()
