"""The HTTP application: the REST API, its descriptions, the publications."""

import asyncio
from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from pulpit import __version__
from pulpit.api import failures, monitoring, package_uploads
from pulpit.api.auth.login import Authenticator
from pulpit.api.auth.rights import ADMIN
from pulpit.api.endpoints import Endpoints
from pulpit.api.listeners import config_schema
from pulpit.api.middleware import OPEN_PATHS, Authenticate, BoundBody, CleanAddress, HeadAsGet, PublishedFirst
from pulpit.api.services import Services
from pulpit.api.v1 import changes, consumers, events, firing, hooks, publications, tokens
from pulpit.api.v1 import listeners as listeners_v1
from pulpit.api.v2 import (
    distributors,
    importers,
    listeners,
    repositories,
    repository_groups,
    schedules,
    status,
    tasks,
    units,
    uploads,
    users,
)
from pulpit.api.v2.models import V2
from pulpit.delivery.notifiers.kinds import NotifierTypes
from pulpit.published.access import AccessRules
from pulpit.published.serving import PublishedFiles

V1: Final = "/pulpit/v1"
_V2_ROUTERS: Final = tuple(
    module.router
    for module in (
        status,
        users,
        listeners,
        tasks,
        importers,
        distributors,
        schedules,
        units,
        uploads,
        repositories,
        repository_groups,
    )
)
_V1_ROUTERS: Final = (
    listeners_v1.router,
    events.router,
    changes.router,
    publications.router,
    firing.router,
    tokens.router,
    consumers.router,
    hooks.router,
    monitoring.broker,
    monitoring.pulp3,
)
_BEYOND: Final = "Beyond Pulp 2: an operator's verbs, the event log, and events from elsewhere."


class Application(FastAPI):
    """The API, with publications in front of it: these bypass FastAPI, whose middleware would cost a third more."""

    published: PublishedFirst
    outermost: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the application for its path."""
        await self.outermost(scope, receive, send)


def create_app(services: Services) -> Application:
    """Create the ASGI application; it opens nothing itself and may be created many times."""
    app = Application(
        title="Pulpit",
        version=__version__,
        openapi_url=None,  # there is one document for each API
        docs_url=None,  # FastAPI's page loads its scripts from a CDN
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.services = services
    failures.install(app)
    # Innermost first: the last one added sees a request first.
    app.add_middleware(BoundBody)
    pulp_users = None
    if services.pulp_api:
        from pulpit.api.auth.pulp_users import PulpUsers  # noqa: PLC0415 - only needed with a Pulp 3

        pulp_users = PulpUsers(services.pulp_api, services.clock, role=ADMIN)
    authenticator = Authenticator(
        services.database, lambda: services.certificates, services.clock, sleep=asyncio.sleep, pulp_users=pulp_users
    )
    app.add_middleware(Authenticate, authenticator=authenticator)
    app.add_middleware(HeadAsGet)
    app.state.authenticator = authenticator  # for the page, so that failed logins are counted together
    rules = AccessRules(services.database, services.clock, services.exposure, sleep=asyncio.sleep)
    published = {
        content_type.published_under: PublishedFiles(
            services.publications,
            content_type.published_under,
            rules,
            respelled=content_type.respelled,
            derived=content_type.derived,
        )
        for content_type in services.content_types.values()
    }
    app.published = PublishedFirst(partial(FastAPI.__call__, app), published)
    app.outermost = CleanAddress(app.published)
    app.router.routes += [*package_uploads.router.endpoints, *hooks.receiver.endpoints]
    app.router.routes += [*monitoring.metrics.endpoints, *monitoring.health.endpoints]
    _install(app, V2, _V2_ROUTERS, "Pulp 2's REST API v2.", partial(_describe_listeners, services.listener_types))
    _install(app, V1, _V1_ROUTERS, _BEYOND)
    return app


_NEVER = "422"
_ITS_SCHEMAS = ("HTTPValidationError", "ValidationError")


def _install(
    app: FastAPI,
    prefix: str,
    routers: Iterable[Endpoints],
    about: str,
    complete: Callable[[dict[str, Any]], None] = lambda _document: None,
) -> None:
    """Serve an API and its description; the document is generated at the first request."""
    routes = [endpoint.at(prefix) for router in routers for endpoint in router.endpoints]

    @cache
    def described() -> dict[str, Any]:
        document = _description([route.analysed for route in routes], about)
        complete(document)
        return document

    description = Endpoints(include_in_schema=False)

    @description.get(f"{prefix}/openapi.json")
    def read_description() -> JSONResponse:
        return JSONResponse(described())

    app.router.routes += [*description.endpoints, *routes]


def _describe_listeners(kinds: NotifierTypes, document: dict[str, Any]) -> None:
    """Say what `notifier_config` may be, for every kind of listener that this server has."""
    schemas = document["components"]["schemas"]
    named = {f"NotifierConfig-{registered.kind.id}": config_schema(registered.kind) for registered in kinds.registered}
    schemas |= named
    references = [{"$ref": f"#/components/schemas/{name}"} for name in named]
    schemas["NewListener"]["properties"]["notifier_config"] = {"anyOf": [*references, {"type": "null"}]}


def _description(routes: list[APIRoute], about: str) -> dict[str, Any]:
    """Generate the OpenAPI document of one API."""
    document = get_openapi(title="Pulpit", version=__version__, description=about, routes=routes)
    # Declared here instead of by FastAPI's security dependencies, which also check credentials, and accept only ASCII
    # passwords.
    schemes = {"HTTPBasic": "basic", "HTTPBearer": "bearer"}
    document["components"]["securitySchemes"] = {name: {"type": "http", "scheme": schemes[name]} for name in schemes}
    for path, methods in document["paths"].items():
        for operation in methods.values():
            operation["responses"].pop(_NEVER, None)
            if path not in OPEN_PATHS:
                operation["security"] = [{name: []} for name in schemes]
    for name in _ITS_SCHEMAS:
        document["components"]["schemas"].pop(name, None)
    return document
