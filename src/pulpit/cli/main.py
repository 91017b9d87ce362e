"""The `pulpit` command: run the server, listen, fire."""

import os
import sys
from pathlib import Path
from typing import Any, Final

import click

from pulpit import __version__
from pulpit.cli.broker import looks
from pulpit.cli.fire import fire
from pulpit.cli.listen import listen
from pulpit.cli.tail import tail
from pulpit.client.failures import EXIT_INTERRUPTED, Failure, WrongData
from pulpit.client.output import OutputGone, forget_output
from pulpit.client.render import clean_lines
from pulpit.client.sections import Section
from pulpit.errors import ConfigurationError, PulpitError
from pulpit.settings import load

EXIT_CONFIGURATION: Final = 78
"""`EX_CONFIG` of sysexits.h: the configuration cannot work."""


class _Program(Section):
    """The outermost group; Ctrl-C ends every command without a word."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.exceptions.Exit(EXIT_INTERRUPTED) from None


@click.group(cls=_Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pulpit")
def pulpit() -> None:
    """A package-repository server whose every sync and publish becomes an event."""


@pulpit.command()
@click.option("--config", type=click.Path(path_type=Path), help="Configuration file [default: /etc/pulp/server.conf].")
@click.option("--data-dir", help="Folder of everything that is kept.")
@click.option("--host", help="Address of the REST API [default: 127.0.0.1].")
@click.option("--port", help="Port of the REST API, 0 for any free one [default: 24880].")
@click.option("--broker-port", help="Port of the embedded broker, 0 for any free one [default: 5672].")
@click.option("--log-format", type=click.Choice(["text", "json"]), help="How to log [default: text].")
def serve(config: Path | None, **options: str | None) -> None:
    """Run the server: REST API, deliveries, embedded broker and workers.

    Every option is also a key of the configuration file and an environment variable (PULPIT_DATA_DIR, PULPIT_HOST,
    PULPIT_PORT, PULPIT_BROKER_PORT, …); docs/configuration.md lists them all. SIGTERM ends it cleanly.
    """
    from pulpit.server.serve import serve as run  # noqa: PLC0415 - the other commands need none of the server

    keys = {"broker_port": ("broker", "port")}
    given = {keys.get(name, ("server", name)): text for name, text in options.items() if text is not None}
    settings, warnings = load(config, os.environ, given)
    run(settings, warnings)


@pulpit.command()
@click.option("--config", type=click.Path(path_type=Path), help="Configuration file [default: /etc/pulp/server.conf].")
@click.option("--data-dir", help="Folder of everything that is kept.")
@click.option("--deep", is_flag=True, help="Read every file and compare its checksum.")
@click.option(
    "--repair", is_flag=True, help="Heal what can be healed without losing anything; the server must not run."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(config: Path | None, data_dir: str | None, *, deep: bool, repair: bool, as_json: bool) -> None:
    """Prove that database, storage and published trees agree.

    Works beside a running server, of whose work under way nothing is said, and on the folder of one that is stopped.
    Every finding is one line: what is wrong, and what heals it. The exit code is 0 if nothing is, else 3; what is
    merely left over, and goes by itself, is told and does not count.
    """
    from pulpit.server.check import check as run  # noqa: PLC0415 - the other commands need none of the server

    given = {} if data_dir is None else {("server", "data_dir"): data_dir}
    settings, _ = load(config, os.environ, given)
    sys.exit(run(settings, deep=deep, repair=repair, as_json=as_json))


@pulpit.group(cls=Section, invoke_without_command=True)
@click.option("--config", type=click.Path(path_type=Path), help="Configuration file [default: /etc/pulp/server.conf].")
@click.option("--data-dir", help="Folder of everything that is kept.")
@click.option("--host", help="Address to listen on [default: 127.0.0.1].")
@click.option("--port", help="Port to listen on, 0 for any free one [default: 5672].")
@click.pass_context
def broker(
    context: click.Context, config: Path | None, data_dir: str | None, host: str | None, port: str | None
) -> None:
    """Run the broker alone, or with a command below look into the one of a running server.

    Its settings are those of [broker] in the configuration file. SIGTERM ends it cleanly.
    """
    if context.invoked_subcommand:
        return
    from pulpit.server.brokering import run_broker  # noqa: PLC0415 - the other commands need none of the broker

    given = {("server", "data_dir"): data_dir, ("broker", "host"): host, ("broker", "port"): port}
    settings, _ = load(config, os.environ, {key: text for key, text in given.items() if text is not None})
    run_broker(settings)


@broker.command("hash")
def hash_password() -> None:
    """Hash a password, read from the terminal or standard input, for `[broker] users_file`."""
    from pulpit.net.passwords import hash_password as hashed  # noqa: PLC0415 - as above

    asked = sys.stdin.isatty()
    prompted = click.prompt("Password", hide_input=True, confirmation_prompt=True) if asked else sys.stdin.readline()
    password = prompted.rstrip("\n")
    if not password:
        raise WrongData("There is no password on standard input.")
    click.echo(hashed(password))


for look in looks():
    broker.add_command(look)
pulpit.add_command(listen)
pulpit.add_command(fire)
pulpit.add_command(tail)


def main() -> None:
    """Run the command; an error that was foreseen is one sentence and an exit code."""
    try:
        pulpit()
    except OutputGone:
        forget_output()
    except Failure as failure:
        click.echo(f"pulpit: {clean_lines(str(failure))}", err=True)
        sys.exit(failure.exit_code)
    except PulpitError as error:
        click.echo(f"pulpit: {error}", err=True)
        sys.exit(EXIT_CONFIGURATION if isinstance(error, ConfigurationError) else 1)
