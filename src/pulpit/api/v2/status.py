"""The state of the server, readable without authentication, and the installed types."""

from collections.abc import Collection
from typing import Any, Final

from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from pulpit import __version__
from pulpit.api.endpoints import Document, Endpoints
from pulpit.api.monitoring import database_is_up
from pulpit.api.services import OK, Provided, Services, returns
from pulpit.api.v2.models import V2
from pulpit.clock import iso
from pulpit.errors import MissingResource

_status_router: Final = Endpoints(tags=["status"])

PLATFORM_VERSION: Final = "2.21.5"
"""The last release of Pulp 2, whose API this is; scripts compare it."""


class Connected(Document):
    """Whether a part can be reached."""

    connected: bool


class StatusDocument(Document):
    """The state of the server."""

    api_version: str
    versions: dict[str, str]
    database_connection: Connected
    messaging_connection: Connected
    known_workers: list[dict[str, str]]


@_status_router.get("/status/", responses={200: {"model": StatusDocument}})
async def read_status(services: Provided) -> JSONResponse:
    """Show whether database and broker can be reached, and which workers exist."""
    workers = [
        {"_id": worker.name, "_ns": "workers", "last_heartbeat": iso(worker.last_heartbeat)}
        for worker in services.workers()
    ]
    document = {
        "api_version": "2",
        "versions": {"platform_version": PLATFORM_VERSION, "pulpit_version": __version__},
        "database_connection": {"connected": await run_in_threadpool(database_is_up, services)},
        "messaging_connection": {"connected": await services.reach_messaging()},
        "known_workers": workers,
    }
    return JSONResponse(document)


_types: Final = Endpoints(tags=["plug-ins"])

_LIST: Final = returns(OK, list[dict[str, Any]])
_ONE: Final = returns(OK, dict[str, Any], 404)


@_types.get("/plugins/types/", responses=_LIST)
def list_types(services: Provided) -> JSONResponse:
    """List the types of units by id."""
    return JSONResponse([_type(type_id) for type_id in services.plugins.unit_types])


@_types.get("/content/types/", responses=_LIST)
def list_content_types(services: Provided) -> JSONResponse:
    """List where each type of units is described, by id."""
    types = services.plugins.unit_types
    return JSONResponse([{"content_type": type_id, "_href": f"{V2}/content/types/{type_id}/"} for type_id in types])


@_types.get("/plugins/types/{type_id}/", responses=_ONE)
@_types.get("/content/types/{type_id}/", operation_id="read_content_type", responses=_ONE)
def read_type(type_id: str, services: Provided) -> JSONResponse:
    """Show one type of units."""
    if type_id not in services.plugins.unit_types:
        raise MissingResource(content_type_id=type_id)
    return JSONResponse(_type(type_id))


@_types.get("/plugins/importers/", responses=_LIST)
def list_importer_types(services: Provided) -> JSONResponse:
    """List the types of importers by id."""
    return JSONResponse(list(_importers(services).values()))


@_types.get("/plugins/importers/{type_id}/", responses=_ONE)
def read_importer_type(type_id: str, services: Provided) -> JSONResponse:
    """Show one type of importers."""
    return JSONResponse(_named(_importers(services), "importer_type_id", type_id))


@_types.get("/plugins/distributors/", responses=_LIST)
def list_distributor_types(services: Provided) -> JSONResponse:
    """List the types of distributors by id."""
    return JSONResponse(list(_distributors(services).values()))


@_types.get("/plugins/distributors/{type_id}/", responses=_ONE)
def read_distributor_type(type_id: str, services: Provided) -> JSONResponse:
    """Show one type of distributors."""
    return JSONResponse(_named(_distributors(services), "distributor_type_id", type_id))


def _type(type_id: str) -> dict[str, Any]:
    return {
        "id": type_id,
        "display_name": type_id,
        "description": "",
        "referenced_types": [],
        "_href": f"{V2}/plugins/types/{type_id}/",
        "_ns": "content_types",
    }


def _importers(services: Services) -> dict[str, dict[str, Any]]:
    return {
        type_id: _plugin("importers", type_id, content_type.unit_type_ids)
        for type_id, content_type in sorted(services.content_types.items())
        if type_id == content_type.importer_type_id
    }


def _distributors(services: Services) -> dict[str, dict[str, Any]]:
    return {
        type_id: _plugin("distributors", type_id, content_type.unit_type_ids)
        for type_id, content_type in sorted(services.content_types.items())
        if type_id in content_type.distributor_type_ids
    }


def _named(found: dict[str, dict[str, Any]], kind: str, type_id: str) -> dict[str, Any]:
    if type_id not in found:
        raise MissingResource(**{kind: type_id})
    return found[type_id]


def _plugin(kind: str, type_id: str, unit_types: Collection[str]) -> dict[str, Any]:
    href = f"{V2}/plugins/{kind}/{type_id}/"
    return {"id": type_id, "display_name": type_id, "types": sorted(unit_types), "_href": href}


router: Final = Endpoints.of(_status_router, _types)
