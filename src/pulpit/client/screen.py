"""What a command prints: sentences, documents or a table of them, or the server's JSON when that is asked for."""

import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from pulpit.client import render
from pulpit.client.tables import table


class Screen:
    """Standard output, in one of two voices: for people (`as_table`: in few lines), or (`as_json`) for programs."""

    def __init__(self, *, as_json: bool, as_table: bool = False, color: bool | None = None) -> None:
        self.as_json = as_json
        self._as_table = as_table
        self._color = color

    def say(self, sentence: str) -> None:
        """Tell a person; a program that reads JSON is not told."""
        if not self.as_json:
            click.echo(render.clean_lines(sentence))

    def succeeded(self, sentence: str, answer: Any = None) -> None:
        """One green line, or the document that the server answered with."""
        if self.as_json:
            self.data(answer)
        else:
            click.secho(render.clean_lines(sentence), fg="green", color=self._color)

    def warn(self, sentence: str) -> None:
        """Tell on standard error, in either voice."""
        click.secho(render.clean_lines(sentence), fg="yellow", err=True, color=self._color)

    def data(self, answer: Any) -> None:
        """The answer as indented JSON in plain ASCII."""
        click.echo(json.dumps(answer, indent=2))

    def documents(self, items: Iterable[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
        """Each document, followed by two empty lines; or all as a table of these columns (of all keys otherwise)."""
        if self._as_table:
            self.table({key: item.get(key) for key in columns or item} for item in items)
            return
        for item in items:
            click.echo("\n".join([*render.document(item), "", ""]))

    def table(self, items: Iterable[Mapping[str, Any]]) -> None:
        """One line each, below a line of labels; it fits the terminal if there is one."""
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        for line in table(items, width):
            click.echo(line)
