"""What the port of storages promises, of every adapter."""

import hashlib
from pathlib import Path

import pytest

from pulpit.storage.folder import ONE_BY_ONE, FolderStorage
from pulpit.storage.port import Storage

CONTENT = b"content"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SIZE = len(CONTENT)
ABSENT = hashlib.sha256(b"never put").hexdigest()


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = FolderStorage(tmp_path / "content")
    storage.prepare()
    return storage


def spoil(storage: Storage, sha256: str, content: bytes) -> None:
    """Put other bytes in the place of a file, as a broken disk does or another program."""
    assert isinstance(storage, FolderStorage)
    storage.local(sha256).write_bytes(content)


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


def test_a_file_that_nobody_recorded_is_read_again_before_it_counts(storage: Storage) -> None:
    storage.put_bytes(CONTENT, SHA256)
    storage.flush([SHA256])
    assert storage.verified(SHA256) == SIZE

    spoil(storage, SHA256, b"garbage")
    assert storage.verified(SHA256) is None
    assert storage.size(SHA256) is None


@pytest.mark.parametrize("count", [0, 1, ONE_BY_ONE, ONE_BY_ONE + 1])
def test_any_number_of_files_is_flushed(storage: Storage, count: int) -> None:
    contents = {hashlib.sha256(str(number).encode()).hexdigest(): str(number).encode() for number in range(count)}
    for sha256, content in contents.items():
        storage.put_bytes(content, sha256)

    storage.flush(contents.keys())
    assert storage.present({(sha256, len(content)) for sha256, content in contents.items()}) == contents.keys()
