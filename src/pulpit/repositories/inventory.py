"""What a published tree consists of: a line for each file, written when the tree is whole.

    published/trees/<distributor>/<tree>.files      `path TAB SHA-256 TAB size`, sorted by the bytes of the path

A path holds no control character (`content.paths`), so a line cannot be misread. The list is searched where it lies, so
that a request costs the same in a small tree and in a large one.
"""

import mmap
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pulpit.content.port import StoredFile
from pulpit.storage.disk import FILE_MODE

SUFFIX: Final = ".files"


def beside(tree: Path) -> Path:
    """Where the inventory of a tree stands."""
    return tree.with_name(tree.name + SUFFIX)


def write(tree: Path, files: Iterable[StoredFile]) -> None:
    """Write the inventory of a tree, whole or not at all."""
    fresh = tree.with_name(f"{tree.name}{SUFFIX}.new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE), "wb") as target:
        lines = (f"{file.relative_path}\t{file.sha256}\t{file.size}\n".encode() for file in files)
        target.writelines(sorted(lines))
    fresh.rename(beside(tree))


def read(tree: Path) -> Iterator[StoredFile]:
    """Every file.

    Raises:
        FileNotFoundError: the tree has no inventory, so it was never whole.
        ValueError: the inventory is damaged.
    """
    with beside(tree).open("rb") as lines:
        for line in lines:
            yield _file(line)


def find(tree: Path, relative_path: str) -> StoredFile | None:
    """The file of a path, or `None` if there is none or no inventory."""
    wanted = relative_path.encode()
    with _mapped(beside(tree)) as data:
        low, high = 0, len(data)
        while low < high:
            start = data.rfind(b"\n", low, (low + high) // 2) + 1 or low
            end = data.find(b"\n", start) + 1 or high
            path = data[start : data.find(b"\t", start)]
            if path == wanted:
                return _file(data[start:end])
            low, high = (end, high) if path < wanted else (low, start)
    return None


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap | bytes]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield b""
        return
    try:
        size = os.fstat(fd).st_size
        if not size:
            yield b""
            return
        with mmap.mmap(fd, size, access=mmap.ACCESS_READ) as data:
            yield data
    finally:
        os.close(fd)


def _file(line: bytes) -> StoredFile:
    path, sha256, size = line.decode().rstrip("\n").split("\t")
    return StoredFile(relative_path=path, sha256=sha256, size=int(size))
