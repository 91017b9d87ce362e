"""`pulpit worker`: workers without a server, for servers on other machines."""

import os
from pathlib import Path

import click

from pulpit.client.streams import silence
from pulpit.configuration import load


@click.command("worker")
@click.option("--config", type=click.Path(path_type=Path), help="Configuration file [default: /etc/pulp/server.conf].")
@click.option("--data-dir", help="Folder for this machine's scratch files and cache.")
@click.option("--workers", help="Worker processes, and so tasks at a time [default: 2].")
@click.option("--log-format", type=click.Choice(["text", "json"]), help="How to log [default: text].")
@click.pass_context
def worker(context: click.Context, /, config: Path | None, **options: str | None) -> None:
    """Run workers only: they take tasks of the servers that use the same database and storage.

    The configuration is that of the servers: [database] url must be a PostgreSQL, and [storage] url a storage that all
    of them share. SIGTERM stops the workers cleanly; their tasks end as cancelled.
    """
    from pulpit.server.workers import work as run  # noqa: PLC0415 - other commands do not need the server

    keys = {"workers": ("tasks", "workers")}
    given = {keys.get(name, ("server", name)): text for name, text in options.items() if text is not None}
    settings, warnings = load(config, os.environ, given)
    silence(context.obj or ())
    run(settings, warnings)
