"""Conventions of Pulp 2's client in click: one message for all missing options, "" to clear, `--json` everywhere."""

import difflib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from pulpit.client.failures import WrongData
from pulpit.client.options import LazySection, Section
from pulpit.client.settings import secret_from

CLEAR: Final = object()
"""An option given as "": the key is removed (null in JSON)."""

JSON_FLAG: Final = "pulpit.admin.json"
TABLE_FLAG: Final = "pulpit.admin.table"

NOTHING_TO_CHANGE: Final = "Nothing to change was given; the server was not asked."


class Command(click.Command):
    """A command that reports all missing options at once, and accepts `--json`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(
            click.Option(
                ["--json", "as_json"],
                is_flag=True,
                expose_value=False,
                callback=_remember(JSON_FLAG),
                help="Print the server's answer as JSON.",
            )
        )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Check for required options before values are converted; "" counts as missing."""
        if not ctx.resilient_parsing:
            given, _, _ = self.make_parser(ctx).parse_args(list(args))
            if not any(given.get(parameter.name or "") for parameter in self.get_params(ctx) if parameter.is_eager):
                self._require(ctx, given)
        return super().parse_args(ctx, args)

    def _require(self, ctx: click.Context, given: dict[str, Any]) -> None:
        missing = []
        for parameter in self.params:
            value = given.get(parameter.name or "")
            is_given = any(value) if isinstance(value, (list, tuple)) else isinstance(value, str) and value != ""
            if parameter.required and not is_given:
                missing.append(parameter.opts[-1])
        if missing:
            raise click.UsageError("These options must be given: " + ", ".join(missing), ctx)


class Group(Section):
    """A section; its commands are of our class, and naming none of them is an error."""

    command_class = Command
    group_class: type[click.Group] | type[type] | None = type

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; suggest similar ones for an unknown one."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            likely = difflib.get_close_matches(args[0], self.commands, n=3)
            if not likely:
                raise
            raise click.UsageError(f"{error.message} Did you mean {' or '.join(likely)}?", ctx) from None


class LazyGroup(LazySection, Group):
    """A section that imports its commands when they are called."""

    group_class = Group


def _remember(flag: str) -> Callable[[click.Context, click.Parameter, bool], None]:
    """Return a callback that records, for the whole invocation, that an option was given."""

    def callback(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            ctx.meta[flag] = True

    return callback


TABLE: Final = click.option(
    "--table", is_flag=True, expose_value=False, callback=_remember(TABLE_FLAG), help="Show one line each, as a table."
)
"""For commands that list."""

BACKGROUND: Final = click.option("--bg", "in_background", is_flag=True, help="Do not wait for the end.")


class Clearable(click.ParamType[Any]):
    """Another type for which "" clears the value."""

    def __init__(self, inner: click.ParamType[Any]) -> None:
        self.inner = inner
        self.name = inner.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert everything but "" by the inner type."""
        return CLEAR if value == "" or value is CLEAR else self.inner.convert(value, param, ctx)


class FileContent(click.ParamType[str]):
    """The content of a file, for certificates and keys."""

    name = "file"
    longest: Final = 1024 * 1024

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Read the file."""
        try:
            with Path(value).expanduser().open(encoding="utf-8") as file:
                text = file.read(self.longest + 1)
        except (OSError, UnicodeDecodeError, RuntimeError) as error:  # the last one of ~nobody
            self.fail(f"{value} cannot be read: {error}", param, ctx)
        if len(text) > self.longest:
            self.fail(f"{value} is longer than {self.longest} characters", param, ctx)
        return text


TEXT: Final = Clearable(click.STRING)
BOOLEAN: Final = Clearable(click.BOOL)
COUNT: Final = Clearable(click.IntRange(min=1))
PORT: Final = Clearable(click.IntRange(1, 65535))
PEM: Final = Clearable(FileContent())


def given(**options: Any) -> dict[str, Any]:
    """Return the keys of the options that were used, with null for those to clear."""
    return {key: None if value is CLEAR else value for key, value in options.items() if value is not None}


def secret(value: Any, path: Path | str | None) -> Any:
    """Return a secret from its option or else from its file."""
    return secret_from(Path(path)) if value is None and path is not None else value


def listed(value: Any) -> Any:
    """Split comma-separated names into a list; only commas clear the value, as "" does."""
    if not isinstance(value, str):
        return value
    return [name.strip() for name in value.split(",") if name.strip()] or CLEAR


def note_pairs(pairs: tuple[str, ...]) -> dict[str, str | None] | None:
    """Parse `key=value` options; an empty value removes the note.

    Raises:
        WrongData: one has no `=` or no key.
    """
    notes: dict[str, str | None] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise WrongData(f"--note must look like key=value, not {pair!r}.")
        notes[key] = value or None
    return notes or None


def filters_of(text: str) -> Any:
    """Parse Pulp 2's criteria, as in `--filters`.

    Raises:
        WrongData: it is not JSON.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise WrongData(f"--filters is no JSON: {error}.") from None
