"""From the path of a URL to what is published there, so that one request sees one tree and nothing outside it."""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pulpit.content.paths import flaw
from pulpit.repositories import inventory
from pulpit.repositories.tree import PUBLISHED, TREES


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """What a path is in a published tree; `distributor` is the object id of the one that published it."""

    distributor: str
    tree: Path

    def digest(self, path: Path) -> str:
        """The SHA-256 of a file in the tree, empty if the tree's inventory does not have it."""
        line = inventory.find(self.tree, str(path.relative_to(self.tree)))
        return line.sha256 if line else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedFile:
    """A file to be sent."""

    path: Path
    place: Place | None


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedFolder:
    """A folder to be listed; above all trees it has no place in one."""

    path: Path
    place: Place | None

    def entries(self, is_shown: "IsShown" = lambda _: True) -> Iterator["FolderEntry"]:
        """What is in it, folders first, by name; above the trees only what leads to those that may be shown."""
        paths = [path for path in self.path.iterdir() if self.place or any(map(is_shown, distributors_at(path)))]
        found = [_entry(path) for path in paths]
        yield from sorted((one for one in found if one is not None), key=lambda one: (not one.is_folder, one.name))


IsShown = Callable[[str], bool]
"""Whether what a distributor (its object id) published may be seen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderEntry:
    """A line of a listing; a folder has no size."""

    name: str
    is_folder: bool
    size: int | None
    modified: datetime


def locate(data_dir: Path, kind: str, url_path: str) -> PublishedFile | PublishedFolder | None:
    """What stands at a URL path (already unquoted) beneath `/pulp/<kind>/`, or `None`.

    The link to a tree is read once: whatever is switched meanwhile, the answer lies in one tree. No other link is
    followed.
    """
    here = data_dir / PUBLISHED / kind
    relative = url_path.strip("/")
    if relative and flaw(relative, most_bytes=1 << 16):
        return None
    tree: Path | None = None
    for part in relative.split("/") if relative else ():
        here /= part
        try:
            is_link = here.is_symlink()
        except OSError:  # it is too long for the file system
            is_link = False
        if is_link:
            if tree:
                return None
            here = tree = _tree(here, data_dir)
    return _found(here, tree)


def distributors_at(path: Path) -> Iterator[str]:
    """The distributors whose published paths are at a path above the trees, or beneath it."""
    if path.is_symlink():
        with suppress(OSError):
            yield path.readlink().parent.name
        return
    for folder, names, files in os.walk(path):
        for name in (*names, *files):
            link = Path(folder, name)
            if link.is_symlink():
                yield from distributors_at(link)


def _tree(link: Path, data_dir: Path) -> Path:
    """The tree that a link leads to; a link that is gone leads to itself, where nothing is."""
    try:
        target = link.readlink()
    except OSError:
        return link
    return data_dir.joinpath(PUBLISHED, TREES, *target.parts[-2:])


def _found(path: Path, tree: Path | None) -> PublishedFile | PublishedFolder | None:
    try:
        mode = path.lstat().st_mode
    except (OSError, ValueError):
        return None
    place = Place(distributor=tree.parent.name, tree=tree) if tree else None
    if stat.S_ISDIR(mode):
        return PublishedFolder(path=path, place=place)
    return PublishedFile(path=path, place=place) if stat.S_ISREG(mode) else None


def _entry(path: Path) -> FolderEntry | None:
    try:
        found = path.stat()
    except OSError:
        return None
    is_folder = stat.S_ISDIR(found.st_mode)
    modified = datetime.fromtimestamp(found.st_mtime, UTC)
    return FolderEntry(
        name=path.name, is_folder=is_folder, size=None if is_folder else found.st_size, modified=modified
    )
