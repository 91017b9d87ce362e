"""The program: its general options, and the conversion of failures to texts and exit codes."""

import os
import sys
from collections.abc import Sequence
from typing import Any, Final

import click

from pulpit import __version__
from pulpit.admin.grammar import JSON_FLAG, LazyGroup
from pulpit.admin.session import Session, with_session
from pulpit.client.failures import EXIT_INTERRUPTED, BrokenStream, Failure, WrongData, WrongUse
from pulpit.client.options import SHELLS, completion_script, connection_options
from pulpit.client.screen import clean_lines, unhidden
from pulpit.client.server import path_of
from pulpit.client.settings import Options
from pulpit.client.streams import guarded
from pulpit.errors import PulpitError

_SECTIONS: Final = {
    "auth": ("users", "Who may use the server."),
    "event": ("event", "Events and the listeners that they are sent to."),
    "iso": ("iso", "Repositories of files."),
    "login": ("users", "Log in over https: later commands need no -u until the session expires or you log out."),
    "logout": ("users", "Delete the session of `login`."),
    "orphan": ("repo", "Content that no repository holds any more."),
    "python": ("python", "Indexes of Python packages."),
    "repo": ("repo", "Repositories of every type."),
    "rpm": ("rpm", "Repositories of packages."),
    "tasks": ("tasks", "The tasks of the server."),
}
"""Each command's module, and the sentence that the list of commands shows."""


@click.group(
    "pulp-admin",
    cls=LazyGroup,
    package="pulpit.admin",
    modules=_SECTIONS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@connection_options
@click.option("--json", "as_json", is_flag=True, help="Print the server's answers as JSON; every command has it too.")
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def root(ctx: click.Context, /, *, as_json: bool, **options: Any) -> None:
    """Manage a Pulp server: repositories, event listeners, tasks and users.

    On the server's own machine no option is needed: the administrator's password is read from the file that the server
    left in its data folder.
    """
    ctx.obj = Session(Options(**options))
    if as_json:
        ctx.meta[JSON_FLAG] = True


@root.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a completion script for SHELL; for bash, put eval "$(pulp-admin completion bash)" into ~/.bashrc."""
    click.echo(completion_script(ctx.find_root().command, "pulp-admin", shell))


@root.command("status")
@with_session
def status(session: Session) -> None:
    """Show the state of the server and its parts."""
    answer = session.server.get(path_of("status"))
    session.screen.show(answer, [unhidden(answer or {})])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and exit."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run and return the exit code."""
    return guarded(lambda _: _run(arguments))


def _where_it_belongs(error: click.NoSuchOption) -> str:
    """Say where to give an option that a general one or a command below has; empty if neither does."""
    context = error.ctx
    if context is None or context.parent is None:
        return ""
    if error.option_name in _options(root):
        return f" Give it before the command: pulp-admin {error.option_name} … {context.command_path.partition(' ')[2]}"
    group = context.command
    if not isinstance(group, click.Group):
        return ""
    below = group.list_commands(context)
    names = [name for name in below if error.option_name in _options(group.get_command(context, name))]
    return f" Give it behind a command: {', '.join(names)}." if names else ""


def _options(command: click.Command | None) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts} if command else set()


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = root.main(arguments, prog_name="pulp-admin", standalone_mode=False)
    except click.ClickException as error:
        if isinstance(error, click.NoSuchOption):
            error = click.UsageError(error.format_message() + _where_it_belongs(error), error.ctx)
        error.show()  # Pulp 2 distinguishes a missing or unknown option (64) from an invalid value (65)
        refused = isinstance(error, click.BadParameter) and not isinstance(error, click.MissingParameter)
        return WrongData.exit_code if refused else WrongUse.exit_code
    except BrokenStream:
        raise
    except PulpitError as error:
        click.secho(clean_lines(str(error)), fg="red", err=True, color=False if os.environ.get("NO_COLOR") else None)
        return error.exit_code if isinstance(error, Failure) else 1
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    return code if isinstance(code, int) else 0
