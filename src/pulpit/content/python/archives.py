"""The metadata inside a distribution: `METADATA` of a wheel, `PKG-INFO` of an sdist.

An archive comes from a stranger. Of a zip file the directory is measured before it is read; of a tar file the fixed
headers alone are understood, for extended ones are read whole by whoever reads them; and what is unpacked is counted.
"""

import bz2
import gzip
import lzma
import os
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from struct import Struct, error
from typing import BinaryIO, Final

from packaging.utils import canonicalize_name

from pulpit.content.limits import MIB
from pulpit.content.python.names import FileName

MOST_METADATA: Final = 4 * MIB
MOST_UNPACKED: Final = 256 * MIB
"""So far into a tar file its metadata is looked for."""
MOST_MEMBERS: Final = 200_000

_BLOCK: Final = 512
_PIECE: Final = MIB
_END: Final = Struct("<4s4H2LH")
"""A zip file's end of central directory; APPNOTE.TXT, 4.3.16."""
_LOCATOR: Final = 20
"""Bytes of what stands before it in a file of zip64, 4.3.15."""
_MOST_COMMENT: Final = 1 << 16
_MOST_DIRECTORY: Final = 64 * MIB
_BROKEN: Final = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    error,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    NotImplementedError,
    KeyError,
)


class Unreadable(Exception):
    """There is no metadata to be had; the text is the end of a sentence about the file."""


def metadata(path: Path, filename: str, named: FileName, *, most: int = MOST_UNPACKED) -> bytes:
    """The metadata of a distribution, as it is in its file; no more than `most` bytes are unpacked on the way to it.

    Raises:
        Unreadable: it cannot be had.
    """
    try:
        if filename.endswith(".whl"):
            return _from_zip(path, lambda parts: _is_wheel_metadata(parts, named))
        if filename.endswith(".zip"):
            return _from_zip(path, _is_sdist_metadata)
        with bz2.open(path) if filename.endswith(".bz2") else gzip.open(path) as unpacked:
            return _from_tar(unpacked, most)
    except _BROKEN:
        raise Unreadable("is broken, or no archive of its kind") from None


def _is_wheel_metadata(parts: Sequence[str], named: FileName) -> bool:
    folder, _, name = "/".join(parts).partition("/")
    mine = folder.endswith(".dist-info") and canonicalize_name(folder.partition("-")[0]) == named.project
    return mine and name == "METADATA"


def _is_sdist_metadata(parts: Sequence[str]) -> bool:
    return len(parts) == 2 and parts[1] == "PKG-INFO"  # noqa: PLR2004 - in the one folder that an sdist has


def _from_zip(path: Path, is_wanted: Callable[[Sequence[str]], bool]) -> bytes:
    with path.open("rb") as file:
        _refuse_great_directory(file)
        with zipfile.ZipFile(file) as archive:
            found = [member for member in archive.infolist() if is_wanted(member.filename.split("/"))]
            if len(found) != 1:
                raise Unreadable(f"has {len(found) or 'no'} files of metadata")
            with archive.open(found[0]) as member:
                return _bounded(member.read(MOST_METADATA + 1))


def _refuse_great_directory(file: BinaryIO) -> None:
    """Look at the end of a zip file, where the size of its directory stands, as `zipfile` will."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _MOST_COMMENT - _END.size - _LOCATOR))
    tail = file.read()
    place = tail.rfind(b"PK\5\6")
    if place < 0:
        raise Unreadable("is no zip file")
    _, _, _, _, members, directory, *_ = _END.unpack(tail[place : place + _END.size])
    if tail[max(0, place - _LOCATOR) : place].startswith(b"PK\6\7") or directory > _MOST_DIRECTORY:
        raise Unreadable("has too great a directory")
    if members > MOST_MEMBERS:
        raise Unreadable(f"has more than {MOST_MEMBERS} members")


def _from_tar(unpacked: bz2.BZ2File | gzip.GzipFile, most: int) -> bytes:
    """Walk through a tar file (POSIX.1-2017, pax, "ustar Interchange Format") to the metadata."""
    left = most
    while left > 0:
        header = unpacked.read(_BLOCK)
        if len(header) < _BLOCK or not header.strip(b"\0"):
            break
        name = _text(header[345:500]) + _text(header[:100])
        size = int(_text(header[124:136]).strip(" ") or "0", 8)
        if header[156:157] in {b"0", b"\0"} and _is_sdist_metadata(name.removeprefix("./").split("/")):
            return _bounded(unpacked.read(min(size, MOST_METADATA + 1)))
        left -= _BLOCK + _skip(unpacked, min(left, size + -size % _BLOCK))
    raise Unreadable("has no PKG-INFO")


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode(errors="replace")


def _skip(unpacked: bz2.BZ2File | gzip.GzipFile, size: int) -> int:
    left = size
    while left > 0 and (piece := unpacked.read(min(left, _PIECE))):
        left -= len(piece)
    return size


def _bounded(content: bytes) -> bytes:
    if len(content) > MOST_METADATA:
        raise Unreadable(f"has more than {MOST_METADATA} bytes of metadata")
    return content
