"""`copy` and `remove`: units into a repository and out of it, the same for every kind of repository."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import click

from pulpit.admin.commands.choosing import CHOICE, chosen, is_choice
from pulpit.admin.commands.repo import REPO_ID, complete_repository
from pulpit.admin.commands.repository_work import BACKGROUND
from pulpit.admin.following import spawned
from pulpit.admin.grammar import Group
from pulpit.admin.session import Session, with_session
from pulpit.client.failures import WrongUse
from pulpit.client.server import path_of

Kinds = Iterable[tuple[str, Sequence[str], str]]
"""The word of a command, the types of units that it is about, and what people call them."""

_FROM: Final = click.option(
    "-f", "--from-repo-id", required=True, help="The repository that has them.", shell_complete=complete_repository
)
_TO: Final = click.option(
    "-t", "--to-repo-id", required=True, help="The repository that gets them.", shell_complete=complete_repository
)


def copy_group(kinds: Kinds) -> click.Group:
    """The section `copy`."""
    group = Group("copy", help="Copy what another repository holds; nothing is downloaded again.")
    for name, type_ids, people in kinds:
        group.add_command(_copy(name, type_ids, f"Copy {people} of another repository: all, or those that you choose."))
    return group


def remove_group(kinds: Kinds) -> click.Group:
    """The section `remove`."""
    group = Group("remove", help="Take something out of a repository; it stays as an orphan.")
    for name, type_ids, people in kinds:
        group.add_command(_remove(name, type_ids, f"Take {people} out of a repository: those that you choose."))
    return group


def _copy(name: str, type_ids: Sequence[str], summary: str) -> click.Command:
    @click.command(name, cls=Group.command_class, help=summary)
    @_FROM
    @_TO
    @CHOICE
    @BACKGROUND
    @with_session
    def copy(session: Session, /, *, from_repo_id: str, to_repo_id: str, in_background: bool, **choice: Any) -> None:
        criteria = {"type_ids": list(type_ids), "filters": chosen(choice)}
        body = {"source_repo_id": from_repo_id, "criteria": criteria, "override_config": {}}
        report = session.server.post(path_of("repositories", to_repo_id, "actions", "associate"), body)
        _follow(session, report, "copied", in_background=in_background)

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
        _follow(session, report, "removed", in_background=in_background)

    return remove


def _follow(session: Session, report: Any, done: str, *, in_background: bool) -> None:
    """Wait for the end and tell how many units it was about."""
    if in_background:
        session.follow_report(report, in_background=True)
        return
    ended = session.watch(spawned(report))
    if session.screen.as_json:
        session.screen.data(ended)
    else:
        count = sum(len((task.get("result") or {}).get("units_successful", ())) for task in ended)
        session.screen.say(f"{count} unit{'' if count == 1 else 's'} {done}.")
