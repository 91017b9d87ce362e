"""Opening of packed lists: never more comes out than is allowed, and nothing that libxml2 could be made to swell.

A document type with declarations of its own (where entities are declared that grow when they are used) is refused
before a parser sees the document, and so is every encoding in which such a declaration could hide.
"""

import bz2
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import zstandard

from pulpit.content.limits import GIB, KIB, MIB
from pulpit.content.port import BadFeed

MOST_OPEN: Final = 8 * GIB
"""Bytes of one list, opened."""
MOST_GROWTH: Final = 1000
"""Times that a list may grow when it is opened, from a size on that could hurt."""
_HARMLESS: Final = 64 * MIB
_PIECE: Final = MIB
_MOST_WINDOW: Final = 128 * MIB
_XZ_MEMORY: Final = 256 * MIB
_PROLOG: Final = 64 * KIB

_MAGIC: Final = {
    b"\x1f\x8b": "gz",
    b"BZh": "bz2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zst",
}
_ENTRY_TAGS: Final = re.compile(rb"<(/?)package[\s/>]")
_HIDING: Final = ((b"<![CDATA[", b"]]>"), (b"<!--", b"-->"), (b"<?", b"?>"))
_ENCODING: Final = re.compile(rb"""\A<\?xml[^>]*?encoding\s*=\s*["']([^"']*)["']""")
_PROLOG_PARTS: Final = re.compile(rb"\s+|<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^\[<>]*>", re.DOTALL)
_PLAIN: Final = frozenset({b"utf-8", b"utf8", b"us-ascii", b"ascii", b"iso-8859-1", b"latin1"})

_Broken = (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError, ValueError)


def unpack(source: Path, target: Path, name: str, *, open_size: int | None, most: int = MOST_OPEN) -> None:
    """Write a list opened; which packing it has is seen by its first bytes, whatever it is called.

    Raises:
        BadFeed: it is broken, or there is more in it than is allowed or announced.
    """
    allowed = min(most, max(_HARMLESS, source.stat().st_size * MOST_GROWTH))
    allowed = min(allowed, open_size) if open_size is not None else allowed
    size = 0
    with opened(source, name) as packed, target.open("xb") as plain:
        for piece in _pieces(packed, name):
            size += len(piece)
            if size > allowed:
                raise BadFeed(f"{name} is refused: opened, it is larger than the {allowed} bytes that it may have.")
            plain.write(piece)
    if open_size is not None and size != open_size:
        raise BadFeed(f"{name} is refused: opened, it has {size} bytes instead of {open_size}.")


@contextmanager
def opened(source: Path, name: str) -> Iterator[BinaryIO]:
    """The opened bytes of a list as they are read.

    Raises:
        BadFeed: it cannot be opened.
    """
    with source.open("rb") as packed:
        first = packed.read(6)
        packed.seek(0)
        packing = next((word for magic, word in _MAGIC.items() if first.startswith(magic)), "")
        try:
            stream = _OPENERS[packing](packed)
        except _Broken as error:
            raise BadFeed(f"{name} cannot be opened ({error}).") from None
        yield stream


def _pieces(stream: BinaryIO, name: str) -> Iterator[bytes]:
    try:
        while piece := stream.read(_PIECE):
            yield piece
    except _Broken as error:
        raise BadFeed(f"{name} cannot be opened: it is broken ({error}).") from None


class _Xz(io.RawIOBase):
    """xz with a bound on the memory that a stream may ask for, which `lzma.open` has not."""

    def __init__(self, packed: BinaryIO) -> None:
        super().__init__()
        self._packed: Final = packed
        self._opener = lzma.LZMADecompressor(memlimit=_XZ_MEMORY)

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        """Read some bytes; none at the end.

        Raises:
            EOFError: the stream breaks off.
        """
        while True:
            if self._opener.eof:
                return 0
            piece = self._packed.read(_PIECE) if self._opener.needs_input else b""
            if self._opener.needs_input and not piece:
                raise EOFError("it breaks off")
            data = self._opener.decompress(piece, len(buffer))
            if data:
                buffer[: len(data)] = data
                return len(data)


def _zst(packed: BinaryIO) -> BinaryIO:
    reader = zstandard.ZstdDecompressor(max_window_size=_MOST_WINDOW).stream_reader(packed, read_across_frames=True)
    return io.BufferedReader(reader, _PIECE)


_OPENERS: Final[dict[str, Callable[[BinaryIO], Any]]] = {
    "gz": lambda packed: gzip.GzipFile(fileobj=packed),
    "bz2": bz2.BZ2File,
    "xz": lambda packed: io.BufferedReader(_Xz(packed), _PIECE),
    "zst": _zst,
    "": lambda packed: packed,
}


def refuse_endless_entries(path: Path, name: str, most: int) -> None:
    """Refuse a list of packages in which one takes more than so many bytes, for each is held in memory as a whole.

    Only the plain end of an entry counts: one in a comment, a section or an instruction ends nothing, and an entry in
    another is refused.

    Raises:
        BadFeed: it is such.
    """
    run, hidden, inside = 0, False, False
    for data in _whole_tags(path, most):
        run += len(data)
        marks = [(data.rfind(begin), data.rfind(end)) for begin, end in _HIDING]
        plain = not hidden and all(begun < 0 for begun, _ in marks)
        hidden = any(begun > ended or (hidden and ended < 0) for begun, ended in marks)
        for tag in _ENTRY_TAGS.finditer(data):
            begins = not tag[1]
            if begins and inside:
                raise BadFeed(f"{name} is refused: it has a package in a package.")
            inside = begins
            if plain and not begins:
                run = len(data) - tag.end()
        if run > most:
            raise BadFeed(f"{name} is refused: one of its packages takes more than {most} bytes.")


def _whole_tags(path: Path, most: int) -> Iterator[bytes]:
    """The content in pieces that end before a tag."""
    rest = b""
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            rest += piece
            cut = rest.rfind(b"<")
            if cut > 0:
                yield rest[:cut]
                rest = rest[cut:]
            elif len(rest) > most:
                break
    yield rest


def refuse_declarations(path: Path, name: str) -> None:
    """Refuse XML that declares entities, or whose encoding could hide that it does.

    Raises:
        BadFeed: it is such.
    """
    with path.open("rb") as file:
        head = file.read(_PROLOG).removeprefix(b"\xef\xbb\xbf")
    encoding = _ENCODING.match(head)
    if encoding and encoding[1].lower() not in _PLAIN:
        raise BadFeed(f"{name} is refused: its encoding is not UTF-8.")
    position = 0
    while part := _PROLOG_PARTS.match(head, position):
        position = part.end()
    if not re.match(rb"<[A-Za-z_]", head[position : position + 2]):
        raise BadFeed(f"{name} is refused: it is not XML, or has a document type with declarations.")
