"""`pulpit serve`: the server."""

import gc
import os
from pathlib import Path

import click

from pulpit.client.streams import silence
from pulpit.configuration import load


@click.command("serve")
@click.option("--config", type=click.Path(path_type=Path), help="Configuration file [default: /etc/pulp/server.conf].")
@click.option("--data-dir", help="Folder for all data.")
@click.option("--host", help="Address of the REST API [default: 127.0.0.1].")
@click.option("--port", help="Port of the REST API, 0 for any free one [default: 24880].")
@click.option("--broker-port", help="Port of the embedded broker, 0 for any free one [default: 5672].")
@click.option("--no-workers", is_flag=True, help="Run no workers; those of other servers take the tasks.")
@click.option("--log-format", type=click.Choice(["text", "json"]), help="How to log [default: text].")
@click.pass_context
def serve(context: click.Context, /, config: Path | None, no_workers: bool, **options: str | None) -> None:
    """Run the server: REST API, deliveries, embedded broker and workers.

    Every option is also a key of the configuration file and an environment variable (PULPIT_DATA_DIR, PULPIT_HOST,
    PULPIT_PORT, PULPIT_BROKER_PORT, …); docs/configuration.md lists them all. SIGTERM stops it cleanly.
    """
    gc.disable()  # imports create no garbage; collection starts when the server is ready
    from pulpit.server.serve import serve as run  # noqa: PLC0415 - other commands do not need the server

    keys = {"broker_port": ("broker", "port")}
    given = {keys.get(name, ("server", name)): text for name, text in options.items() if text is not None}
    if no_workers:
        given["tasks", "workers"] = "0"
    settings, warnings = load(config, os.environ, given)
    silence(context.obj or ())
    run(settings, warnings)
