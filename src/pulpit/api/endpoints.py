"""What every endpoint is made of: its services, who is asking, and how its answers are described."""

from typing import Annotated, Any, Final

from fastapi import Depends, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from pulpit.api.middleware import USER
from pulpit.api.models import CallReport, ErrorBody
from pulpit.api.services import Services
from pulpit.store.tasks import Task
from pulpit.store.users import User
from pulpit.tasks.reports import accepted

Responses = dict[int | str, dict[str, Any]]

OK: Final = 200
CREATED: Final = 201
ACCEPTED: Final = 202
NO_CONTENT: Final = 204


def services_of(request: Request) -> Services:
    """The services that the application was made with."""
    services: Services = request.app.state.services
    return services


def user_of(request: Request) -> User:
    """Who is asking, as the gate found out."""
    user: User = getattr(request.state, USER)
    return user


Provided = Annotated[Services, Depends(services_of)]
Asking = Annotated[User, Depends(user_of)]


def answers(status: int, model: type[BaseModel] | Any = None, *errors: int) -> Responses:
    """Describe the good answer and the expected failures of an endpoint; 401 is always among them."""
    described: Responses = {status: {"description": "Done."} if model is None else {"model": model}}
    return described | {error: {"model": ErrorBody} for error in (*errors, 401)}


def queued(*tasks: Task) -> JSONResponse:
    """The 202 that every action answers."""
    return JSONResponse(accepted(*tasks), ACCEPTED)


QUEUED: Final = answers(ACCEPTED, CallReport, 400, 404)
