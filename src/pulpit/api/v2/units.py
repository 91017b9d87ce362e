"""Units of a repository: search, copy to another one, remove."""

from typing import Final

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from pulpit.api import unit_search
from pulpit.api.endpoints import OK, QUEUED, Asking, Provided, answers, queued
from pulpit.api.models import CopyOrder, UnitDocument, UnitSearchBody
from pulpit.store import repositories
from pulpit.tasks import queue

router: Final = APIRouter(prefix="/repositories/{repo_id}", tags=["units"])


@router.post("/search/units/", operation_id="search_units", responses=answers(OK, list[UnitDocument], 400, 404))
def search_units(repo_id: str, body: UnitSearchBody, services: Provided) -> JSONResponse:
    """Find units by Pulp 2's criteria, which judge the unit and its association separately."""
    wanted = unit_search.parse(body.criteria)
    with services.database.read() as connection:
        repositories.get(connection, repo_id)
        return JSONResponse(unit_search.find(connection, repo_id, wanted))


@router.post("/actions/associate/", operation_id="copy_units", status_code=202, responses=QUEUED)
def copy_units(repo_id: str, body: CopyOrder, services: Provided, user: Asking) -> JSONResponse:
    """Queue the copying of units from another repository; they are chosen now."""
    wanted = unit_search.parse(body.criteria)
    source = body.source_repo_id
    with services.database.read() as connection:
        repositories.get(connection, repo_id)
        repositories.get(connection, source)
        chosen = unit_search.find_ids(connection, source, wanted)
    with services.database.write() as tx:
        task = queue.copy_units(tx, repo_id, source, chosen, login=user.login, clock=services.clock)
    return queued(task)


@router.post("/actions/unassociate/", operation_id="remove_units", status_code=202, responses=QUEUED)
def remove_units(repo_id: str, body: UnitSearchBody, services: Provided, user: Asking) -> JSONResponse:
    """Queue the removal of units; they are chosen now."""
    wanted = unit_search.parse(body.criteria)
    with services.database.read() as connection:
        repositories.get(connection, repo_id)
        chosen = unit_search.find_ids(connection, repo_id, wanted)
    with services.database.write() as tx:
        task = queue.remove_units(tx, repo_id, chosen, login=user.login, clock=services.clock)
    return queued(task)
