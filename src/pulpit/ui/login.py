"""Login and logout."""

from typing import Final
from urllib.parse import urlsplit

from starlette.responses import RedirectResponse, Response

from pulpit.api.auth.login import WrongPassword
from pulpit.errors import TooManyAttempts
from pulpit.ui.rendering import PREFIX
from pulpit.ui.visits import SEE_OTHER, Visit, done

UNAUTHORIZED: Final = 401
_START: Final = f"{PREFIX}/"


def show(visit: Visit) -> Response:
    if visit.user:
        return RedirectResponse(_safe(visit.asked("next")), SEE_OTHER)
    return _form(visit, next_page=visit.asked("next"))


async def log_in(visit: Visit) -> Response:
    """Check login and password like the REST API, with the same throttling."""
    login, password = visit.form.text("login"), visit.form.verbatim("password")
    next_page = visit.form.text("next")
    client = visit.request.client
    try:
        user = await visit.site.authenticator.by_login(login, password, client.host if client else "")
    except WrongPassword as error:
        return _form(visit, next_page=next_page, login=login, complaint=str(error), status=UNAUTHORIZED)
    except TooManyAttempts as error:
        response = _form(visit, next_page=next_page, login=login, complaint=str(error), status=error.status)
        response.headers["Retry-After"] = str(error.retry_after)
        return response
    if user.repo_ids is not None:
        complaint = f"These pages show everything, and {login} may see some repositories alone; use pulp-admin."
        return _form(visit, next_page=next_page, login=login, complaint=complaint, status=UNAUTHORIZED)
    response = RedirectResponse(_safe(next_page), SEE_OTHER)
    visit.set_cookie(response, visit.site.sessions.begin(user.login), user.password_hash)
    return response


def log_out(visit: Visit) -> Response:
    """End the session, whatever copies of its cookie exist."""
    if visit.user:
        visit.site.sessions.end(visit.session)
    response = done("/login", "out")
    visit.set_cookie(response, visit.site.sessions.begin(), "")
    return response


def _form(visit: Visit, *, next_page: str, login: str = "", complaint: str = "", status: int = 200) -> Response:
    response = visit.page(
        "login.html", status=status, title="Log in", next_page=next_page, login=login, complaint=complaint
    )
    visit.set_cookie(response, visit.session, "")
    return response


def _safe(address: str) -> str:
    """Return a page of this site as redirect target; anything else becomes the start page."""
    parts = urlsplit(address)
    is_ours = not parts.scheme and not parts.netloc and address.startswith(_START) and address.isprintable()
    return address if is_ours and "\\" not in address and "//" not in parts.path else _START
