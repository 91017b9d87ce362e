"""Metadata that is compressed although that was not requested, as servers of static files send it (`Content-Encoding`).

The first bytes decide: neither a manifest nor an index page can begin like gzip or zstd.
"""

import gzip
import zlib
from pathlib import Path
from typing import Final, Protocol

import zstandard

from pulpit.content.port import BadFeed

_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_PIECE: Final = 1024 * 1024
_MOST_WINDOW: Final = 128 * 1024 * 1024


def plain(source: Path, target: Path, name: str, *, most: int) -> Path:
    """Return the path of the uncompressed list: `source`, or `target` if it had to be decompressed.

    Raises:
        BadFeed: it is damaged, or larger than `most` bytes.
    """
    with source.open("rb") as file:
        magic = file.read(4)
        file.seek(0)
        if magic[:2] == _GZIP:
            with gzip.GzipFile(fileobj=file) as stream:
                return _written(stream, target, name, most)
        if magic == _ZSTD:
            opener = zstandard.ZstdDecompressor(max_window_size=_MOST_WINDOW)
            with opener.stream_reader(file, read_across_frames=True) as stream:
                return _written(stream, target, name, most)
    return source


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def _written(stream: _Readable, target: Path, name: str, most: int) -> Path:
    size = 0
    try:
        with target.open("xb") as opened:
            while piece := stream.read(_PIECE):
                size += len(piece)
                if size > most:
                    raise BadFeed(f"{name} is refused: uncompressed, it has more than {most} bytes.")
                opened.write(piece)
    except (gzip.BadGzipFile, EOFError, zlib.error, zstandard.ZstdError):
        raise BadFeed(f"{name} is refused: it came compressed, and is broken.") from None
    return target
