"""The storage in a folder: of this machine, or shared by several machines.

    ab/abcdef…      whole, verified files
    incoming/       files being copied from scratch space on another file system
    pulpit-storage  in a shared folder: distinguishes it from an empty mount point

A file missing from a shared folder counts as missing only if that marker exists; otherwise its state is unknown.
"""

import asyncio
import errno
import hashlib
import os
import shutil
import time
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from io import BufferedReader
from pathlib import Path
from typing import Final

from pulpit.errors import StorageUnavailable
from pulpit.ids import object_id
from pulpit.storage.disk import (
    FILE_MODE,
    FOLDER_MODE,
    flush_file,
    flush_file_system,
    flush_folder,
    unchanged_for,
    write_all,
)
from pulpit.storage.port import Kept

ONE_BY_ONE: Final = 8
"""Up to so many new files are synced one by one, more by syncing the file system."""
INCOMING: Final = "incoming"
MARKER: Final = "pulpit-storage"
_AWAY: Final = frozenset({errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.EHOSTDOWN, errno.ETIMEDOUT, errno.ENXIO})
"""Errors of an unavailable network file system."""
_NAME_LENGTH: Final = 64
_PIECE: Final = 1 << 18
_LONGEST_IDENTITY: Final = 64


class FolderStorage:
    """A folder; implements `Storage`. If the scratch folder is on the same file system, `put` costs one rename."""

    def __init__(self, folder: Path, *, is_shared: bool = False) -> None:
        self.folder: Final = folder
        self._folder: Final = str(folder)  # concatenated by hand where every file of a sync passes
        self.is_shared: Final = is_shared

    def prepare(self) -> None:
        """Create the folders; a shared one must have been initialised before."""
        with self._reached():
            self._prove()
            self.folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
            (self.folder / INCOMING).mkdir(mode=FOLDER_MODE, exist_ok=True)

    def begin(self) -> None:
        """Create the folder, and the marker in a shared one."""
        with self._reached():
            self.folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            (self.folder / INCOMING).mkdir(mode=FOLDER_MODE, exist_ok=True)
            if self.is_shared and not (self.folder / MARKER).exists():
                fd, path = self._incoming()
                with os.fdopen(fd, "w", encoding="ascii") as file:
                    file.write(object_id())
                os.rename(path, self.folder / MARKER)  # noqa: PTH104 - whole, or not there

    def identity(self) -> str:
        if not self.is_shared:
            return ""
        with self._reached():
            return (self.folder / MARKER).read_text(encoding="ascii", errors="replace")[:_LONGEST_IDENTITY]

    def has(self, sha256: str, size: int) -> bool:
        return self.size(sha256) == size

    def present(self, files: Collection[tuple[str, int]]) -> set[str]:
        return {sha256 for sha256, size in files if self.size(sha256) == size}

    def size(self, sha256: str) -> int | None:
        try:
            return os.stat(self._place(sha256)).st_size  # noqa: PTH116 - called for every file of a sync
        except OSError as error:
            self._refuse_if_away(error)
            if isinstance(error, FileNotFoundError):
                return None
            raise

    def may_hold(self, sha256: str) -> bool:
        return self.size(sha256) is not None

    def verified(self, sha256: str) -> int | None:
        """Return the size of a file after verifying its content."""
        with suppress(FileNotFoundError):
            with self.open(sha256) as file:
                size = os.fstat(file.fileno()).st_size
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found == sha256:
                return size
            self.remove([sha256])
        return None

    def open(self, sha256: str) -> BufferedReader:
        with self._reached():
            return open(self._place(sha256), "rb")  # noqa: PTH123 - called for every file of a publish

    def local(self, sha256: str) -> Path:
        place = self._place(sha256)
        with self._reached():
            os.stat(place)  # noqa: PTH116 - called for every file of a sync
        return Path(place)

    def at_hand(self, sha256: str, size: int) -> Path:
        del size
        return self.local(sha256)

    async def stream(self, sha256: str, size: int, start: int, end: int) -> AsyncIterator[bytes]:
        """Yield the bytes of a file, read piece by piece in a thread."""
        file = await asyncio.to_thread(self.open, sha256)
        if os.fstat(file.fileno()).st_size != size:
            file.close()
            raise FileNotFoundError(sha256)

        async def pieces() -> AsyncIterator[bytes]:
            with file:
                file.seek(start)
                left = end - start
                while left and (piece := await asyncio.to_thread(file.read, min(left, _PIECE))):
                    left -= len(piece)
                    yield piece

        return pieces()

    async def redirected(self, sha256: str, expires_in: timedelta) -> None:
        """Return `None`: only this server, or ones like it, has the file."""
        del sha256, expires_in

    def put(self, path: Path, sha256: str) -> None:
        """Move a file into place; from another file system it is copied first."""
        with self._reached():
            try:
                self._move(str(path), sha256)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                with path.open("rb") as source:
                    fd, copy = self._incoming()
                    with os.fdopen(fd, "wb") as target:
                        shutil.copyfileobj(source, target, 1 << 20)
                self._move(copy, sha256)
                path.unlink()

    def put_bytes(self, content: bytes, sha256: str) -> None:
        """Write a file to a temporary name and move it into place."""
        with self._reached():
            fd, path = self._incoming()
            try:
                write_all(fd, memoryview(content))
            finally:
                os.close(fd)
            self._move(path, sha256)

    def flush(self, sha256s: Collection[str]) -> None:
        """Make files durable."""
        if not sha256s:
            return
        with self._reached():
            if len(sha256s) > ONE_BY_ONE and not self.is_shared:  # a network file system syncs file by file
                flush_file_system(self.folder)
                return
            for sha256 in sha256s:
                with suppress(FileNotFoundError):  # a missing file will be noticed by its users
                    flush_file(Path(self._place(sha256)))
            for folder in {self.folder / sha256[:2] for sha256 in sha256s} | {self.folder}:
                flush_folder(folder)

    def remove(self, sha256s: Collection[str]) -> None:
        """Remove files; open files and hard links elsewhere stay usable."""
        with self._reached():
            for sha256 in sha256s:
                Path(self._place(sha256)).unlink(missing_ok=True)

    def names(self, prefix: str) -> Iterator[Kept]:
        now = time.time()
        self._prove()
        with suppress(FileNotFoundError), self._reached(), os.scandir(f"{self._folder}/{prefix}") as entries:
            for entry in entries:
                if len(entry.name) != _NAME_LENGTH or not entry.name.startswith(prefix):
                    continue
                with suppress(FileNotFoundError):
                    found = entry.stat(follow_symlinks=False)
                    yield Kept(sha256=entry.name, size=found.st_size, age=now - found.st_mtime)

    def sweep(self, older_than: float) -> int:
        """Remove old temporary files."""
        count = 0
        for path in unchanged_for(older_than, (self.folder / INCOMING).glob("*")):
            path.unlink(missing_ok=True)
            count += 1
        return count

    def _prove(self) -> None:
        """Check that a shared folder is available.

        Raises:
            StorageUnavailable: it is not, so the state of its files is unknown.
        """
        if self.is_shared and not os.path.exists(f"{self._folder}/{MARKER}"):  # noqa: PTH110 - called for absent files
            raise StorageUnavailable(
                f"The shared folder {self._folder} is not there, or is another one (it has no file {MARKER}); mount it."
            )

    def _refuse_if_away(self, error: OSError) -> None:
        if self.is_shared and (isinstance(error, FileNotFoundError) or error.errno in _AWAY):
            self._prove()
            if error.errno in _AWAY:
                sentence = f"The shared folder {self._folder} does not answer ({error.strerror}); nothing was changed."
                raise StorageUnavailable(sentence) from None

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Distinguish an unavailable shared folder from a missing file in it."""
        try:
            yield
        except OSError as error:
            self._refuse_if_away(error)
            raise

    def _place(self, sha256: str) -> str:
        return f"{self._folder}/{sha256[:2]}/{sha256}"

    def _incoming(self) -> tuple[int, str]:
        path = f"{self._folder}/{INCOMING}/{os.urandom(16).hex()}"
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE), path

    def _move(self, path: str, sha256: str) -> None:
        target = self._place(sha256)
        try:
            os.rename(path, target)  # noqa: PTH104 - called for every file of a sync
        except FileNotFoundError:
            self._prove()
            (self.folder / sha256[:2]).mkdir(mode=FOLDER_MODE, exist_ok=True)
            os.rename(path, target)  # noqa: PTH104 - as above
