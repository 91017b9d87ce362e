"""`pulpit pulp3`: attaches a Pulp 3 as a source of events, shows its state, and detaches it."""

import os
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click

from pulpit.cli.local import CONFIG
from pulpit.client.options import Section, with_options
from pulpit.client.screen import Screen
from pulpit.configuration import load
from pulpit.errors import ConfigurationError
from pulpit.settings import Pulp3Settings

_HELP_URL: Final = (
    "Pulp's database [default: `[pulp3] database_url`]. A password in it shows in the list of processes: leave it to "
    "PGPASSWORD, ~/.pgpass or the configuration."
)


@click.group("pulp3", cls=Section)
def pulp3() -> None:
    """Fire events for the syncs and publishes of a Pulp 3.

    Nothing is installed into Pulp: some tables and triggers in its database record changes, and `pulpit serve` with
    `[pulp3] database_url` reads them from there.
    """


_OPTIONS: Final = with_options(
    CONFIG,
    click.option("--database-url", help=_HELP_URL),
    click.option("--name", default="", help="The section `[pulp3:NAME]` instead of `[pulp3]`."),
)


@pulp3.command("attach")
@_OPTIONS
@click.option("--print-sql", is_flag=True, help="Print the statements instead of running them.")
@click.option("--schema", default="public", help="With --print-sql, the schema of Pulp's tables [default: public].")
def attach(*, print_sql: bool, schema: str, **options: Any) -> None:
    """Create the outbox and its triggers in Pulp's database; existing ones are unchanged."""
    attachment = _attachment()
    if print_sql:
        click.echo(attachment.script(schema), nl=False)
        return
    section = _section(**options)
    changed = attachment.with_connection(section, attachment.attach)
    click.echo("Attached." if changed else "Already attached; nothing was changed.")


@pulp3.command("detach")
@_OPTIONS
@click.option("--discard", is_flag=True, help="Detach even if some rows have not been read by a server.")
@click.option("--print-sql", is_flag=True, help="Print the statements instead of running them.")
@click.option("--schema", default="public", help="With --print-sql, the schema of Pulp's tables [default: public].")
def detach(*, discard: bool, print_sql: bool, schema: str, **options: Any) -> None:
    """Remove all of it, triggers first; Pulp continues as before."""
    attachment = _attachment()
    if print_sql:
        click.echo(attachment.removal(schema), nl=False)
        return

    def work(connection: Any, where: str) -> bool:
        return bool(attachment.detach(connection, where, discard=discard))

    removed = attachment.with_connection(_section(**options), work)
    click.echo("Detached; nothing of Pulpit is left there." if removed else "Nothing of Pulpit was there.")


@pulp3.command("status")
@_OPTIONS
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(*, as_json: bool, **options: Any) -> None:
    """Show the state in Pulp's database; the exit code is 3 unless it is attached and complete."""
    attachment = _attachment()
    found = attachment.with_connection(_section(**options), attachment.status)
    shown = {key: value.isoformat() if isinstance(value, datetime) else value for key, value in asdict(found).items()}
    Screen(as_json=as_json).show(shown, [shown])
    if not found.attached or set(found.triggers.values()) != {"in place"}:
        raise click.exceptions.Exit(3)


def _attachment() -> Any:
    try:
        from pulpit.pulp3 import attachment  # noqa: PLC0415 - an extra, rarely needed
    except ModuleNotFoundError:
        reason = "a Pulp 3 needs: pip install 'pulpit[postgresql]'."
        raise ConfigurationError("[pulp3] database_url", reason) from None
    return attachment


def _section(*, config: Path | None, database_url: str | None, name: str) -> Pulp3Settings:
    settings, _ = load(config, os.environ, {})
    every = {"": settings.pulp3, **settings.further_pulp3}
    if name not in every:
        raise ConfigurationError("--name", f"there is no section [pulp3:{name}].")
    section = every[name]
    if database_url:
        section = replace(section, database_url=database_url)
    if not section.database_url:
        raise ConfigurationError("[pulp3] database_url", "name Pulp's database there, or by --database-url.")
    return section
