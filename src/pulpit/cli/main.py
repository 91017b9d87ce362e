"""The `pulpit` command: its subcommands, and the conversion of failures to sentences and exit codes."""

import importlib
import sys
from collections.abc import Collection
from typing import Any, Final

import click

from pulpit import __version__
from pulpit.client.failures import EXIT_INTERRUPTED, BrokenStream, Failure
from pulpit.client.options import SHELLS, Section, completion_script
from pulpit.client.screen import clean_lines
from pulpit.client.streams import guarded
from pulpit.errors import ConfigurationError, PulpitError

EXIT_CONFIGURATION: Final = 78
"""`EX_CONFIG` of sysexits.h: the configuration is invalid."""


_MODULES: Final = {
    "serve": "serve",
    "worker": "worker",
    "demo": "demo",
    "doctor": "doctor",
    "health": "health",
    "check": "check",
    "export": "export",
    "import": "import_export",
    "broker": "broker",
    "pulp3": "pulp3",
    "install-service": "install_service",
    "listen": "listen",
    "fire": "fire",
    "tail": "tail",
    "on": "on",
}
"""Each command's module, which has a function of the same name; it is imported when the command is called or listed."""


class _Program(Section):
    """The outermost group; Ctrl-C ends every command silently."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Find a command, and import no other."""
        if cmd_name in _MODULES and cmd_name not in self.commands:
            module = _MODULES[cmd_name]
            self.add_command(getattr(importlib.import_module(f"pulpit.cli.{module}"), module))
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List all commands, and import them."""
        for name in _MODULES:
            self.get_command(ctx, name)
        return super().list_commands(ctx)

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


@pulpit.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print a completion script for SHELL; for bash, put eval "$(pulpit completion bash)" into ~/.bashrc."""
    click.echo(completion_script(pulpit, "pulpit", shell))


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
