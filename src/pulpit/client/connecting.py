"""The options that say which server and who asks; `pulp-admin` has them in front, `pulpit fire` and `tail` behind."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import click

from pulpit.client.server import Server
from pulpit.client.settings import Options, load

Decorated = TypeVar("Decorated", bound=Callable[..., object])

_OPTIONS: Final = (
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
    click.option("--config", type=click.Path(path_type=Path), help="An admin.conf to read after the usual ones."),
    click.option(
        "--ca-path", type=click.Path(path_type=Path), help="Authorities to trust for https: a file or folder."
    ),
)


def connection_options(function: Decorated) -> Decorated:
    """Give a command the options whose values make `Options`."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def connect(options: Options, ask: Callable[[str], str] | None = None) -> Server:
    """The server that options, environment and files name; nothing is sent yet.

    Raises:
        Failure: they cannot be right.
    """
    return Server(load(options, os.environ, ask or ask_password))


def ask_password(user: str) -> str:
    """Ask for a password at the terminal; otherwise take the first line of standard input."""
    if sys.stdin.isatty():
        answer: str = click.prompt(f"Password for {user}", hide_input=True, err=True)
        return answer
    return sys.stdin.readline(4096).rstrip("\r\n")
