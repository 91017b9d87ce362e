"""Published trees: built out of sight, shown by renaming one symbolic link.

    published/isos/<relative URL>               the link that readers come by
    published/trees/<distributor>/<tree>/       what it leads to; the one before it stays for those who read it
    published/trees/<distributor>/<tree>.files  its inventory, written last: a tree without one is not whole

Files of a tree are hard links to the storage, so a tree stays whole whatever happens there.
"""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import BinaryIO, Final

from pulpit.content.paths import flaw
from pulpit.content.port import StoredFile
from pulpit.errors import WorkFailed
from pulpit.ids import object_id
from pulpit.repositories import inventory
from pulpit.storage.disk import FILE_MODE, FOLDER_MODE, flush_file_system, flush_folder, make_folders
from pulpit.storage.port import Storage
from pulpit.text import shown

PUBLISHED: Final = "published"
TREES: Final = "trees"
_NO_HARD_LINK: Final = frozenset({errno.EMLINK, errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP})


class Stopped(Exception):
    """The tree is not wanted any more."""


def go_on(stop: Event) -> None:
    """Return unless it is time to stop.

    Raises:
        Stopped: it is.
    """
    if stop.is_set():
        raise Stopped


class NewTree:
    """A tree that is being built; it is the `Tree` of the content port."""

    def __init__(self, root: Path, storage: Storage, stop: Event) -> None:
        self._root: Final = root
        self._storage: Final = storage
        self._stop: Final = stop
        self._folders: Final[set[str]] = {""}
        self._linked: Final[dict[str, str]] = {}
        self._written: Final[set[str]] = set()

    def link(self, relative_path: str, sha256: str) -> None:
        """Place a kept file."""
        go_on(self._stop)
        target = self._place(relative_path)
        with _collisions(relative_path):
            try:
                source = self._storage.local(sha256)
                os.link(source, target)
            except FileNotFoundError:
                raise WorkFailed(f"The file {shown(relative_path)!r} is gone from the storage; sync again.") from None
            except OSError as error:
                if error.errno not in _NO_HARD_LINK:
                    raise
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
                with source.open("rb") as old, os.fdopen(os.open(target, flags, FILE_MODE), "wb") as new:
                    shutil.copyfileobj(old, new)
        self._linked[relative_path] = sha256

    @contextmanager
    def write(self, relative_path: str) -> Iterator[BinaryIO]:
        """Open a new file."""
        with _collisions(relative_path):
            fd = os.open(self._place(relative_path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        self._written.add(relative_path)
        with os.fdopen(fd, "wb") as file:
            yield file

    def rename(self, old: str, new: str) -> None:
        """Give a written file another name."""
        target = self._place(new)
        with _collisions(new):
            os.link(self._root / old, target)
        (self._root / old).unlink()
        self._written.remove(old)
        self._written.add(new)

    def finish(self) -> None:
        """Write the inventory; nothing may be added any more."""
        inventory.write(self._root, self._lines())

    def _lines(self) -> Iterator[StoredFile]:
        for path, sha256 in self._linked.items():
            yield StoredFile(relative_path=path, sha256=sha256, size=(self._root / path).stat().st_size)
        for path in self._written:
            go_on(self._stop)
            with (self._root / path).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                yield StoredFile(relative_path=path, sha256=digest, size=os.fstat(file.fileno()).st_size)

    def checksum(self, sha256: str, algorithm: str) -> str:
        """Another checksum of a kept file."""
        go_on(self._stop)
        try:
            with self._storage.open(sha256) as file:
                return hashlib.file_digest(file, algorithm).hexdigest()
        except FileNotFoundError:
            raise WorkFailed(f"The file {sha256} is gone from the storage; sync again.") from None

    def _place(self, relative_path: str) -> Path:
        reason = flaw(relative_path)
        if reason:
            raise WorkFailed(f"The name {shown(relative_path)!r} {reason}; it cannot be published.")
        parent = relative_path.rpartition("/")[0]
        if parent not in self._folders:
            with _collisions(relative_path):
                make_folders(self._root, parent)
            self._folders.add(parent)
        return self._root / relative_path


class Shelf:
    """All trees of one distributor."""

    def __init__(self, data_dir: Path, distributor_id: str) -> None:
        self._data_dir: Final = data_dir
        self._folder: Final = data_dir / PUBLISHED / TREES / distributor_id

    def new(self) -> Path:
        """A folder for another tree; whatever an interrupted publish left is swept away first, by `sweep`."""
        make_folders(self._data_dir, str(self._folder.relative_to(self._data_dir)))
        tree = self._folder / object_id()
        tree.mkdir(mode=FOLDER_MODE)
        return tree

    def shown_at(self, place: str) -> Path | None:
        """The tree that a published path leads to, if it is one of these."""
        target = _target(self._link(place))
        return target if target is not None and self.owns(target) and target.is_dir() else None

    def show(self, tree: Path, place: str) -> None:
        """Let a published path lead to the tree from now on.

        Raises:
            WorkFailed: the path belongs to somebody else.
        """
        link = self._link(place)
        self._check_free(place)
        fresh = tree.with_suffix(".link")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(os.path.relpath(tree, link.parent), target_is_directory=True)
        try:
            fresh.rename(link)
        finally:
            fresh.unlink(missing_ok=True)
        flush_folder(link.parent)

    def hide(self, place: str) -> None:
        """Let a published path lead nowhere, if it leads to one of these trees."""
        link = self._link(place)
        target = _target(link)
        if target is None or target.parent != self._folder:
            return
        link.unlink(missing_ok=True)
        folder = link.parent
        top = self._data_dir / PUBLISHED / place.split("/", maxsplit=1)[0]
        while folder != top:
            try:
                folder.rmdir()
            except OSError:
                break
            folder = folder.parent

    def sweep(self, *keep: Path | None) -> None:
        """Remove all trees but these, and what interrupted publishes left."""
        kept = {*keep, *(inventory.beside(tree) for tree in keep if tree)}
        with suppress(FileNotFoundError):
            for entry in list(self._folder.iterdir()):
                if entry in kept:
                    continue
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry, ignore_errors=True)
                else:
                    entry.unlink(missing_ok=True)

    def owns(self, tree: Path) -> bool:
        """Whether a path is that of one of these trees, there or not."""
        return tree.parent == self._folder

    def tree(self, name: str) -> Path:
        """Where the tree of a name stands, or would."""
        return self._folder / name

    def whole(self) -> list[Path]:
        """The trees that have an inventory, the oldest first: names sort by time."""
        with suppress(FileNotFoundError):
            return sorted(tree for tree in self._folder.iterdir() if inventory.beside(tree).exists())
        return []

    def unfinished(self) -> list[Path]:
        """What a publish under way has begun, or a killed one has left."""
        whole = self.whole()
        known = {*whole, *map(inventory.beside, whole)}
        with suppress(FileNotFoundError):
            return sorted(entry for entry in self._folder.iterdir() if entry not in known)
        return []

    def remove(self) -> None:
        """Remove every tree."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def flush(self) -> None:
        """Return when the trees are safe from a loss of power."""
        flush_file_system(self._folder)

    def _link(self, place: str) -> Path:
        return self._data_dir / PUBLISHED / place

    def _check_free(self, place: str) -> None:
        link = self._link(place)
        root = self._data_dir / PUBLISHED
        for parent in reversed(link.relative_to(root).parents[:-1]):
            if (root / parent).is_symlink():
                raise WorkFailed(f"Another repository is published at {shown(str(parent))!r}, above {shown(place)!r}.")
        make_folders(self._data_dir, str(link.parent.relative_to(self._data_dir)))
        target = _target(link)
        if target is not None and target.parent != self._folder and target.exists():
            raise WorkFailed(f"Another repository is published at {shown(place)!r}.")
        if target is None and link.is_dir():
            try:
                link.rmdir()
            except OSError:
                raise WorkFailed(f"Another repository is published beneath {shown(place)!r}.") from None


def links(data_dir: Path) -> Iterator[tuple[str, Path | None]]:
    """Every published path with the tree that its link leads to."""
    root = data_dir / PUBLISHED
    for folder, names, files in os.walk(root):
        here = Path(folder)
        if here == root and TREES in names:
            names.remove(TREES)
        for path in sorted(here / name for name in (*names, *files)):
            if path.is_symlink():
                yield str(path.relative_to(root)), _target(path)


def _target(link: Path) -> Path | None:
    try:
        return Path(os.path.normpath(link.parent / link.readlink()))
    except OSError:
        return None


@contextmanager
def _collisions(relative_path: str) -> Iterator[None]:
    try:
        yield
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise WorkFailed(
            f"The file {shown(relative_path)!r} cannot be published: another file or folder has its place."
        ) from None
