"""Users, their roles, and logging in.

Administrators may do everything, readers list and search, operators also sync, publish and listen; the latter two
everywhere or only in repositories that match their patterns.
"""

import re
import secrets
from typing import Any, Final

from fastapi.responses import JSONResponse

from pulpit.api import criteria
from pulpit.api.auth.rights import ADMIN, LONGEST_PATTERN, OPERATOR, READER, ROLES, Rights, Verb, scopes_of
from pulpit.api.endpoints import Endpoints
from pulpit.api.services import CREATED, OK, Asking, Provided, QueriedCriteria, Services, returns
from pulpit.api.v2.models import (
    V2,
    LoginDocument,
    NewRole,
    NewUser,
    PermissionsOfRole,
    PermissionsOfUser,
    RoleMember,
    SearchBody,
    UserChanges,
    UserDelta,
    UserDocument,
)
from pulpit.errors import DuplicateResource, InvalidValue, MissingResource, PermissionDenied
from pulpit.net.passwords import MAX_LENGTH, hash_password
from pulpit.store import consumers, listeners, users
from pulpit.store.database import Transaction
from pulpit.store.users import User, check_administrated

_login: Final = Endpoints(prefix="/actions", tags=["login"])


@_login.post("/login/", responses=returns(OK, LoginDocument))
def log_in(services: Provided, user: Asking) -> JSONResponse:
    """Issue a key and a client certificate to the user; over HTTPS they replace the password."""
    key, certificate = services.certificates.issue(user)
    return JSONResponse({"key": key, "certificate": certificate}, headers={"Cache-Control": "no-store"})


_users: Final = Endpoints(prefix="/users", tags=["users"])

SUPER_USERS: Final = "super-users"
"""Pulp 2's role of administrators."""
_LOGIN: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._@-]*\Z")
_LONGEST_LOGIN: Final = 255
_LONGEST_NAME: Final = 1000
MOST_PATTERNS: Final = 25
"""Per user: each becomes a scope for every verb of the role."""


@_users.post("/", responses=returns(CREATED, UserDocument, 400, 409))
def create_user(body: NewUser, services: Provided) -> JSONResponse:
    """Create a user, a reader unless another role is given."""
    if len(body.login) > _LONGEST_LOGIN:
        raise InvalidValue("login", f"it has {len(body.login)} characters; {_LONGEST_LOGIN} are the most.")
    if not _LOGIN.match(body.login):
        raise InvalidValue("login", "it must be letters, digits, '.', '@', '-' and '_'.")
    password = secrets.token_urlsafe() if body.password is None else body.password  # an unknown one lets nobody in
    delta = UserDelta(name=body.name or body.login, password=password, role=body.role, repo_ids=body.repo_ids)
    columns = _checked(delta)
    with services.database.write() as tx:
        made = users.add(tx, body.login, now=services.clock(), **columns)
    document = user_document(made)
    return JSONResponse(document, CREATED, {"Location": document["_href"]})


@_users.get("/", responses=returns(OK, list[UserDocument]))
def list_users(services: Provided) -> JSONResponse:
    """List all users by login."""
    with services.database.read() as connection:
        return JSONResponse([user_document(user) for user in users.every(connection)])


@_users.get("/search/", responses=returns(OK, list[dict[str, Any]], 400))
def query_users(queried: QueriedCriteria, services: Provided) -> JSONResponse:
    """Find users by criteria in the query."""
    return search_users(SearchBody(criteria=queried), services)


@_users.post("/search/", responses=returns(OK, list[dict[str, Any]], 400))
def search_users(body: SearchBody, services: Provided) -> JSONResponse:
    """Find users by Pulp 2's criteria; `fields` are the only keys shown."""
    wanted = criteria.parse(body.criteria)
    with services.database.read() as connection:
        found = wanted.select(user_document(user) for user in users.every(connection))
    return JSONResponse([wanted.trimmed(document, ()) for document in found])


@_users.get("/{login}/", responses=returns(OK, UserDocument, 404))
def read_user(login: str, services: Provided) -> JSONResponse:
    """Show one user."""
    with services.database.read() as connection:
        return JSONResponse(user_document(users.get(connection, login)))


@_users.put("/{login}/", responses=returns(OK, UserDocument, 400, 404))
def update_user(login: str, body: UserChanges, services: Provided, user: Asking) -> JSONResponse:
    """Change name, password or role; a new password ends all sessions of the old one."""
    columns = _checked(body.delta)
    with services.database.write() as tx:
        before = users.get(tx.connection, login)
        as_before = {"role": before.role, "repo_ids": before.repo_ids}
        if user.role != ADMIN and as_before | columns != columns | as_before:
            raise PermissionDenied("Only an administrator gives roles.")
        changed = _change(tx, login, columns) if columns else before
        check_administrated(tx)
    return JSONResponse(user_document(changed))


