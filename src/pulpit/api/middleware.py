"""The middleware that every request passes before it reaches an endpoint.

`CleanAddress` → `PublishedFirst` → FastAPI, with `HeadAsGet` → `Authenticate` → `BoundBody` → the endpoints. So
no unauthenticated client has a body read, and no endpoint sees a body that is too long, not JSON, or contains text that
a database cannot store.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, Never
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pulpit.api.auth.login import Authenticator
from pulpit.api.auth.rights import Rights, check_may, scopes_of
from pulpit.api.failures import response_to
from pulpit.errors import (
    MalformedRequest,
    MissingResource,
    PermissionDenied,
    PulpitError,
    RequestTooLarge,
    WrongJsonType,
)
from pulpit.net.request_state import CERTIFICATE
from pulpit.published.ready import ReadyFile
from pulpit.published.serving import PublishedFiles
from pulpit.store.users import User
from pulpit.text import shown

PULP: Final = "/pulp/"
PACKAGES: Final = "/pulp/python/upload/"
"""Where twine and uv send packages."""
INDEXES: Final = "/packages"
"""The same as `/pulp/python`: bandersnatch accepts only files whose path begins so."""
API: Final = ("/pulp/api/", "/pulpit/v1/", "/metrics", PACKAGES)
"""Prefixes that require authentication."""
HEALTH: Final = "/health/"
OPEN_PATHS: Final = frozenset({"/pulp/api/v2/status/"})
"""Paths that do not require authentication."""
UPLOADS: Final = "/pulp/api/v2/content/uploads/"
FIRING: Final = "/pulpit/v1/events"
"""Accepts long bodies, lists, and lines, and checks them itself."""
ORPHANS: Final = "/pulp/api/v2/content/actions/delete_orphans/"
"""Takes a list."""
MAX_BODY: Final = 2**20
"""Bytes of a JSON body; uploads have their own limit."""
MAX_DEPTH: Final = 64
"""Nesting depth of objects and lists."""
USER: Final = "user"
"""Key of the user in the request's state."""
RIGHTS: Final = "rights"
"""Key of the user's rights in the request's state."""

_NO_TEXT: Final = re.compile(r"[\0\ud800-\udfff]")
_BODY_METHODS: Final = frozenset({"POST", "PUT", "PATCH"})


class PublishedFirst:
    """Passes requests for publications to their own applications (by kind), bypassing what only the API needs."""

    def __init__(self, app: ASGIApp, published: Mapping[str, PublishedFiles]) -> None:
        self._app: Final = app
        self._published: Final = published

    def at_once(self, scope: Scope) -> ReadyFile | None:
        """Return the response for a path without escapes, if it is a small file that is cached."""
        path: str = scope["path"]
        if not path.startswith(PULP):
            return None
        kind = path[len(PULP) :].partition("/")[0]
        published = self._published.get(kind)
        return published.at_once(scope, path[len(PULP) + len(kind) :]) if published else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on to the application that serves `/pulp/<kind>/` or `/packages/`, or to the API."""
        path: str = scope.get("path", "")
        above = INDEXES if path.startswith(f"{INDEXES}/") else PULP + path.removeprefix(PULP).partition("/")[0]
        kind = "python" if above == INDEXES else above.removeprefix(PULP)
        if scope["type"] != "http" or kind not in self._published or path.startswith(PACKAGES):
            await self._app(scope, receive, send)
            return
        await self._published[kind](dict(scope, root_path=scope.get("root_path", "") + above), receive, send)


class HeadAsGet:
    """Answers HEAD as GET without the body (RFC 9110 section 9.3.2); publications handle HEAD themselves."""

    def __init__(self, app: ASGIApp) -> None:
        self._app: Final = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on as GET, and drop the response's body."""
        if scope["type"] != "http" or scope["method"] != "HEAD" or not scope["path"].startswith((*API, HEALTH)):
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                # The server now tells streaming endpoints that the client has disconnected.
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self._app(dict(scope, method="GET"), receive, send_head)


class CleanAddress:
    """Reads `//` in a path as `/`: the original client requests `…/history//sync/`. A path with NUL is a 404.

    No name contains NUL, and PostgreSQL does not even accept it in a comparison.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app: Final = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on with a path without empty segments."""
        if scope["type"] == "http" and ("\0" in scope["path"] or b"%00" in scope["query_string"]):
            error: PulpitError = MalformedRequest("The query holds a NUL (%00), which nothing here can have.")
            if "\0" in scope["path"]:
                error = MissingResource(path=shown(scope["path"]))
            await response_to(error, scope["method"], scope["path"])(scope, receive, send)
            return
        if scope["type"] == "http" and "//" in scope["path"]:
            path: str = scope["path"]
            while "//" in path:
                path = path.replace("//", "/")
            scope = dict(scope, path=path, raw_path=path.encode())
        await self._app(scope, receive, send)


