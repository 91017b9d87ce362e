"""The files of a publication: a line for each, in a file of the storage.

    path TAB SHA-256 TAB size       sorted by the bytes of the path

A path contains no control character (`content.paths`), so a line is unambiguous. The file is searched on disk, so
that a request costs the same in a small publication and in a large one.
"""

import mmap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BufferedReader
from typing import Final

from pulpit.content.port import StoredFile
from pulpit.storage.port import Storage

_AFTER_SLASH: Final = b"0"
"""The byte after the slash: every path in a folder sorts before the folder's name with this byte appended."""


def document(files: Iterable[StoredFile]) -> bytes:
    """Write the inventory of these files."""
    return document_of(map(line, files))


def document_of(lines: Iterable[str]) -> bytes:
    """Write the inventory of these lines, given in any order and without line ends."""
    return "".join(f"{text}\n" for text in sorted(lines)).encode()


def line(file: StoredFile) -> str:
    """Write the line of a file, without its line end."""
    return f"{file.relative_path}\t{file.sha256}\t{file.size}"


def file(line: str) -> StoredFile:
    """Parse a line.

    Raises:
        ValueError: it is damaged.
    """
    path, sha256, size = line.split("\t")
    return StoredFile(relative_path=path, sha256=sha256, size=int(size))


def read(lines: Iterable[bytes]) -> Iterator[StoredFile]:
    """Parse every line of an inventory.

    Raises:
        ValueError: it is damaged.
    """
    return map(_file, lines)


def lines(storage: Storage, sha256: str) -> list[str]:
    """Read every line of an inventory from the storage, without line ends.

    Raises:
        FileNotFoundError: it is missing from the storage.
        ValueError: it is damaged.
    """
    with storage.open(sha256) as document:
        return document.read().decode().split("\n")[:-1]


def files(storage: Storage, sha256: str) -> Iterator[StoredFile]:
    """Read every file of an inventory in the storage.

    Raises:
        FileNotFoundError: it is missing from the storage.
        ValueError: it is damaged.
    """
    with storage.open(sha256) as lines:
        yield from read(lines)


@dataclass(frozen=True, kw_only=True, slots=True)
class Folder:
    """A folder of a publication."""

    name: str


class Inventory:
    """A searchable inventory; only the parts that a search needs are read from disk."""

    def __init__(self, file: BufferedReader) -> None:
        size = file.seek(0, 2)
        self._data: Final[mmap.mmap | bytes] = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) if size else b""

    def find(self, path: str) -> StoredFile | None:
        """Return the file at a path."""
        wanted = path.encode()
        start, end = self._line_from(wanted)
        return _file(self._data[start:end]) if self._data[start:end].startswith(wanted + b"\t") else None

    def is_folder(self, path: str) -> bool:
        """Whether there is anything below a path; the empty path is the root."""
        prefix = f"{path}/".encode() if path else b""
        start, end = self._line_from(prefix)
        return start < end and self._data[start:end].startswith(prefix)

    def entries(self, path: str) -> Iterator[StoredFile | Folder]:
        """Yield the entries of a folder, by the bytes of the names; files have their names as paths.

        Raises:
            ValueError: the inventory is damaged.
        """
        prefix = f"{path}/".encode() if path else b""
        start, end = self._line_from(prefix)
        while start < end and (line := self._data[start:end]).startswith(prefix):
            name, slash, _ = line[len(prefix) :].partition(b"\t")[0].partition(b"/")
            if slash:
                yield Folder(name=name.decode())
                behind, end = self._line_from(prefix + name + _AFTER_SLASH)
                if behind <= start:
                    raise ValueError("the inventory is not sorted")
                start = behind
            else:
                yield _file(line[len(prefix) :])
                start, end = end, self._end_of(end)

    def _line_from(self, wanted: bytes) -> tuple[int, int]:
        """Return start and end of the first line whose path is not less than `wanted`."""
        data = self._data
        low, high = 0, len(data)
        while low < high:
            start = data.rfind(b"\n", low, (low + high) // 2) + 1 or low
            end = self._end_of(start)
            if data[start : data.find(b"\t", start, end)] < wanted:
                low = end
            else:
                high = start
        return low, self._end_of(low)

    def _end_of(self, start: int) -> int:
        return self._data.find(b"\n", start) + 1 or len(self._data)


def _file(line: bytes) -> StoredFile:
    return file(line.decode().rstrip("\n"))
