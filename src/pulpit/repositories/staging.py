"""A publication while it is made: which path will be which file, and what is written anew for it."""

import hashlib
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from threading import Event
from typing import BinaryIO, Final

from pulpit.content.paths import flaw
from pulpit.content.port import StoredFile
from pulpit.errors import WorkFailed
from pulpit.storage.disk import FILE_MODE
from pulpit.storage.port import Storage
from pulpit.text import shown


class Stopped(Exception):
    """The publication is not wanted any more."""


def go_on(stop: Event) -> None:
    """Return unless it is time to stop.

    Raises:
        Stopped: it is.
    """
    if stop.is_set():
        raise Stopped


class Staging:
    """What a content type lays out; it is the `Tree` of the content port.

    Args:
        storage: where written files go when all is laid out.
        scratch: a folder for them until then.
        known: the SHA-256 of files that are surely in the storage, because a publication that is shown needs them.
        stop: set when nobody wants the publication any more.
    """

    def __init__(self, storage: Storage, scratch: Path, known: Collection[str], stop: Event) -> None:
        self._storage: Final = storage
        self._scratch: Final = scratch
        self._known: Final = known
        self._stop: Final = stop
        self._folders: Final[set[str]] = {""}
        self._written: Final[dict[str, Path]] = {}
        self._numbers: Final = count()
        self.files: Final[dict[str, StoredFile]] = {}
        """Everything laid out until now, by path."""

    def link(self, relative_path: str, file: StoredFile) -> None:
        """Place a kept file."""
        go_on(self._stop)
        self._check(relative_path)
        if file.sha256 not in self._known and not self._storage.has(file.sha256, file.size):
            raise WorkFailed(f"The file {shown(relative_path)!r} is gone from the storage; sync again.")
        self.files[relative_path] = StoredFile(relative_path=relative_path, sha256=file.sha256, size=file.size)

    @contextmanager
    def write(self, relative_path: str) -> Iterator[BinaryIO]:
        """Open a new file, which has its place when the context ends."""
        go_on(self._stop)
        self._check(relative_path)
        path = self._scratch / str(next(self._numbers))
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, FILE_MODE), "w+b") as file:
            yield file
            file.seek(0)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
        self._written[sha256] = path
        self.files[relative_path] = StoredFile(relative_path=relative_path, sha256=sha256, size=size)

    def rename(self, old: str, new: str) -> None:
        """Give a written file another name."""
        file = self.files.pop(old)
        self._check(new)
        self.files[new] = StoredFile(relative_path=new, sha256=file.sha256, size=file.size)

    def checksum(self, sha256: str, algorithm: str) -> str:
        """Another checksum of a kept file."""
        go_on(self._stop)
        try:
            with self._storage.open(sha256) as file:
                return hashlib.file_digest(file, algorithm).hexdigest()
        except FileNotFoundError:
            raise WorkFailed(f"The file {sha256} is gone from the storage; sync again.") from None

    def keep(self, *documents: bytes) -> list[StoredFile]:
        """Put what was written into the storage, with documents about it, safe from a loss of power; returns these."""
        new = []
        for sha256, path in self._written.items():
            go_on(self._stop)
            if sha256 not in self._known and not self._storage.has(sha256, path.stat().st_size):
                self._storage.put(path, sha256)
                new.append(sha256)
        kept = []
        for content in documents:
            sha256 = hashlib.sha256(content).hexdigest()
            if not self._storage.has(sha256, len(content)):
                self._storage.put_bytes(content, sha256)
                new.append(sha256)
            kept.append(StoredFile(relative_path="", sha256=sha256, size=len(content)))
        self._storage.flush(new)
        return kept

    def _check(self, path: str) -> None:
        """Refuse a path that cannot be published, and one that is taken, and note the folders above it.

        Raises:
            WorkFailed: it cannot be placed.
        """
        reason = flaw(path)
        if reason:
            raise WorkFailed(f"The name {shown(path)!r} {reason}; it cannot be published.")
        parents = []
        parent = path.rpartition("/")[0]
        while parent and parent not in self._folders:
            parents.append(parent)
            parent = parent.rpartition("/")[0]
        if path in self.files or path in self._folders or any(folder in self.files for folder in parents):
            raise WorkFailed(f"The file {shown(path)!r} cannot be published: another file or folder has its place.")
        self._folders.update(parents)
