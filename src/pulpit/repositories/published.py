"""From the path of a URL to what is published there, so that one request sees one tree and nothing outside it."""

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pulpit.content.paths import flaw
from pulpit.repositories.tree import PUBLISHED, TREES


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedFile:
    """A file to be sent."""

    path: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedFolder:
    """A folder to be listed."""

    path: Path

    def entries(self) -> Iterator["Entry"]:
        """What is in it, folders first, by name."""
        found = [_entry(path) for path in self.path.iterdir()]
        yield from sorted((one for one in found if one is not None), key=lambda one: (not one.is_folder, one.name))


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
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
    in_tree = False
    for part in relative.split("/") if relative else ():
        here /= part
        if here.is_symlink():
            if in_tree:
                return None
            here, in_tree = _tree(here, data_dir), True
    return _found(here)


def _tree(link: Path, data_dir: Path) -> Path:
    """The tree that a link leads to; a link that is gone leads to itself, where nothing is."""
    try:
        target = link.readlink()
    except OSError:
        return link
    return data_dir.joinpath(PUBLISHED, TREES, *target.parts[-2:])


def _found(path: Path) -> PublishedFile | PublishedFolder | None:
    try:
        mode = path.lstat().st_mode
    except (OSError, ValueError):
        return None
    if stat.S_ISDIR(mode):
        return PublishedFolder(path=path)
    return PublishedFile(path=path) if stat.S_ISREG(mode) else None


def _entry(path: Path) -> Entry | None:
    try:
        found = path.stat()
    except OSError:
        return None
    is_folder = stat.S_ISDIR(found.st_mode)
    modified = datetime.fromtimestamp(found.st_mtime, UTC)
    return Entry(name=path.name, is_folder=is_folder, size=None if is_folder else found.st_size, modified=modified)
