"""Users and their hashed passwords."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from pulpit.errors import DuplicateResource, InvalidValue, MissingResource
from pulpit.ids import object_id
from pulpit.store.database import Transaction
from pulpit.store.schema import users


@dataclass(frozen=True, kw_only=True, slots=True)
class User:
    """A user who may log in; `role` is `admin`, `operator` or `reader`."""

    login: str
    object_id: str
    name: str
    password_hash: str
    role: str
    created_at: datetime
    repo_ids: list[str] | None = None
    """Shell patterns of the repositories that an operator or reader may see; null is all."""


def add(
    tx: Transaction,
    login: str,
    *,
    name: str,
    password_hash: str,
    role: str,
    now: datetime,
    repo_ids: list[str] | None = None,
) -> User:
    """Create a user.

    Raises:
        DuplicateResource: the login is taken.
    """
    row = {"login": login, "name": name, "password_hash": password_hash, "role": role, "repo_ids": repo_ids}
    try:
        tx.connection.execute(insert(users).values(object_id=object_id(), created_at=now, **row))
    except IntegrityError:
        raise DuplicateResource(login) from None
    return get(tx.connection, login)


def find(connection: Connection, login: str) -> User | None:
    """Return one user, or `None`."""
    row = connection.execute(select(users).where(users.c.login == login)).mappings().one_or_none()
    return None if row is None else User(**row)


def get(connection: Connection, login: str) -> User:
    """Return one user.

    Raises:
        MissingResource: there is no user with that login.
    """
    user = find(connection, login)
    if user is None:
        raise MissingResource(user=login)
    return user


def every(connection: Connection) -> list[User]:
    """All users, by login."""
    return [User(**row) for row in connection.execute(select(users).order_by(users.c.login)).mappings()]


def change(tx: Transaction, login: str, **columns: Any) -> User:
    """Update columns of a user.

    Raises:
        MissingResource: there is no user with that login.
    """
    get(tx.connection, login)
    tx.connection.execute(update(users).where(users.c.login == login).values(**columns))
    return get(tx.connection, login)


def check_administrated(tx: Transaction) -> None:
    """Reject a change that leaves no administrator.

    Raises:
        InvalidValue: `login`.
    """
    if not any(user.role == "admin" for user in every(tx.connection)):
        raise InvalidValue("login", "the last administrator must stay one.")


def remove(tx: Transaction, login: str) -> None:
    """Delete a user.

    Raises:
        MissingResource: there is no user with that login.
    """
    get(tx.connection, login)
    tx.connection.execute(delete(users).where(users.c.login == login))
