"""A publication under construction: which path maps to which file, and the files written for it."""

import hashlib
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import Event
from typing import BinaryIO, Final

from pulpit.content.paths import flaw
from pulpit.content.port import StoredFile
from pulpit.errors import WorkFailed
from pulpit.repositories import inventory
from pulpit.storage.disk import FILE_MODE
from pulpit.storage.port import Storage
from pulpit.text import shown


class Stopped(Exception):
    """The publication was cancelled."""


def go_on(stop: Event) -> None:
    """Check for cancellation.

    Raises:
        Stopped: it is time to stop.
    """
    if stop.is_set():
        raise Stopped


@dataclass(frozen=True, kw_only=True, slots=True)
class Earlier:
    """The current publication, on which the new one is based: nothing that it needs is removed meanwhile."""

    lines: frozenset[str] = frozenset()
    """Of its inventory."""
    content: tuple[bytes, ...] = ()
    """What the repository held, line by line."""
    layout: str | None = None


class Staging:
    """The tree that a content type writes; implements the content port's `Tree`.

    Args:
        storage: receives the written files when the tree is complete.
        scratch: a folder for them until then.
        earlier: the current publication.
        stop: set to cancel.
        meanwhile: other work of the publish.
    """

    def __init__(
        self, storage: Storage, scratch: Path, earlier: Earlier, stop: Event, *, meanwhile: Callable[[], object]
    ) -> None:
        self._storage: Final = storage
        self._scratch: Final = scratch
        self._earlier: Final = earlier
        self._known: Final = {line.split("\t", 2)[1] for line in earlier.lines}
        self._stop: Final = stop
        self._meanwhile: Final = meanwhile
        self._folders: Final[set[str]] = {""}
        self._paths: Final[set[str]] = set()
        self._lines: Final[list[str]] = []
        self._files: Final[dict[str, StoredFile]] = {}
        self._written: Final[dict[str, Path]] = {}
        self._numbers: Final = count()
        self.memory: bytes | None = None
        """State that the content type keeps for the next publication."""

    def link(self, relative_path: str, file: StoredFile) -> None:
        """Map a path to a stored file."""
        go_on(self._stop)
        self._check(relative_path)
        if file.sha256 not in self._known and not self._storage.has(file.sha256, file.size):
            raise WorkFailed(f"The file {shown(relative_path)!r} is gone from the storage; sync again.")
        self._files[relative_path] = StoredFile(relative_path=relative_path, sha256=file.sha256, size=file.size)

    def link_lines(self, lines: Collection[str]) -> None:
        """Map many paths to stored files.

        Those of the current publication exist and do not conflict with one another.
        """
        go_on(self._stop)
        again = self._earlier.lines.intersection(lines)
        paths = {line.partition("\t")[0] for line in again}
        folders = {path.rpartition("/")[0] for path in paths}
        folders |= {above for folder in folders for above in _above(folder)}
        barred = (paths & self._paths) | (paths & self._folders) | (folders & self._paths)
        if barred:
            _refuse(min(barred))
        self._lines.extend(again)
        self._paths.update(paths)
        self._folders.update(folders)
        for line in lines:
            if line not in again:
                file = inventory.file(line)
                self.link(file.relative_path, file)

    @contextmanager
    def write(self, relative_path: str) -> Iterator[BinaryIO]:
        """Open a new file, which is added when the context ends."""
        go_on(self._stop)
        self._check(relative_path)
        path = self._scratch / str(next(self._numbers))
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, FILE_MODE), "w+b") as file:
            yield file
            file.seek(0)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
        self._written[sha256] = path
        self._files[relative_path] = StoredFile(relative_path=relative_path, sha256=sha256, size=size)

    def rename(self, old: str, new: str) -> StoredFile:
        """Rename a written file, and return it."""
        self._paths.remove(old)
        self._check(new)
        file = self._files.pop(old)
        self._files[new] = StoredFile(relative_path=new, sha256=file.sha256, size=file.size)
        return self._files[new]

    def checksum(self, sha256: str, algorithm: str) -> str:
        """Return another checksum of a stored file."""
        go_on(self._stop)
        try:
            with self._storage.open(sha256) as file:
                return hashlib.file_digest(file, algorithm).hexdigest()
        except FileNotFoundError:
            raise WorkFailed(f"The file {sha256} is gone from the storage; sync again.") from None

    def open(self, sha256: str) -> BinaryIO:
        """Open a stored file."""
        return self._storage.open(sha256)

    def remembered(self) -> bytes | None:
        """Return the state that the current publication kept."""
        if self._earlier.layout is None:
            return None
        try:
            with self._storage.open(self._earlier.layout) as file:
                return file.read()
        except FileNotFoundError:
            return None

    def remember(self, memory: bytes) -> None:
        """Keep state for the next publication."""
        self.memory = memory

    def meanwhile(self) -> None:
        """Do other work of the publish."""
        self._meanwhile()

    def document(self) -> bytes:
        """Write the inventory of the whole tree."""
        return inventory.document_of([*self._lines, *map(inventory.line, self._files.values())])

    @property
    def file_count(self) -> int:
        """Number of files in the tree."""
        return len(self._lines) + len(self._files)

    @property
    def byte_count(self) -> int:
        """Their total size in bytes."""
        again = sum(int(line[line.rindex("\t") :]) for line in self._lines)
        return again + sum(file.size for file in self._files.values())

    def new(self) -> list[StoredFile]:
        """Return the files that the current publication does not need."""
        return [file for file in self._files.values() if file.sha256 not in self._known]

    def keep(self, *documents: bytes) -> list[StoredFile]:
        """Move written files into the storage, with documents about the publication, fsynced; return the documents."""
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
        """Reject a path that is invalid or taken, else register it with its parent folders.

        Raises:
            WorkFailed: it cannot be published.
        """
        reason = flaw(path)
        if reason:
            raise WorkFailed(f"The name {shown(path)!r} {reason}; it cannot be published.")
        parents = []
        parent = path.rpartition("/")[0]
        while parent and parent not in self._folders:
            parents.append(parent)
            parent = parent.rpartition("/")[0]
        if path in self._paths or path in self._folders or any(folder in self._paths for folder in parents):
            _refuse(path)
        self._paths.add(path)
        self._folders.update(parents)


def _above(folder: str) -> Iterator[str]:
    while folder := folder.rpartition("/")[0]:
        yield folder


def _refuse(path: str) -> None:
    raise WorkFailed(f"The file {shown(path)!r} cannot be published: another file or folder has its place.")
