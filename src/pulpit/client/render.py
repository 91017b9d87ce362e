"""Documents of the server as text for a terminal: aligned `Label:  value` lines in alphabetical order.

Nothing that the server sends can steer the terminal: every text goes through `clean`.
"""

import json
import textwrap
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

WIDTH: Final = 80

_NARROWEST_VALUE: Final = 20
_DEEPEST: Final = 20
_UPPER: Final = frozenset({"ca", "ssl", "url", "id_url"})
_STEERING: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def clean(text: str) -> str:
    """Take out what could steer a terminal; line ends and tabs become spaces."""
    if text.isascii() and text.isprintable():
        return text
    kept = (" " if character in "\n\r\t" else character for character in text)
    return "".join(character for character in kept if unicodedata.category(character) not in _STEERING)


def clean_lines(text: str) -> str:
    """The same, with the line ends left in their places."""
    return "\n".join(clean(line) for line in text.split("\n"))


def label(key: str) -> str:
    """A key as people read it: `ca_path` is `CA Path`."""
    words = clean(key).replace("-", "_").split("_")
    return " ".join(word.upper() if word.lower() in _UPPER else word[:1].upper() + word[1:] for word in words if word)


def scalar(value: Any) -> str:
    """One value in one line; a list of plain values is joined with commas."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Sequence):
        return ", ".join(scalar(item) for item in value)
    return str(value)


def unhidden(value: Any) -> Any:
    """The same value with no `_` before any key, so that all of them are shown."""
    if isinstance(value, Mapping):
        return {str(key).lstrip("_"): unhidden(item) for key, item in value.items()}
    return [unhidden(item) for item in value] if isinstance(value, list) else value


def document(content: Mapping[str, Any], indent: int = 0) -> list[str]:
    """One document's lines, without keys that begin with `_`."""
    shown = sorted((label(key) or "?", value) for key, value in _visible(content))
    width = max((len(name) for name, _ in shown), default=0) + 3
    lines: list[str] = []
    for name, value in shown:
        lines += _entry(name, value, indent, width)
    return lines


def _visible(content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((str(key), _Sortable(value)) for key, value in content.items() if not str(key).startswith("_"))


class _Sortable:
    """A value that never decides the order; only labels do."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __lt__(self, _: object) -> bool:
        return False


def _entry(name: str, boxed: _Sortable, indent: int, width: int) -> list[str]:
    value = boxed.value
    head = " " * indent + f"{name}:"
    if indent > _DEEPEST:
        return [f"{head} {clean(json.dumps(value))}"]
    if isinstance(value, Mapping):
        return [head, *document(value, indent + 2)]
    if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        return [head, *_documents_inside(value, indent + 2)]
    return _wrapped(head.ljust(indent + width), scalar(value), indent + width)


def _documents_inside(items: list[Any], indent: int) -> Iterator[str]:
    for number, item in enumerate(items):
        if number:
            yield ""
        yield from document(item, indent) if isinstance(item, Mapping) else [" " * indent + scalar(item)]


def _wrapped(head: str, text: str, column: int) -> list[str]:
    room = max(WIDTH - column, _NARROWEST_VALUE)
    lines = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]
    return [(head + lines[0]).rstrip(), *(" " * column + line for line in lines[1:])]
