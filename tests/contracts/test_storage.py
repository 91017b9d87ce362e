"""The contract of the storage port, for every storage."""

import asyncio
import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from pulpit.errors import StorageUnavailable
from pulpit.settings import StorageSettings
from pulpit.storage.folder import MARKER, ONE_BY_ONE
from pulpit.storage.opening import open_storage
from pulpit.storage.port import Storage
from support import s3

CONTENT = b"content"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SIZE = len(CONTENT)
ABSENT = hashlib.sha256(b"never put").hexdigest()
BUCKETS = itertools.count()


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3.S3]:
    with s3.running(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="module")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3.S3]:
    with s3.rclone(tmp_path_factory.mktemp("rclone")) as server:
        yield server


@pytest.fixture(params=["folder", "shared folder", "object store", "object store of another make"])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(place: str, request: pytest.FixtureRequest) -> s3.S3:
    found = request.getfixturevalue("rclone" if place == "object store of another make" else "moto")
    assert isinstance(found, s3.S3)
    return found


@pytest.fixture
def settings(place: str, tmp_path: Path, server: s3.S3) -> StorageSettings:
    match place:
        case "folder":
            return StorageSettings()
        case "shared folder":
            return StorageSettings(url=str(tmp_path / "shared"))
    bucket = f"bucket-{next(BUCKETS)}"
    server.make_bucket(bucket)
    return server.settings(bucket)


@pytest.fixture
def storage(settings: StorageSettings, tmp_path: Path) -> Storage:
    storage = open_storage(settings, tmp_path)
    storage.begin()
    storage.prepare()
    return storage


def spoil(server: s3.S3, settings: StorageSettings, folder: Path, sha256: str, content: bytes) -> None:
    """Put other bytes in the place of a file, as a broken disk does or another program."""
    if "://" in settings.url:
        server.put(settings.url.split("/")[2], f"files/{sha256[:2]}/{sha256}", content)
    else:
        place = Path(settings.url) if settings.url else folder / "content"
        (place / sha256[:2] / sha256).write_bytes(content)


def test_what_was_put_can_be_read_in_every_way(storage: Storage, tmp_path: Path) -> None:
    finished = tmp_path / "finished"
    finished.write_bytes(CONTENT)
    storage.put(finished, SHA256)
    storage.flush([SHA256])

    assert not finished.exists()
    assert storage.has(SHA256, SIZE)
    assert storage.size(SHA256) == SIZE
    assert storage.local(SHA256).read_bytes() == CONTENT
    with storage.open(SHA256) as file:
        assert file.read() == CONTENT
    [kept] = storage.names(SHA256[:2])
    assert (kept.sha256, kept.size) == (SHA256, SIZE)
    assert 0 <= kept.age < 3600


def test_what_was_never_put_is_not_there(storage: Storage) -> None:
    assert not storage.has(ABSENT, 1)
    assert storage.size(ABSENT) is None
    assert storage.verified(ABSENT) is None
    assert list(storage.names(ABSENT[:2])) == []
    storage.remove([ABSENT])
    with pytest.raises(FileNotFoundError):
        storage.open(ABSENT)
    with pytest.raises(FileNotFoundError):
        storage.local(ABSENT)


def test_only_what_has_its_size_is_present(storage: Storage) -> None:
    storage.put_bytes(CONTENT, SHA256)
    storage.flush([SHA256])

    assert storage.present({(SHA256, SIZE), (ABSENT, SIZE)}) == {SHA256}
    assert storage.present({(SHA256, SIZE + 1)}) == set()
    assert not storage.has(SHA256, SIZE + 1)


def test_what_was_removed_is_gone(storage: Storage) -> None:
    storage.put_bytes(CONTENT, SHA256)
    storage.flush([SHA256])
    storage.remove([SHA256, ABSENT])

    assert not storage.has(SHA256, SIZE)
    with pytest.raises(FileNotFoundError):
        storage.open(SHA256)


