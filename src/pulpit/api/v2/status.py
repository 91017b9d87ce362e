"""Whether the server is well; may be asked without logging in."""

from typing import Any, Final

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from pulpit import __version__
from pulpit.api.endpoints import Provided
from pulpit.api.health import database_answers
from pulpit.api.models import StatusDocument
from pulpit.api.services import Services
from pulpit.clock import iso

router: Final = APIRouter(tags=["status"])

PLATFORM_VERSION: Final = "2.21.5"
"""The last release of Pulp 2, whose API this is; scripts compare it."""


@router.get("/status/", operation_id="read_status", responses={200: {"model": StatusDocument}})
def read_status(services: Provided) -> JSONResponse:
    """Tell whether database and broker can be reached, and which workers there are."""
    return JSONResponse(_document(services))


def _document(services: Services) -> dict[str, Any]:
    workers = [
        {"_id": worker.name, "_ns": "workers", "last_heartbeat": iso(worker.last_heartbeat)}
        for worker in services.workers()
    ]
    return {
        "api_version": "2",
        "versions": {"platform_version": PLATFORM_VERSION, "pulpit_version": __version__},
        "database_connection": {"connected": database_answers(services)},
        "messaging_connection": {"connected": services.messaging_connected()},
        "known_workers": workers,
    }