@_users.delete("/{login}/", responses=returns(OK, None, 400, 404))
def delete_user(login: str, services: Provided) -> JSONResponse:
    """Delete a user with the user's tokens, but never the last administrator; the user's listeners are paused."""
    with services.database.write() as tx:
        users.remove(tx, login)
        check_administrated(tx)
        listeners.disown(tx, login, f"Its owner {login} was deleted.")
        consumers.remove_all(tx, login)
    return JSONResponse(None)


def _change(tx: Transaction, login: str, columns: dict[str, Any]) -> User:
    """Change a user, and restrict the user's listeners to what the user may see from now on.

    Raises:
        InvalidValue: `repo_ids` of an administrator.
    """
    if columns.get("role") == ADMIN:
        columns = {"repo_ids": None, **columns}
    changed = users.change(tx, login, **columns)
    if changed.role == ADMIN and changed.repo_ids is not None:
        raise InvalidValue("repo_ids", "an administrator has to do with all; only operators and readers are narrowed.")
    if {"role", "repo_ids"} & columns.keys():
        rights = Rights((scopes_of(changed),))
        listeners.narrow(tx, login, rights.visible()[0])
        if not rights.may_some(Verb.LISTEN):
            listeners.disown(tx, login, f"Its owner {login} may have no listeners any more.")
    return changed


def user_document(value: User) -> dict[str, Any]:
    """Return a user without the password hash; Pulp 2's only fixed role is that of the administrator."""
    return {
        "login": value.login,
        "name": value.name,
        "roles": [SUPER_USERS] if value.role == "admin" else [],
        "role": value.role,
        "repo_ids": value.repo_ids,
        "_href": f"{V2}/users/{value.login}/",
        "id": value.object_id,
        "_id": {"$oid": value.object_id},
        "_ns": "users",
    }


def _checked(delta: UserDelta) -> dict[str, Any]:
    """Return the columns that a delta sets; a password is hashed."""
    columns: dict[str, Any] = {}
    role = _given_role(delta)
    if role is not None:
        columns["role"] = role
    if "repo_ids" in delta.model_fields_set:
        columns["repo_ids"] = _patterns(delta.repo_ids)
        if role == ADMIN and columns["repo_ids"] is not None:
            raise InvalidValue("repo_ids", "an administrator has to do with all repositories.")
    if delta.name is not None:
        if len(delta.name) > _LONGEST_NAME:
            raise InvalidValue("name", f"it has more than {_LONGEST_NAME} characters.")
        columns["name"] = delta.name
    if delta.password is not None:
        if not delta.password:
            raise InvalidValue("password", "it must not be empty.")
        if len(delta.password) > MAX_LENGTH:
            raise InvalidValue("password", f"it has more than {MAX_LENGTH} characters.")
        columns["password_hash"] = hash_password(delta.password)
    return columns


def _patterns(repo_ids: list[str] | None) -> list[str] | None:
    """Return patterns of repositories; null and the empty list are all."""
    for pattern in repo_ids or ():
        if not 0 < len(pattern) <= LONGEST_PATTERN or not pattern.isprintable():
            raise InvalidValue("repo_ids", f"a pattern has 1 to {LONGEST_PATTERN} printable characters.")
    if len(repo_ids or ()) > MOST_PATTERNS:
        raise InvalidValue("repo_ids", f"there are more than {MOST_PATTERNS}.")
    return repo_ids or None


def _given_role(delta: UserDelta) -> str | None:
    """Return Pulpit's name of the role; Pulp 2's list of roles is supported as far as possible."""
    if delta.roles is not None:
        if set(delta.roles) - {SUPER_USERS}:
            raise InvalidValue("roles", f"the only role is {SUPER_USERS}.")
        return ADMIN if delta.roles else READER
    if delta.role is not None and delta.role not in ROLES:
        raise InvalidValue("role", f"it must be one of {', '.join(sorted(ROLES))}.")
    return delta.role


_roles: Final = Endpoints(tags=["roles"])

_EVERYTHING: Final = "/"
_FIXED_ROLES: Final = (
    f"the only role is {SUPER_USERS}, and everybody else may read; give or take it by roles/{SUPER_USERS}/users/."
)
_FIXED_PERMISSIONS: Final = (
    "what a user may do follows from the user's role (admin: everything; operator: read, sync, publish, listen;"
    " reader: read and search); change the role."
)
_OPERATIONS: Final = {
    ADMIN: ["CREATE", "READ", "UPDATE", "DELETE", "EXECUTE"],
    OPERATOR: ["READ", "EXECUTE"],
    READER: ["READ"],
}


