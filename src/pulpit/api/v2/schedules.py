"""Schedules: automatic syncs of an importer or publishes of a distributor; the same resource below either."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr
from sqlalchemy import Connection

from pulpit import intervals
from pulpit.api.endpoints import Document, Endpoints
from pulpit.api.redaction import SECRET_KEYS, masked, merged
from pulpit.api.services import CREATED, OK, Asking, Provided, Services, returns
from pulpit.api.v2.importers import repository_changed
from pulpit.api.v2.models import V2, Config
from pulpit.clock import iso
from pulpit.errors import InvalidValue, MissingResource
from pulpit.store import repositories, schedules
from pulpit.store.database import Transaction
from pulpit.store.repositories import Distributor, Importer
from pulpit.store.schedules import Schedule
from pulpit.tasks.schedules import coming_slot, first_slot, resource
from pulpit.text import MASK

_MOST: Final = 2**31 - 1

_SCHEDULED_TASKS: Final = {
    schedules.SYNC: "pulp.server.tasks.repository.sync_with_auto_publish",
    schedules.PUBLISH: "pulp.server.tasks.repository.publish",
}
"""Pulp 2's names; unused here."""


class NewSchedule(BaseModel):
    """A new schedule; other keys are rejected, as in Pulp 2."""

    model_config = ConfigDict(extra="forbid")
    schedule: StrictStr
    override_config: Config | None = None
    failure_threshold: StrictInt | None = None
    enabled: StrictBool = True


class ScheduleChanges(BaseModel):
    """A change of a schedule; an absent key is unchanged."""

    model_config = ConfigDict(extra="forbid")
    schedule: StrictStr | None = None
    override_config: Config | None = None
    failure_threshold: StrictInt | None = None
    enabled: StrictBool | None = None


class ScheduleDocument(Document):
    """A schedule."""

    id: str = Field(alias="_id")
    href: str = Field(alias="_href")
    schedule: str
    enabled: bool
    failure_threshold: int | None
    consecutive_failures: int
    first_run: str
    last_run: str | None
    last_run_at: str | None
    next_run: str
    remaining_runs: int | None
    total_run_count: int
    last_updated: float
    args: list[str]
    kwargs: dict[str, Any]
    resource: str
    task: str


class Schedules:
    """The schedules of one kind of plugin; `find` rejects a missing repository or plugin."""

    def __init__(self, action: str, find: Callable[[Connection, str, str], Importer | Distributor]) -> None:
        self._action: Final = action
        self._find: Final = find

    def router(self, plugins: str) -> Endpoints:
        """Return the routes, below the plugins' path segment."""
        action = self._action
        prefix = f"/repositories/{{repo_id}}/{plugins}/{{plugin_id}}/schedules/{action}"
        made = Endpoints(prefix=prefix, tags=["schedules"])
        every, one = "/", "/{schedule_id}/"
        for method, path, verb, endpoint, responses in (
            ("GET", every, "list", self.list_all, returns(OK, list[ScheduleDocument], 404)),
            ("POST", every, "create", self.create, returns(CREATED, ScheduleDocument, 400, 404)),
            ("GET", one, "read", self.read, returns(OK, ScheduleDocument, 404)),
            ("PUT", one, "update", self.update, returns(OK, ScheduleDocument, 400, 404)),
            ("DELETE", one, "delete", self.delete, returns(OK, None, 404)),
        ):
            name = f"{verb}_{action}_schedule{'s' if endpoint == self.list_all else ''}"
            made.api_route(path, methods=[method], operation_id=name, responses=responses)(endpoint)
        return made

    def list_all(self, repo_id: str, plugin_id: str, services: Provided) -> JSONResponse:
        """List the schedules, oldest first."""
        with services.database.read() as connection:
            self._find(connection, repo_id, plugin_id)
            found = schedules.of_plugin(connection, repo_id, self._action, plugin_id)
        return JSONResponse([_document(schedule) for schedule in found])

    def create(self, repo_id: str, plugin_id: str, body: NewSchedule, services: Provided, user: Asking) -> JSONResponse:
        """Create a schedule; without a start, or with a start in the past, it first runs at once."""
        interval = intervals.parse(body.schedule)
        _check_threshold(body.failure_threshold)
        now = services.clock()
        first = first_slot(interval, now=now)
        new = schedules.NewSchedule(
            repo_id=repo_id,
            action=self._action,
            plugin_id=plugin_id,
            schedule=body.schedule,
            override_config=_override({}, body.override_config or {}),
            principal_login=user.login,
            enabled=body.enabled,
            failure_threshold=body.failure_threshold,
            first_run=first,
            next_run=coming_slot(interval, first, total_run_count=0, now=now),
            remaining_runs=interval.runs,
        )
        with services.database.write() as tx:
            self._check_override(self._find(tx.connection, repo_id, plugin_id), new.override_config, services)
            document = _document(schedules.add(tx, new, now=now))
            self._announce(tx, repo_id, plugin_id, services)
        return JSONResponse(document, CREATED, {"Location": document["_href"]})

    def read(self, repo_id: str, plugin_id: str, schedule_id: str, services: Provided) -> JSONResponse:
        """Show one schedule."""
        with services.database.read() as connection:
            return JSONResponse(_document(self._get(connection, repo_id, plugin_id, schedule_id)))

    def update(
        self, repo_id: str, plugin_id: str, schedule_id: str, body: ScheduleChanges, services: Provided
    ) -> JSONResponse:
        """Change the given values; enabling a schedule again resets its count of failures."""
        _check_threshold(body.failure_threshold)
        with services.database.write() as tx:
            found = self._get(tx.connection, repo_id, plugin_id, schedule_id)
            now = services.clock()
            columns = _changes(found, body, now)
            if "override_config" in columns:
                plugin = self._find(tx.connection, repo_id, plugin_id)
                self._check_override(plugin, columns["override_config"], services)
            changed = schedules.change(tx, found.id, last_updated=now, **columns)
            self._announce(tx, repo_id, plugin_id, services)
        return JSONResponse(_document(changed))

    def delete(self, repo_id: str, plugin_id: str, schedule_id: str, services: Provided) -> JSONResponse:
        """Delete a schedule; a task that it queued continues."""
        with services.database.write() as tx:
            schedules.remove(tx, self._get(tx.connection, repo_id, plugin_id, schedule_id).id)
            self._announce(tx, repo_id, plugin_id, services)
        return JSONResponse(None)

    def _check_override(self, plugin: Importer | Distributor, override: dict[str, Any], services: Services) -> None:
        """Reject an override that would be invalid, or ignored, at each run."""
        if not override:
            return
        config = {**plugin.config, **override}
        if isinstance(plugin, Importer):
            services.plugins.check_importer_config(plugin.importer_type_id, config)
        else:
            services.plugins.check_distributor_config(plugin.distributor_type_id, config)

    def _announce(self, tx: Transaction, repo_id: str, plugin_id: str, services: Services) -> None:
        owner = "importer" if self._action == schedules.SYNC else f"distributors.{plugin_id}"
        repository_changed(tx, repo_id, [f"{owner}.schedules"], services)

    def _get(self, connection: Connection, repo_id: str, plugin_id: str, schedule_id: str) -> Schedule:
        self._find(connection, repo_id, plugin_id)
        found = schedules.get(connection, schedule_id)
        if (found.repo_id, found.action, found.plugin_id) != (repo_id, self._action, plugin_id):
            raise MissingResource(schedule_id=schedule_id)
        return found


