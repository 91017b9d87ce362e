"""One request of a browser: authentication, form parsing, and the response as a page.

    cookie ▶ session ▶ user          without one, the login page is shown
    form ▶ CSRF token ▶ permission ▶ handler ▶ the functions of the REST API

A `PulpitError` raised by a handler becomes a page with its sentence.
"""

import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlsplit

from markupsafe import Markup
from sqlalchemy.exc import OperationalError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from pulpit.api.auth.login import Authenticator
from pulpit.api.auth.rights import Rights, scopes_of
from pulpit.api.middleware import whole_body
from pulpit.api.services import Services
from pulpit.errors import DatabaseUnavailable, MalformedRequest, PermissionDenied, PulpitError, TooManyAttempts
from pulpit.store import users
from pulpit.store.users import User
from pulpit.text import one_line
from pulpit.ui.live import Live
from pulpit.ui.rendering import PREFIX, query, render
from pulpit.ui.sessions import NOBODY, Session, Sessions

COOKIE: Final = "pulpit-session"
FORM_TOKEN: Final = "form_token"  # noqa: S105 - the name of a field
LONGEST_FORM: Final = 256 * 1024
"""Bytes."""
MOST_FIELDS: Final = 2_000
LONGEST_PAGE_NUMBER: Final = 6
SEE_OTHER: Final = 303
FORBIDDEN: Final = 403
UNAVAILABLE: Final = 503
_AWAY: Final = "The database does not answer at this moment; try again later."
_BROKEN: Final = "The server failed at this; its log says why."

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """What all pages share."""

    services: Services
    authenticator: Authenticator
    sessions: Sessions
    live: Live


