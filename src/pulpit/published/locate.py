"""From the path of a URL to what is published there; one request sees one publication and nothing outside it.

What a place shows is read from the database once in `FRESH_FOR`, after each call of `forget`, and before any 404;
inventories are searched in the storage, without loading them.
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
"""Seconds after which every server sees a new publication."""
_MOST_KNOWN: Final = 10_000
_OPEN_INVENTORIES: Final = 256
_LONGEST_URL: Final = 1 << 16
_DEEPEST_PLACE: Final = 520
"""Parts of the longest possible path of a place, including its kind."""
_NAMED_BY_CHECKSUM: Final = re.compile(r"(?:[^/]+/)*[0-9a-f]{32,128}-[^/]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedFile:
    """A file to send; `distributor` is the object id of the one that published it."""

    distributor: str
    shown: Shown
    """What its place showed when it was found."""
    file: StoredFile
    """Its path is the file name only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedFolder:
    """A folder to list; above all places it belongs to no distributor, and `distributor` is `None`."""

    distributor: str | None
    entries: Callable[["Visible"], "Iterator[FolderEntry]"]
    """Lists it, folders first, by name; above the places only folders that lead to visible ones."""
    file: Callable[[str], PublishedFile | None] = lambda _: None
    """Finds a file in it, by name."""


Visible = Callable[[Collection[str]], Collection[str]]
"""Filters distributors (object ids): those whose publications a listing may show."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderEntry:
    """An entry of a listing; a folder has no size."""

    name: str
    is_folder: bool
    size: int | None
    modified: datetime


class Publications:
    """Everything published on this server. Its methods block and may be called from several threads.

    Args:
        database: holds places and publications.
        storage: holds their files.
        grace: how long a file that is named by its checksum is still served after a publish replaced it.
        clock: measures the grace period.
    """

    def __init__(self, database: Database, storage: Storage, *, grace: timedelta, clock: Clock) -> None:
        self._database: Final = database
        self.storage: Final = storage
        self._grace: Final = grace
        self._clock: Final = clock
        self._known: Final[dict[str, tuple[float, Shown]]] = {}
        self._inventory: Final = lru_cache(_OPEN_INVENTORIES)(self._opened)

    def forget(self) -> None:
        """Drop the cache: a place may show something else."""
        self._known.clear()

    def locate(self, kind: str, url_path: str) -> PublishedFile | PublishedFolder | None:
        """Return what is at a URL path (already unquoted) below `/pulp/<kind>/`, or `None`.

        Raises:
            DatabaseUnavailable: the database does not respond.
            StorageUnavailable: the storage does not respond.
            FileNotFoundError: the inventory is missing from the storage.
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
        # Another server may have shown a newer publication since: its clients must not get a 404 here.
        shown = self._asked_for(above)
        if shown is None:
            return self._above(path)
        inside = path[len(shown.path) + 1 :]
        return self._in_place(shown, inside) or self._lately(shown, inside)

    def still_shows(self, shown: Shown) -> bool:
        """Whether a place is known to show this, without a lookup."""
        known = self._known.get(shown.path)
        return known is not None and known[0] > time.monotonic() and known[1] == shown

    def knows(self, place: str) -> bool:
        """Whether the publication of a place is cached."""
        known = self._known.get(place)
        return known is not None and known[0] > time.monotonic()

    def ask(self, place: str) -> None:
        """Read from the database what a place shows."""
        self._asked_for([place])

    def _known_at(self, above: Sequence[str]) -> Shown | None:
        """Return the cached place at or above a path, if any."""
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
        """Return a file that the place had recently: a client with the old metadata may still request it."""
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
        """Return a folder above places, if there is one; the kind itself always exists."""
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
