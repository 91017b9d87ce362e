"""Versions in rpm's order, and in Pulp 2's form that sorts as plain text."""

import re
from functools import total_ordering
from itertools import zip_longest
from typing import Any, Final

_SEGMENT: Final = re.compile(r"[0-9]+|[A-Za-z]+|~|\^")
_LONGEST: Final = 99  # two digits store a count of digits
_TILDE, _END, _CARET, _LETTERS, _NUMBER = range(5)
"""Kinds of segments, in rpm's order: a tilde is older than the end, a caret newer, letters are older than numbers."""

_Segment = tuple[int, int, str]


@total_ordering
class Evr:
    """Epoch, version and release, in rpm's order."""

    __slots__ = ("_key",)

    def __init__(self, epoch: str, version: str, release: str) -> None:
        self._key: Final = (int(epoch or "0"), _Ordered(version), _Ordered(release))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Evr) and self._key == other._key

    def __lt__(self, other: "Evr") -> bool:
        return self._key < other._key

    def __hash__(self) -> int:
        return hash(self._key)


@total_ordering
class _Ordered:
    """One part, split into segments."""

    __slots__ = ("segments",)

    def __init__(self, text: str) -> None:
        self.segments: Final = [_segment(part) for part in _SEGMENT.findall(text)]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Ordered) and self.segments == other.segments

    def __lt__(self, other: "_Ordered") -> bool:
        end = (_END, 0, "")
        pairs = zip_longest(self.segments, other.segments, fillvalue=end)
        return next((mine < theirs for mine, theirs in pairs if mine != theirs), False)

    def __hash__(self) -> int:
        return hash(tuple(self.segments))


def _segment(part: str) -> _Segment:
    if part == "~":
        return (_TILDE, 0, "")
    if part == "^":
        return (_CARET, 0, "")
    if part.isdigit():
        digits = part.lstrip("0")
        return (_NUMBER, len(digits), digits)
    return (_LETTERS, 0, part)


def sort_index(text: str) -> str:
    """Return Pulp 2's sortable form of a version: `4.1` is `01-4.01-1`."""
    encoded = []
    for part in _SEGMENT.findall(text):
        if part.isdigit():
            digits = (part.lstrip("0") or "0")[:_LONGEST]
            encoded.append(f"{len(digits):02}-{digits}")
        elif part.isalnum():
            encoded.append(f"${part}")
    return ".".join(encoded)


def evr(unit: Any) -> Evr:
    """Return epoch, version and release of a unit's key, or of another mapping with these keys."""
    return Evr(str(unit["epoch"]), str(unit["version"]), str(unit["release"]))