class Authenticate:
    """Rejects requests without valid credentials, or without the necessary rights."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator) -> None:
        self._app: Final = app
        self._authenticator: Final = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on with the user in the state, or respond with 401."""
        if scope["type"] != "http" or not scope["path"].startswith(API) or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        try:
            scope = await self._authenticated(scope)
        except PulpitError as error:
            await response_to(error, scope["method"], scope["path"])(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _authenticated(self, scope: Scope) -> Scope:
        headers = Headers(scope=scope)
        # A browser adds its stored login even to requests that another site's page triggers.
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            raise PermissionDenied("Pages of other sites may not use this API.")
        user, rights = await self._asking(scope, headers.get("authorization", ""))
        need = check_may(user, rights, scope["method"], scope["path"])
        if need is not None and need.listener_id is not None:
            await self._authenticator.check_owns(user, need.listener_id)
        return dict(scope, state={**scope.get("state", {}), USER: user, RIGHTS: rights})

    async def _asking(self, scope: Scope, authorization: str) -> tuple[User, Rights]:
        """Authenticate: a password or token takes precedence over a certificate, as in the original client."""
        certificate = scope.get("state", {}).get(CERTIFICATE)
        if certificate is not None and not authorization:
            user = await self._authenticator.by_certificate(certificate)
            return user, Rights((scopes_of(user),))
        address = scope["client"][0] if scope.get("client") else ""
        return await self._authenticator.by_header(authorization, address)


class BoundBody:
    """Passes on bodies that are a JSON object of limited size; no body counts as the empty object."""

    def __init__(self, app: ASGIApp) -> None:
        self._app: Final = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on the whole body once it was read and checked, or respond with the error."""
        if scope["type"] != "http" or not _takes_json(scope):
            await self._app(scope, receive, send)
            return
        try:
            body = await whole_body(receive, MAX_BODY) or b"{}"
            check_json(body, list if scope["path"] == ORPHANS else dict)
        except PulpitError as error:
            await response_to(error, scope["method"], scope["path"])(scope, receive, send)
            return
        # Set the content type to what the body is, whatever the client sent.
        others = [header for header in scope["headers"] if header[0] != b"content-type"]
        scope = dict(scope, headers=[*others, (b"content-type", b"application/json")])
        await self._app(scope, _replay(body, receive), send)


def check_json(body: bytes, form: type = dict) -> None:
    """Reject what is not a strict JSON object (or a list where this is the form), or cannot be stored.

    Raises:
        MalformedRequest: it is not JSON, is nested too deep, or has numbers or characters that cannot be stored.
        WrongJsonType: it is JSON of another form.
    """
    if not isinstance(strict_json(body), form):
        raise WrongJsonType(f"The body must be a JSON {'list' if form is list else 'object'}.")


def strict_json(body: bytes) -> Any:
    """Parse JSON that can be stored.

    Raises:
        MalformedRequest: it is not JSON, is nested too deep, or has numbers or characters that cannot be stored.
    """

    def refuse_constant(name: str) -> Never:  # NaN and the infinities
        raise ValueError(name)

    try:
        value = json.loads(body.decode(), parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        raise MalformedRequest("The body is not JSON.") from None
    _check_value(value, 0)
    return value


def _check_value(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise MalformedRequest(f"The body is nested more than {MAX_DEPTH} deep.")
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, dict):
        for key, inner in value.items():
            _check_text(key)
            _check_value(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check_value(inner, depth + 1)
    elif isinstance(value, int | float) and not -(2.0**63) <= value < 2.0**63:
        raise MalformedRequest("The body holds a number beyond 64 bits.")


def _check_text(text: str) -> None:
    if _NO_TEXT.search(text):
        raise MalformedRequest("The body holds a character that is no text (NUL or half of a surrogate pair).")


def _takes_json(scope: Scope) -> bool:
    path: str = scope["path"]
    is_piece = scope["method"] == "PUT" and path.startswith(UPLOADS)
    if path in OPEN_PATHS:
        return False  # unauthenticated, and these take no body
    if path.startswith(PACKAGES):
        return False  # a form
    return path.startswith(API) and scope["method"] in _BODY_METHODS and not is_piece and path != FIRING


async def whole_body(receive: Receive, longest: int) -> bytes:
    """Read a whole body.

    Raises:
        RequestTooLarge: it is longer.
        MalformedRequest: the client disconnected.
    """
    pieces: list[bytes] = []
    length = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise MalformedRequest("The client went away.")
        pieces.append(message.get("body", b""))
        length += len(pieces[-1])
        if length > longest:
            raise RequestTooLarge(f"The body is longer than {longest} bytes.")
        if not message.get("more_body", False):
            return b"".join(pieces)


def _replay(body: bytes, receive: Receive) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return again
