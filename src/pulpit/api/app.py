"""Puts everything that is served over HTTP together: the REST API, and the published trees beside it."""

import asyncio
from collections.abc import Iterable
from types import ModuleType
from typing import Final

from fastapi import APIRouter, FastAPI

from pulpit import __version__
from pulpit.api import description, failures, health, metrics
from pulpit.api.auth.login import Authenticator
from pulpit.api.middleware import Authenticate, BoundBody, CollapseSlashes
from pulpit.api.services import Services
from pulpit.api.v1 import broker, dead_letters, listeners, schemas
from pulpit.api.v1 import events as event_log
from pulpit.api.v2 import (
    actions,
    content_units,
    distributors,
    events,
    history,
    importers,
    login,
    orphans,
    plugins,
    repositories,
    roles,
    schedules,
    status,
    tasks,
    units,
    uploads,
    users,
)
from pulpit.published.access import AccessRules
from pulpit.published.serving import PublishedFiles

V2: Final = "/pulp/api/v2"
V1: Final = "/pulpit/v1"

_RESOURCES: Final = (
    login,
    events,
    tasks,
    actions,
    history,
    importers,
    distributors,
    schedules,
    units,
    uploads,
    orphans,
    content_units,
    plugins,
    users,
    roles,
    repositories,
)
_OWN: Final = (listeners, dead_letters, event_log, schemas, broker)
_BEYOND: Final = "Beyond Pulp 2: an operator's verbs, the event log, and events from elsewhere."


def create_app(services: Services) -> FastAPI:
    """Make the ASGI application; it opens nothing by itself and may be made many times."""
    app = FastAPI(
        title="Pulpit",
        version=__version__,
        openapi_url=None,  # there are two documents, one for each API
        docs_url=None,  # FastAPI's page would fetch its scripts from a foreign network
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.services = services
    failures.install(app)
    _add_gates(app, services)
    _add_published(app, services)  # first, so that a file is not looked for among all endpoints
    app.include_router(metrics.router)
    app.include_router(health.router)
    description.install(app, _api(V2, _RESOURCES, status.router), "Pulp 2's REST API v2.")
    description.install(app, _api(V1, _OWN), _BEYOND)
    return app


def _add_published(app: FastAPI, services: Services) -> None:
    rules = AccessRules(services.database, services.clock, services.exposure, sleep=asyncio.sleep)
    for kind in sorted({content_type.published_under for content_type in services.content_types.values()}):
        app.mount(f"/pulp/{kind}", PublishedFiles(services.data_dir, kind, rules))


def _add_gates(app: FastAPI, services: Services) -> None:
    """Build the gates from the inside out: the last one added is passed first."""
    app.add_middleware(BoundBody)
    authenticator = Authenticator(services.database, services.certificates, sleep=asyncio.sleep)
    app.add_middleware(Authenticate, authenticator=authenticator)
    app.add_middleware(CollapseSlashes)


def _api(prefix: str, resources: Iterable[ModuleType], *open_to_all: APIRouter) -> APIRouter:
    api = APIRouter(prefix=prefix)
    for router in open_to_all:
        api.include_router(router)
    for resource in resources:
        api.include_router(resource.router)
    return api
