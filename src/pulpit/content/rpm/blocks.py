"""Package lists derived from the previous ones: changed blocks are written, all others are copied in compressed form.

A list is cut into blocks of some dozens of packages, and where a block ends depends on its last package alone, so that
an added or removed package changes one or two blocks. To a client the list is one gzip file with one member (RFC 1952).
In it each block is deflated separately and flushed to a whole byte (RFC 1951, an empty stored block), so blocks can
be combined anew without compressing them again. They are decompressed, because `repomd.xml` has the checksum of the
XML.
"""

import hashlib
import json
import mmap
import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import BinaryIO, Final, Self
from xml.parsers import expat

from pulpit.content.limits import KIB
from pulpit.content.port import Tree
from pulpit.errors import WorkFailed

_LEVEL: Final = 6
_RAW: Final = -15
"""zlib's window size for deflate without a header."""
_HEADER: Final = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
"""A gzip header: deflate, no name, no time, unknown system."""
_LAST: Final = frozenset({"00", "40", "80", "c0"})
"""Endings of package ids that close a block: one in 64 does, because ids end in random digits."""
_AHEAD: Final = 8
"""Blocks that may be queued for writing."""
_PIECE: Final = 256 * KIB
"""Compressed bytes of adjacent blocks that are decompressed at once, so that threads seldom ask for the interpreter."""


