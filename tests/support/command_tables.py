"""The options of the commands as tables of docs/commands.md.

`python tests/support/command_tables.py` writes the tables of the page again; a test holds page and code together.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import click

from pulpit.admin.main import root
from pulpit.cli.demo import demo
from pulpit.cli.fire import fire
from pulpit.cli.importing import import_export
from pulpit.cli.listen import listen
from pulpit.cli.local import check, copy_database, doctor, export, health, install_service, worker
from pulpit.cli.main import completion
from pulpit.cli.on import on
from pulpit.cli.pulp3 import pulp3
from pulpit.cli.tail import tail

PAGE: Final = Path(__file__).parents[2] / "docs" / "commands.md"
_SECTION: Final = re.compile(
    r"(?P<start><!-- options of: (?P<name>[^>]*) -->\n)(?P<table>.*?)(?P<end><!-- end -->\n)", re.DOTALL
)


def commands(
    command: click.Command = root, path: tuple[str, ...] = ("pulp-admin",)
) -> Iterator[tuple[str, click.Command]]:
    """Every command that can be run, with its words."""
    if not isinstance(command, click.Group):
        yield " ".join(path), command
        return
    context = click.Context(command)
    for name in sorted(command.list_commands(context)):
        found = command.get_command(context, name)
        assert found
        yield from commands(found, (*path, name))


def command_of(words: Iterable[str], command: click.Command = root) -> click.Command:
    """The command of these words of pulp-admin, as far as they name one."""
    for word in words:
        if not isinstance(command, click.Group):
            break
        found = command.get_command(click.Context(command), word)
        assert found, f"there is no {word}"
        command = found
    return command


def tables() -> dict[str, str]:
    """All tables by the command's words."""
    return {
        "pulp-admin": _table(root),
        **{words: _table(command, leave_out=("--json",)) for words, command in commands()},
        "listen.py": _table(listen),
        "pulpit check": _table(check),
        "pulpit completion": _table(completion),
        "pulpit copy-database": _table(copy_database),
        "pulpit demo": _table(demo),
        "pulpit doctor": _table(doctor),
        "pulpit export": _table(export),
        "pulpit fire": _table(fire),
        "pulpit health": _table(health),
        "pulpit import": _table(import_export),
        "pulpit install-service": _table(install_service),
        "pulpit on": _table(on),
        **{words: _table(command) for words, command in commands(pulp3, ("pulpit", "pulp3"))},
        "pulpit tail": _table(tail),
        "pulpit worker": _table(worker),
    }


def on_page(text: str) -> dict[str, str]:
    """The tables that a page has, by the command's words."""
    return {found["name"]: found["table"] for found in _SECTION.finditer(text)}


def _table(command: click.Command, leave_out: tuple[str, ...] = ()) -> str:
    context = click.Context(command)
    rows = [
        f"| `{_names(parameter, context)}` | {_meaning(parameter)} |\n"
        for parameter in command.params
        if not set(leave_out) & set(parameter.opts) and not getattr(parameter, "hidden", False)
    ]
    return "".join(["| option | meaning |\n|---|---|\n", *rows]) if rows else "No options but `--json`.\n"


def _names(parameter: click.Parameter, context: click.Context) -> str:
    names = ", ".join(parameter.opts) if isinstance(parameter, click.Option) else ""
    takes_value = not (isinstance(parameter, click.Option) and parameter.is_flag)
    return f"{names} {parameter.make_metavar(context) if takes_value else ''}".strip().replace("|", "\\|")


def _meaning(parameter: click.Parameter) -> str:
    if not isinstance(parameter, click.Option):
        return "**Required.**"
    default = f" [default: {parameter.default}]" if parameter.show_default and parameter.default else ""
    text = ("**Required.** " if parameter.required else "") + (parameter.help or "").replace("  [", " [") + default
    return text.replace("|", "\\|").replace("*", "\\*").replace("\\*\\*Required.\\*\\*", "**Required.**")


def main() -> None:
    made = tables()
    text = PAGE.read_text()
    PAGE.write_text(_SECTION.sub(lambda found: f"{found['start']}{made.get(found['name'], '')}{found['end']}", text))
    absent = made.keys() - on_page(text).keys()
    sys.exit(f"not on the page: {sorted(absent)}" if absent else 0)


if __name__ == "__main__":
    main()
