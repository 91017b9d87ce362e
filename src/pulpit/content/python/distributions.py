"""Distribution files: parsing of their names (PEP 503, 427, 625) and of their metadata (PEP 566 and successors).

Archives are untrusted. The directory of a zip file is measured before it is read; of a tar file's extended headers only
short ones are read, because readers load them whole; and unpacked bytes are counted.
"""

import bz2
import gzip
import lzma
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from struct import Struct, error
from typing import Any, BinaryIO, Final

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from pulpit.content.limits import MIB

PACKAGE: Final = "python_package"
"""The type of their units."""
SDIST: Final = "sdist"
WHEEL: Final = "wheel"
KINDS: Final = (SDIST, WHEEL)

_PROJECT: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\Z")
_LONGEST: Final = 200
_SDIST_ENDS: Final = (".tar.gz", ".zip", ".tgz", ".tar.bz2", ".tbz", ".tar.xz", ".txz", ".tar")
"""What pip installs, except for lzma and lzip."""
_WHEEL_END: Final = ".whl"
_USABLE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!~-]*\Z")
_LONGEST_FILE: Final = 240  # with `.metadata` appended, it must still be a valid file name
_WHEEL_PARTS: Final = (5, 6)  # without and with a build tag


@dataclass(frozen=True, kw_only=True, slots=True)
class FileName:
    """A parsed file name; the tags are those of a wheel, each a set of alternatives."""

    project: str
    version: Version
    kind: str
    python_tags: frozenset[str] = frozenset()
    abi_tags: frozenset[str] = frozenset()
    platform_tags: frozenset[str] = frozenset()


def project_name(name: str) -> str | None:
    """Normalise a project's name as in index URLs, or return `None` if it is invalid."""
    if len(name) > _LONGEST or not _PROJECT.match(name):
        return None
    return str(canonicalize_name(name))


def is_distribution(name: str) -> bool:
    """Whether a file's name has the extension of a wheel or sdist."""
    return name.endswith((_WHEEL_END, *_SDIST_ENDS))


def is_usable(name: str) -> bool:
    """Whether a distribution's name is a valid file name here and on every machine that installs it."""
    return len(name) <= _LONGEST_FILE and _USABLE.match(name) is not None


def parse_filename(name: str, of: str | None = None) -> FileName | None:
    """Parse a file's name; `None` if it is not a wheel or sdist, or belongs to another project than `of`."""
    if not is_usable(name):
        return None
    if name.endswith(_WHEEL_END):
        wheel = _wheel(name.removesuffix(_WHEEL_END))
        return wheel if wheel and of in {None, wheel.project} else None
    for end in _SDIST_ENDS:
        if name.endswith(end):
            return _sdist(name.removesuffix(end), of)
    return None


def _wheel(stem: str) -> FileName | None:
    parts = stem.split("-")
    name, version = project_name(parts[0]), _version_in_name(parts[1]) if len(parts) in _WHEEL_PARTS else None
    if name is None or version is None:
        return None
    python, abi, platform = (frozenset(part.lower().split(".")) for part in parts[-3:])
    return FileName(project=name, version=version, kind=WHEEL, python_tags=python, abi_tags=abi, platform_tags=platform)


def _sdist(stem: str, of: str | None) -> FileName | None:
    """Old names have dashes in name and version; split at the project's name, else at the last possible dash."""
    dashes = [place for place, character in enumerate(stem) if character == "-"]
    for place in reversed(dashes):
        name, version = project_name(stem[:place]), _version_in_name(stem[place + 1 :])
        if name and version and of in {None, name}:
            return FileName(project=name, version=version, kind=SDIST)
    return None


def _version_in_name(text: str) -> Version | None:
    try:
        return Version(text) if len(text) <= _LONGEST else None
    except InvalidVersion:
        return None


MOST_METADATA: Final = 4 * MIB
MOST_UNPACKED: Final = 256 * MIB
"""How far into a tar file its metadata is searched for."""
MOST_MEMBERS: Final = 200_000

_BLOCK: Final = 512
_MOST_LONG_NAME: Final = 64 * 1024
_LONG_NAMES: Final = {b"L": re.compile(rb"(.*)", re.DOTALL), b"x": re.compile(rb"(?:\A|\n)[0-9]+ path=(.*)\n")}
"""Headers that hold the name of the next member if it is long: GNU's, and pax's, a line for each field."""
_PIECE: Final = MIB
_END: Final = Struct("<4s4H2LH")
"""A zip file's end of central directory; APPNOTE.TXT, 4.3.16."""
_LOCATOR: Final = Struct("<4sLQL")
_END_64: Final = Struct("<4sQ2H2L4Q")
"""What is before it in a zip64 file, 4.3.15 and 4.3.14; Python makes one of a wheel of more than 2 GiB."""
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
    """The metadata cannot be read; the text is the end of a sentence about the file."""


def read_metadata(path: Path, filename: str, named: FileName, *, most: int = MOST_UNPACKED) -> bytes:
    """Return the metadata of a distribution, byte for byte; at most `most` bytes are unpacked to find it.

    Raises:
        Unreadable: it cannot be read.
    """

    def is_wheel_metadata(parts: Sequence[str]) -> bool:
        folder, _, name = "/".join(parts).partition("/")
        mine = folder.endswith(".dist-info") and canonicalize_name(folder.partition("-")[0]) == named.project
        return mine and name == "METADATA"

    try:
        if filename.endswith(".whl"):
            return _metadata_from_zip(path, is_wheel_metadata)
        if filename.endswith(".zip"):
            return _metadata_from_zip(path, _is_sdist_metadata)
        if filename.endswith("xz"):
            raise Unreadable("is packed with xz, which is not looked into here")  # it may take any amount of memory
        with _unpacked(path, filename) as unpacked:
            return _metadata_from_tar(unpacked, most)
    except _BROKEN:
        raise Unreadable("is broken, or no archive of its kind") from None


