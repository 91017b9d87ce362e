"""`pulpit doctor`: diagnoses a server, running or before its start."""

import os
import sys
from pathlib import Path

import click

from pulpit.configuration import load
from pulpit.errors import ConfigurationError


@click.command("doctor")
@click.option("--config", type=click.Path(path_type=Path), help="Configuration file [default: /etc/pulp/server.conf].")
@click.option("--data-dir", help="Folder for all data.")
@click.option("--host", help="Address of the REST API [default: 127.0.0.1].")
@click.option("--port", help="Port of the REST API [default: 24880].")
@click.option("--broker-port", help="Port of the embedded broker [default: 5672].")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(config: Path | None, *, as_json: bool, **options: str | None) -> None:
    """Check everything that a server needs, and say what to do.

    Configuration, files, disk, ports, database, brokers, certificates, clock, failing listeners, other servers; beside
    a running server, or before its first start. Run it as the server's user, with the server's options. The exit code
    is 0 if there is no problem (warnings do not count), else 3.
    """
    from pulpit.server.doctor import doctor as run  # noqa: PLC0415 - other commands do not need the server
    from pulpit.server.doctor import refused  # noqa: PLC0415 - as above

    keys = {"broker_port": ("broker", "port")}
    given = {keys.get(name, ("server", name)): text for name, text in options.items() if text is not None}
    try:
        settings, warnings = load(config, os.environ, given)
    except ConfigurationError as error:
        sys.exit(refused(error, as_json=as_json))
    sys.exit(run(settings, warnings, as_json=as_json))
