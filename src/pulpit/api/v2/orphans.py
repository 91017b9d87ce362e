"""Orphans: units that no repository holds."""

from typing import Any, Final

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from sqlalchemy import ColumnElement, Connection, RowMapping, func, select

from pulpit.api.documents import V2
from pulpit.api.endpoints import OK, QUEUED, Asking, Provided, answers, queued
from pulpit.api.models import Counted
from pulpit.api.services import Services
from pulpit.errors import MissingResource
from pulpit.store.schema import associations, units
from pulpit.store.users import User
from pulpit.tasks import queue

router: Final = APIRouter(prefix="/content/orphans", tags=["orphans"])


@router.get("/", operation_id="count_orphans", responses=answers(OK, dict[str, Counted]))
def count_orphans(services: Provided) -> JSONResponse:
    """Count the orphans of every type there is, also those of which there are none."""
    counted = select(units.c.type_id, func.count().label("orphans")).where(_orphaned()).group_by(units.c.type_id)
    with services.database.read() as connection:
        counts = {row.type_id: row.orphans for row in connection.execute(counted)}
    shown = sorted({*services.plugins.unit_types, *counts})
    return JSONResponse({name: {"count": counts.get(name, 0), "_href": _href(name)} for name in shown})


@router.get("/{type_id}/", operation_id="list_orphans", responses=answers(OK, list[dict[str, Any]], 404))
def list_orphans(type_id: str, services: Provided) -> JSONResponse:
    """List the orphans of one type by what makes each itself."""
    _check_type(type_id, services)
    with services.database.read() as connection:
        return JSONResponse([_document(row) for row in _orphans(connection, type_id)])


@router.get("/{type_id}/{unit_id}/", operation_id="read_orphan", responses=answers(OK, dict[str, Any], 404))
def read_orphan(type_id: str, unit_id: str, services: Provided) -> JSONResponse:
    """Show one orphan."""
    with services.database.read() as connection:
        return JSONResponse(_document(_orphan(connection, type_id, unit_id)))


@router.delete("/", operation_id="remove_orphans", status_code=202, responses=QUEUED)
def remove_orphans(services: Provided, user: Asking) -> JSONResponse:
    """Queue the removal of all orphans."""
    return _queue(None, None, services, user)


@router.delete("/{type_id}/", operation_id="remove_orphans_of_type", status_code=202, responses=QUEUED)
def remove_orphans_of_type(type_id: str, services: Provided, user: Asking) -> JSONResponse:
    """Queue the removal of all orphans of one type."""
    _check_type(type_id, services)
    return _queue(type_id, None, services, user)


@router.delete("/{type_id}/{unit_id}/", operation_id="remove_orphan", status_code=202, responses=QUEUED)
def remove_orphan(type_id: str, unit_id: str, services: Provided, user: Asking) -> JSONResponse:
    """Queue the removal of one orphan."""
    with services.database.read() as connection:
        _orphan(connection, type_id, unit_id)
    return _queue(type_id, unit_id, services, user)


def _queue(type_id: str | None, unit_id: str | None, services: Services, user: User) -> JSONResponse:
    with services.database.write() as tx:
        return queued(queue.remove_orphans(tx, type_id, unit_id, login=user.login, clock=services.clock))


def _check_type(type_id: str, services: Services) -> None:
    if type_id not in services.plugins.unit_types:
        raise MissingResource(content_type_id=type_id)


def _orphaned() -> ColumnElement[bool]:
    return ~select(associations.c.unit_id).where(associations.c.unit_id == units.c.id).exists()


def _orphans(connection: Connection, type_id: str) -> list[RowMapping]:
    wanted = select(units.c.id, units.c.type_id, units.c.key).where(_orphaned() & (units.c.type_id == type_id))
    return list(connection.execute(wanted.order_by(units.c.id)).mappings())


def _orphan(connection: Connection, type_id: str, unit_id: str) -> RowMapping:
    wanted = select(units.c.id, units.c.type_id, units.c.key).where(
        _orphaned() & (units.c.type_id == type_id) & (units.c.id == unit_id)
    )
    found = connection.execute(wanted).mappings().one_or_none()
    if found is None:
        raise MissingResource(content_type_id=type_id, content_unit_id=unit_id)
    return found


def _document(row: RowMapping) -> dict[str, Any]:
    unit_id, type_id = row["id"], row["type_id"]
    return {**row["key"], "_id": unit_id, "_content_type_id": type_id, "_href": f"{_href(type_id)}{unit_id}/"}


def _href(type_id: str) -> str:
    return f"{V2}/content/orphans/{type_id}/"
