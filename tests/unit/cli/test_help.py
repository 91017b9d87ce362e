"""Every command of both programs has a help text."""

import click
import pytest
from click.testing import CliRunner

from pulpit.admin.main import root
from pulpit.cli.main import pulpit
from support.command_tables import commands

PROGRAMS = {"pulp-admin": root, "pulpit": pulpit}
COMMANDS = [words for name, program in PROGRAMS.items() for words, _ in commands(program, (name,))]


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_explains_itself(words: str) -> None:
    program, *command = words.split()
    asked = CliRunner().invoke(PROGRAMS[program], [*command, "--help"])
    assert asked.exit_code == 0
    assert f"Usage: {program}" in asked.output
    sentence = asked.output.split("\n\n")[1].strip()
    assert sentence[0].isupper()
    assert "." in sentence


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_a_group_lists_its_commands_with_a_sentence_each(program: click.Group) -> None:
    listed = CliRunner().invoke(program, ["-h"]).output.partition("Commands:")[2]
    context = click.Context(program)
    for name in program.list_commands(context):
        command = program.get_command(context, name)
        assert f"  {name} " in listed
        assert command
        sentence = command.get_short_help_str(limit=1000)
        assert sentence
        assert sentence == program.commands[name].get_short_help_str(limit=1000)  # as the list has it
