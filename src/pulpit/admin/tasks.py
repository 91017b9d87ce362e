"""`tasks`: the tasks of the server; `repo tasks` shows those of one repository."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import click

from pulpit.admin.grammar import TABLE, Command, Group
from pulpit.admin.session import Session, with_session
from pulpit.client.failures import WrongData, WrongUse
from pulpit.client.server import path_of

FIELDS: Final = ("tags", "task_id", "state", "start_time", "finish_time", "worker_name")
ACTIVE: Final = ("running", "waiting")
PURGEABLE: Final = ("finished", "skipped", "error")

_WORDS: Final = {"finished": "Successful", "error": "Failed", "canceled": "Cancelled"}
_STATES: Final = ("waiting", "accepted", "running", "suspended", "finished", "error", "canceled", "skipped")
_SYNONYMS: Final = {"successful": "finished", "failed": "error", "cancelled": "canceled"}
_TAG_PARTS: Final = 3
_COLUMNS: Final = ("task_id", "state", "operations", "resources", "start_time", "finish_time")

TASK_ID: Final = click.option("--task-id", required=True, help="The task's id.")


@click.group("tasks", cls=Group)
def tasks() -> None:
    """The tasks of the server."""


@tasks.command("list")
@click.option("--all", "everything", is_flag=True, help="Also those that have ended.")
@click.option("--state", "states", help="Only these states, separated by commas, such as successful,failed.")
@TABLE
@with_session
def list_tasks(session: Session, /, *, everything: bool, states: str | None) -> None:
    """List the running and waiting tasks."""
    if everything and states is not None:
        raise WrongUse("--all and --state exclude each other.")
    criteria: dict[str, Any] = {"fields": list(FIELDS)}
    if not everything:
        wanted = _state_words(states) if states is not None else list(ACTIVE)
        criteria["filters"] = {"state": {"$in": wanted}, "group_id": None}
    show_tasks(session, session.server.post(path_of("tasks", "search"), {"criteria": criteria}))


@click.command("details", cls=Command)
@TASK_ID
@with_session
def details(session: Session, /, *, task_id: str) -> None:
    """Show everything of one task."""
    task = session.server.get(path_of("tasks", task_id))
    more = {key: task.get(key) for key in ("progress_report", "result", "error")}
    session.screen.show(task, [{**summary(task), **more}])


@click.command("cancel", cls=Command)
@TASK_ID
@with_session
def cancel(session: Session, /, *, task_id: str) -> None:
    """Ask the server to cancel a task."""
    answer = session.server.delete(path_of("tasks", task_id))
    session.screen.succeeded("The task is being cancelled.", answer)


@tasks.command("purge")
@click.option("--all", "everything", is_flag=True, help="All that have ended.")
@click.option("--state", "states", help="Those in these states, separated by commas: successful, failed, skipped.")
@with_session
def purge(session: Session, /, *, everything: bool, states: str | None) -> None:
    """Delete tasks that have ended."""
    if everything == (states is not None):
        raise WrongUse("Give either --all or --state.")
    wanted = list(PURGEABLE) if states is None else _state_words(states)
    answer = session.server.delete(path_of("tasks"), {"state": wanted})
    session.screen.succeeded("The tasks were deleted.", answer)


for group_command in (details, cancel):
    tasks.add_command(group_command)


def show_tasks(session: Session, found: Iterable[Mapping[str, Any]]) -> None:
    """Show a list of tasks, the oldest first."""
    ordered = sorted(found, key=lambda task: str(task.get("id") or ""))
    session.screen.show(found, map(summary, ordered), _COLUMNS, nothing="There are no such tasks.")


def summary(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return the most important fields of a task."""
    tags = [str(tag).split(":", 2) for tag in task.get("tags") or ()]
    named = [(parts[1], parts[2]) for parts in tags if len(parts) == _TAG_PARTS]
    state = str(task.get("state"))
    return {
        "operations": ", ".join(name for kind, name in named if kind == "action"),
        "resources": ", ".join(f"{name} ({kind})" for kind, name in named if kind != "action"),
        "state": _WORDS.get(state, state.capitalize()),
        "start_time": task.get("start_time") or "Unstarted",
        "finish_time": task.get("finish_time") or "Incomplete",
        "task_id": task.get("task_id"),
        "worker_name": task.get("worker_name"),
    }


def _state_words(text: str) -> list[str]:
    words = [_SYNONYMS.get(word.strip(), word.strip()) for word in text.split(",")]
    unknown = [word for word in words if word not in _STATES]
    if unknown:
        raise WrongData(f"--state: there is no state {', '.join(map(repr, unknown))}.")
    return words
