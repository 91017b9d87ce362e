"""Scratch space: files not yet in the storage, always on this machine.

downloads/<name>.part    partial files, named after their checksum, so that they can be resumed
downloads/<name>.work/   scratch folders of one piece of work, which cannot be resumed
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pulpit.storage.disk import FILE_MODE, FOLDER_MODE, unchanged_for, write_all

_PIECE: Final = 1 << 20
_PART: Final = ".part"
_FOLDER: Final = ".work"


@dataclass(kw_only=True, slots=True)
class Partial:
    """A partial file, locked for one download."""

    path: Path
    fd: int
    size: int
    hashes: dict[str, Any] = field(default_factory=dict)

    def write(self, data: bytes | bytearray) -> None:
        view = memoryview(data)
        for running in self.hashes.values():
            running.update(view)
        self.size += len(view)
        write_all(self.fd, view)

    def begin(self, algorithms: Collection[str]) -> None:
        """Discard its content."""
        os.ftruncate(self.fd, 0)
        os.lseek(self.fd, 0, os.SEEK_SET)
        self.size = 0
        self.hashes = {name: hashlib.new(name) for name in algorithms}

    def resume(self, algorithms: Collection[str]) -> None:
        """Resume after the existing content; reads all of it, so call it in a thread."""
        self.hashes = {name: hashlib.new(name) for name in algorithms}
        os.lseek(self.fd, 0, os.SEEK_SET)
        while piece := os.read(self.fd, _PIECE):
            for running in self.hashes.values():
                running.update(piece)

    def digest(self, algorithm: str) -> str:
        return str(self.hashes[algorithm].hexdigest())


class Scratch:
    """The scratch space of one data folder."""

    def __init__(self, data_dir: Path) -> None:
        self.path: Final = data_dir / "downloads"

    def prepare(self) -> None:
        self.path.mkdir(mode=FOLDER_MODE, exist_ok=True)

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Create a new folder, locked while it is in use and removed with its content when the context ends."""
        self.prepare()  # missing if the first task of a server or worker is a publish
        folder, lock = self._new_folder()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)

    @contextmanager
    def partial(self, checksum: str) -> Iterator[Partial]:
        """Open and lock the partial file of a checksum (`algorithm:digest`), or a new one if that is locked."""
        name = hashlib.sha256(checksum.encode()).hexdigest()
        path, fd = _open_locked(self.path / f"{name}{_PART}")
        try:
            yield Partial(path=path, fd=fd, size=os.fstat(fd).st_size)
        finally:
            os.close(fd)

    def abandoned(self) -> Iterator[Path]:
        """Yield the folders of dead processes; each is locked until the next one is requested."""
        for folder in sorted(self.path.glob(f"*{_FOLDER}")):
            lock = _lock_folder(folder)
            if lock is not None:
                try:
                    yield folder
                finally:
                    os.close(lock)

    def sweep(self) -> int:
        """Remove the folders of dead processes, and return how many there were."""
        count = 0
        for folder in self.abandoned():
            shutil.rmtree(folder, ignore_errors=True)
            count += 1
        return count

    def partials(self, older_than: float) -> list[Path]:
        """Return partial files that were not resumed for so many seconds."""
        return list(unchanged_for(older_than, sorted(self.path.glob(f"*{_PART}"))))

    def sweep_partials(self, older_than: float) -> None:
        """Remove these."""
        for path in self.partials(older_than):
            path.unlink(missing_ok=True)

    def _new_folder(self) -> tuple[Path, int]:
        while True:
            folder = self.path / f"{os.urandom(16).hex()}{_FOLDER}"
            folder.mkdir(mode=FOLDER_MODE)
            lock = _lock_folder(folder)
            if lock is None:
                continue  # a sweep removed it between creation and locking
            if folder.exists():
                return folder, lock
            os.close(lock)


def _lock_folder(folder: Path) -> int | None:
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _open_locked(path: Path) -> tuple[Path, int]:
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            path = path.with_name(f"{path.stem}.{os.urandom(8).hex()}{_PART}")
            continue
        with suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(fd)):
                return path, fd
        os.close(fd)  # it was finished and moved between opening and locking
