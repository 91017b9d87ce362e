"""The `pulpit` command: its subcommands, and the conversion of failures to sentences and exit codes."""

import sys
from collections.abc import Collection
from typing import Any, Final

import click

from pulpit import __version__
from pulpit.cli.broker import broker
from pulpit.cli.check import check
from pulpit.cli.demo import demo
from pulpit.cli.doctor import doctor
from pulpit.cli.export import export
from pulpit.cli.fire import fire
from pulpit.cli.health import health
from pulpit.cli.import_export import import_export
from pulpit.cli.install_service import install_service
from pulpit.cli.listen import listen
from pulpit.cli.on import on
from pulpit.cli.pulp3 import pulp3
from pulpit.cli.serve import serve
from pulpit.cli.tail import tail
from pulpit.cli.worker import worker
from pulpit.client.failures import EXIT_INTERRUPTED, BrokenStream, Failure
from pulpit.client.options import SHELLS, Section, completion_script
from pulpit.client.screen import clean_lines
from pulpit.client.streams import guarded
from pulpit.errors import ConfigurationError, PulpitError

EXIT_CONFIGURATION: Final = 78
"""`EX_CONFIG` of sysexits.h: the configuration is invalid."""


class _Program(Section):
    """The outermost group; Ctrl-C ends every command silently."""

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


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print a completion script for SHELL; for bash, put eval "$(pulpit completion bash)" into ~/.bashrc."""
    click.echo(completion_script(pulpit, "pulpit", shell))


# In the order in which users need them.
_SERVER: Final = (serve, worker, demo, doctor, health, check, export, import_export, broker, pulp3, install_service)
for _command in (*_SERVER, listen, fire, tail, on, completion):
    pulpit.add_command(_command)


def main() -> None:
    """Run the command; an expected error is one sentence and an exit code."""
    sys.exit(guarded(_run))


def _run(closed: Collection[int]) -> int:
    try:
        code = pulpit.main(standalone_mode=False, obj=closed)
    except SystemExit as ended:
        code = ended.code
    except click.Abort:
        click.echo("Aborted!", err=True)
        return 1
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BrokenStream as failure:
        raise BrokenStream(f"pulpit: {failure}") from None
    except Failure as failure:
        click.echo(f"pulpit: {clean_lines(str(failure))}", err=True)
        return failure.exit_code
    except PulpitError as error:
        click.echo(f"pulpit: {error}", err=True)
        return EXIT_CONFIGURATION if isinstance(error, ConfigurationError) else 1
    return code if isinstance(code, int) else 0
