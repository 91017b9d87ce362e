"""The files of all repositories, each kept once under its SHA-256.

    content/ab/abcdef…       whole, verified files
    downloads/<name>.part    unfinished ones, named after what they are to become, so that they can be gone on with
    downloads/<name>.work/   scratch folders: what one piece of work needs and nobody can go on with

A file in `content` counts when the database says so. One that it does not know (its download was not yet committed when
the power went) is read again before it is used.
"""

import ctypes
import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pulpit.content.port import Checksum
from pulpit.errors import StorageFull, WorkFailed

FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600
ONE_BY_ONE: Final = 8
"""Up to so many new files are flushed one by one, more by flushing the file system once."""

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_PIECE: Final = 1 << 20
_SCRATCH: Final = ".work"


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turn what the disk refuses into a sentence.

    Raises:
        StorageFull: there is no room.
        WorkFailed: the disk refuses for another reason.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(f"The disk is full: {what} could not be written. Make room and try again.") from error
        raise WorkFailed(f"{what} could not be written: {error.strerror or error}.") from error


@dataclass(kw_only=True, slots=True)
class Partial:
    """An unfinished file, locked for one download."""

    path: Path
    fd: int
    size: int
    hashes: dict[str, Any] = field(default_factory=dict)

    def write(self, data: bytes | bytearray) -> None:
        """Append bytes."""
        view = memoryview(data)
        for running in self.hashes.values():
            running.update(view)
        self.size += len(view)
        _write_all(self.fd, view)

    def begin(self, algorithms: Collection[str]) -> None:
        """Throw away what there is."""
        os.ftruncate(self.fd, 0)
        os.lseek(self.fd, 0, os.SEEK_SET)
        self.size = 0
        self.hashes = {name: hashlib.new(name) for name in algorithms}

    def resume(self, algorithms: Collection[str]) -> None:
        """Go on after what there is; reads all of it, so call it in a thread."""
        self.hashes = {name: hashlib.new(name) for name in algorithms}
        os.lseek(self.fd, 0, os.SEEK_SET)
        while piece := os.read(self.fd, _PIECE):
            for running in self.hashes.values():
                running.update(piece)

    def digest(self, algorithm: str) -> str:
        """The checksum of all bytes."""
        return str(self.hashes[algorithm].hexdigest())


class Storage:
    """The content and download folders of a data folder."""

    def __init__(self, data_dir: Path) -> None:
        self.content: Final = data_dir / "content"
        self._content: Final = str(self.content)  # joined by hand where it is done for every file of a sync
        self.downloads: Final = data_dir / "downloads"

    def prepare(self) -> None:
        """Make the folders."""
        for folder in (self.content, self.downloads):
            folder.mkdir(mode=FOLDER_MODE, exist_ok=True)

    def path(self, sha256: str) -> Path:
        """Where a file stands, or would."""
        return self.content / sha256[:2] / sha256

    def _place(self, sha256: str) -> str:
        return f"{self._content}/{sha256[:2]}/{sha256}"

    def has(self, sha256: str, size: int) -> bool:
        """Whether a file stands in its place with its size."""
        try:
            return os.stat(self._place(sha256)).st_size == size  # noqa: PTH116 - called for every file of a sync
        except FileNotFoundError:
            return False

    def adopt(self, sha256: str) -> int | None:
        """The size of a file that stands in its place and really is what it should be; another is removed."""
        with suppress(FileNotFoundError):
            size = os.stat(self._place(sha256)).st_size  # noqa: PTH116 - as above
            with self.path(sha256).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found == sha256:
                return size
            self.path(sha256).unlink(missing_ok=True)
        return None

    @contextmanager
    def partial(self, checksum: Checksum) -> Iterator[Partial]:
        """Open and lock the unfinished file of a checksum; if another download has it, one of its own."""
        name = hashlib.sha256(f"{checksum.algorithm}:{checksum.digest}".encode()).hexdigest()
        path, fd = _open_locked(self.downloads / f"{name}.part")
        try:
            yield Partial(path=path, fd=fd, size=os.fstat(fd).st_size)
        finally:
            os.close(fd)

    def keep(self, sha256: str, content: bytes, room: Path) -> None:
        """Put a small file into its place, by way of a scratch folder."""
        path = f"{room}/{os.urandom(16).hex()}"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        try:
            _write_all(fd, memoryview(content))
        finally:
            os.close(fd)
        self._move(path, sha256)

    def place(self, path: Path, sha256: str) -> None:
        """Move a finished file to its place."""
        self._move(str(path), sha256)

    def _move(self, path: str, sha256: str) -> None:
        target = self._place(sha256)
        try:
            os.rename(path, target)  # noqa: PTH104 - called for every file of a sync
        except FileNotFoundError:
            self.path(sha256).parent.mkdir(mode=FOLDER_MODE, exist_ok=True)
            os.rename(path, target)  # noqa: PTH104 - as above

    def flush(self, sha256s: Collection[str]) -> None:
        """Return when the files are safe from a loss of power."""
        if not sha256s:
            return
        if len(sha256s) > ONE_BY_ONE:
            flush_file_system(self.content)
            return
        for sha256 in sha256s:
            with suppress(FileNotFoundError):  # whoever counts on the file looks again
                _flush(self.path(sha256), os.O_RDONLY)
        for folder in {self.path(sha256).parent for sha256 in sha256s} | {self.content}:
            flush_folder(folder)


@contextmanager
def scratch_folder(downloads: Path) -> Iterator[Path]:
    """A new folder, locked while it is in use and gone with everything in it when the context ends."""
    folder, lock = _new_scratch(downloads)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def abandoned_scratch(downloads: Path) -> Iterator[Path]:
    """The folders of dead processes; each is locked until the next one is asked for."""
    for folder in sorted(downloads.glob(f"*{_SCRATCH}")):
        lock = _lock_folder(folder)
        if lock is not None:
            try:
                yield folder
            finally:
                os.close(lock)


def sweep_scratch(downloads: Path) -> int:
    """Remove what dead processes left, and return how many there were."""
    count = 0
    for folder in abandoned_scratch(downloads):
        shutil.rmtree(folder, ignore_errors=True)
        count += 1
    return count


def _new_scratch(downloads: Path) -> tuple[Path, int]:
    while True:
        folder = downloads / f"{os.urandom(16).hex()}{_SCRATCH}"
        folder.mkdir(mode=FOLDER_MODE)
        lock = _lock_folder(folder)
        if lock is None:
            continue  # a sweeper came between making and locking
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


def make_folders(root: Path, relative: str) -> Path:
    """Make a folder beneath another one, and those between, for the server's own eyes."""
    folder = root
    for part in Path(relative).parts:
        folder /= part
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    return folder


def flush_file_system(folder: Path) -> None:
    """Write everything that the file system of a folder still holds in memory."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(fd) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(fd)


def flush_folder(folder: Path) -> None:
    """Make the names in a folder safe from a loss of power."""
    _flush(folder, os.O_RDONLY | os.O_DIRECTORY)


def _write_all(fd: int, view: memoryview) -> None:
    """Write every byte: a disk that has room for some of them takes those and says nothing."""
    while view:
        view = view[os.write(fd, view) :]


def _flush(path: Path, flags: int) -> None:
    fd = os.open(path, flags)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _open_locked(path: Path) -> tuple[Path, int]:
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            path = path.with_name(f"{path.stem}.{os.urandom(8).hex()}.part")
            continue
        with suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(fd)):
                return path, fd
        os.close(fd)  # it was finished and moved between opening and locking
