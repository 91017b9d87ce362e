"""A size-limited local cache of files in an object store; the least recently used ones are evicted.

    cache/ab/abcdef…     whole, verified copies; a file's modification time is that of its last use
    cache/outgoing/      files being uploaded
    cache/incoming/      files being downloaded

Server and workers of one machine share the folder without a lock: a copy that is removed meanwhile is downloaded again.
"""

import os
import shutil
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from pulpit.storage.disk import FILE_MODE, FOLDER_MODE, unchanged_for

SPARED_FOR: Final = 60.0
"""Seconds for which a recently used copy is not evicted, so that its path can be opened."""
_LOW: Final = 0.9
"""Share of the limit that is left after an eviction."""
_OUTGOING: Final = "outgoing"
_INCOMING: Final = "incoming"


class Cache:
    """The cache of one machine, safe to use from several threads and processes."""

    def __init__(self, folder: Path, limit: int) -> None:
        """Prepare.

        Args:
            folder: the cache folder.
            limit: bytes of the copies, not counting transfers in progress.
        """
        self._folder: Final = folder
        self._limit: Final = limit
        self._lock: Final = threading.Lock()
        self._added = limit  # so that the first copy triggers a count of the folder

    def prepare(self) -> None:
        for folder in (self._folder, self._folder / _OUTGOING, self._folder / _INCOMING):
            folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)

    def find(self, sha256: str) -> Path | None:
        """Return the copy of a file, and mark it as used."""
        path = self._place(sha256)
        try:
            os.utime(path)
        except FileNotFoundError:
            return None
        return path

    def keep(self, path: Path, sha256: str) -> Path:
        """Add a whole, verified file of this folder, and evict others if needed."""
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
        """Move a file from `source` to where it waits for its upload."""
        path = self._folder / _OUTGOING / f"{sha256}.{os.urandom(8).hex()}"
        if isinstance(source, bytes):
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE), "wb") as file:
                file.write(source)
        else:
            shutil.move(source, path)
        return path

    def incoming(self) -> Path:
        """Return a path for a file that is being downloaded."""
        return self._folder / _INCOMING / os.urandom(16).hex()

    def forget(self, sha256s: Collection[str]) -> None:
        for sha256 in sha256s:
            self._place(sha256).unlink(missing_ok=True)

    def sweep(self, older_than: float) -> int:
        """Remove interrupted transfers of killed processes."""
        count = 0
        for folder in (_OUTGOING, _INCOMING):
            for path in unchanged_for(older_than, (self._folder / folder).glob("*")):
                path.unlink(missing_ok=True)
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
        """Yield last use, size, and path of each copy."""
        for folder in self._folder.glob("??"):
            with os.scandir(folder) as entries:
                for entry in entries:
                    with suppress(FileNotFoundError):
                        found = entry.stat()
                        yield found.st_mtime, found.st_size, entry.path
