"""What a command prints: sentences, documents, or the server's JSON when that is asked for."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import click

from pulpit.client import render


class Screen:
    """Standard output, in one of two voices: for people, or (`as_json`) for programs."""

    def __init__(self, *, as_json: bool, color: bool | None = None) -> None:
        self.as_json = as_json
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

    def documents(self, items: Iterable[Mapping[str, Any]]) -> None:
        """Each document, followed by two empty lines."""
        for item in items:
            click.echo("\n".join([*render.document(item), "", ""]))
