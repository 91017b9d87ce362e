"""From the path of a URL to what is published there, so that one request sees one publication and nothing outside it.

What a place shows is asked of the database once in `FRESH_FOR`, whenever somebody calls `forget`, and before anybody is
told that there is nothing; inventories are searched where they lie in the storage.
"""

import re
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from pulpit.clock import Clock
from pulpit.content.paths import flaw
from pulpit.content.port import StoredFile
from pulpit.repositories.inventory import Folder, Inventory
from pulpit.storage.port import Storage
from pulpit.store import publications
from pulpit.store.database import Database
from pulpit.store.publications import Shown

FRESH_FOR: Final = 0.5
"""Seconds after which every server sees what a place shows now."""
_MOST_KNOWN: Final = 10_000
_OPEN_INVENTORIES: Final = 256
_LONGEST_URL: Final = 1 << 16
_DEEPEST_PLACE: Final = 520
"""Parts of the longest path that can be a place, with its kind."""
_NAMED_BY_CHECKSUM: Final = re.compile(r"(?:[^/]+/)*[0-9a-f]{32,128}-[^/]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedFile:
    """A file to be sent; `distributor` is the object id of the one that published it."""

    distributor: str
    shown: Shown
    """What its place showed when it was found."""
    file: StoredFile
    """With its name alone as path."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedFolder:
    """A folder to be listed; above all places it is nobody's, and `distributor` is `None`."""

    distributor: str | None
    entries: Callable[["Visible"], "Iterator[FolderEntry]"]
    """Lists it, folders first, by name; above the places only what leads to those that may be shown."""
    file: Callable[[str], PublishedFile | None] = lambda _: None
    """A file in it, by name."""


Visible = Callable[[Collection[str]], Collection[str]]
"""Returns those of some distributors (object ids) whose publications a listing may name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderEntry:
    """A line of a listing; a folder has no size."""

    name: str
    is_folder: bool
    size: int | None
    modified: datetime


class Publications:
    """What the server knows of everything published. Its methods block and may be called from several threads.

    Args:
        database: where places and publications are.
        storage: where their files are.
        grace: for how long a file that is named by its checksum is still found after a publish took it away.
        clock: the time by which that is told.
    """

    def __init__(self, database: Database, storage: Storage, *, grace: timedelta, clock: Clock) -> None:
        self._database: Final = database
        self.storage: Final = storage
        self._grace: Final = grace
        self._clock: Final = clock
        self._known: Final[dict[str, tuple[float, Shown]]] = {}
        self._inventory: Final = lru_cache(_OPEN_INVENTORIES)(self._opened)

    def forget(self) -> None:
        """Ask the database again: a place may show something else."""
        self._known.clear()

    def locate(self, kind: str, url_path: str) -> PublishedFile | PublishedFolder | None:
        """What stands at a URL path (already unquoted) beneath `/pulp/<kind>/`, or `None`.

        Raises:
            DatabaseUnavailable: the database does not answer.
            StorageUnavailable: the storage does not.
            FileNotFoundError: the storage has lost the inventory.
        """
        relative = url_path.strip("/")
        if relative and flaw(relative, most_bytes=_LONGEST_URL):
            return None
        path = f"{kind}/{relative}" if relative else kind
        parts = path.split("/")[:_DEEPEST_PLACE]
        above = ["/".join(parts[:count]) for count in range(2, len(parts) + 1)]
        shown = self._known_at(above)
        found = self._in_place(shown, path[len(shown.path) + 1 :]) if shown else None
        if found is not None:
            return found
        # Another server may have shown its readers more since: whoever comes from there is told no 404.
        shown = self._asked_for(above)
        if shown is None:
            return self._above(path)
        inside = path[len(shown.path) + 1 :]
        return self._in_place(shown, inside) or self._lately(shown, inside)

    def still_shows(self, shown: Shown) -> bool:
        """Whether a place is known to show this, without asking anybody."""
        known = self._known.get(shown.path)
        return known is not None and known[0] > time.monotonic() and known[1] == shown

    def knows(self, place: str) -> bool:
        """Whether it was asked lately what a place shows."""
        known = self._known.get(place)
        return known is not None and known[0] > time.monotonic()

    def ask(self, place: str) -> None:
        """Ask the database what a place shows."""
        self._asked_for([place])

    def _known_at(self, above: Sequence[str]) -> Shown | None:
        """The place that a path leads to or into, if it was asked for lately."""
        now = time.monotonic()
        for prefix in above:
            known = self._known.get(prefix)
            if known and known[0] > now:
                return known[1]
        return None

    def _asked_for(self, above: Sequence[str]) -> Shown | None:
        asked_at = time.monotonic()
        with self._database.read() as connection:
            shown = publications.shown_at(connection, above)
        if shown is not None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[shown.path] = (asked_at + FRESH_FOR, shown)
        return shown

    def _in_place(self, shown: Shown, path: str) -> PublishedFile | PublishedFolder | None:
        inventory = self._inventory(shown.inventory)
        file = inventory.find(path)
        if file is not None:
            return _published(shown, file)
        if not inventory.is_folder(path) and path:
            return None

        def entries(_: Visible) -> Iterator[FolderEntry]:
            found = sorted(inventory.entries(path), key=_folders_first)
            for entry in found:
                yield _entry(entry, shown.since)

        def inside(name: str) -> PublishedFile | None:
            file = inventory.find(f"{path}/{name}" if path else name)
            return _published(shown, file) if file else None

        return PublishedFolder(distributor=shown.distributor_object_id, entries=entries, file=inside)

    def _lately(self, shown: Shown, path: str) -> PublishedFile | None:
        """A file that the place had until lately: who has read the list that names it may still have it."""
        if not self._grace or not _NAMED_BY_CHECKSUM.fullmatch(path):
            return None
        with self._database.read() as connection:
            former = publications.former(connection, shown.path, since=self._clock() - self._grace)
        for publication in former:
            file = self._inventory(publication.inventory).find(path)
            if file is not None:
                return _published(shown, file)
        return None

    def _above(self, path: str) -> PublishedFolder | None:
        """A folder that leads to places, if there is one; the kind itself is always there."""
        with self._database.read() as connection:
            places = publications.beneath(connection, path)
        if not places and "/" in path:
            return None

        def entries(visible: Visible) -> Iterator[FolderEntry]:
            latest: dict[str, datetime] = {}
            named = visible({shown.distributor_object_id for shown in places})
            for shown in places:
                if shown.distributor_object_id in named:
                    name = shown.path[len(path) + 1 :].partition("/")[0]
                    latest[name] = max(latest.get(name, shown.since), shown.since)
            for name, modified in sorted(latest.items()):
                yield FolderEntry(name=name, is_folder=True, size=None, modified=modified)

        return PublishedFolder(distributor=None, entries=entries)

    def _opened(self, sha256: str) -> Inventory:
        with self.storage.local(sha256).open("rb") as file:
            return Inventory(file)


def _published(shown: Shown, file: StoredFile) -> PublishedFile:
    name = file.relative_path.rpartition("/")[2]
    named = StoredFile(relative_path=name, sha256=file.sha256, size=file.size)
    return PublishedFile(distributor=shown.distributor_object_id, shown=shown, file=named)


def _folders_first(entry: StoredFile | Folder) -> tuple[bool, str]:
    return (False, entry.name) if isinstance(entry, Folder) else (True, entry.relative_path)


def _entry(entry: StoredFile | Folder, modified: datetime) -> FolderEntry:
    if isinstance(entry, Folder):
        return FolderEntry(name=entry.name, is_folder=True, size=None, modified=modified)
    return FolderEntry(name=entry.relative_path, is_folder=False, size=entry.size, modified=modified)
