"""Roles and permissions as Pulp 2's clients ask for them: there is one role, of those who may do everything.

What else a user may do follows from the user's own `role`; permissions are shown, and cannot be given one by one.
"""

from typing import Any, Final

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from pulpit.api.auth.login import ADMIN, READER
from pulpit.api.documents import SUPER_USERS, V2
from pulpit.api.endpoints import OK, Provided, answers
from pulpit.api.models import RoleMember
from pulpit.errors import MissingResource
from pulpit.store import users
from pulpit.store.database import Transaction
from pulpit.store.users import User, check_administrated

router: Final = APIRouter(tags=["roles"])

_EVERYTHING: Final = "/"
_OPERATIONS: Final = {ADMIN: ["CREATE", "READ", "UPDATE", "DELETE", "EXECUTE"], READER: ["READ"]}


@router.get("/roles/", operation_id="list_roles", responses=answers(OK, list[dict[str, Any]]))
def list_roles(services: Provided) -> JSONResponse:
    """List the roles."""
    with services.database.read() as connection:
        return JSONResponse([_role(users.every(connection))])


@router.get("/roles/{role_id}/", operation_id="read_role", responses=answers(OK, dict[str, Any], 404))
def read_role(role_id: str, services: Provided) -> JSONResponse:
    """Show one role."""
    _check_role(role_id)
    with services.database.read() as connection:
        return JSONResponse(_role(users.every(connection)))


@router.get("/roles/{role_id}/users/", operation_id="list_role_members", responses=answers(OK, list[str], 404))
def list_members(role_id: str, services: Provided) -> JSONResponse:
    """List the logins of those who have a role."""
    _check_role(role_id)
    with services.database.read() as connection:
        return JSONResponse(_role(users.every(connection))["users"])


@router.post("/roles/{role_id}/users/", operation_id="add_role_member", responses=answers(OK, None, 400, 404))
def add_member(role_id: str, body: RoleMember, services: Provided) -> JSONResponse:
    """Give a user a role."""
    _check_role(role_id)
    with services.database.write() as tx:
        users.change(tx, body.login, role=ADMIN)
    return JSONResponse(None)


@router.delete("/roles/{role_id}/users/{login}/", operation_id="remove_role_member", responses=answers(OK, None, 404))
def remove_member(role_id: str, login: str, services: Provided) -> JSONResponse:
    """Take a role from a user, but never from the last administrator."""
    _check_role(role_id)
    with services.database.write() as tx:
        _take(tx, login)
    return JSONResponse(None)


@router.get("/permissions/", operation_id="list_permissions", responses=answers(OK, list[dict[str, Any]]))
def list_permissions(services: Provided, resource: str = _EVERYTHING) -> JSONResponse:
    """Tell what each user may do with a resource, which is the same for all resources."""
    with services.database.read() as connection:
        may = {user.login: _OPERATIONS[user.role] for user in users.every(connection)}
    return JSONResponse([{"resource": resource, "users": may, "_ns": "permissions"}])


def _take(tx: Transaction, login: str) -> None:
    users.change(tx, login, role=READER)
    check_administrated(tx)


def _check_role(role_id: str) -> None:
    if role_id != SUPER_USERS:
        raise MissingResource(role=role_id)


def _role(everybody: list[User]) -> dict[str, Any]:
    return {
        "id": SUPER_USERS,
        "display_name": "Super Users",
        "description": "May do everything.",
        "users": [user.login for user in everybody if user.role == ADMIN],
        "permissions": {_EVERYTHING: _OPERATIONS[ADMIN]},
        "_href": f"{V2}/roles/{SUPER_USERS}/",
        "_ns": "roles",
    }
