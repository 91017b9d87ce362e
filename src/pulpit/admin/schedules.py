"""`sync schedules` and `publish schedules`: automatic runs, the same for every type of repository."""

from typing import Any, Final

import click

from pulpit import intervals
from pulpit.admin.grammar import NOTHING_TO_CHANGE, TABLE, Group, given
from pulpit.admin.repo import REPO_ID
from pulpit.admin.session import Session, with_session
from pulpit.client.server import path_of
from pulpit.errors import InvalidValue

_SHOWN: Final = ("id", "next_run", "enabled", "schedule", "last_run", "remaining_runs", "consecutive_failures")
_MORE: Final = ("failure_threshold", "first_run", "total_run_count")
_NEVER: Final = "Never"
_UNLIMITED: Final = "N/A"


class _IntervalType(click.ParamType[str]):
    """An ISO 8601 interval, checked before the server is contacted."""

    name = "interval"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Reject an invalid interval with the reason."""
        try:
            intervals.parse(value)
        except InvalidValue as error:
            self.fail(str(error).partition(": ")[2], param, ctx)
        return str(value)


_FORM: Final = (
    "[Rn/][start/]period in ISO 8601, such as P1D (daily, from now), 2031-01-01T03:00:00Z/P1D (daily at 3:00 UTC) or"
    " R5/PT6H (five times, every six hours); periods of months or years need a start."
)
_INTERVAL: Final = _IntervalType()
_THRESHOLD: Final = click.option(
    "-f", "--failure-threshold", type=click.IntRange(min=1), help="Disable it after so many failures in a row."
)
_SCHEDULE_ID: Final = click.option("--schedule-id", required=True, help="The schedule's id.")


def schedules_group(action: str, plugins: str, plugin_id: str) -> click.Group:
    """Return the section `schedules` of `sync` (of importers) or `publish` (of distributors)."""

    @click.group("schedules", cls=Group, help=f"Scheduled runs of a {action}.")
    def schedules() -> None:
        """Hold the commands."""

    def path(repo_id: str, *schedule_id: str) -> str:
        return path_of("repositories", repo_id, plugins, plugin_id, "schedules", action, *schedule_id)

    @schedules.command("list", help="List the schedules.")
    @REPO_ID
    @click.option(
        "--details", is_flag=True, help="Also show the failure threshold, the first run and the number of runs."
    )
    @TABLE
    @with_session
    def list_schedules(session: Session, /, *, repo_id: str, details: bool) -> None:
        _show(session, session.server.get(path(repo_id)), (*_SHOWN, *(_MORE if details else ())))

    @schedules.command("create", help="Create a schedule; without a start, or with one in the past, it starts at once.")
    @REPO_ID
    @click.option("-s", "--schedule", required=True, type=_INTERVAL, help=_FORM)
    @_THRESHOLD
    @with_session
    def create(session: Session, /, *, repo_id: str, **settings: Any) -> None:
        made = session.server.post(path(repo_id), {**settings, "override_config": {}, "enabled": True})
        session.screen.succeeded(f"Schedule {made.get('_id')} created; it runs at {made.get('next_run')}.", made)

    @schedules.command("update", help="Change a schedule; enabling it again resets its failures.")
    @REPO_ID
    @_SCHEDULE_ID
    @click.option("-s", "--schedule", type=_INTERVAL, help=_FORM)
    @_THRESHOLD
    @click.option("--enabled", type=click.BOOL, help="Whether it runs (true or false).")
    @with_session
    def update(session: Session, /, *, repo_id: str, schedule_id: str, **settings: Any) -> None:
        changes = given(**settings)
        if changes:
            changed = session.server.put(path(repo_id, schedule_id), changes)
            session.screen.succeeded(f"Schedule {schedule_id} updated.", changed)
        else:
            session.screen.warn(NOTHING_TO_CHANGE)

    @schedules.command("delete", help="Delete a schedule; a task that it started continues.")
    @REPO_ID
    @_SCHEDULE_ID
    @with_session
    def delete(session: Session, /, *, repo_id: str, schedule_id: str) -> None:
        answer = session.server.delete(path(repo_id, schedule_id))
        session.screen.succeeded(f"Schedule {schedule_id} deleted.", answer)

    @schedules.command("next", help=f"Show when the next scheduled {action} is due.")
    @REPO_ID
    @click.option("-q", "--quiet", is_flag=True, help="Print the time alone.")
    @with_session
    def show_next(session: Session, /, *, repo_id: str, quiet: bool) -> None:
        _show_next(session, session.server.get(path(repo_id)), f"{action} of {repo_id}", quiet=quiet)

    return schedules


def _show(session: Session, found: list[dict[str, Any]], keys: tuple[str, ...]) -> None:
    documents = []
    for schedule in found:
        document = {key: schedule.get("_id" if key == "id" else key) for key in keys}
        unset = [key for key, value in document.items() if value is None]
        documents.append(document | {key: _NEVER if key == "last_run" else _UNLIMITED for key in unset})
    session.screen.show(found, documents, nothing="There are no schedules.")


def _show_next(session: Session, found: list[dict[str, Any]], what: str, *, quiet: bool) -> None:
    coming = min(
        (schedule for schedule in found if schedule.get("enabled") and schedule.get("next_run")),
        key=lambda schedule: schedule["next_run"],
        default=None,
    )
    if session.screen.as_json:
        session.screen.data(coming)
    elif coming is None:
        session.screen.warn(f"No {what} is scheduled.")
    elif quiet:
        session.screen.say(coming["next_run"])
    else:
        session.screen.say(f"The next {what} is due at {coming['next_run']} (schedule {coming['schedule']}).")
