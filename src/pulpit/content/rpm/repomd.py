"""`repomd.xml`: the list of a repository's lists."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape, quoteattr

from pulpit.content.limits import MIB
from pulpit.content.port import BadFeed, Checksum
from pulpit.content.rpm import elements
from pulpit.text import shown

NAME: Final = "repodata/repomd.xml"
FILE: Final = "yum_repo_metadata_file"
"""The type of a list that is stored unchanged."""
ALIASES: Final = {"metafile": FILE}
"""Other names for unit types that may be skipped."""
MOST_BYTES: Final = 4 * MIB
_MOST_RECORDS: Final = 200
_SAFE_TYPE: Final = re.compile(r"[A-Za-z0-9_.+-]{1,64}\Z")
ALGORITHMS: Final[Mapping[str, str]] = {
    "md5": "md5",
    "sha": "sha1",
    "sha1": "sha1",
    "sha224": "sha224",
    "sha256": "sha256",
    "sha384": "sha384",
    "sha512": "sha512",
}
"""Checksum types as named in metadata, and in `hashlib`."""
DIGITS: Final[Mapping[str, int]] = {
    "md5": 32,
    "sha1": 40,
    "sha224": 56,
    "sha256": 64,
    "sha384": 96,
    "sha512": 128,
}
HEX: Final = re.compile("[0-9a-f]+")
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_LONGEST_LOCATION: Final = 4096
_MOST_DIGITS: Final = 16
"""Of a size; larger than any disk."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RepomdRecord:
    """One list."""

    type: str
    path: str
    """As written; relative to `base` if there is one, else to the repository."""
    base: str | None = None
    checksum: Checksum | None = None
    """`None` where nothing is stated, as a few tools write it and dnf reads it."""
    size: int | None = None
    flaw: str | None = None
    """Why the list is unavailable, as the end of a sentence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """A list that was written, for `repomd.xml`."""

    type: str
    path: str
    algorithm: str
    digest: str
    size: int
    open_digest: str | None = None
    open_size: int | None = None


def parse(path: Path) -> dict[str, RepomdRecord]:
    """Parse the lists by type; of two with one type the first counts.

    Raises:
        BadFeed: it cannot be used.
    """
    records: dict[str, RepomdRecord] = {}
    for element in elements.children(path, "repomd", "repomd.xml"):
        if elements.local(element.tag) == "data":
            record = _record(element)
            records.setdefault(record.type, record)
        if len(records) > _MOST_RECORDS:
            raise BadFeed(f"repomd.xml is refused: it names more than {_MOST_RECORDS} lists.")
    if "primary" not in records:
        raise BadFeed("repomd.xml is refused: it names no primary list.")
    return records


def skipped_types(names: Iterable[str] | None) -> frozenset[str]:
    """Return the unit types that a configuration's list names, under their own names."""
    return frozenset(ALIASES.get(name, name) for name in names or ())


def way_past(type_ids: Collection[str]) -> str:
    """Return a sentence that says how to sync without a list of units of these types."""
    return f"To mirror the rest without it, put {', '.join(type_ids)} on the type_skip_list of the importer."


def checksum(kind: str, digest: str, subject: str) -> Checksum:
    """Parse a checksum in metadata.

    Raises:
        BadFeed: it is invalid.
    """
    flaw = checksum_flaw(kind, digest)
    if flaw:
        raise BadFeed(f"{subject} is refused: it {flaw}.")
    return Checksum(algorithm=ALGORITHMS[kind.lower()], digest=digest.strip().lower())


def checksum_flaw(kind: str, digest: str) -> str | None:
    """Say what is wrong with a checksum, as the end of a sentence, or return `None`."""
    algorithm, digest = ALGORITHMS.get(kind.lower()), digest.strip().lower()
    if algorithm is None:
        return f"has a checksum of the unknown type {shown(kind)!r}"
    if len(digest) != DIGITS[algorithm] or not HEX.fullmatch(digest):
        return f"has a checksum that is no {algorithm}"
    return None


def location_flaw(href: str, base: str | None) -> str | None:
    """Say what is wrong with a location, as the end of a sentence, or return `None`; any HTTP URL is allowed."""
    for text in (href, base or ""):
        if not text.isprintable():
            return "contains control characters"
        if len(text) > _LONGEST_LOCATION:
            return f"is longer than {_LONGEST_LOCATION} characters"
    if not href.strip("/"):
        return "is empty"
    scheme = _SCHEME.match(href) or _SCHEME.match(base or "")
    return f"is of the kind {scheme[1]}, not http" if scheme and scheme[1].lower() not in {"http", "https"} else None


def document(revision: int, written: Iterable[Written]) -> str:
    """Write the XML of a `repomd.xml`."""
    data = "".join(_data(record, revision) for record in written)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<repomd xmlns="http://linux.duke.edu/metadata/repo" xmlns:rpm="http://linux.duke.edu/metadata/rpm">\n'
        f"  <revision>{revision}</revision>\n{data}</repomd>\n"
    )


def _data(record: Written, timestamp: int) -> str:
    opened = ""
    if record.open_digest is not None:
        opened = f'    <open-checksum type="{record.algorithm}">{record.open_digest}</open-checksum>\n'
        opened += f"    <open-size>{record.open_size}</open-size>\n"
    return (
        f"  <data type={quoteattr(record.type)}>\n"
        f'    <checksum type="{record.algorithm}">{escape(record.digest)}</checksum>\n'
        f"    <location href={quoteattr(record.path)}/>\n"
        f"    <timestamp>{timestamp}</timestamp>\n    <size>{record.size}</size>\n{opened}  </data>\n"
    )


def _record(data: Element) -> RepomdRecord:
    kind = data.get("type") or ""
    parts = {elements.local(child.tag): child for child in data}
    location, stated, size = parts.get("location"), parts.get("checksum"), parts.get("size")
    href, base = (location.get("href") or "", location.get("xml:base")) if location is not None else ("", None)
    sum_type, digest = ("", "") if stated is None else (stated.get("type") or "", stated.text or "")
    reason = location_flaw(href, base)
    flaw = (
        (None if _SAFE_TYPE.match(kind) else "has a type that is no plain word")
        or (None if location is not None else "has no location")
        or (reason and f"has a location {shown(href)!r} that {reason}")
        or (None if stated is None else checksum_flaw(sum_type, digest))
    )
    if flaw:
        return RepomdRecord(type=shown(kind), path="", flaw=flaw)
    digits = (size.text or "").strip() if size is not None else ""
    is_number = digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS
    return RepomdRecord(
        type=kind,
        path=href,
        base=base,
        checksum=None if stated is None else checksum(sum_type, digest, kind),
        size=int(digits) or None if is_number else None,  # some write 0 for unknown
    )
