"""Syncs and publishes: queued as tasks, shown while they wait and run, and kept as history."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Final

from fastapi import Depends, Query
from fastapi.responses import JSONResponse, Response

from pulpit.api import criteria
from pulpit.api.auth.rights import Rights, Verb
from pulpit.api.criteria import words
from pulpit.api.endpoints import Endpoints
from pulpit.api.redaction import checked_override
from pulpit.api.services import NO_CONTENT, OK, QUEUED, Allowed, Asking, Provided, QueriedCriteria, queued, returns
from pulpit.api.v2.models import PublishOrder, SearchBody, SyncOrder, TaskReport
from pulpit.content import access
from pulpit.errors import InvalidValue, MissingResource, PulpitError, UnsupportedValue
from pulpit.store import history, repositories, tasks
from pulpit.store.history import Record
from pulpit.store.tasks import Task
from pulpit.tasks import queue
from pulpit.tasks.reports import history_report, task_report

_actions: Final = Endpoints(prefix="/repositories/{repo_id}/actions", tags=["actions"])


@_actions.post("/sync/", responses=QUEUED)
def sync_repository(repo_id: str, body: SyncOrder, services: Provided, user: Asking, rights: Allowed) -> JSONResponse:
    """Queue a sync; automatic publishes follow."""
    if body.override_config:  # may name another feed
        rights.check_admin("override_config")
    with services.database.write() as tx:
        importer = repositories.importer(tx.connection, repo_id)
        check = partial(services.plugins.check_importer_config, importer.importer_type_id)
        override = checked_override(importer.config, body.override_config, check)
        task = queue.sync(tx, repo_id, override, login=user.login, clock=services.clock)
    return queued(task)


@_actions.post("/publish/", responses=QUEUED)
def publish_repository(
    repo_id: str, body: PublishOrder, services: Provided, user: Asking, rights: Allowed
) -> JSONResponse:
    """Queue a publish by one distributor."""
    if body.override_config:
        rights.check_admin("override_config")
    with services.database.write() as tx:
        distributor = repositories.distributor(tx.connection, repo_id, body.id)
        own = sorted({access.LOGIN, access.PASSWORD} & (body.override_config or {}).keys())
        if own:
            raise UnsupportedValue(own)  # access rules come from the distributor only
        check = partial(services.plugins.check_distributor_config, distributor.distributor_type_id)
        override = checked_override(distributor.config, body.override_config, check)
        task = queue.publish(tx, repo_id, body.id, override, login=user.login, clock=services.clock)
    return queued(task)


_tasks: Final = Endpoints(prefix="/tasks", tags=["tasks"])

PURGEABLE: Final = frozenset({tasks.FINISHED, tasks.ERROR, tasks.SKIPPED})
_ALWAYS: Final = ("id", "_id", "_href")
"""Included whatever `fields` says: the original client sorts results by `id`."""

Tags = Annotated[list[str] | None, Query(max_length=criteria.MOST_WORDS)]


class UnpurgeableState(InvalidValue):
    """Tasks in this state cannot be purged."""

    code = "PLP1011"


class PurgeWithoutState(PulpitError):
    """A purge must name the states."""

    status = 403
    code = "PLP1012"


@_tasks.get("/search/", responses=returns(OK, list[dict[str, Any]], 400))
def query_tasks(queried: QueriedCriteria, services: Provided) -> JSONResponse:
    """Find tasks by criteria in the query."""
    return search_tasks(SearchBody(criteria=queried), services)


@_tasks.post("/search/", responses=returns(OK, list[TaskReport], 400))
def search_tasks(body: SearchBody, services: Provided) -> JSONResponse:
    """Find tasks by Pulp 2's criteria."""
    wanted = criteria.parse(body.criteria)
    states, tags = _narrowing(body.criteria.get("filters"))
    order_of_ids = wanted.sort in ([("id", 1)], [("id", -1)])  # the database's own order
    newest_first = order_of_ids and wanted.sort[0][1] < 0
    selection = replace(wanted, sort=[]) if order_of_ids else wanted
    with services.database.read() as connection:
        found = tasks.each(connection, states=states, tags=tags, newest_first=newest_first)
        reports = selection.select(_listed(task) for task in found)
    return JSONResponse([wanted.trimmed(report, _ALWAYS) for report in reports])


@_tasks.get("/", responses=returns(OK, list[TaskReport], 400))
def list_tasks(services: Provided, tag: Tags = None) -> JSONResponse:
    """List the tasks that have all of the tags, oldest first."""
    with services.database.read() as connection:
        return JSONResponse([_listed(task) for task in tasks.search(connection, tags=tag or ())])


@_tasks.get("/{task_id}/", responses=returns(OK, TaskReport, 404))
def read_task(task_id: str, services: Provided, rights: Allowed) -> JSONResponse:
    """Show one task with its progress."""
    with services.database.read() as connection:
        task = tasks.get(connection, task_id)
    if not _may_see(task, rights):
        raise MissingResource(resource_id=task_id)
    return JSONResponse(task_report(task))


