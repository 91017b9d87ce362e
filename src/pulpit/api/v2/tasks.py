"""Tasks: what is waiting, running and done."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, Response

from pulpit.api import criteria
from pulpit.api.criteria import Criteria, words
from pulpit.api.endpoints import NO_CONTENT, OK, Provided, answers
from pulpit.api.models import SearchBody, TaskReport
from pulpit.api.services import Services
from pulpit.errors import InvalidValue, PulpitError
from pulpit.store import tasks
from pulpit.tasks import queue
from pulpit.tasks.reports import task_report

router: Final = APIRouter(prefix="/tasks", tags=["tasks"])

PURGEABLE: Final = frozenset({tasks.FINISHED, tasks.ERROR, tasks.SKIPPED})
_ALWAYS: Final = ("id", "_id", "_href")
"""Shown whatever `fields` says: the original client sorts what it finds by `id`."""

Tags = Annotated[list[str] | None, Query(max_length=criteria.MOST_WORDS)]


class UnpurgeableState(InvalidValue):
    """A state that tasks cannot be purged by."""

    code = "PLP1011"


class PurgeWithoutState(PulpitError):
    """A purge must say which states it means."""

    status = 403
    code = "PLP1012"


@router.post("/search/", operation_id="search_tasks", responses=answers(OK, list[TaskReport], 400))
def search_tasks(body: SearchBody, services: Provided) -> JSONResponse:
    """Find tasks by Pulp 2's criteria."""
    wanted = criteria.parse(body.criteria)
    states, tags = _narrowing(body.criteria.get("filters"))
    by_id, newest_first = _order(wanted)
    with services.database.read() as connection:
        found = tasks.each(connection, states=states, tags=tags, newest_first=newest_first)
        reports = by_id.select(_listed(task) for task in found)
    return JSONResponse([wanted.trimmed(report, _ALWAYS) for report in reports])


@router.get("/", operation_id="list_tasks", responses=answers(OK, list[TaskReport], 400))
def list_tasks(services: Provided, tag: Tags = None) -> JSONResponse:
    """List the tasks that have all of the tags, oldest first."""
    with services.database.read() as connection:
        return JSONResponse([_listed(task) for task in tasks.search(connection, tags=tag or ())])


@router.get("/{task_id}/", operation_id="read_task", responses=answers(OK, TaskReport, 404))
def read_task(task_id: str, services: Provided) -> JSONResponse:
    """Show one task with its progress."""
    with services.database.read() as connection:
        return JSONResponse(task_report(tasks.get(connection, task_id)))


@router.delete("/{task_id}/", operation_id="cancel_task", responses=answers(OK, None, 404))
def cancel_task(task_id: str, services: Provided) -> JSONResponse:
    """Cancel a task, not those that it spawned; one that has ended stays as it is."""
    with services.database.write() as tx:
        queue.cancel(tx, task_id, clock=services.clock)
    return JSONResponse(None)


@router.delete("/", operation_id="purge_tasks", status_code=204, responses=answers(NO_CONTENT, None, 400, 403))
def purge_tasks(services: Provided, state: Annotated[list[str] | None, Query()] = None) -> Response:
    """Delete the ended tasks of the given states."""
    if not state:
        raise PurgeWithoutState("A purge needs at least one state.")
    unknown = sorted(set(state) - PURGEABLE)
    if unknown:
        raise UnpurgeableState("state", f"tasks in {', '.join(unknown)} cannot be purged.")
    _purge(services, state)
    return Response(status_code=NO_CONTENT)


def _purge(services: Services, states: Iterable[str]) -> None:
    with services.database.write() as tx:
        tasks.purge(tx, list(states))


def _listed(task: tasks.Task) -> dict[str, Any]:
    """A report as lists show it: without the queue."""
    return {key: value for key, value in task_report(task).items() if key != "queue"}


def _order(wanted: Criteria) -> tuple[Criteria, bool]:
    """The criteria without an order that the database keeps by itself, and whether that begins with the newest."""
    if wanted.sort in ([("id", 1)], [("id", -1)]):
        return replace(wanted, sort=[]), wanted.sort[0][1] < 0
    return wanted, False


def _narrowing(filters: object) -> tuple[list[str] | None, list[str]]:
    """What the database can look for itself: plain states and tags at the top of a filter."""
    if not isinstance(filters, dict):
        return None, []
    states = words(filters.get("state"), "$in")
    unwanted = words(filters.get("state"), "$nin")
    if states is None and unwanted is not None:
        states = [state for state in tasks.STATES if state not in unwanted]
    return states, words(filters.get("tags"), "$all") or []
