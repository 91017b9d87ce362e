"""Logging in: a certificate that stands for the password until it expires."""

from typing import Final

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from pulpit.api.endpoints import OK, Asking, Provided, answers
from pulpit.api.models import LoginDocument

router: Final = APIRouter(prefix="/actions", tags=["login"])


@router.post("/login/", operation_id="log_in", responses=answers(OK, LoginDocument))
def log_in(services: Provided, user: Asking) -> JSONResponse:
    """Make a key and a client certificate for the user who asks; over HTTPS they do instead of a password."""
    key, certificate = services.certificates.issue(user)
    return JSONResponse({"key": key, "certificate": certificate}, headers={"Cache-Control": "no-store"})