def _unpacked(path: Path, filename: str) -> bz2.BZ2File | gzip.GzipFile | BinaryIO:
    if filename.endswith(".tar"):
        return path.open("rb")
    return bz2.open(path) if filename.endswith((".bz2", ".tbz")) else gzip.open(path)


def _is_sdist_metadata(parts: Sequence[str]) -> bool:
    return len(parts) == 2 and parts[1] == "PKG-INFO"  # noqa: PLR2004 - in the one folder of an sdist


def _metadata_from_zip(path: Path, is_wanted: Callable[[Sequence[str]], bool]) -> bytes:
    with path.open("rb") as file:
        _refuse_great_directory(file)
        with zipfile.ZipFile(file) as archive:
            members = [member for member in archive.infolist() if is_wanted(member.filename.split("/"))]
            if len(members) != 1:
                raise Unreadable(f"has {len(members) or 'no'} files of metadata")
            with archive.open(members[0]) as member:
                return _bounded(member.read(MOST_METADATA + 1))


def _refuse_great_directory(file: BinaryIO) -> None:
    """Check the directory size at the end of a zip file, where `zipfile` reads it too."""
    size = file.seek(0, os.SEEK_END)
    begin = file.seek(max(0, size - _MOST_COMMENT - _END.size - _LOCATOR.size - _END_64.size))
    tail = file.read()
    place = tail.rfind(b"PK\5\6")
    if place < 0:
        raise Unreadable("is no zip file")
    _, _, _, _, members, directory, *_ = _END.unpack(tail[place : place + _END.size])
    locator = tail[max(0, place - _LOCATOR.size) : place]
    if locator.startswith(b"PK\6\7"):
        start = place - _LOCATOR.size - _END_64.size
        signature, *_, members, directory, _ = _END_64.unpack(tail[max(0, start) : start + _END_64.size])
        if signature != b"PK\6\6" or _LOCATOR.unpack(locator)[2] != begin + start:
            raise Unreadable("has a directory that is not where it should be")
    if directory > _MOST_DIRECTORY:
        raise Unreadable("has too great a directory")
    if members > MOST_MEMBERS:
        raise Unreadable(f"has more than {MOST_MEMBERS} members")


def _metadata_from_tar(unpacked: bz2.BZ2File | gzip.GzipFile | BinaryIO, most: int) -> bytes:
    """Search a tar file (POSIX.1-2017, pax, "ustar Interchange Format") for the metadata."""
    left, long_name = most, ""
    while left > 0:
        header = unpacked.read(_BLOCK)
        if len(header) < _BLOCK or not header.strip(b"\0"):
            break
        kind, size = header[156:157], int(_tar_text(header[124:136]).strip(" ") or "0", 8)
        if size < 0:
            raise Unreadable("is broken, or no archive of its kind")
        name = long_name or "/".join(filter(None, (_tar_prefix(header), _tar_text(header[:100]))))
        if kind in {b"0", b"\0"} and _is_sdist_metadata(name.removeprefix("./").split("/")):
            return _bounded(unpacked.read(min(size, MOST_METADATA + 1)))
        long_name = ""
        skipped = min(left, size + -size % _BLOCK)
        left -= _BLOCK + skipped
        if kind in _LONG_NAMES and size <= _MOST_LONG_NAME:
            found = _LONG_NAMES[kind].search(unpacked.read(skipped)[:size])
            long_name = _tar_text(found[1]) if found else ""
            continue
        while skipped > 0 and (piece := unpacked.read(min(skipped, _PIECE))):
            skipped -= len(piece)
    raise Unreadable("has no PKG-INFO")


def _tar_prefix(header: bytes) -> str:
    """Return the folders of a name of more than 100 bytes; GNU's format has other things there."""
    return _tar_text(header[345:500]) if header[257:263] == b"ustar\0" else ""


def _tar_text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode(errors="replace")


def _bounded(content: bytes) -> bytes:
    if len(content) > MOST_METADATA:
        raise Unreadable(f"has more than {MOST_METADATA} bytes of metadata")
    return content


_MOST_HEADERS: Final = 512 * 1024
_LONGEST_FIELD: Final = 2000
_MOST_ITEMS: Final = 2000

METADATA_FIELDS: Final = (
    "metadata_version",
    "summary",
    "author",
    "author_email",
    "maintainer",
    "maintainer_email",
    "home_page",
    "license",
    "license_expression",
    "keywords",
    "platforms",
    "classifiers",
    "project_urls",
    "provides_extra",
    "requires_dist",
    "requires_python",
)
"""Fields that are stored; the long description, which follows the fields, is not."""


def metadata_fields(content: bytes) -> dict[str, Any]:
    """Return the fields, named as in `packaging`, with `name` and `version`; absent ones are null."""
    normal = content[:_MOST_HEADERS].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    # Text after the first empty line would be parsed as a message, with every feature of mail.
    from packaging.metadata import parse_email  # noqa: PLC0415 - slow to import, and rarely needed

    parsed, _ = parse_email(normal.partition(b"\n\n")[0] + b"\n\n")
    raw: Mapping[str, Any] = parsed
    return {name: _short(raw.get(name)) for name in ("name", "version", *METADATA_FIELDS)}


def _short(value: Any) -> Any:
    """Return a value cut to a bounded size."""
    match value:
        case str():
            return "".join(char if char.isprintable() or char == "\n" else " " for char in value[:_LONGEST_FIELD])
        case list():
            return [_short(item) for item in value[:_MOST_ITEMS]]
        case dict():
            return {str(_short(name)): _short(item) for name, item in list(value.items())[:_MOST_ITEMS]}
    return None
