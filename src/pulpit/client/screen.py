# SPDX-License-Identifier: Apache-2.0
"""Output of a command: sentences, documents or tables, or the server's JSON if requested.

Nothing that the server sends can control the terminal: every text goes through `clean`.
"""

import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

import click

from pulpit.text import clean

WIDTH: Final = 80

_NARROWEST_VALUE: Final = 20
_DEEPEST: Final = 20
_UPPER: Final = frozenset({"ca", "ssl", "url", "id_url"})


def clean_lines(text: str) -> str:
    """Clean text, keeping its line ends."""
    return "\n".join(clean(line) for line in text.split("\n"))


def label(key: str) -> str:
    """Format a key for people: `ca_path` is `CA Path`."""
    words = clean(key).replace("-", "_").split("_")
    return " ".join(word.upper() if word.lower() in _UPPER else word[:1].upper() + word[1:] for word in words if word)


def scalar(value: Any) -> str:
    """Format one value on one line; a list of plain values is joined with commas."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Sequence):
        return ", ".join(scalar(item) for item in value)
    return str(value)


def unhidden(value: Any) -> Any:
    """Return the same value without leading `_` in any key, so that all are shown."""
    if isinstance(value, Mapping):
        return {str(key).lstrip("_"): unhidden(item) for key, item in value.items()}
    return [unhidden(item) for item in value] if isinstance(value, list) else value


def document(content: Mapping[str, Any], indent: int = 0) -> list[str]:
    """Return one document's lines, without keys that begin with `_`."""
    visible = ((str(key), value) for key, value in content.items() if not str(key).startswith("_"))
    shown = sorted(((label(key) or "?", value) for key, value in visible), key=itemgetter(0))
    width = max((len(name) for name, _ in shown), default=0) + 3
    lines: list[str] = []
    for name, value in shown:
        lines += _entry(name, value, indent, width)
    return lines


def _entry(name: str, value: Any, indent: int, width: int) -> list[str]:
    head = " " * indent + f"{name}:"
    if indent > _DEEPEST:
        return [f"{head} {clean(json.dumps(value))}"]
    if isinstance(value, Mapping):
        return [head, *document(value, indent + 2)]
    if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        inside = [head]
        for number, item in enumerate(value):
            if number:
                inside.append("")
            inside += document(item, indent + 2) if isinstance(item, Mapping) else [" " * (indent + 2) + scalar(item)]
        return inside
    column = indent + width
    room = max(WIDTH - column, _NARROWEST_VALUE)
    lines = textwrap.wrap(scalar(value), room, break_long_words=False, break_on_hyphens=False) or [""]
    return [(head.ljust(column) + lines[0]).rstrip(), *(" " * column + line for line in lines[1:])]


NARROWEST: Final = 8
"""Minimum width of a column in characters; a narrower one needs its own width."""

_GAP: Final = "  "
_CUT: Final = "…"


def table(items: Iterable[Mapping[str, Any]], width: int | None) -> list[str]:
    """Return a line of labels and a line for each item, in the order of the keys; without a width nothing is cut.

    If there is too little room the columns to the right are cut or omitted, so keys come by importance.
    """
    rows = list(items)
    keys = list(dict.fromkeys(key for row in rows for key in row if not key.startswith("_")))
    if not keys:
        return []
    lines = [[label(key) for key in keys], *([_cell(row.get(key)) for key in keys] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    if width is not None:
        widths = _fitted(widths, width)
    shown = []
    for cells in lines:
        fitted = (
            (cell if len(cell) <= room else cell[: room - 1] + _CUT).ljust(room)
            for cell, room in zip(cells, widths, strict=False)
        )
        shown.append(_GAP.join(fitted).rstrip())
    return shown


def _fitted(widths: list[int], room: int) -> list[int]:
    """Return the widths of those columns that fit; the last one may be cut."""
    fitted: list[int] = []
    for width in widths:
        if min(width, NARROWEST) > room:
            break
        fitted.append(min(width, room))
        room -= width + len(_GAP)
    return fitted


def _cell(value: Any) -> str:
    """Format one value on one line; empty for null."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return clean(", ".join(f"{key}: {_cell(item)}" for key, item in value.items()))
    return scalar(value)


class Screen:
    """Standard output for people (`as_table`: as tables), or for programs (`as_json`)."""

    def __init__(self, *, as_json: bool, as_table: bool = False, color: bool | None = None) -> None:
        self.as_json = as_json
        self._as_table = as_table
        self._color = color

    def say(self, sentence: str) -> None:
        """Print a sentence for people; nothing with JSON."""
        if not self.as_json:
            click.echo(clean_lines(sentence))

    def succeeded(self, sentence: str, answer: Any = None) -> None:
        """Print one green line, or the server's document."""
        if self.as_json:
            self.data(answer)
        else:
            click.secho(clean_lines(sentence), fg="green", color=self._color)

    def warn(self, sentence: str) -> None:
        """Print on standard error, in either format."""
        click.secho(clean_lines(sentence), fg="yellow", err=True, color=self._color)

    def data(self, answer: Any) -> None:
        """Print the response as indented JSON in plain ASCII."""
        click.echo(json.dumps(answer, indent=2))

    def show(
        self, answer: Any, items: Iterable[Mapping[str, Any]], columns: Sequence[str] = (), *, nothing: str = ""
    ) -> None:
        """Print documents, or the sentence `nothing` if there are none; with JSON the server's answer instead."""
        if self.as_json:
            self.data(answer)
            return
        found = list(items)
        self.documents(found, columns)
        if not found and nothing:
            self.say(nothing)

    def documents(self, items: Iterable[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
        """Print each document, followed by two empty lines.

        Or all as a table of these columns (by default all keys).
        """
        if self._as_table:
            self.table({key: item.get(key) for key in columns or item} for item in items)
            return
        for item in items:
            click.echo("\n".join([*document(item), "", ""]))

    def table(self, items: Iterable[Mapping[str, Any]]) -> None:
        """Print one line each, below a line of labels, fitted to the terminal if there is one."""
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        for line in table(items, width):
            click.echo(line)