class Form:
    """The fields of a form; a blank text counts as absent."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs: Final = pairs

    def text(self, name: str) -> str:
        return self.verbatim(name).strip()

    def verbatim(self, name: str) -> str:
        """Return a field unchanged, with its blanks."""
        return next((text for key, text in self._pairs if key == name), "")

    def lines(self, name: str) -> list[str]:
        """Return the entries of a field with several, one per line."""
        return [line.strip() for line in self.text(name).splitlines() if line.strip()]

    def all(self, name: str) -> list[str]:
        return [text for key, text in self._pairs if key == name]

    def as_dict(self) -> dict[str, str]:
        return dict(self._pairs)


@dataclass(kw_only=True, slots=True)
class Visit:
    """A request and its user."""

    site: Site
    request: Request
    session: Session
    user: User | None
    form: Form = field(default_factory=lambda: Form([]))

    @property
    def services(self) -> Services:
        return self.site.services

    @property
    def asking(self) -> User:
        """The user; only the login page has none."""
        assert self.user  # noqa: S101 - guaranteed by `endpoint`
        return self.user

    @property
    def may(self) -> bool:
        """Whether the user may change anything."""
        return self.user is not None and self.rights.is_admin

    @property
    def rights(self) -> Rights:
        """What the user may do."""
        return Rights((scopes_of(self.asking),))

    def asked(self, name: str) -> str:
        """Return a parameter of the query."""
        return self.request.query_params.get(name, "").strip()

    @property
    def page_number(self) -> int:
        """The page of a list that was asked for, from 1."""
        text = self.asked("page")
        is_number = text.isascii() and text.isdigit() and len(text) <= LONGEST_PAGE_NUMBER
        return max(int(text), 1) if is_number else 1

    @staticmethod
    def neighbours(page: int, asked: Mapping[str, str], *, is_last: bool) -> dict[str, Any]:
        """Return the queries of the pages `before` and `after` a page of a list, empty for none."""
        return {
            "before": query({**asked, "page": page - 1}) if page > 1 else "",
            "after": "" if is_last else query({**asked, "page": page + 1}),
        }

    def path(self, name: str) -> str:
        """Return a part of the path."""
        return str(self.request.path_params[name])

    def page(self, template: str, /, *, status: int = 200, **context: Any) -> Response:
        """Render a template as response."""
        context |= {
            "user": self.user,
            "may": self.may,
            "token": partial(_token_field, self.site.sessions.form_token(self.session)),
            "done": _DONE.get(self.asked("done"), ""),
            "here": self.request.url.path,
        }
        return HTMLResponse(render(template, **context), status)

    def error(self, status: int, sentence: str) -> Response:
        return self.page("error.html", status=status, title="This did not work", sentence=sentence)

    def set_cookie(self, response: Response, session: Session, password_hash: str) -> None:
        """Set the session cookie: for this page only, hidden from scripts, never sent by pages of other sites."""
        response.set_cookie(
            COOKIE,
            self.site.sessions.token(session, password_hash),
            path=PREFIX,
            httponly=True,
            samesite="strict",
            secure=self.request.url.scheme == "https",
        )


def _token_field(token: str) -> Markup:
    return Markup('<input type="hidden" name="{}" value="{}">').format(FORM_TOKEN, token)


_DONE: Final = {
    "canceled": "The task is being canceled.",
    "changed": "The listener is changed.",
    "consumer-deleted": "The consumer is deleted; the log is unchanged.",
    "created": "The listener is created; it starts with the next event.",
    "deleted": "The listener and its dead letters are deleted.",
    "dropped": "The dead letters are dropped.",
    "exported": "The export is queued; its task shows where it was written, or why it failed.",
    "hook-deleted": "The hook is deleted; requests to it are refused from now on.",
    "out": "You are logged out.",
    "paused": "The listener is paused; new events wait for it in the log.",
    "pinned": "The publication's pin is changed.",
    "promoted": "The promotion is queued.",
    "published": "The publish is queued.",
    "replayed": "The replay is accepted; the events from there on are sent again.",
    "resumed": "The listener is resumed where it was paused.",
    "revoked": "The token is revoked; the next request with it is refused.",
    "rolled-back": "The rollback is queued.",
    "schedule": "The schedule is created.",
    "schedule-changed": "The schedule is changed.",
    "schedule-deleted": "The schedule is deleted.",
    "sent": "It is sent again; the result is listed among the latest attempts.",
    "synced": "The sync is queued.",
}
"""Messages after an operation; the URL contains only the key, so that a link cannot inject text."""

Handler = Callable[[Visit], Any]
"""Returns a response or a coroutine; plain functions run in a thread."""


def done(path: str, word: str = "", **values: str) -> Response:
    """Redirect after an operation."""
    asked = query({"done": word, **values})
    return RedirectResponse(f"{PREFIX}{quote(path)}" + (f"?{asked}" if asked else ""), SEE_OTHER)


def endpoint(
    handler: Handler, *, takes_form: bool = False, is_theirs: bool = False, is_open: bool = False
) -> Callable[[Request], Any]:
    """Return an endpoint for all authenticated users; a form is for administrators.

    Args:
        handler: makes the response.
        takes_form: whether it gets a form.
        is_theirs: whether the form is about the user's own objects, so that every user may send it; the handler checks
            the rest.
        is_open: whether it is for everybody: login and logout.
    """

    async def respond(request: Request) -> Response:
        site: Site = request.app.state.site
        visit = Visit(site=site, request=request, session=site.sessions.begin(), user=None)
        try:
            visit.session, visit.user = await run_in_threadpool(visitor, site, request.cookies.get(COOKIE, ""))
            if visit.user is None and not is_open:
                return _to_login(request)
            if takes_form:
                visit.form = await _read_form(visit, for_everybody=is_open or is_theirs)
            if inspect.iscoroutinefunction(handler):
                response: Response = await handler(visit)
            else:
                response = await run_in_threadpool(handler, visit)
        except Exception as error:  # noqa: BLE001 - whatever it was, users get a page
            return _failed(visit, error)
        renewed = site.sessions.renewed(visit.session)
        if visit.user and renewed and "set-cookie" not in response.headers:
            visit.set_cookie(response, renewed, visit.user.password_hash)
        return response

    return respond


def visitor(site: Site, token: str) -> tuple[Session, User | None]:
    """Return the session and the user of a cookie; a new anonymous session if it is invalid."""
    session = site.sessions.read(token)
    if session is None:
        return site.sessions.begin(), None
    if session.login == NOBODY:
        return (session if site.sessions.proves(token, "") else site.sessions.begin()), None
    with site.services.database.read() as connection:
        user = users.find(connection, session.login)
    if user is None or user.repo_ids is not None or not site.sessions.proves(token, user.password_hash):
        return site.sessions.begin(), None
    return session, user


async def _read_form(visit: Visit, *, for_everybody: bool) -> Form:
    """Parse a form, checking that this page sent it.

    Raises:
        PermissionDenied: it comes from elsewhere, or from before the login, or the user has read access only.
        MalformedRequest: it is malformed.
    """
    request = visit.request
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise PermissionDenied("Pages of other sites may not use this one.")
    body = await whole_body(request.receive, LONGEST_FORM)
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS)
    except ValueError:
        raise MalformedRequest("The form cannot be read.") from None
    if any("\0" in text for _, text in pairs):
        raise MalformedRequest("The form holds a character that is no text (NUL).")
    form = Form(pairs)
    if not visit.site.sessions.is_form_token(visit.session, form.text(FORM_TOKEN)):
        raise PermissionDenied("This form is too old, or of another login; go back, reload the page and try again.")
    if not for_everybody and not visit.may:
        raise PermissionDenied(f"The user {visit.asking.login} may only look; this needs an administrator.")
    return form


def _to_login(request: Request) -> Response:
    """Redirect to the login page, which leads back to the requested page after a GET."""
    if request.headers.get("sec-fetch-site") == "cross-site" and COOKIE not in request.cookies:
        # A link from another site, for which the browser omits a strict cookie: reload the same URL from here.
        return HTMLResponse(render("again.html", address=_address(request)))
    back = _address(request) if request.method == "GET" else ""
    return RedirectResponse(f"{PREFIX}/login?{query({'next': back})}", SEE_OTHER)


def _address(request: Request) -> str:
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def _failed(visit: Visit, error: Exception) -> Response:
    extra: Mapping[str, Any] = {"method": visit.request.method, "path": visit.request.url.path}
    if isinstance(error, DatabaseUnavailable | OperationalError):
        _log.error("not answered: %s", one_line(str(error), 300), extra={"action": "database_unavailable", **extra})
        return visit.error(UNAVAILABLE, _AWAY)
    if isinstance(error, PulpitError):
        status = FORBIDDEN if isinstance(error, PermissionDenied) else error.status
        response = visit.error(status, str(error))
        if isinstance(error, TooManyAttempts):
            response.headers["Retry-After"] = str(error.retry_after)
        return response
    _log.error("A page broke", exc_info=error, extra={"action": "page_broke", **extra})
    return visit.error(500, _BROKEN)
