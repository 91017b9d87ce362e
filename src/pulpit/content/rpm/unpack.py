"""Decompression of lists within limits, and rejection of XML that libxml2 would expand without bound.

A document type with declarations of its own (entities that expand when they are used) is rejected before a parser sees
the document, and so is every encoding in which such a declaration could be hidden.
"""

import re
import zlib
from bz2 import BZ2Decompressor
from collections.abc import Callable, Iterator
from lzma import LZMADecompressor, LZMAError
from pathlib import Path
from typing import BinaryIO, Final, Protocol

import zstandard

from pulpit.content.limits import GIB, KIB, MIB
from pulpit.content.port import BadFeed

MOST_OPEN: Final = 8 * GIB
"""Bytes of one decompressed list."""
MOST_GROWTH: Final = 1000
"""Maximum compression ratio, for lists above a size that could be harmful."""
_HARMLESS: Final = 64 * MIB
_PIECE: Final = MIB
_MOST_WINDOW: Final = 128 * MIB
_XZ_MEMORY: Final = 256 * MIB
_PROLOG: Final = 64 * KIB
_ZSTD_PIECE: Final = 512

_LONGEST_MAGIC: Final = 6
_BOM: Final = b"\xef\xbb\xbf"
_ENCODING: Final = re.compile(rb"""<\?xml[^>]*?encoding\s*=\s*["']([^"']*)["']""")
_PROLOG_PARTS: Final = re.compile(rb"\s+|<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^\[<>]*>", re.DOTALL)
_PLAIN: Final = {
    **dict.fromkeys((b"utf-8", b"utf8", b"us-ascii", b"ascii"), "utf-8"),
    **dict.fromkeys((b"iso-8859-1", b"latin1"), "iso-8859-1"),
}
"""Encodings in which nothing can be hidden, by the names used in lists."""

_Broken = (OSError, EOFError, zlib.error, LZMAError, zstandard.ZstdError, ValueError)


def unpack(source: Path, target: Path, name: str, *, most: int = MOST_OPEN) -> None:
    """Decompress a list; the format is recognised by its first bytes, whatever it is called.

    Raises:
        BadFeed: it is damaged, or larger than allowed.
    """
    allowed = min(most, max(_HARMLESS, source.stat().st_size * MOST_GROWTH))
    size = 0
    with source.open("rb") as packed, target.open("xb") as plain:
        try:
            for piece in _opened(packed):
                size += len(piece)
                if size > allowed:
                    raise BadFeed(f"{name} is refused: opened, it is larger than the {allowed} bytes that it may have.")
                plain.write(piece)
        except _Broken as error:
            raise BadFeed(f"{name} cannot be opened: it is broken ({error}).") from None


def _opened(packed: BinaryIO) -> Iterator[bytes]:
    """Yield the decompressed bytes of one stream after another, as the standard tools do, or uncompressed data.

    What follows the last stream is padding.
    """
    rest = packed.read(_PIECE)
    stream = _stream(rest)
    if stream is None:
        while rest:
            yield rest
            rest = packed.read(_PIECE)
        return
    while stream is not None:
        while not stream.eof:
            if stream.needs_input and not rest:
                rest = packed.read(_PIECE)
                if not rest:
                    raise EOFError("it breaks off")
            yield stream.decompress(rest, _PIECE)
            rest = b""
        rest = stream.unused_data
        while not rest.lstrip(b"\0") and (further := packed.read(_PIECE)):
            rest = further
        rest = rest.lstrip(b"\0")
        if len(rest) < _LONGEST_MAGIC:
            rest += packed.read(_PIECE)
        stream = _stream(rest)


class _Stream(Protocol):
    """A compressed stream, with the interface of `bz2` and `lzma`."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Gzip:
    """zlib with the interface of these two modules."""

    def __init__(self) -> None:
        self._stream: Final = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def needs_input(self) -> bool:
        return not self._stream.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._stream.decompress(self._stream.unconsumed_tail + data, max_length)


class _Zstd:
    """A frame of zstd, or one to be skipped.

    It takes little input at a time, because a few bytes can expand to very many.
    """

    def __init__(self) -> None:
        self._stream: Final = zstandard.ZstdDecompressor(max_window_size=_MOST_WINDOW).decompressobj()
        self._data, self._position = b"", 0

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def needs_input(self) -> bool:
        return self._position >= len(self._data)

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data + self._data[self._position :]

    def decompress(self, data: bytes, _max_length: int) -> bytes:
        if data:
            self._data, self._position = data, 0
        piece = self._data[self._position : self._position + _ZSTD_PIECE]
        self._position += len(piece)
        return self._stream.decompress(piece)


_STREAMS: Final[tuple[tuple[re.Pattern[bytes], Callable[[], _Stream]], ...]] = (
    (re.compile(rb"\x1f\x8b"), _Gzip),
    (re.compile(rb"BZh"), BZ2Decompressor),
    (re.compile(rb"\xfd7zXZ\x00"), lambda: LZMADecompressor(memlimit=_XZ_MEMORY)),
    (re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"), _Zstd),
)
"""By the first bytes of a stream."""


def _stream(data: bytes) -> _Stream | None:
    return next((stream() for magic, stream in _STREAMS if magic.match(data)), None)


def prolog(path: Path, name: str) -> tuple[int, str]:
    """Return the offset of the XML root element, and the encoding.

    Raises:
        BadFeed: it declares entities, or its encoding could hide that it does.
    """
    with path.open("rb") as file:
        head = file.read(_PROLOG)
    position = len(_BOM) if head.startswith(_BOM) else 0
    declared = _ENCODING.match(head, position)
    encoding = _PLAIN.get(declared[1].lower()) if declared else "utf-8"
    if encoding is None:
        raise BadFeed(f"{name} is refused: its encoding is not UTF-8.")
    while part := _PROLOG_PARTS.match(head, position):
        position = part.end()
    if not re.match(rb"<[A-Za-z_]", head[position : position + 2]):
        raise BadFeed(f"{name} is refused: it is not XML, or has a document type with declarations.")
    return position, encoding
