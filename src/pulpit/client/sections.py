"""Groups of commands, for `pulpit` and `pulp-admin`."""

from typing import Final

import click

_WHOLE: Final = 1_000
"""Letters of a sentence in a list of commands; click's own list cuts it at the end of the line."""


class Section(click.Group):
    """A group whose list shows the first sentence of each command whole, however narrow the terminal is."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands, with sentences that go on in the next line."""
        commands = [(name, self.commands[name]) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.get_short_help_str(_WHOLE)) for name, one in commands if not one.hidden])
