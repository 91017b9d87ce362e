# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share: server and credentials, durations, groups of commands, completion."""

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import click
from click.shell_completion import get_completion_class

from pulpit import intervals
from pulpit.client.server import Server
from pulpit.client.settings import Options, load
from pulpit.client.streams import read_line

SHELLS: Final = ("bash", "zsh", "fish")
_WHOLE: Final = 1_000
"""Characters of a sentence in a list of commands; click would cut it at the end of the line."""


class Section(click.Group):
    """A group whose list shows the first sentence of each command in full, however narrow the terminal is."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands, wrapping their sentences."""
        commands = [(name, self.commands[name]) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, command.get_short_help_str(_WHOLE)) for name, command in commands if not command.hidden]
            )


class LazySection(Section):
    """A group that imports a command when it is called: importing all takes longer than most commands do."""

    def __init__(self, *args: Any, package: str, modules: Mapping[str, tuple[str, str]], **attributes: Any) -> None:
        """Create it.

        Args:
            args: as for every group.
            package: the package of the modules.
            modules: for each such command its module, and the sentence that the list of commands shows.
            attributes: as for every group.
        """
        super().__init__(*args, **attributes)
        self._package: Final = package
        self._modules: Final = modules
        for name, (_, sentence) in modules.items():
            self.add_command(click.Command(name, help=sentence))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, imported if need be."""
        if cmd_name not in self._modules:
            return super().get_command(ctx, cmd_name)
        module = importlib.import_module(f"{self._package}.{self._modules[cmd_name][0]}")
        return next(
            found for found in vars(module).values() if isinstance(found, click.Command) and found.name == cmd_name
        )


class Duration(click.ParamType[int]):
    """A duration, converted to seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it."""
        if isinstance(value, int):
            return value
        seconds = intervals.span_seconds(value)
        if seconds is None:
            self.fail(f"{value!r} is no time such as 90s, 15m, 12h or 3d", param, ctx)
        return seconds


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def with_options(*options: Decorator) -> Decorator:
    """Return a decorator with all of the options, in this order."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def names_of(*options: Decorator) -> list[str]:
    """Return the names of the parameters that the options set."""
    command = click.command("any")(with_options(*options)(lambda **_: None))
    return [str(parameter.name) for parameter in command.params]


connection_options: Final = with_options(
    click.option(
        "--url",
        metavar="URL",
        help="The server's address (or PULPIT_URL).  [default: admin.conf, http://127.0.0.1:24880]",
    ),
    click.option("-u", "--username", metavar="USER", help="Who asks (or PULPIT_USERNAME)."),
    click.option(
        "-p",
        "--password",
        metavar="PASSWORD",
        help="Visible to others on this machine: better --password-file, PULPIT_PASSWORD, or being asked.",
    ),
    click.option("--password-file", type=click.Path(path_type=Path), help="File (mode 0600, or - ) with the password."),
    click.option(
        "--token-file",
        type=click.Path(path_type=Path),
        help="File (mode 0600, or - ) with a token to show instead of a user (or PULPIT_TOKEN).",
    ),
    click.option("--config", type=click.Path(path_type=Path), help="An admin.conf to read after the usual ones."),
    click.option(
        "--ca-path", type=click.Path(path_type=Path), help="Authorities to trust for https: a file or folder."
    ),
)
"""The options that become `Options`."""


def connect(options: Options, ask: Callable[[str], str] | None = None) -> Server:
    """Return the server that options, environment and files name; nothing is sent yet.

    Raises:
        Failure: they are invalid.
    """
    return Server(load(options, os.environ, ask or ask_password))


def ask_password(user: str) -> str:
    """Prompt for a password at the terminal; otherwise read the first line of standard input."""
    if sys.stdin.isatty():
        answer: str = click.prompt(f"Password for {user}", hide_input=True, err=True)
        return answer
    return read_line()


def completion_script(program: click.Command, name: str, shell: str) -> str:
    """Return the completion script of a program; `shell` is one of `SHELLS`."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"there is no completion for {shell}.")
    return kind(program, {}, name, f"_{name}_COMPLETE".replace("-", "_").upper()).source()
