"""The commands for the server's own machine: they read its configuration, and most of them its data folder."""

import gc
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from pulpit.client.streams import silence, write_line
from pulpit.configuration import load
from pulpit.errors import ConfigurationError
from pulpit.settings import Settings

CONFIG: Final = click.option(
    "--config", type=click.Path(path_type=Path), help="Configuration file [default: /etc/pulp/server.conf]."
)
_DATA_DIR: Final = click.option("--data-dir", help="Folder for all data.")
_LOG_FORMAT: Final = click.option(
    "--log-format", type=click.Choice(["text", "json"]), help="How to log [default: text]."
)
_KEYS: Final = {"broker_port": ("broker", "port"), "workers": ("tasks", "workers")}
"""The keys of options that are not of the same name in `[server]`."""


def _load(config: Path | None, options: Mapping[str, str | None]) -> tuple[Settings, list[str]]:
    """Read the configuration, which the options override; returns also its warnings."""
    given = {_KEYS.get(name, ("server", name)): text for name, text in options.items() if text is not None}
    return load(config, os.environ, given)


@click.command("serve")
@CONFIG
@_DATA_DIR
@click.option("--host", help="Address of the REST API [default: 127.0.0.1].")
@click.option("--port", help="Port of the REST API, 0 for any free one [default: 24880].")
@click.option("--broker-port", help="Port of the embedded broker, 0 for any free one [default: 5672].")
@click.option("--no-workers", is_flag=True, help="Run no workers; those of other servers take the tasks.")
@_LOG_FORMAT
@click.pass_context
def serve(context: click.Context, /, config: Path | None, no_workers: bool, **options: str | None) -> None:
    """Run the server: REST API, deliveries, embedded broker and workers.

    Every option is also a key of the configuration file and an environment variable (PULPIT_DATA_DIR, PULPIT_HOST,
    PULPIT_PORT, PULPIT_BROKER_PORT, …); docs/configuration.md lists them all. SIGTERM stops it cleanly.
    """
    gc.disable()  # imports create no garbage; collection starts when the server is ready
    from pulpit.server.serve import serve as run  # noqa: PLC0415 - other commands do not need the server

    settings, warnings = _load(config, {**options, "workers": "0" if no_workers else None})
    silence(context.obj or ())
    run(settings, warnings)


@click.command("worker")
@CONFIG
@click.option("--data-dir", help="Folder for this machine's scratch files and cache.")
@click.option("--workers", help="Worker processes, and so tasks at a time [default: 2].")
@_LOG_FORMAT
@click.pass_context
def worker(context: click.Context, /, config: Path | None, **options: str | None) -> None:
    """Run workers only: they take tasks of the servers that use the same database and storage.

    The configuration is that of the servers: [database] url must be a PostgreSQL, and [storage] url a storage that all
    of them share. SIGTERM stops the workers cleanly; their tasks end as cancelled.
    """
    from pulpit.server.workers import work as run  # noqa: PLC0415 - as above

    settings, warnings = _load(config, options)
    silence(context.obj or ())
    run(settings, warnings)


@click.command("doctor")
@CONFIG
@_DATA_DIR
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
    from pulpit.server.doctor import doctor as run  # noqa: PLC0415 - as above
    from pulpit.server.doctor import refused  # noqa: PLC0415 - as above

    try:
        settings, warnings = _load(config, options)
    except ConfigurationError as error:
        sys.exit(refused(error, as_json=as_json))
    sys.exit(run(settings, warnings, as_json=as_json))


@click.command("health")
@CONFIG
@click.option("--port", help="Port of the REST API [default: 24880].")
def health(config: Path | None, **options: str | None) -> None:
    """Check whether the server on this machine is ready.

    Ready means that its REST API and its database respond, and that events are delivered. The exit code is 0 if it is,
    else 1.
    """
    from pulpit.server.health import ask, url_of, why_not  # noqa: PLC0415 - as above

    settings, _ = _load(config, options)
    try:
        ask(settings, "/health/ready")
    except (OSError, ValueError) as error:
        click.echo(f"not ready: {url_of(settings)}: {why_not(error)}", err=True)
        sys.exit(1)
    click.echo(f"ready: {url_of(settings)}")


