"""Rules for relative paths that become files, the same for feeds, uploads, URLs and published trees."""

import unicodedata
from collections.abc import Iterable
from typing import Final

from pulpit.content.limits import Limits
from pulpit.text import is_plain

SEGMENT_BYTES: Final = 255
"""The longest file or folder name on Linux's file systems."""

_FORBIDDEN: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})


def flaw(path: str, *, most_bytes: int = Limits().name_bytes) -> str | None:
    """Say what is wrong with a relative path, as the end of a sentence, or return `None`."""
    if not path:
        return "is empty"
    if not is_plain(path) and any(unicodedata.category(character) in _FORBIDDEN for character in path):
        return "contains control characters"
    if _size(path) > most_bytes:
        return f"is longer than {most_bytes} bytes"
    return _segment_flaw(path)


def _size(text: str) -> int:
    """Size in bytes of the UTF-8 encoding."""
    return len(text) if text.isascii() else len(text.encode())


def _segment_flaw(path: str) -> str | None:
    if path.startswith("/"):
        return "is absolute"
    segments = path.split("/")
    if ".." in segments:
        return "leads out of its folder"
    if "" in segments or "." in segments:
        return "has an empty part"
    if max(map(_size, segments)) > SEGMENT_BYTES:
        return f"has a part of more than {SEGMENT_BYTES} bytes"
    return None


def beneath_another(paths: Iterable[str]) -> tuple[str, str] | None:
    """Find two paths that conflict: the second is a file where the first needs a folder."""
    every = set(paths)
    for path in every:
        parent = path.rpartition("/")[0]
        while parent:
            if parent in every:
                return path, parent
            parent = parent.rpartition("/")[0]
    return None
