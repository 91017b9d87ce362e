"""Users: administrators, who may do everything, and readers, who may look and search."""

import re
from typing import Any, Final

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from pulpit.api import criteria, documents
from pulpit.api.auth.login import ADMIN, READER, ROLES
from pulpit.api.documents import SUPER_USERS
from pulpit.api.endpoints import CREATED, OK, Asking, Provided, answers
from pulpit.api.models import NewUser, SearchBody, UserChanges, UserDelta, UserDocument
from pulpit.errors import InvalidValue, PermissionDenied
from pulpit.net.passwords import MAX_LENGTH, hash_password
from pulpit.store import users
from pulpit.store.users import check_administrated

router: Final = APIRouter(prefix="/users", tags=["users"])

_LOGIN: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._@-]{0,254}\Z")
_LONGEST_NAME: Final = 1000
_ALWAYS: Final = ("id", "login", "_id", "_href")


@router.post("/", operation_id="create_user", status_code=201, responses=answers(CREATED, UserDocument, 400, 409))
def create_user(body: NewUser, services: Provided) -> JSONResponse:
    """Make a user, a reader unless another role is given."""
    if not _LOGIN.match(body.login):
        raise InvalidValue("login", "it must be 1 to 255 letters, digits, '.', '@', '-' and '_'.")
    columns = _checked(UserDelta(name=body.name or body.login, password=body.password, role=body.role))
    with services.database.write() as tx:
        made = users.add(tx, body.login, now=services.clock(), **columns)
    document = documents.user(made)
    return JSONResponse(document, CREATED, {"Location": document["_href"]})


@router.get("/", operation_id="list_users", responses=answers(OK, list[UserDocument]))
def list_users(services: Provided) -> JSONResponse:
    """List all users by login."""
    with services.database.read() as connection:
        return JSONResponse([documents.user(user) for user in users.every(connection)])


@router.post("/search/", operation_id="search_users", responses=answers(OK, list[dict[str, Any]], 400))
def search_users(body: SearchBody, services: Provided) -> JSONResponse:
    """Find users by Pulp 2's criteria."""
    wanted = criteria.parse(body.criteria)
    with services.database.read() as connection:
        found = wanted.select(documents.user(user) for user in users.every(connection))
    return JSONResponse([wanted.trimmed(document, _ALWAYS) for document in found])


@router.get("/{login}/", operation_id="read_user", responses=answers(OK, UserDocument, 404))
def read_user(login: str, services: Provided) -> JSONResponse:
    """Show one user."""
    with services.database.read() as connection:
        return JSONResponse(documents.user(users.get(connection, login)))


@router.put("/{login}/", operation_id="update_user", responses=answers(OK, UserDocument, 400, 404))
def update_user(login: str, body: UserChanges, services: Provided, user: Asking) -> JSONResponse:
    """Change name, password or role; whoever is logged in with the old password is not any more."""
    columns = _checked(body.delta)
    if user.role != ADMIN and columns.get("role", user.role) != user.role:
        raise PermissionDenied("Only an administrator gives roles.")
    with services.database.write() as tx:
        changed = users.change(tx, login, **columns) if columns else users.get(tx.connection, login)
        check_administrated(tx)
    return JSONResponse(documents.user(changed))


@router.delete("/{login}/", operation_id="delete_user", responses=answers(OK, None, 400, 404))
def delete_user(login: str, services: Provided) -> JSONResponse:
    """Delete a user, but never the last administrator."""
    with services.database.write() as tx:
        users.remove(tx, login)
        check_administrated(tx)
    return JSONResponse(None)


def _checked(delta: UserDelta) -> dict[str, Any]:
    """The columns that a delta sets; a password becomes its hash."""
    columns: dict[str, Any] = {}
    role = _role(delta)
    if role is not None:
        columns["role"] = role
    if delta.name is not None:
        if len(delta.name) > _LONGEST_NAME:
            raise InvalidValue("name", f"it has more than {_LONGEST_NAME} characters.")
        columns["name"] = delta.name
    if delta.password is not None:
        if not 0 < len(delta.password) <= MAX_LENGTH:
            raise InvalidValue("password", f"it must have 1 to {MAX_LENGTH} characters.")
        columns["password_hash"] = hash_password(delta.password)
    return columns


def _role(delta: UserDelta) -> str | None:
    """Our word for the role; Pulp 2's list of roles is understood as far as it goes."""
    if delta.roles is not None:
        if set(delta.roles) - {SUPER_USERS}:
            raise InvalidValue("roles", f"the only role is {SUPER_USERS}.")
        return ADMIN if delta.roles else READER
    if delta.role is not None and delta.role not in ROLES:
        raise InvalidValue("role", f"it must be one of {', '.join(sorted(ROLES))}.")
    return delta.role