def _may_see(task: Task, rights: Rights) -> bool:
    """Whether a task is about a repository that the user may read, sync or publish."""
    if rights.may(Verb.READ):
        return True
    repo_ids = [tag.removeprefix(queue.REPOSITORY_TAG) for tag in task.tags if tag.startswith(queue.REPOSITORY_TAG)]
    verbs = (Verb.READ, Verb.SYNC, Verb.PUBLISH)
    return bool(repo_ids) and all(any(rights.may(verb, repo_id) for verb in verbs) for repo_id in repo_ids)


@_tasks.delete("/{task_id}/", responses=returns(OK, None, 404))
def cancel_task(task_id: str, services: Provided) -> JSONResponse:
    """Cancel a task, but not those that it spawned; one that has ended is unchanged."""
    with services.database.write() as tx:
        queue.cancel(tx, task_id, clock=services.clock)
    return JSONResponse(None)


@_tasks.delete("/", responses=returns(NO_CONTENT, None, 400, 403))
def purge_tasks(services: Provided, state: Annotated[list[str] | None, Query()] = None) -> Response:
    """Delete the ended tasks of the given states."""
    if not state:
        raise PurgeWithoutState("A purge needs at least one state.")
    unknown = sorted(set(state) - PURGEABLE)
    if unknown:
        raise UnpurgeableState("state", f"tasks in {', '.join(unknown)} cannot be purged.")
    with services.database.write() as tx:
        tasks.purge(tx, state)
    return Response(status_code=NO_CONTENT)


def _listed(task: tasks.Task) -> dict[str, Any]:
    """Return a report as in lists: without the queue."""
    return {key: value for key, value in task_report(task).items() if key != "queue"}


def _narrowing(filters: object) -> tuple[list[str] | None, list[str]]:
    """Return the conditions for the database: plain states and tags at the top level of a filter."""
    if not isinstance(filters, dict):
        return None, []
    states = words(filters.get("state"), "$in")
    unwanted = words(filters.get("state"), "$nin")
    if states is None and unwanted is not None:
        states = [state for state in tasks.STATES if state not in unwanted]
    return states, words(filters.get("tags"), "$all") or []


_history: Final = Endpoints(prefix="/repositories/{repo_id}/history", tags=["history"])

_DIRECTIONS: Final = {"ascending": True, "descending": False}
_MOST_ENTRIES: Final = 2**31
_HISTORY_FORM: Final = (
    "limit is a whole number from 1, sort is ascending or descending, dates look like 2031-05-04T10:00:00Z."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _HistoryFilter:
    """Which entries, in which order."""

    limit: int | None
    ascending: bool
    since: datetime | None
    until: datetime | None


def _history_filter(
    *,
    limit: Annotated[str | None, Query(description="a whole number from 1")] = None,
    sort: Annotated[str, Query(description="`ascending` or `descending`, by time")] = "descending",
    start_date: Annotated[str | None, Query(description="ISO 8601; entries that started from then on")] = None,
    end_date: Annotated[str | None, Query(description="ISO 8601; entries that started up to then")] = None,
) -> _HistoryFilter:
    """Parse the query, and report all invalid parameters."""
    given = {"limit": limit, "sort": sort, "start_date": start_date, "end_date": end_date}
    readers: dict[str, Callable[[str], Any]] = {
        "limit": _limit,
        "sort": _DIRECTIONS.__getitem__,
        "start_date": _moment,
        "end_date": _moment,
    }
    read: dict[str, Any] = {}
    wrong = []
    for name, text in given.items():
        try:
            read[name] = None if text is None else readers[name](text)
        except (KeyError, ValueError, OverflowError):
            wrong.append(name)
    if wrong:
        raise InvalidValue(wrong, _HISTORY_FORM)
    return _HistoryFilter(limit=read["limit"], ascending=read["sort"], since=read["start_date"], until=read["end_date"])


HistoryFilter = Annotated[_HistoryFilter, Depends(_history_filter)]


@_history.get("/sync/", responses=returns(OK, list[dict[str, Any]], 400, 404))
def list_syncs(repo_id: str, services: Provided, wanted: HistoryFilter) -> JSONResponse:
    """List the syncs of a repository."""
    with services.database.read() as connection:
        repositories.get(connection, repo_id)
        found = history.of_repository(connection, repo_id, history.SYNC, **asdict(wanted))
    return JSONResponse([_entry(record) for record in found])


@_history.get("/publish/{distributor_id}/", responses=returns(OK, list[dict[str, Any]], 400, 404))
def list_publishes(repo_id: str, distributor_id: str, services: Provided, wanted: HistoryFilter) -> JSONResponse:
    """List the publishes of a repository by one distributor."""
    with services.database.read() as connection:
        repositories.distributor(connection, repo_id, distributor_id)
        found = history.of_repository(connection, repo_id, history.PUBLISH, plugin_id=distributor_id, **asdict(wanted))
    return JSONResponse([_entry(record) for record in found])


def _entry(record: Record) -> dict[str, Any]:
    return history_report(record) | {"_id": {"$oid": record.id}}


def _limit(text: str) -> int:
    count = int(text)
    if not 0 < count < _MOST_ENTRIES:
        raise ValueError(text)
    return count


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text.replace(" ", "+"))  # an unescaped plus sign in a query arrives as a blank
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


router: Final = Endpoints.of(_actions, _tasks, _history)
