"""Units of one type, whichever repositories hold them, orphans too."""

from collections.abc import Iterable
from typing import Any, Final

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from sqlalchemy import Connection

from pulpit.api import criteria, unit_search
from pulpit.api.documents import V2
from pulpit.api.endpoints import OK, Provided, answers
from pulpit.api.models import ContentSearchBody
from pulpit.api.services import Services
from pulpit.errors import MissingResource
from pulpit.store import units

router: Final = APIRouter(prefix="/content/units/{type_id}", tags=["units"])

Document = dict[str, Any]
_ALWAYS: Final = ("_id", "_content_type_id", "_href", "repository_memberships")


@router.get("/", operation_id="list_content_units", responses=answers(OK, list[Document], 404))
def list_units(type_id: str, services: Provided) -> JSONResponse:
    """List the units of a type by id."""
    _check_type(type_id, services)
    with services.database.read() as connection:
        return JSONResponse(_with_repositories(connection, map(_document, units.of_type(connection, type_id))))


@router.post("/search/", operation_id="search_content_units", responses=answers(OK, list[Document], 400, 404))
def search_units(type_id: str, body: ContentSearchBody, services: Provided) -> JSONResponse:
    """Find units of a type by Pulp 2's criteria."""
    _check_type(type_id, services)
    wanted = criteria.parse(body.criteria)
    with services.database.read() as connection:
        found = [dict(one) for one in wanted.select(map(_document, units.of_type(connection, type_id)))]
        if body.include_repos:
            found = _with_repositories(connection, found)
    return JSONResponse([wanted.trimmed(document, _ALWAYS) for document in found])


@router.get("/{unit_id}/", operation_id="read_content_unit", responses=answers(OK, Document, 404))
def read_unit(type_id: str, unit_id: str, services: Provided) -> JSONResponse:
    """Show one unit."""
    _check_type(type_id, services)
    with services.database.read() as connection:
        found = units.get(connection, type_id, unit_id)
        return JSONResponse(_with_repositories(connection, [_document(found)])[0])


def _check_type(type_id: str, services: Services) -> None:
    if type_id not in services.plugins.unit_types:
        raise MissingResource(content_type_id=type_id)


def _document(unit: units.Unit) -> Document:
    return {**unit_search.unit_document(unit), "_href": f"{V2}/content/units/{unit.type_id}/{unit.id}/"}


def _with_repositories(connection: Connection, found: Iterable[Document]) -> list[Document]:
    listed = list(found)
    holders = units.holders(connection, [document["_id"] for document in listed])
    return [{**document, "repository_memberships": holders.get(document["_id"], [])} for document in listed]
