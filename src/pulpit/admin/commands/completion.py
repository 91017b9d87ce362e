"""`completion`: the text that teaches a shell our words."""

import click
from click.shell_completion import get_completion_class

from pulpit.admin.grammar import Command
from pulpit.client.failures import ServerTrouble


@click.command("completion", cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a completion script for SHELL; for bash, put eval "$(pulp-admin completion bash)" into ~/.bashrc."""
    kind = get_completion_class(shell)
    if kind is None:
        raise ServerTrouble(f"There is no completion for {shell}.")
    click.echo(kind(ctx.find_root().command, {}, "pulp-admin", "_PULP_ADMIN_COMPLETE").source())
