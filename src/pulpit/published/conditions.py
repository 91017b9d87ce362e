"""Conditional requests and ranges (RFC 9110, sections 13 and 14), evaluated without any file.

An invalid range is ignored, as the RFC requires; so are ranges that cost more than the whole file.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum
from itertools import pairwise
from typing import Final

MOST_RANGES: Final = 16
"""Ranges of one request; with more, the whole file is sent."""
_LONGEST: Final = 16
"""Digits of a position; more than any file system needs."""
_SPEC: Final = re.compile(rf"(\d{{0,{_LONGEST}}})-(\d{{0,{_LONGEST}}})", re.ASCII)


class Judgement(Enum):
    """How to respond to a request, as HTTP status."""

    SEND = 200
    NOT_MODIFIED = 304
    FAILED = 412


@dataclass(frozen=True, kw_only=True, slots=True)
class Validators:
    """A file's validators: a strong entity tag, with its quotes, and its last modification."""

    etag: str
    modified: str


def judge(headers: Mapping[str, str], file: Validators) -> Judgement:
    """Evaluate the conditions of a GET or HEAD in the order of section 13.2.2; header names are in lower case."""
    if "if-match" in headers:
        if not _matches(headers["if-match"], file.etag, weak=False):
            return Judgement.FAILED
    elif "if-unmodified-since" in headers and _is_later(file.modified, headers["if-unmodified-since"]):
        return Judgement.FAILED
    if "if-none-match" in headers:
        same = _matches(headers["if-none-match"], file.etag, weak=True)
    else:
        # Equal, not later: after a rollback the file may be older, and the client has another one.
        same = headers.get("if-modified-since") == file.modified
    return Judgement.NOT_MODIFIED if same else Judgement.SEND


def ranges(headers: Mapping[str, str], size: int, file: Validators) -> Sequence[range] | None:
    """Return the requested parts of a file, in their order, `None` for all of it, and none if no part exists."""
    asked = headers.get("range", "")
    if not asked.lower().startswith("bytes=") or headers.get("if-range", file.etag) not in (file.etag, file.modified):
        return None
    specs = asked[len("bytes=") :].split(",")
    if len(specs) > MOST_RANGES:
        return None
    found = [_range(spec.strip(), size) for spec in specs]
    if None in found:
        return None
    parts = [part for part in found if part]
    overlap = any(part.stop > later.start for part, later in pairwise(sorted(parts, key=lambda part: part.start)))
    if overlap or (len(parts) > 1 and sum(map(len, parts)) >= size):
        return None
    return parts


def _range(spec: str, size: int) -> range | None:
    """Return the bytes of one range, an empty one if it lies beyond the end; `None` if it is invalid."""
    read = _SPEC.fullmatch(spec)
    if read is None or spec == "-":
        return None
    first, last = read.groups()
    if not first:
        return range(max(0, size - int(last)), size)
    if last and int(last) < int(first):
        return None
    return range(int(first), min(size, int(last) + 1) if last else size)


def _matches(tags: str, etag: str, *, weak: bool) -> bool:
    if tags.strip() == "*":
        return True
    given = (tag.strip() for tag in tags.split(","))
    return etag in (tag.removeprefix("W/") if weak else tag for tag in given)


def _is_later(modified: str, than: str) -> bool:
    """Whether a file changed after a date; an invalid date does not count."""
    try:
        return parsedate_to_datetime(modified) > parsedate_to_datetime(than)
    except (TypeError, ValueError):
        return False
