"""`pulpit broker status` and its like: looks into the broker of a running server."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import click

from pulpit.client.connecting import connect, connection_options
from pulpit.client.screen import Screen
from pulpit.client.settings import Options

PATH: Final = "/pulpit/v1/broker"
_OF_QUEUES: Final = "vhost name messages_ready messages_unacknowledged consumers publish_rate deliver_rate memory_bytes"
COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "queues": tuple(_OF_QUEUES.split()),
    "exchanges": ("vhost", "name", "type", "durable", "auto_delete", "internal"),
    "bindings": ("vhost", "source", "destination_kind", "destination", "routing_key"),
    "connections": (
        "address",
        "user",
        "vhost",
        "dialect",
        "product",
        "channels",
        "consumers",
        "unacknowledged",
        "blocked",
    ),
}
_MEANINGS: Final = {
    "queues": "List queues with their messages, consumers and rates (messages a second).",
    "exchanges": "List exchanges.",
    "bindings": "List what is bound to what.",
    "connections": "List the clients.",
}


def looks() -> list[click.Command]:
    """The commands, one for the whole and one for each part."""
    return [_status(), *(_part(name) for name in COLUMNS)]


def _status() -> click.Command:
    def status(*, as_json: bool, **options: Any) -> None:
        broker = _read(options)
        whole = {key: value for key, value in broker.items() if not isinstance(value, list)}
        counts = {name: len(broker[name]) for name in COLUMNS}
        screen = Screen(as_json=as_json)
        if as_json:
            screen.data({**whole, **counts})
        else:
            screen.documents([{**whole, **counts}])

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
    """Aligned columns; the texts come from strangers, so what could steer a terminal is taken out."""
    names = tuple(columns)
    cells = [tuple(name.replace("_", " ") for name in names)]
    cells += [tuple(_text(row[name]) for name in names) for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(names))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.1f}"
    return "".join(letter for letter in str(value) if letter.isprintable())
