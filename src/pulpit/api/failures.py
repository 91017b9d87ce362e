"""Turns every error into the error body of Pulp 2's API."""

import logging
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from pydantic import Field
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from pulpit.api.endpoints import Document
from pulpit.errors import (
    DatabaseUnavailable,
    InvalidValue,
    MalformedRequest,
    MissingResource,
    MissingValue,
    PulpitError,
    TooManyAttempts,
    UnsupportedValue,
)
from pulpit.text import one_line

_log: Final = logging.getLogger(__name__)
_AWAY: Final = "The database does not answer at this moment; try again later."
_NOT_FOUND: Final = 404
_UNAUTHORIZED: Final = 401


class ErrorDetail(Document):
    """Pulp's own error inside an error body."""

    code: str
    description: str
    data: dict[str, Any]
    sub_errors: list[Any]


class ErrorBody(Document):
    """Every response from 400 on; keys of `error.data` are repeated at the top level."""

    http_status: int
    http_request_method: str
    href: str = Field(alias="_href")
    error_message: str
    exception: None
    traceback: None
    error: ErrorDetail


class ServerFault(PulpitError):
    """A bug or a broken machine; details are in the log."""


class Unavailable(PulpitError):
    """The database is unavailable; retry later."""

    status = 503


class NothingHere(MissingResource):
    """No resource has this URL."""

    def __init__(self, path: str) -> None:
        super().__init__(path=path)
        self.args = (f"This server has nothing at {path}; what there is stands in /pulp/api/v2/openapi.json.",)


class Refused(PulpitError):
    """The request violates HTTP, such as a method that a resource does not have."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.http_status = status


def install(app: FastAPI) -> None:
    """Register the handlers for errors."""
    app.add_exception_handler(PulpitError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(OperationalError, _on_error)
    app.add_exception_handler(Exception, _on_fault)


def error_body(error: PulpitError, method: str, path: str) -> dict[str, Any]:
    """Return the body, with machine-readable data both inside `error` and at the top level."""
    status = error.http_status if isinstance(error, Refused) else error.status
    text = str(error)
    described = {"code": error.code, "description": text, "data": dict(error.data), "sub_errors": []}
    return {
        "http_status": status,
        "http_request_method": method,
        "_href": path,
        "error_message": text,
        "exception": None,
        "traceback": None,
        "error": described,
        **error.data,
    }


def response_to(error: PulpitError | OperationalError, method: str, path: str) -> Response:
    """Return the whole response; a 401 also says how to log in, and database errors are only logged."""
    if isinstance(error, DatabaseUnavailable | OperationalError):
        extra = {"action": "database_unavailable", "method": method, "path": path}
        _log.error("not answered: %s", one_line(str(error), 300), extra=extra)
        error = Unavailable(_AWAY)
    body = error_body(error, method, path)
    headers = {}
    if error.status == _UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Basic realm="Pulpit", charset="UTF-8"'
    if isinstance(error, TooManyAttempts):
        headers["Retry-After"] = str(error.retry_after)
    return JSONResponse(body, body["http_status"], headers)


def _on_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, PulpitError | OperationalError):
        return _on_fault(request, error)
    return response_to(error, request.method, request.url.path)


def _on_invalid_request(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        return _on_fault(request, error)
    first = error.errors()[0]
    # The first name after `body`, `query` or `path` is the property as Pulp names it; in a list, a number is before it.
    locations = [problem["loc"] for problem in error.errors() if problem["type"] == first["type"]]
    names = sorted({next((word for word in where[1:] if isinstance(word, str)), str(where[0])) for where in locations})
    refusal: PulpitError
    if first["type"] == "json_invalid":
        refusal = MalformedRequest("The body is not JSON.")
    elif first["type"] == "missing":
        refusal = MissingValue(names)
    elif first["type"] == "extra_forbidden":
        refusal = UnsupportedValue(names)
    else:
        refusal = InvalidValue(names, f"{first['msg'].rstrip('.').lower()}.")
    return response_to(refusal, request.method, request.url.path)


def _on_http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        return _on_fault(request, error)
    if error.status_code == _NOT_FOUND:
        if _lacks_slash(request):
            return RedirectResponse(request.url.replace(path=f"{request.url.path}/"), 301)
        return response_to(NothingHere(request.url.path), request.method, request.url.path)
    refused = Refused(error.status_code, f"{error.detail}.")
    response = response_to(refused, request.method, request.url.path)
    response.headers.update(error.headers or {})
    return response


def _lacks_slash(request: Request) -> bool:
    """Whether only the last slash is missing: Pulp 2 redirects such requests, whatever their method."""
    path = request.url.path
    if path.endswith("/") or not path.startswith("/pulp/api/v2/"):
        return False
    scope = {**request.scope, "path": f"{path}/"}
    return any(route.matches(scope)[0] is not Match.NONE for route in request.app.router.routes)


def _on_fault(request: Request, error: Exception) -> Response:
    extra = {"action": "request_broke", "method": request.method, "path": request.url.path}
    _log.error("A request broke: %s %s", request.method, request.url.path, exc_info=error, extra=extra)
    return response_to(ServerFault("The server failed at this; its log says why."), request.method, request.url.path)
