"""The storage keeps files once, whole and for the server alone."""

import hashlib
import os
from pathlib import Path

import pytest

from pulpit.content.port import Checksum
from pulpit.errors import StorageFull, WorkFailed
from pulpit.repositories.storage import ONE_BY_ONE, Storage, disk_errors

CONTENT = b"content"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
WANTED = Checksum(algorithm="sha256", digest=SHA256)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = Storage(tmp_path)
    storage.prepare()
    return storage


def test_a_partial_file_is_gone_on_with(storage: Storage) -> None:
    with storage.partial(WANTED) as partial:
        partial.begin({"sha256"})
        partial.write(CONTENT[:3])
    with storage.partial(WANTED) as partial:
        assert partial.size == 3
        partial.resume({"sha256", "md5"})
        partial.write(CONTENT[3:])
        assert partial.digest("sha256") == SHA256
        assert partial.digest("md5") == hashlib.md5(CONTENT).hexdigest()  # noqa: S324 - upstreams announce it
        storage.place(partial.path, SHA256)

    assert storage.has(SHA256, len(CONTENT))
    assert storage.path(SHA256).read_bytes() == CONTENT
    assert list(storage.downloads.iterdir()) == []


def test_two_downloads_of_one_file_do_not_meet(storage: Storage) -> None:
    with storage.partial(WANTED) as first, storage.partial(WANTED) as second:
        assert first.path != second.path
        for partial in (first, second):
            partial.begin({"sha256"})
            partial.write(CONTENT)
            storage.place(partial.path, SHA256)

    assert storage.path(SHA256).read_bytes() == CONTENT


def test_a_file_that_nobody_recorded_is_read_again_before_it_counts(storage: Storage) -> None:
    storage.keep(SHA256, CONTENT, storage.downloads)
    assert storage.adopt(SHA256) == len(CONTENT)

    storage.path(SHA256).write_bytes(b"garbage")
    assert storage.adopt(SHA256) is None
    assert not storage.path(SHA256).exists()
    assert storage.adopt(SHA256) is None


@pytest.mark.parametrize("count", [0, 1, ONE_BY_ONE, ONE_BY_ONE + 1])
def test_any_number_of_files_is_flushed(storage: Storage, count: int) -> None:
    names = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(count)]
    for number, name in enumerate(names):
        storage.keep(name, str(number).encode(), storage.downloads)

    storage.flush(names)


def test_a_full_disk_is_said_in_a_sentence() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(StorageFull, match="The disk is full"), disk_errors("The file"):
            os.write(full, b"x")
    finally:
        os.close(full)


def test_other_refusals_of_the_disk_are_said_too() -> None:
    with pytest.raises(WorkFailed, match="Is a directory"), disk_errors("The file"):
        os.close(os.open("/", os.O_WRONLY))