def cut(keys: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield start and end of each block of packages; changing this requires a new recipe."""
    ends = [end for end, key in enumerate(keys, 1) if key.partition("\t")[0][-2:] in _LAST]
    if keys and (not ends or ends[-1] < len(keys)):
        ends.append(len(keys))
    return pairwise([0, *ends])


@dataclass(frozen=True, kw_only=True, slots=True)
class PackedList:
    """Offsets of the blocks in a compressed list: its head, the blocks of packages, its tail."""

    sha256: str
    sizes: list[int]


Opened = tuple[mmap.mmap, Sequence[int]]
"""A compressed list, and the offsets of its blocks."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The layout of a publication's package lists, for use by the next one."""

    recipe: list[str]
    """What the lists depend on besides the packages; with another recipe nothing is reused."""
    keys: list[str]
    """For each package its unit's id, a tab, and the unit's version."""
    lines: list[str]
    """For each package its line in the inventory."""
    lists: Mapping[str, PackedList]

    @classmethod
    def nothing(cls) -> Self:
        """Return the layout for no publication."""
        return cls(recipe=[], keys=[], lines=[], lists={})

    @classmethod
    def read(cls, document: bytes) -> Self:
        """Parse what `document` wrote."""
        head, *rest = document.decode().split("\n")
        said = json.loads(head)
        count = said["packages"]
        return cls(
            recipe=said["recipe"],
            keys=rest[:count],
            lines=rest[count : 2 * count],
            lists={name: PackedList(**packed) for name, packed in said["lists"].items()},
        )

    def document(self) -> bytes:
        """Serialise it: a line of JSON, then the keys, then the lines."""
        lists = {name: {"sha256": packed.sha256, "sizes": packed.sizes} for name, packed in self.lists.items()}
        said = {"recipe": self.recipe, "packages": len(self.keys), "lists": lists}
        return "\n".join([json.dumps(said), *self.keys, *self.lines]).encode()

    @cached_property
    def _blocks(self) -> dict[str, tuple[int, int, int]]:
        """Number, start and end of each block by its first key."""
        return {self.keys[begin]: (number, begin, end) for number, (begin, end) in enumerate(cut(self.keys), 1)}

    def block(self, keys: Sequence[str], lines: Sequence[str]) -> int | None:
        """Return the number of the block with exactly these packages, if there is one."""
        number, begin, end = self._blocks.get(keys[0], (0, 0, 0))
        return number if self.keys[begin:end] == keys and self.lines[begin:end] == lines else None


class ListWriter:
    """Writes one list to a file, in a thread of its own, block by block.

    Args:
        name: the list's name, for messages.
        target: the file.
        algorithm: the checksums to compute.
    """

    def __init__(self, name: str, target: BinaryIO, algorithm: str) -> None:
        self._name: Final = name
        self._target: Final = target
        self._packed: Final = hashlib.new(algorithm)
        self._plain: Final = hashlib.new(algorithm)
        self._crc = 0
        self._pool: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="list")
        self._waiting: Final[deque[Future[None]]] = deque()
        self.size = 0
        self.open_size = 0
        self.sizes: Final[list[int]] = []
        self._write(_HEADER)

    @contextmanager
    def opened(self) -> Iterator[Self]:
        """Stop the thread when the context ends; after success everything has been written."""
        try:
            yield self
            self._wait(0)
            self._write(struct.pack("<II", self._crc, self.open_size & 0xFFFFFFFF))
        finally:
            self._pool.shutdown(cancel_futures=True)

    def fresh(self, text: str, *, proven: bool = False, last: bool = False) -> None:
        """Write a new block; it must be a sequence of whole XML elements, which is checked unless it is `proven`."""
        self._do(lambda: self._fresh(text.encode(), proven=proven, last=last))

    def again(self, earlier: Opened, numbers: Sequence[int]) -> None:
        """Copy blocks of an earlier list."""
        self._do(lambda: self._again(*earlier, numbers))

    @property
    def digest(self) -> str:
        """Return the checksum of the file."""
        return self._packed.hexdigest()

    @property
    def open_digest(self) -> str:
        """Return the checksum of the uncompressed list."""
        return self._plain.hexdigest()

    def _do(self, work: Callable[[], None]) -> None:
        self._wait(_AHEAD)
        self._waiting.append(self._pool.submit(work))

    def _wait(self, most: int) -> None:
        while len(self._waiting) > most:
            self._waiting.popleft().result()

    def _fresh(self, plain: bytes, *, proven: bool, last: bool) -> None:
        if not proven:
            self._prove(plain)
        packing = zlib.compressobj(_LEVEL, wbits=_RAW)
        packed = packing.compress(plain) + packing.flush(zlib.Z_FINISH if last else zlib.Z_FULL_FLUSH)
        self.sizes.append(len(packed))
        self._take(plain, packed)

    def _again(self, packed: mmap.mmap, bounds: Sequence[int], numbers: Sequence[int]) -> None:
        self.sizes.extend(bounds[number + 1] - bounds[number] for number in numbers)
        for begin, end in _pieces(bounds, numbers):
            piece = packed[begin:end]
            self._take(zlib.decompressobj(_RAW).decompress(piece), piece)

    def _take(self, plain: bytes, packed: bytes) -> None:
        self._plain.update(plain)
        self._crc = zlib.crc32(plain, self._crc)
        self.open_size += len(plain)
        self._write(packed)

    def _write(self, packed: bytes) -> None:
        self._packed.update(packed)
        self.size += len(packed)
        self._target.write(packed)

    def _prove(self, plain: bytes) -> None:
        """Check that new XML is well-formed, so that no client gets a list that it cannot parse."""
        try:
            parser = expat.ParserCreate()
            parser.Parse(b"<whole>", False)
            parser.Parse(plain, False)
            parser.Parse(b"</whole>", True)
        except expat.ExpatError as error:
            raise not_well_formed(self._name, error) from None


def _pieces(bounds: Sequence[int], numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield start and end of each run of adjacent blocks, cut where it exceeds `_PIECE`."""
    begin = end = bounds[numbers[0]]
    for number in numbers:
        if bounds[number] != end or bounds[number + 1] - begin > _PIECE:
            if end > begin:
                yield begin, end
            begin = bounds[number]
        end = bounds[number + 1]
    yield begin, end


def not_well_formed(name: str, error: expat.ExpatError) -> WorkFailed:
    """Return the error for a list that is not published."""
    return WorkFailed(
        f"{name} is not published, for it would not be well-formed XML ({error}). "
        "Readers keep what was published before. Remove the unit that was added last, and publish again."
    )


def opened(tree: Tree, lists: Mapping[str, PackedList]) -> dict[str, Opened] | None:
    """Open and verify earlier lists; `None` if one is damaged."""
    found: dict[str, Opened] = {}
    for name, packed in lists.items():
        try:
            with tree.open(packed.sha256) as file:
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (FileNotFoundError, ValueError):
            return None
        if hashlib.sha256(data).hexdigest() != packed.sha256:
            return None
        found[name] = data, list(accumulate(packed.sizes, initial=len(_HEADER)))
    return found