def _check_threshold(threshold: int | None) -> None:
    if threshold is not None and not 0 < threshold <= _MOST:
        raise InvalidValue("failure_threshold", f"it must be a whole number from 1 to {_MOST}.")


def _override(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Replace the override, keeping masked secrets."""
    kept = {key: value for key, value in old.items() if new.get(key) == MASK}
    return merged(kept, new, SECRET_KEYS, property_name="override_config")


def _changes(found: Schedule, body: ScheduleChanges, now: datetime) -> dict[str, Any]:
    """Return the columns that an update changes; a null threshold removes it, other nulls change nothing."""
    columns: dict[str, Any] = {}
    if "failure_threshold" in body.model_fields_set:
        columns["failure_threshold"] = body.failure_threshold
    if body.override_config is not None:
        columns["override_config"] = _override(found.override_config, body.override_config)
    if body.enabled is not None:
        columns["enabled"] = body.enabled
    if body.schedule is not None:
        interval = intervals.parse(body.schedule)
        columns |= {"schedule": body.schedule, "remaining_runs": interval.runs}
        columns["first_run"] = first_slot(interval, now=now)
    return columns | _consequences(found, columns, now)


def _consequences(found: Schedule, columns: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Return further changes that follow from a new interval, or from enabling a disabled schedule."""
    begins_again = columns.get("enabled", False) and not found.enabled
    if begins_again and columns.get("remaining_runs", found.remaining_runs) == 0:
        raise InvalidValue("enabled", "all its runs are used up; give it a new schedule too.")
    if not begins_again and "schedule" not in columns:
        return {}
    interval = intervals.parse(columns.get("schedule", found.schedule))
    first = columns.get("first_run", found.first_run)
    following = {"next_run": coming_slot(interval, first, total_run_count=found.total_run_count, now=now)}
    return following | ({"consecutive_failures": 0} if begins_again else {})


def _document(value: Schedule) -> dict[str, Any]:
    """Return a schedule; the original client reads `last_run`, but was sent `last_run_at`."""
    kind, args = (
        ("importers", [value.repo_id])
        if value.action == schedules.SYNC
        else ("distributors", [value.repo_id, value.plugin_id])
    )
    return {
        "_id": value.id,
        "_href": f"{V2}/repositories/{value.repo_id}/{kind}/{value.plugin_id}/schedules/{value.action}/{value.id}/",
        "schedule": value.schedule,
        "enabled": value.enabled,
        "failure_threshold": value.failure_threshold,
        "consecutive_failures": value.consecutive_failures,
        "first_run": iso(value.first_run),
        "last_run": iso(value.last_run_at),
        "last_run_at": iso(value.last_run_at),
        "next_run": iso(value.next_run),
        "remaining_runs": value.remaining_runs,
        "total_run_count": value.total_run_count,
        "last_updated": value.last_updated.timestamp(),
        "args": args,
        "kwargs": {"overrides": masked(value.override_config, SECRET_KEYS)},
        "resource": resource(value),
        "task": _SCHEDULED_TASKS[value.action],
    }


SYNCS: Final = Schedules(schedules.SYNC, repositories.importer)
PUBLISHES: Final = Schedules(schedules.PUBLISH, repositories.distributor)

router: Final = Endpoints.of(SYNCS.router("importers"), PUBLISHES.router("distributors"))
