"""`pulpit health`: whether the server is ready, for container health checks and scripts."""

import os
import sys
from pathlib import Path

import click

from pulpit.configuration import load


@click.command("health")
@click.option("--config", type=click.Path(path_type=Path), help="Configuration file [default: /etc/pulp/server.conf].")
@click.option("--port", help="Port of the REST API [default: 24880].")
def health(config: Path | None, port: str | None) -> None:
    """Check whether the server on this machine is ready.

    Ready means that its REST API and its database respond, and that events are delivered. The exit code is 0 if it is,
    else 1.
    """
    from pulpit.server.health import ask, url_of, why_not  # noqa: PLC0415 - other commands do not need the server

    settings, _ = load(config, os.environ, {} if port is None else {("server", "port"): port})
    try:
        ask(settings, "/health/ready")
    except (OSError, ValueError) as error:
        click.echo(f"not ready: {url_of(settings)}: {why_not(error)}", err=True)
        sys.exit(1)
    click.echo(f"ready: {url_of(settings)}")
