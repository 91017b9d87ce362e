"""The `pulpit` command: its subcommands, and the conversion of failures to sentences and exit codes."""

import sys
from collections.abc import Collection
from typing import Any, Final

import click

from pulpit import __version__
from pulpit.client.failures import EXIT_INTERRUPTED, BrokenStream, Failure
from pulpit.client.options import SHELLS, LazySection, completion_script
from pulpit.client.screen import clean_lines
from pulpit.client.streams import guarded
from pulpit.errors import ConfigurationError, PulpitError

EXIT_CONFIGURATION: Final = 78
"""`EX_CONFIG` of sysexits.h: the configuration is invalid."""


_COMMANDS: Final = {
    "serve": ("local", "Run the server: REST API, deliveries, embedded broker and workers."),
    "worker": ("local", "Run workers only: they take tasks of the servers that use the same database and storage."),
    "demo": ("demo", "Demonstrate the main feature: a sync fires four events and three subscribers print theirs."),
    "doctor": ("local", "Check everything that a server needs, and say what to do."),
    "health": ("local", "Check whether the server on this machine is ready."),
    "check": ("local", "Verify that database, storage and publications are consistent."),
    "copy-database": ("local", "Copy the SQLite database of a stopped server into the PostgreSQL of [database] url."),
    "export": (
        "local",
        "Write what a place such as repos/zoo shows, or a publication such as zoo:7, as a plain tree.",
    ),
    "import": (
        "importing",
        "Import an export, a folder or a tar, into a server that runs on this machine, and publish it.",
    ),
    "broker": ("broker", "Run the broker standalone, or with a command below inspect the one of a running server."),
    "pulp3": ("pulp3", "Fire events for the syncs and publishes of a Pulp 3."),
    "install-service": ("local", "Install the server as a systemd service."),
    "listen": ("listen", "Print the messages of a topic exchange, until interrupted."),
    "fire": ("fire", "Fire an event of TYPE, such as ci.build.finish, on a server."),
    "tail": ("tail", "Print events as they are fired, one line each, until Ctrl-C."),
    "on": ("on", 'Run COMMAND for each event whose type matches PATTERN, such as repo.publish.finish, "ci.#" or "*".'),
}
"""Each command's module, and the sentence that the list of commands shows."""


class _Program(LazySection):
    """The outermost group: Ctrl-C ends every command silently."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.exceptions.Exit(EXIT_INTERRUPTED) from None


@click.group(
    cls=_Program, package="pulpit.cli", modules=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]}
)
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
