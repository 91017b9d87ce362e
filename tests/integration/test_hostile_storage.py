"""A storage that refuses, fails, breaks off, returns wrong data or goes away: a clear error, and no wrong byte."""

import asyncio
import hashlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from pulpit.errors import PulpitError, StorageUnavailable
from pulpit.settings import StorageSettings
from pulpit.storage.objects import FETCHED_AT_ONCE, ObjectStorage, WrongObject
from pulpit.storage.opening import open_storage
from support import s3
from support.s3 import Proxy, before

CONTENT = bytes(range(256)) * (FETCHED_AT_ONCE // 256 + 1)
SHA256, SIZE = hashlib.sha256(CONTENT).hexdigest(), len(CONTENT)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3.S3]:
    with s3.running(tmp_path_factory.mktemp("s3")) as server:
        server.make_bucket("bucket")
        yield server


@pytest.fixture
def proxy(server: s3.S3) -> Iterator[Proxy]:
    with before(server.endpoint) as proxy:
        yield proxy


@pytest.fixture
def storage(server: s3.S3, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStorage:
    monkeypatch.setattr("pulpit.storage.opening._WORK_TRIES", {"max_retries": 1})
    storage = open_storage(server.settings("bucket", endpoint=proxy.url), tmp_path)
    assert isinstance(storage, ObjectStorage)
    storage.begin()
    storage.prepare()
    storage.put_bytes(CONTENT, SHA256)
    storage.flush([SHA256])
    storage._cache.forget([SHA256])
    return storage


async def whole(storage: ObjectStorage) -> bytes:
    return b"".join([piece async for piece in await storage.stream(SHA256, SIZE, 0, SIZE)])


@pytest.mark.parametrize(("status", "said"), [(503, "answered with status 503"), (403, "refuses us")])
def test_a_store_that_refuses_is_told_in_a_sentence_without_its_words(
    storage: ObjectStorage, proxy: Proxy, status: int, said: str
) -> None:
    proxy.status = status
    storage.put_bytes(b"more", hashlib.sha256(b"more").hexdigest())
    for asked in (
        lambda: storage.has(SHA256, SIZE),
        lambda: storage.present({(SHA256, SIZE)}),
        lambda: storage.local(SHA256),
        lambda: storage.flush([hashlib.sha256(b"more").hexdigest()]),
        lambda: storage.remove([SHA256]),
        lambda: asyncio.run(whole(storage)),
        lambda: list(storage.names(SHA256[:2])),
        storage.identity,
    ):
        with pytest.raises(StorageUnavailable) as refused:
            asked()
        assert said in str(refused.value)
        assert s3.ACCESS_KEY not in str(refused.value)
    proxy.status = 0
    assert storage.has(SHA256, SIZE)
    assert storage.local(SHA256).read_bytes() == CONTENT


def test_a_store_that_is_slow_is_waited_for_and_one_that_is_silent_is_not(
    server: s3.S3, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pulpit.storage.opening._READERS_SILENCE", timedelta(seconds=1))
    monkeypatch.setattr("pulpit.storage.opening._READERS_TRIES", {"max_retries": 0})
    storage = open_storage(server.settings("bucket", endpoint=proxy.url), tmp_path)
    assert isinstance(storage, ObjectStorage)
    storage.begin()
    storage.prepare()
    storage.put_bytes(CONTENT, SHA256)
    storage.flush([SHA256])
    proxy.delay = 0.2
    assert storage.has(SHA256, SIZE)
    assert asyncio.run(whole(storage)) == CONTENT
    proxy.delay = 5
    with pytest.raises(StorageUnavailable, match=r"did not answer in time|cannot be reached"):
        asyncio.run(whole(storage))
    proxy.delay = 0
    assert asyncio.run(whole(storage)) == CONTENT


def test_half_a_body_is_no_file(storage: ObjectStorage, proxy: Proxy) -> None:
    proxy.half = True
    with pytest.raises(PulpitError):
        storage.local(SHA256)
    with pytest.raises(PulpitError):
        asyncio.run(whole(storage))
    proxy.half = False
    assert asyncio.run(whole(storage)) == CONTENT


def test_other_bytes_of_the_same_length_reach_nobody_as_a_whole(storage: ObjectStorage, server: s3.S3) -> None:
    server.put("bucket", f"files/{SHA256[:2]}/{SHA256}", bytes(SIZE))
    with pytest.raises(WrongObject):
        storage.local(SHA256)

    async def first_pieces() -> int:
        count = 0
        with pytest.raises(WrongObject):
            async for piece in await storage.stream(SHA256, SIZE, 0, SIZE):
                count += len(piece)
        return count

    assert asyncio.run(first_pieces()) < SIZE
    assert storage.verified(SHA256) is None
    assert storage.size(SHA256) is None


def test_a_shared_folder_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    shared, away = tmp_path / "shared", tmp_path / "away"
    storage = open_storage(StorageSettings(url=str(shared)), tmp_path)
    storage.begin()
    storage.put_bytes(CONTENT, SHA256)
    storage.flush([SHA256])
    shared.rename(away)
    for mounted in (False, True):
        if mounted:
            shared.mkdir()  # the mount point, with nothing mounted
        for asked in (
            storage.prepare,
            lambda: storage.size(SHA256),
            lambda: storage.open(SHA256),
            lambda: storage.local(SHA256),
            lambda: storage.put_bytes(b"x", hashlib.sha256(b"x").hexdigest()),
            lambda: list(storage.names(SHA256[:2])),
        ):
            with pytest.raises(StorageUnavailable, match="mount it"):
                asked()
        assert not shared.exists() or list(shared.iterdir()) == []
    shared.rmdir()
    away.rename(shared)
    storage.prepare()
    assert storage.verified(SHA256) == SIZE