def test_a_file_that_nobody_recorded_is_read_again_before_it_counts(
    storage: Storage, server: s3.S3, settings: StorageSettings, tmp_path: Path
) -> None:
    storage.put_bytes(CONTENT, SHA256)
    storage.flush([SHA256])
    assert storage.verified(SHA256) == SIZE

    spoil(server, settings, tmp_path, SHA256, b"garbage")
    assert storage.verified(SHA256) is None
    assert storage.size(SHA256) is None


@pytest.mark.parametrize("count", [0, 1, ONE_BY_ONE, ONE_BY_ONE + 1])
def test_any_number_of_files_is_flushed(storage: Storage, count: int) -> None:
    contents = {hashlib.sha256(str(number).encode()).hexdigest(): str(number).encode() for number in range(count)}
    for sha256, content in contents.items():
        storage.put_bytes(content, sha256)

    storage.flush(contents.keys())
    assert storage.present({(sha256, len(content)) for sha256, content in contents.items()}) == contents.keys()


def test_another_server_sees_what_was_flushed_if_the_place_is_shared(
    storage: Storage, settings: StorageSettings, tmp_path: Path
) -> None:
    storage.put_bytes(CONTENT, SHA256)
    storage.flush([SHA256])
    folder = tmp_path / "other"
    folder.mkdir()
    other = open_storage(settings, folder)
    assert other.is_shared == storage.is_shared == bool(settings.url)

    if other.is_shared:
        other.prepare()
        assert other.identity() == storage.identity() != ""
        assert other.local(SHA256).read_bytes() == CONTENT
    else:
        other.begin()
        other.prepare()
        assert other.identity() == ""
        assert not other.has(SHA256, SIZE)


def test_what_others_put_beside_the_files_is_left_alone(
    storage: Storage, server: s3.S3, settings: StorageSettings, tmp_path: Path
) -> None:
    storage.put_bytes(CONTENT, SHA256)
    storage.flush([SHA256])
    spoil(server, settings, tmp_path, f"{SHA256[:2]}-of-somebody-else", b"foreign")

    assert [kept.sha256 for kept in storage.names(SHA256[:2])] == [SHA256]


def test_a_shared_place_that_is_not_the_one_that_was_begun_is_refused(
    settings: StorageSettings, tmp_path: Path
) -> None:
    storage = open_storage(settings, tmp_path)
    if not storage.is_shared:
        return
    for asked in (
        storage.prepare,
        storage.identity,
        lambda: storage.size(ABSENT),
        lambda: storage.present({(SHA256, 1)}),
    ):
        with pytest.raises(StorageUnavailable, match=MARKER):
            asked()
    with pytest.raises(StorageUnavailable, match=MARKER):
        storage.open(SHA256)


async def streamed(storage: Storage, sha256: str, size: int, start: int, end: int) -> bytes:
    return b"".join([piece async for piece in await storage.stream(sha256, size, start, end)])


def test_a_file_is_streamed_whole_or_in_part(storage: Storage) -> None:
    large = bytes(range(256)) * 4000
    sha256, size = hashlib.sha256(large).hexdigest(), len(large)
    storage.put_bytes(large, sha256)
    storage.flush([sha256])

    assert asyncio.run(streamed(storage, sha256, size, 0, size)) == large
    assert asyncio.run(streamed(storage, sha256, size, 300_000, 900_001)) == large[300_000:900_001]
    for wanted in ((ABSENT, size), (sha256, size - 1)):
        with pytest.raises(FileNotFoundError):
            asyncio.run(streamed(storage, *wanted, 0, 10))


def test_a_large_file_goes_up_in_parts_and_comes_back_the_same(storage: Storage, tmp_path: Path) -> None:
    large = bytes(range(256)) * 80_000  # three parts
    sha256 = hashlib.sha256(large).hexdigest()
    path = tmp_path / "large"
    path.write_bytes(large)
    storage.put(path, sha256)
    storage.flush([sha256])

    assert storage.verified(sha256) == len(large)
    assert asyncio.run(streamed(storage, sha256, len(large), 0, len(large))) == large
