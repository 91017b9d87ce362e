"""`pulpit tail`: prints a server's log as it grows, for clients that the server cannot call."""

from typing import Any

import click

from pulpit.client.log import follow_log, tail_options
from pulpit.client.options import connect, connection_options
from pulpit.client.settings import Options

_TAIL = frozenset({"after", "count", "event_type", "repo_id", "result"})


@click.command("tail")
@tail_options
@click.option("--json", "as_json", is_flag=True, help="Show each event as one JSON object on one line.")
@connection_options
def tail(*, as_json: bool, **options: Any) -> None:
    """Print events as they are fired, one line each, until Ctrl-C.

    It waits for a server that is down, and misses nothing that the log still has.
    """
    choice = {name: options.pop(name) for name in _TAIL}
    follow_log(connect(Options(**options)), as_json=as_json, **choice)