@_roles.get("/roles/", responses=returns(OK, list[dict[str, Any]]))
def list_roles(services: Provided) -> JSONResponse:
    """List the roles."""
    with services.database.read() as connection:
        return JSONResponse([_role(users.every(connection))])


@_roles.get("/roles/{role_id}/", responses=returns(OK, dict[str, Any], 404))
def read_role(role_id: str, services: Provided) -> JSONResponse:
    """Show one role."""
    _check_role(role_id)
    with services.database.read() as connection:
        return JSONResponse(_role(users.every(connection)))


@_roles.get("/roles/{role_id}/users/", responses=returns(OK, list[str], 404))
def list_role_members(role_id: str, services: Provided) -> JSONResponse:
    """List the logins of a role's members."""
    _check_role(role_id)
    with services.database.read() as connection:
        return JSONResponse(_role(users.every(connection))["users"])


@_roles.post("/roles/{role_id}/users/", responses=returns(OK, None, 400, 404))
def add_role_member(role_id: str, body: RoleMember, services: Provided) -> JSONResponse:
    """Add a user to a role."""
    _check_role(role_id)
    with services.database.write() as tx:
        _change(tx, body.login, {"role": ADMIN})
    return JSONResponse(None)


@_roles.delete("/roles/{role_id}/users/{login}/", responses=returns(OK, None, 404))
def remove_role_member(role_id: str, login: str, services: Provided) -> JSONResponse:
    """Remove a user from a role, but never the last administrator."""
    _check_role(role_id)
    with services.database.write() as tx:
        _change(tx, login, {"role": READER})
        check_administrated(tx)
    return JSONResponse(None)


@_roles.post("/roles/", responses=returns(OK, None, 400, 409))
def create_role(body: NewRole) -> JSONResponse:
    """Reject a further role."""
    if body.role_id == SUPER_USERS:
        raise DuplicateResource(SUPER_USERS)
    raise InvalidValue("role_id", _FIXED_ROLES)


@_roles.put("/roles/{role_id}/", operation_id="update_role", responses=returns(OK, None, 400, 404))
@_roles.delete("/roles/{role_id}/", operation_id="delete_role", responses=returns(OK, None, 400, 404))
def change_role(role_id: str) -> JSONResponse:
    """Refuse to change or delete the role."""
    _check_role(role_id)
    raise InvalidValue("role_id", _FIXED_ROLES)


@_roles.post("/permissions/actions/grant_to_user/", responses=returns(OK, None, 400, 404))
def grant_to_user(body: PermissionsOfUser, services: Provided) -> JSONResponse:
    """Accept permissions that the user has already; reject those that do not follow from the user's role."""
    if set(body.operations) - set(_operations_of(body.login, services)):
        raise InvalidValue("operations", _FIXED_PERMISSIONS)
    return JSONResponse(None)


@_roles.post("/permissions/actions/revoke_from_user/", responses=returns(OK, None, 400, 404))
def revoke_from_user(body: PermissionsOfUser, services: Provided) -> JSONResponse:
    """Accept the removal of permissions that the user does not have; reject those that follow from the user's role."""
    if set(body.operations) & set(_operations_of(body.login, services)):
        raise InvalidValue("operations", _FIXED_PERMISSIONS)
    return JSONResponse(None)


@_roles.post("/permissions/actions/grant_to_role/", responses=returns(OK, None, 400, 404))
def grant_to_role(body: PermissionsOfRole) -> JSONResponse:
    """Accept: members of the role may do everything already."""
    _check_role(body.role_id)
    if set(body.operations) - set(_OPERATIONS[ADMIN]):
        raise InvalidValue("operations", f"they are {', '.join(_OPERATIONS[ADMIN])}.")
    return JSONResponse(None)


@_roles.post("/permissions/actions/revoke_from_role/", responses=returns(OK, None, 400, 404))
def revoke_from_role(body: PermissionsOfRole) -> JSONResponse:
    """Reject: members of the role may do everything."""
    _check_role(body.role_id)
    if body.operations:
        raise InvalidValue("operations", _FIXED_PERMISSIONS)
    return JSONResponse(None)


@_roles.get("/permissions/", responses=returns(OK, list[dict[str, Any]]))
def list_permissions(services: Provided, resource: str = _EVERYTHING) -> JSONResponse:
    """Show each user's permissions on a resource, which are the same for all resources."""
    with services.database.read() as connection:
        may = {user.login: _OPERATIONS[user.role] for user in users.every(connection)}
    return JSONResponse([{"resource": resource, "users": may, "_ns": "permissions"}])


def _operations_of(login: str, services: Services) -> list[str]:
    with services.database.read() as connection:
        return _OPERATIONS[users.get(connection, login).role]


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


router: Final = Endpoints.of(_login, _users, _roles)
