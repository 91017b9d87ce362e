"""The errors that S3 servers send in practice: what passes is repeated, what does not is named."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pulpit.errors import StorageUnavailable
from pulpit.storage.opening import open_storage
from pulpit.storage.port import Storage
from support import s3

SMALL, LARGE = b"small", bytes(20 << 20)


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """A storage whose object store fails as a test says."""

    storage: Storage
    proxy: s3.Proxy
    folder: Path

    def put(self, content: bytes) -> str:
        """Store a file; returns its SHA-256."""
        sha256 = hashlib.sha256(content).hexdigest()
        path = self.folder / sha256
        path.write_bytes(content)
        self.storage.put(path, sha256)
        self.storage.flush([sha256])
        return sha256


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[Bucket]:
    with s3.running(tmp_path) as store, s3.before(store.endpoint) as proxy:
        store.make_bucket("bucket")
        storage = open_storage(store.settings("bucket", endpoint=proxy.url), tmp_path / "data")
        storage.begin()
        storage.prepare()
        yield Bucket(storage=storage, proxy=proxy, folder=tmp_path)


@pytest.mark.parametrize(
    ("content", "failure"),
    [
        (SMALL, ("PUT", "", 503, "SlowDown")),
        (SMALL, ("PUT", "", 500, "InternalError")),
        (SMALL, ("PUT", "", 429, "TooManyRequests")),
        (SMALL, ("PUT", "", 400, "RequestTimeout")),
        (SMALL, ("PUT", "", 409, "OperationAborted")),
        (LARGE, ("PUT", "partNumber=1", 400, "RequestTimeout")),
        (LARGE, ("POST", "uploadId", 404, "NoSuchUpload")),
        (LARGE, ("POST", "uploadId", 200, "InternalError")),
    ],
)
def test_what_passes_is_repeated(bucket: Bucket, content: bytes, failure: tuple[str, str, int, str]) -> None:
    bucket.proxy.once.append(failure)
    sha256 = bucket.put(content)
    assert not bucket.proxy.once
    assert bucket.storage.verified(sha256) == len(content)


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (403, "RequestTimeTooSkewed", "the clock of this machine is wrong"),
        (403, "AccessDenied", "check the credentials"),
        (403, "InvalidAccessKeyId", "check the credentials"),
        (400, "ExpiredToken", "has expired"),
        (403, "ExpiredToken", "has expired"),
        (301, "PermanentRedirect", "set `[storage] region`"),
        (400, "AuthorizationHeaderMalformed", "set `[storage] region`"),
        (403, "QuotaExceeded", "is full"),
        (404, "NoSuchBucket", "lost an upload"),
        (400, "InvalidRequest", "status 400"),
    ],
)
def test_what_does_not_pass_is_named(bucket: Bucket, status: int, code: str, said: str) -> None:
    bucket.proxy.once.append(("PUT", "", status, code))
    with pytest.raises(StorageUnavailable) as refused:
        bucket.put(SMALL)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "127.0.0.1" not in str(refused.value)
    bucket.put(SMALL)  # nothing is left of the failure


def test_a_bucket_that_is_gone_is_named(bucket: Bucket) -> None:
    bucket.proxy.once += [("PUT", "", 404, "NoSuchBucket"), ("HEAD", "pulpit-storage", 404, "NoSuchBucket")]
    with pytest.raises(StorageUnavailable, match="the bucket is gone"):
        bucket.put(SMALL)
