"""A scratch folder belongs to its task while that lives, and is removed when it is dead."""

import hashlib
import os
from pathlib import Path

import pytest

from pulpit.errors import StorageFull, WorkFailed
from pulpit.storage.disk import disk_errors
from pulpit.storage.folder import FolderStorage
from pulpit.storage.scratch import Scratch

CONTENT = b"content"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
WANTED = f"sha256:{SHA256}"


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    scratch = Scratch(tmp_path)
    scratch.prepare()
    return scratch


@pytest.fixture
def storage(tmp_path: Path) -> FolderStorage:
    storage = FolderStorage(tmp_path / "content")
    storage.prepare()
    return storage


def test_a_new_data_folder_has_room_for_a_first_publish(tmp_path: Path) -> None:
    """One of several servers may get it, and has synced nothing yet."""
    with Scratch(tmp_path).folder() as folder:
        assert folder.is_dir()


def test_a_partial_file_is_gone_on_with(scratch: Scratch, storage: FolderStorage) -> None:
    with scratch.partial(WANTED) as partial:
        partial.begin({"sha256"})
        partial.write(CONTENT[:3])
    with scratch.partial(WANTED) as partial:
        assert partial.size == 3
        partial.resume({"sha256", "md5"})
        partial.write(CONTENT[3:])
        assert partial.digest("sha256") == SHA256
        assert partial.digest("md5") == hashlib.md5(CONTENT).hexdigest()  # noqa: S324 - upstreams announce it
        storage.put(partial.path, SHA256)

    assert storage.has(SHA256, len(CONTENT))
    assert storage.local(SHA256).read_bytes() == CONTENT
    assert list(scratch.path.iterdir()) == []


def test_two_downloads_of_one_file_do_not_meet(scratch: Scratch, storage: FolderStorage) -> None:
    with scratch.partial(WANTED) as first, scratch.partial(WANTED) as second:
        assert first.path != second.path
        for partial in (first, second):
            partial.begin({"sha256"})
            partial.write(CONTENT)
            storage.put(partial.path, SHA256)

    assert storage.local(SHA256).read_bytes() == CONTENT


def test_an_old_partial_file_is_swept_and_a_young_one_is_not(scratch: Scratch) -> None:
    for name, age in (("old", 100), ("young", 0)):
        with scratch.partial(f"sha256:{name}") as partial:
            partial.begin(())
            now = partial.path.stat().st_mtime
            os.utime(partial.path, (now - age, now - age))

    assert len(scratch.partials(50)) == 1
    scratch.sweep_partials(50)
    assert len(list(scratch.path.iterdir())) == 1


def test_a_folder_is_gone_when_the_work_is_done(scratch: Scratch) -> None:
    with scratch.folder() as folder:
        (folder / "file").touch()
        assert folder.parent == scratch.path

    assert list(scratch.path.iterdir()) == []


def test_a_living_folder_is_left_alone_and_a_dead_one_swept(scratch: Scratch) -> None:
    (scratch.path / "dead.work").mkdir()
    (scratch.path / "dead.work" / "file").touch()
    (scratch.path / "unfinished.part").touch()
    with scratch.folder() as folder:
        assert scratch.sweep() == 1
        assert {path.name for path in scratch.path.iterdir()} == {folder.name, "unfinished.part"}
        assert scratch.sweep() == 0


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
