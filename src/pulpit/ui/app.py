"""The page as an ASGI application, mounted at `/ui`."""

from collections.abc import Callable
from typing import Any, Final

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pulpit.api.services import Services
from pulpit.ui import events, listeners, login, now, programs, publications, repositories, tasks, topics
from pulpit.ui.live import Live
from pulpit.ui.rendering import PREFIX, STATIC, render
from pulpit.ui.sessions import Sessions
from pulpit.ui.visits import SEE_OTHER, Site, endpoint

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
"""Content Security Policy: only files of the page itself; no inline scripts or styles."""
_HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_FILES: Final = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}
_YEAR: Final = "public, max-age=31536000, immutable"
_NOT_FOUND: Final = 404


def install(app: FastAPI, services: Services) -> Live:
    """Mount the page beside the REST API, sharing its authenticator.

    The returned object collects samples while it runs.
    """
    database = services.database
    live = Live(services, lambda drawn: now.panels(drawn, services))
    site = Site(
        services=services,
        authenticator=app.state.authenticator,
        sessions=Sessions(services.data_dir, services.clock, None if database.is_sqlite else database),
        live=live,
    )
    page = Starlette(routes=routes(), exception_handlers={HTTPException: _not_here})
    page.state.site = site
    app.mount(PREFIX, _Guarded(page))
    for path in ("/", PREFIX):
        app.add_route(path, lambda _: RedirectResponse(f"{PREFIX}/", SEE_OTHER), include_in_schema=False)
    return live


def routes() -> list[Route]:
    def look(path: str, handler: Callable[..., Any]) -> Route:
        return Route(path, endpoint(handler), methods=["GET"])

    def do(path: str, handler: Callable[..., Any]) -> Route:
        return Route(path, endpoint(handler, takes_form=True), methods=["POST"])

    def own(path: str, handler: Callable[..., Any]) -> Route:
        return Route(path, endpoint(handler, takes_form=True, is_theirs=True), methods=["POST"])

    return [
        Route("/static/{name}", _file, methods=["GET"]),
        Route("/login", endpoint(login.show, is_open=True), methods=["GET"]),
        Route("/login", endpoint(login.log_in, takes_form=True, is_open=True), methods=["POST"]),
        Route("/logout", endpoint(login.log_out, takes_form=True, is_open=True), methods=["POST"]),
        look("/", now.show),
        look("/stream", now.stream),
        look("/events/{number}", events.show),
        do("/events/{number}/send", listeners.send),
        look("/listeners", listeners.show_all),
        look("/listeners/new", listeners.show_new),
        do("/listeners/new", listeners.create),
        look("/listeners/{id}", listeners.show),
        look("/listeners/{id}/edit", listeners.show_edit),
        do("/listeners/{id}/edit", listeners.edit),
        do("/listeners/{id}/pause", listeners.pause),
        do("/listeners/{id}/resume", listeners.resume),
        do("/listeners/{id}/replay", listeners.replay),
        do("/listeners/{id}/test", listeners.test),
        do("/listeners/{id}/delete", listeners.delete),
        do("/listeners/{id}/letters", listeners.letters),
        look("/topics", topics.show),
        look("/repositories", repositories.show_all),
        look("/repositories/{id}", repositories.show),
        do("/repositories/{id}/sync", repositories.sync),
        do("/repositories/{id}/publish", repositories.publish),
        do("/repositories/{id}/schedules", repositories.add_schedule),
        do("/repositories/{id}/schedules/{schedule_id}", repositories.change_schedule),
        look("/repositories/{id}/publications", publications.show),
        do("/repositories/{id}/promote", publications.promote),
        do("/repositories/{id}/rollback", publications.roll_back),
        do("/repositories/{id}/pin", publications.pin),
        do("/repositories/{id}/export", publications.export),
        look("/tasks", tasks.show_all),
        look("/tasks/{id}", tasks.show),
        do("/tasks/{id}/cancel", tasks.cancel),
        look("/programs", programs.show),
        own("/programs/tokens", programs.create_token),
        own("/programs/tokens/{id}/revoke", programs.revoke_token),
        do("/programs/hooks", programs.create_hook),
        do("/programs/hooks/{id}/delete", programs.delete_hook),
        own("/programs/consumers/{name}/delete", programs.delete_consumer),
    ]


def _file(request: Request) -> Response:
    """Serve a static file; its URL changes with its content."""
    name = request.path_params["name"]
    if name not in _FILES:
        raise HTTPException(_NOT_FOUND)
    return FileResponse(STATIC / name, media_type=_FILES[name], headers={"Cache-Control": _YEAR})


def _not_here(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else _NOT_FOUND
    sentence = f"There is nothing at {request.url.path}."
    if status != _NOT_FOUND:
        sentence = f"This cannot be done with {request.url.path}."
    return HTMLResponse(render("bare.html", title="Nothing here", sentence=sentence), status)


class _Guarded:
    """Adds the security headers to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app: Final = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, guarded)
