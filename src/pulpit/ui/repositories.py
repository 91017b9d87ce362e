"""Repositories: content, importer and distributors, schedules, and the history of syncs and publishes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import Response

from pulpit.api.v2 import distributors, importers, schedules
from pulpit.api.v2 import repositories as v2
from pulpit.api.v2 import tasks as v2_tasks
from pulpit.api.v2.models import PublishOrder, SyncOrder
from pulpit.api.v2.schedules import NewSchedule, ScheduleChanges
from pulpit.errors import InvalidValue
from pulpit.store import history, repositories, tasks, units
from pulpit.store import schedules as stored_schedules
from pulpit.store.history import Record
from pulpit.store.units import Unit
from pulpit.ui import charts
from pulpit.ui.listeners import order, whole
from pulpit.ui.rendering import query, span
from pulpit.ui.tasks import title
from pulpit.ui.visits import Visit, done

PAGE: Final = 50
UNITS: Final = 50
RUNS: Final = 60
"""Syncs, and publishes, in the chart of durations."""
LISTED: Final = 10
CHART_WIDTH: Final = 600.0
_KINDS: Final = {history.SYNC: schedules.SYNCS, history.PUBLISH: schedules.PUBLISHES}
_TONES: Final = {"success": "good", "failed": "bad", "error": "bad", "canceled": "odd", "skipped": "odd"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Runs:
    """The latest syncs or publishes, newest first, and a bar for each, oldest first."""

    records: Sequence[Record]
    bars: Sequence[charts.Bar]
    longest: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """A unit as lists show it."""

    unit: Unit
    name: str
    size: int


def show_all(visit: Visit) -> Response:
    """Show a page of repositories by id."""
    wanted = visit.asked("q")
    page = visit.page_number
    with visit.services.database.read() as connection:
        every = repositories.every(connection)
        found = [repository for repository in every if wanted.casefold() in repository.id.casefold()]
        shown = found[(page - 1) * PAGE : page * PAGE]
        parts = v2.Parts(importers=True)
        items = [v2.show(connection, repo_id=repository.id, parts=parts)[0] for repository in shown]
        running = {str(task.arguments.get("repo_id")) for task in tasks.search(connection, states=[tasks.RUNNING])}
    return visit.page(
        "repositories.html",
        title="Repositories",
        items=items,
        total=len(found),
        running=running,
        wanted=wanted,
        **visit.neighbours(page, {"q": wanted}, is_last=len(found) <= page * PAGE),
    )


def show(visit: Visit) -> Response:
    repo_id, wanted, after = visit.path("id"), visit.asked("q"), visit.asked("after")
    with visit.services.database.read() as connection:
        [document] = v2.show(connection, repo_id=repo_id)
        held = units.held_like(connection, repo_id, wanted, after=after, limit=UNITS + 1)
        syncs = history.of_repository(connection, repo_id, history.SYNC, limit=RUNS)
        publishes = history.of_repository(connection, repo_id, history.PUBLISH, limit=RUNS)
        of_repository = tasks.search(
            connection, states=[tasks.WAITING, tasks.RUNNING], tags=[f"pulp:repository:{repo_id}"]
        )
        planned = stored_schedules.of_repository(connection, repo_id)
        found_importers = repositories.importers_of(connection, repo_id)
        found_distributors = repositories.distributors_of(connection, repo_id)
    return visit.page(
        "repository.html",
        title=f"Repository {repo_id}",
        repository=document,
        importers=[importers.importer_document(importer) for importer in found_importers],
        distributors=[distributors.distributor_document(distributor) for distributor in found_distributors],
        content=[_content(unit.unit) for unit in held[:UNITS]],
        wanted=wanted,
        more=query({"q": wanted, "after": held[UNITS - 1].unit.id}) if len(held) > UNITS else "",
        is_first=not after,
        syncs=_runs(syncs),
        publishes=_runs(publishes),
        tasks=[(task, title(task)) for task in of_repository[:LISTED]],
        schedules=planned,
        listed=LISTED,
    )


def sync(visit: Visit) -> Response:
    v2_tasks.sync_repository(visit.path("id"), SyncOrder(), visit.services, visit.asking, visit.rights)
    return done(f"/repositories/{visit.path('id')}", "synced")


def publish(visit: Visit) -> Response:
    body = PublishOrder(id=visit.form.text("distributor"))
    v2_tasks.publish_repository(visit.path("id"), body, visit.services, visit.asking, visit.rights)
    return done(f"/repositories/{visit.path('id')}", "published")


def add_schedule(visit: Visit) -> Response:
    """Add a schedule for syncs, or for publishes by one distributor."""
    action, _, plugin_id = visit.form.text("what").partition(" ")
    if action not in _KINDS:
        raise InvalidValue("what", "it must be a sync or a publish.")
    threshold = whole("failure_threshold", visit.form.text("failure_threshold"))
    body = order(NewSchedule, schedule=visit.form.text("schedule"), failure_threshold=threshold)
    _KINDS[action].create(visit.path("id"), plugin_id, body, visit.services, visit.asking)
    return done(f"/repositories/{visit.path('id')}", "schedule")


def change_schedule(visit: Visit) -> Response:
    """Enable, disable or delete a schedule."""
    repo_id, schedule_id, verb = visit.path("id"), visit.path("schedule_id"), visit.form.text("do")
    with visit.services.database.read() as connection:
        schedule = stored_schedules.get(connection, schedule_id)
    kind = _KINDS[schedule.action]
    if verb == "delete":
        kind.delete(repo_id, schedule.plugin_id, schedule_id, visit.services)
        return done(f"/repositories/{repo_id}", "schedule-deleted")
    changes = ScheduleChanges(enabled=verb == "enable")
    kind.update(repo_id, schedule.plugin_id, schedule_id, changes, visit.services)
    return done(f"/repositories/{repo_id}", "schedule-changed")


def _runs(records: Sequence[Record]) -> Runs:
    """Return each record with a bar of its duration."""
    seconds = [(record.completed - record.started).total_seconds() if record.completed else 0.0 for record in records]
    labels = [
        f"{record.started:%Y-%m-%d %H:%M} UTC: {record.result}, {span(length)}"
        for record, length in zip(records, seconds, strict=True)
    ]
    kinds = [_TONES.get(record.result or "", "") for record in records]
    empty = RUNS - len(records)
    drawn = charts.bars(
        [*[0.0] * empty, *reversed(seconds)],
        [*[""] * empty, *reversed(labels)],
        width=CHART_WIDTH,
        gap=2.0,
        kinds=[*[""] * empty, *reversed(kinds)],
    )
    return Runs(records=records[:LISTED], bars=drawn, longest=max(seconds, default=0.0))


def _content(unit: Unit) -> Content:
    return Content(unit=unit, name=_name(unit.key), size=sum(file.size for file in unit.files))


def _name(key: Mapping[str, Any]) -> str:
    """Return the name of a unit: name, version, release and architecture, or its key."""
    if "name" in key:
        version = "-".join(str(key[part]) for part in ("version", "release") if key.get(part))
        return " ".join(filter(None, (str(key["name"]), version, str(key.get("arch") or ""))))
    return " ".join(str(value) for value in key.values() if value is not None)