@click.command("check")
@CONFIG
@_DATA_DIR
@click.option("--deep", is_flag=True, help="Read every file and compare its checksum.")
@click.option(
    "--repair", is_flag=True, help="Repair what can be repaired without losing anything; the server must not run."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(config: Path | None, *, deep: bool, repair: bool, as_json: bool, **options: str | None) -> None:
    """Verify that database, storage and publications are consistent.

    Works on the folder of a stopped server, or beside a running one, whose running tasks are ignored. Every finding is
    one line: what is wrong, and how to repair it. The exit code is 0 if there is no problem, else 3; leftovers, which
    are removed automatically, are reported but do not count.
    """
    from pulpit.server.check import check as run  # noqa: PLC0415 - as above

    settings, _ = _load(config, options)
    sys.exit(run(settings, deep=deep, repair=repair, as_json=as_json))


@click.command("copy-database")
@CONFIG
@_DATA_DIR
def copy_database(config: Path | None, **options: str | None) -> None:
    """Copy the SQLite database of a stopped server into the PostgreSQL of [database] url.

    Everything is copied, in one transaction, into a database that must be empty; package files stay where they are. The
    next start uses the PostgreSQL. pulpit.db is not changed.
    """
    from pulpit.server import data_folder  # noqa: PLC0415 - as above
    from pulpit.store.database import FILE_NAME, Database  # noqa: PLC0415 - as above
    from pulpit.store.moving import copy_all  # noqa: PLC0415 - as above
    from pulpit.store.wakeups import WakeupSocket  # noqa: PLC0415 - as above

    settings, _ = _load(config, options)
    folder, url = settings.data_dir, settings.database.url
    if not url.startswith("postgresql"):
        raise ConfigurationError("[database] url", "it must name the PostgreSQL to copy into.")
    data_folder.check_own(folder)
    with data_folder.locked(folder), WakeupSocket(folder) as wakeups:
        source = Database.look_into(folder, wakeups)
        try:
            target = Database.open(folder, wakeups, url=url)
            try:
                count = copy_all(source, target, lambda table, rows: write_line(f"{table}: {rows}"))
            finally:
                target.close()
        finally:
            source.close()
    write_line(f"{count} rows are copied; from now on {folder / FILE_NAME} is not used.")


@click.command("export")
@click.argument("what", metavar="PLACE|REPO:NUMBER")
@click.argument("target", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--since", type=click.IntRange(min=1), help="Omit the files that this publication has already.")
@click.option("--tar", "as_tar", is_flag=True, help="Write one tar of the name DIR instead of a folder.")
@click.option("--copy", is_flag=True, help="Copy the files, even if they could be hard links to the storage.")
@CONFIG
@_DATA_DIR
def export(
    what: str, target: Path, config: Path | None, *, since: int | None, as_tar: bool, copy: bool, **options: str | None
) -> None:
    """Write what a place such as repos/zoo shows, or a publication such as zoo:7, as a plain tree.

    Runs on the server's machine as the server's user, beside a running server. The tree appears only when it is
    complete, with a list of checksums (pulpit-export.files) by which `pulpit import` verifies it elsewhere; running it
    again updates the tree.
    """
    from pulpit.server.export import export as run  # noqa: PLC0415 - as above

    settings, _ = _load(config, options)
    write_line(run(settings, what, target, since=since, as_tar=as_tar, link=not copy))


@click.command("install-service")
@click.option("--user", "for_user", is_flag=True, help="Install a service of this user instead of a system service.")
@click.option("--dry-run", is_flag=True, help="Show files and commands, and change nothing.")
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default="/",
    help="Write below this folder, such as the root of an image, and run nothing.",
)
def install_service(*, for_user: bool, dry_run: bool, root: Path) -> None:
    """Install the server as a systemd service.

    Writes a hardened unit with a watchdog that starts this installation's program, lets systemd create the user pulpit,
    and reloads systemd. Configuration keys go into /etc/pulp/server.conf, or as PULPIT_… variables into
    /etc/default/pulpit (with --user: ~/.config/pulpit/environment). It starts nothing: the last line says how.
    """
    from pulpit.server.service import install  # noqa: PLC0415 - as above

    install(for_user=for_user, root=root, dry_run=dry_run)
