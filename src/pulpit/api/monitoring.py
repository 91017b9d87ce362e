"""Monitoring endpoints: liveness, readiness, Prometheus metrics, and the state of the embedded broker."""

import asyncio
import contextlib
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from fastapi import Response
from fastapi.responses import JSONResponse
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from pulpit.api.endpoints import Endpoints
from pulpit.api.services import OK, Provided, Services, returns
from pulpit.clock import iso_micro
from pulpit.errors import DatabaseUnavailable, MissingResource
from pulpit.pulp3.progress import Progress

health: Final = Endpoints(prefix="/health", include_in_schema=False)

READY_PATIENCE_S: Final = 3.0
"""Less than `pulpit health` waits."""
_UNAVAILABLE: Final = 503


@health.get("/live")
async def read_live() -> JSONResponse:
    """Report that requests are served; without a response, restart the server."""
    return JSONResponse({"status": "live"})


@health.get("/ready")
async def read_ready(services: Provided) -> JSONResponse:
    """Report whether the database responds in time and events are delivered; 503 if not, or if the server drains."""
    database, delivery = False, services.delivering()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(READY_PATIENCE_S):
            database = await asyncio.to_thread(database_is_up, services)
    status = "draining" if services.draining() else "ready" if database and delivery else "not ready"
    body = {"status": status, "database": database, "delivery": delivery}
    return JSONResponse(body, OK if status == "ready" else _UNAVAILABLE)


def database_is_up(services: Services) -> bool:
    """Whether the database responds."""
    try:
        with services.database.read() as connection:
            connection.execute(text("SELECT 1"))
    except (SQLAlchemyError, DatabaseUnavailable):
        return False
    return True


metrics: Final = Endpoints(include_in_schema=False)


@metrics.get("/metrics")
def read_metrics(services: Provided) -> Response:
    """Return the metrics in Prometheus' text format."""
    from pulpit.api.metrics import CONTENT_TYPE, rendered  # noqa: PLC0415 - many servers are never scraped

    return Response(rendered(services), media_type=CONTENT_TYPE)


broker: Final = Endpoints(prefix="/broker", tags=["broker"])


@broker.get("", responses=returns(OK, dict[str, Any], 404))
def read_broker(services: Provided) -> dict[str, Any]:
    """Show the embedded broker: memory, rates, queues, exchanges, bindings and connections.

    Sizes are bytes, rates messages per second over the last second. 404 if the events go to an external broker.
    """
    if services.broker_status is None:
        raise MissingResource(broker="embedded")
    return services.broker_status()


pulp3: Final = Endpoints(prefix="/pulp3", tags=["pulp3"])


@pulp3.get("", responses=returns(OK, list[dict[str, Any]]))
def list_pulp3(services: Provided) -> list[dict[str, Any]]:
    """Show the state of each Pulp 3 that events come from; `name` is empty for the one of `[pulp3]`."""
    return [_shown(pulp) for pulp in services.pulps]


def _shown(pulp: Progress) -> dict[str, Any]:
    times = {key: iso_micro(value) for key, value in asdict(pulp).items() if isinstance(value, datetime)}
    return asdict(pulp) | {"state": pulp.state.value} | times
