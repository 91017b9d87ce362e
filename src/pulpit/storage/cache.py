"""Copies on this machine of files that lie in an object store, at most so many bytes: the longest unused go first.

    cache/ab/abcdef…     copies, whole and verified; the time of a file is that of its last use
    cache/outgoing/      files on their way to the object store
    cache/incoming/      files on their way here

Server and workers of one machine share the folder without a lock: a copy that is removed meanwhile is fetched again.
"""

import os
import shutil
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from pulpit.storage.disk import FILE_MODE, FOLDER_MODE

SPARED_FOR: Final = 60.0
"""Seconds for which a copy that was used is left alone, so that whoever was given its path can open it."""
_LOW: Final = 0.9
"""Share of the limit that is left when room is made."""
_OUTGOING: Final = "outgoing"
_INCOMING: Final = "incoming"


class Cache:
    """The cache of one machine, safe to use from several threads and processes."""

    def __init__(self, folder: Path, limit: int) -> None:
        """Prepare.

        Args:
            folder: where the copies are.
            limit: bytes that they may take, beside what is on its way.
        """
        self._folder: Final = folder
        self._limit: Final = limit
        self._lock: Final = threading.Lock()
        self._added = limit  # so that the first copy has the folder counted

    def prepare(self) -> None:
        """Make the folders."""
        for folder in (self._folder, self._folder / _OUTGOING, self._folder / _INCOMING):
            folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)

    def find(self, sha256: str) -> Path | None:
        """The copy of a file, which counts as used now."""
        path = self._place(sha256)
        try:
            os.utime(path)
        except FileNotFoundError:
            return None
        return path

    def keep(self, path: Path, sha256: str) -> Path:
        """Take in a whole, verified file of this folder, and make room for the next ones."""
        place = self._place(sha256)
        size = path.stat().st_size
        place.parent.mkdir(mode=FOLDER_MODE, exist_ok=True)
        path.replace(place)
        os.utime(place)
        with self._lock:
            self._added += size
            if self._added > self._limit * (1 - _LOW) / 2:
                self._added = 0
                self._make_room()
        return place

    def outgoing(self, source: Path | bytes, sha256: str) -> Path:
        """Put a file, moved from `source`, where it waits until the object store has it."""
        path = self._folder / _OUTGOING / f"{sha256}.{os.urandom(8).hex()}"
        if isinstance(source, bytes):
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE), "wb") as file:
                file.write(source)
        else:
            shutil.move(source, path)
        return path

    def incoming(self) -> Path:
        """A path for a file that is being fetched."""
        return self._folder / _INCOMING / os.urandom(16).hex()

    def forget(self, sha256s: Collection[str]) -> None:
        """Remove copies."""
        for sha256 in sha256s:
            self._place(sha256).unlink(missing_ok=True)

    def sweep(self, older_than: float) -> int:
        """Remove what killed processes left on its way."""
        count = 0
        for folder in (_OUTGOING, _INCOMING):
            for path in (self._folder / folder).glob("*"):
                with suppress(FileNotFoundError):
                    if time.time() - path.stat().st_mtime > older_than:
                        path.unlink()
                        count += 1
        return count

    def _place(self, sha256: str) -> Path:
        return self._folder / sha256[:2] / sha256

    def _make_room(self) -> None:
        copies = sorted(self._copies())
        held, now = sum(size for _, size, _ in copies), time.time()
        for used_at, size, path in copies:
            if held <= self._limit * _LOW or now - used_at < SPARED_FOR:
                return
            with suppress(FileNotFoundError):
                os.unlink(path)  # noqa: PTH108 - as it was listed
                held -= size

    def _copies(self) -> Iterator[tuple[float, int, str]]:
        """When each copy was used last, its size, and where it is."""
        for folder in self._folder.glob("??"):
            with os.scandir(folder) as entries:
                for entry in entries:
                    with suppress(FileNotFoundError):
                        found = entry.stat()
                        yield found.st_mtime, found.st_size, entry.path
