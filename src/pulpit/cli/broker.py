"""`pulpit broker`: the standalone broker, and inspection of a running server's broker."""

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import click

from pulpit.cli.local import CONFIG
from pulpit.client.failures import WrongData
from pulpit.client.options import Section, connect, connection_options
from pulpit.client.screen import Screen
from pulpit.client.settings import Options
from pulpit.client.streams import read_line, silence
from pulpit.configuration import load
from pulpit.text import clean

PATH: Final = "/pulpit/v1/broker"
_OF_QUEUES: Final = "vhost name messages_ready messages_unacknowledged consumers publish_rate deliver_rate memory_bytes"
COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "queues": tuple(_OF_QUEUES.split()),
    "exchanges": ("vhost", "name", "type", "durable", "auto_delete", "internal"),
    "bindings": ("vhost", "source", "destination_kind", "destination", "routing_key"),
    "connections": ("address", "user", "vhost", "product", "channels", "consumers", "unacknowledged", "blocked"),
}
_MEANINGS: Final = {
    "queues": "List queues with their messages, consumers and rates (messages a second).",
    "exchanges": "List exchanges.",
    "bindings": "List the bindings.",
    "connections": "List the connected clients.",
}


@click.group("broker", cls=Section, invoke_without_command=True)
@CONFIG
@click.option("--data-dir", help="Folder for all data.")
@click.option("--host", help="Address to listen on [default: 127.0.0.1].")
@click.option("--port", help="Port to listen on, 0 for any free one [default: 5672].")
@click.pass_context
def broker(
    context: click.Context, config: Path | None, data_dir: str | None, host: str | None, port: str | None
) -> None:
    """Run the broker standalone, or with a command below inspect the one of a running server.

    Its settings are those of [broker] in the configuration file. SIGTERM stops it cleanly.
    """
    if context.invoked_subcommand:
        return
    from pulpit.server.embedded_broker import run_broker  # noqa: PLC0415 - other commands do not need the broker

    given = {("server", "data_dir"): data_dir, ("broker", "host"): host, ("broker", "port"): port}
    settings, _ = load(config, os.environ, {key: text for key, text in given.items() if text is not None})
    silence(context.obj or ())
    run_broker(settings)


@broker.command("hash")
def hash_password() -> None:
    """Hash a password, read from the terminal or standard input, for `[broker] users_file`."""
    from pulpit.net.passwords import hash_password as hashed  # noqa: PLC0415 - as above

    asked = sys.stdin.isatty()
    password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True) if asked else read_line()
    if not password:
        raise WrongData("There is no password on standard input.")
    click.echo(hashed(password))


def _status() -> click.Command:
    def status(*, as_json: bool, **options: Any) -> None:
        broker = _read(options)
        whole = {key: value for key, value in broker.items() if not isinstance(value, list)}
        counts = {name: len(broker[name]) for name in COLUMNS}
        shown = {**whole, **counts}
        Screen(as_json=as_json).show(shown, [shown])

    return _command("status", status, "Show memory, alarms, counts and totals.")


def _part(name: str) -> click.Command:
    def show(*, as_json: bool, **options: Any) -> None:
        rows = _read(options)[name]
        if as_json:
            Screen(as_json=True).data(rows)
        else:
            click.echo("\n".join(_table(COLUMNS[name], rows)))

    return _command(name, show, _MEANINGS[name])


def _command(name: str, function: Any, meaning: str) -> click.Command:
    as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    return click.command(name, help=meaning)(as_json(connection_options(function)))


def _read(options: dict[str, Any]) -> dict[str, Any]:
    broker: dict[str, Any] = connect(Options(**options)).get(PATH)
    return broker


def _table(columns: Iterable[str], rows: list[dict[str, Any]]) -> list[str]:
    """Return aligned columns, with terminal control characters removed from foreign text."""
    names = tuple(columns)
    cells = [tuple(name.replace("_", " ") for name in names)]
    for row in rows:
        values = (row[name] for name in names)
        cells.append(tuple(f"{value:.1f}" if isinstance(value, float) else clean(str(value)) for value in values))
    widths = [max(len(row[column]) for row in cells) for column in range(len(names))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


for _look in (_status(), *(_part(name) for name in COLUMNS)):
    broker.add_command(_look)
