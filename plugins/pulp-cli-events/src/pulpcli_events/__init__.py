"""`pulp event …` for pulp-cli: listeners of Pulpit, which tells the syncs and publishes of a Pulp 3."""

from typing import Any

import click

from pulpcli_events.commands import event


def mount(main: click.Group, **_: Any) -> None:
    """Add the command; pulp-cli calls this."""
    main.add_command(event)
