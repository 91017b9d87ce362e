"""Lists of commands describe each in a whole sentence."""

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from pulpit.admin.main import root
from pulpit.cli.main import pulpit


def sections(group: click.Group, *way: str) -> Iterator[tuple[str, ...]]:
    yield way
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from sections(command, *way, name)


@pytest.mark.parametrize("width", ["40", "60", "100"])
@pytest.mark.parametrize("program", [pulpit, root], ids=["pulpit", "pulp-admin"])
def test_no_sentence_in_a_list_of_commands_is_cut(program: click.Group, width: str) -> None:
    for way in sections(program):
        shown = CliRunner().invoke(program, [*way, "-h"], env={"COLUMNS": width}).output
        assert "..." not in shown.partition("Commands:")[2].replace("...]", ""), shown
