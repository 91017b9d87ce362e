"""Units of a repository: selecting, copying and removing them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import click

from pulpit.admin.grammar import BACKGROUND, Group, filters_of
from pulpit.admin.repo import REPO_ID, complete_repository
from pulpit.admin.session import Session, spawned, with_session
from pulpit.client.failures import WrongData, WrongUse
from pulpit.client.options import with_options
from pulpit.client.server import path_of

Clause = dict[str, Any]

_COMPARISONS: Final = ("gt", "gte", "lt", "lte")
_WORDS: Final = {"gt": "more than", "gte": "at least", "lt": "less than", "lte": "at most"}

CONDITIONS: Final = with_options(
    click.option("--filters", help="Pulp 2's filters as JSON, instead of the options below."),
    click.option("--str-eq", multiple=True, metavar="KEY=TEXT", help="Only with this text, such as name=bear."),
    click.option("--int-eq", multiple=True, metavar="KEY=NUMBER", help="Only with this number."),
    click.option("--in", "any_of", multiple=True, metavar="KEY=A,B", help="Only with one of these texts."),
    click.option("--match", multiple=True, metavar="KEY=REGEX", help="Only where the regular expression is found."),
    click.option("--not", "unlike", multiple=True, metavar="KEY=REGEX", help="Only where it is not found."),
    *(
        click.option(f"--{name}", multiple=True, metavar="KEY=VALUE", help=f"Only with {_WORDS[name]} this.")
        for name in _COMPARISONS
    ),
)
CHOICE: Final = with_options(
    CONDITIONS,
    click.option("--after", metavar="TIME", help="Only units added to the repository since (ISO 8601)."),
    click.option("--before", metavar="TIME", help="Only units added to the repository until then."),
)


def conditions(options: Mapping[str, Any], *further: Clause) -> Clause:
    """Return one filter from the options of `CONDITIONS` and further conditions; `--filters` replaces all of them.

    Raises:
        WrongData: an option is not `key=value`, not a number where one is needed, or not JSON.
    """
    if options["filters"] is not None:
        filters: Clause = filters_of(options["filters"])
        return filters
    return _all_of(
        [*further, *(clause for name, make in _CLAUSES.items() for clause in _each(name, options[name], make))]
    )


def chosen(options: Mapping[str, Any], *further: Clause) -> dict[str, Any]:
    """Return the filters of a search for units, from the options of `CHOICE` and further conditions.

    Raises:
        WrongData: as above.
    """
    found: dict[str, Any] = {"unit": conditions(options, *further)}
    if options["filters"] is not None:
        return found
    bounds = {"$gte": options["after"], "$lte": options["before"]}
    association = [{"created": {sign: moment}} for sign, moment in bounds.items() if moment is not None]
    return {**found, "association": _all_of(association)} if association else found


def is_choice(options: Mapping[str, Any]) -> bool:
    """Whether any of the options of `CHOICE` was used."""
    return any(value not in (None, ()) for value in options.values())


def _all_of(clauses: list[Clause]) -> Clause:
    if len(clauses) > 1:
        return {"$and": clauses}
    return clauses[0] if clauses else {}


def _each(name: str, pairs: tuple[str, ...], make: Callable[[str], Any]) -> list[Clause]:
    clauses = []
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise WrongData(f"--{_SPELT.get(name, name.replace('_', '-'))} must look like key=value, not {pair!r}.")
        clauses.append({key: make(value)})
    return clauses


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise WrongData(f"--int-eq needs a whole number, not {text!r}.") from None


def _comparison(name: str) -> Callable[[str], Clause]:
    return lambda text: {f"${name}": int(text) if text.removeprefix("-").isdecimal() else text}


_SPELT: Final = {"any_of": "in", "unlike": "not"}
_CLAUSES: Final[dict[str, Callable[[str], Any]]] = {
    "str_eq": str,
    "int_eq": _number,
    "any_of": lambda text: {"$in": text.split(",")},
    "match": lambda text: {"$regex": text},
    "unlike": lambda text: {"$not": text},
    **{name: _comparison(name) for name in _COMPARISONS},
}


Kinds = Iterable[tuple[str, Sequence[str], str]]
"""The name of a command, its types of units, and their name in texts."""

_FROM: Final = click.option(
    "-f", "--from-repo-id", required=True, help="The repository that has them.", shell_complete=complete_repository
)
_TO: Final = click.option(
    "-t", "--to-repo-id", required=True, help="The repository that gets them.", shell_complete=complete_repository
)


def copy_group(kinds: Kinds, *, recursive: bool = False) -> click.Group:
    """Return the section `copy`; `recursive` if related units can be copied too."""
    group = Group("copy", help="Copy what another repository holds; nothing is downloaded again.")
    for name, type_ids, people in kinds:
        command = _copy(name, type_ids, f"Copy {people} of another repository: all, or a selection.")
        if recursive:
            command.params[2:2] = [
                click.Option(
                    ["-r", "--recursive"], is_flag=True, help="Also what belongs to them or is required by them."
                ),
                click.Option(
                    ["--recursive-conservative"], is_flag=True, help="The same, except for what the target has already."
                ),
            ]
        group.add_command(command)
    return group


def remove_group(kinds: Kinds) -> click.Group:
    """Return the section `remove`."""
    group = Group("remove", help="Remove units from a repository; they stay as orphans.")
    for name, type_ids, people in kinds:
        group.add_command(_remove(name, type_ids, f"Remove selected {people} from a repository."))
    return group


def _copy(name: str, type_ids: Sequence[str], summary: str) -> click.Command:
    @click.command(name, cls=Group.command_class, help=summary)
    @_FROM
    @_TO
    @CHOICE
    @BACKGROUND
    @with_session
    def copy(session: Session, /, *, from_repo_id: str, to_repo_id: str, in_background: bool, **choice: Any) -> None:
        options = {name: True for name in ("recursive", "recursive_conservative") if choice.pop(name, False)}
        criteria = {"type_ids": list(type_ids), "filters": chosen(choice)}
        body = {"source_repo_id": from_repo_id, "criteria": criteria, "override_config": options}
        report = session.server.post(path_of("repositories", to_repo_id, "actions", "associate"), body)
        _follow_units(session, report, "copied", in_background=in_background)

    return copy


def _remove(name: str, type_ids: Sequence[str], summary: str) -> click.Command:
    @click.command(name, cls=Group.command_class, help=summary)
    @REPO_ID
    @click.option("--all", "everything", is_flag=True, help="All of them.")
    @CHOICE
    @BACKGROUND
    @with_session
    def remove(session: Session, /, *, repo_id: str, everything: bool, in_background: bool, **choice: Any) -> None:
        if everything == is_choice(choice):
            raise WrongUse("Give either --all or at least one option that chooses, such as --str-eq.")
        body = {"criteria": {"type_ids": list(type_ids), "filters": chosen(choice)}}
        report = session.server.post(path_of("repositories", repo_id, "actions", "unassociate"), body)
        _follow_units(session, report, "removed", in_background=in_background)

    return remove


def _follow_units(session: Session, report: Any, done: str, *, in_background: bool) -> None:
    """Wait for the end and report the number of units."""
    if in_background:
        session.follow_report(report, in_background=True)
        return
    ended = session.watch(spawned(report))
    if session.screen.as_json:
        session.screen.data(ended)
    else:
        count = sum(len((task.get("result") or {}).get("units_successful", ())) for task in ended)
        session.screen.say(f"{count} unit{'' if count == 1 else 's'} {done}.")
