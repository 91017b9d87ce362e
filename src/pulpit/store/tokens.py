"""Tokens: credentials for programs. Only a digest of each is stored, so none can be read back."""

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from pulpit.errors import DuplicateResource, MissingResource
from pulpit.ids import object_id
from pulpit.store.database import Transaction
from pulpit.store.schema import tokens

PREFIX: Final = "pulpit_"
"""Prefix of every token, by which scanners find leaked ones."""
_BYTES: Final = 32
_FORM: Final = re.compile(PREFIX + r"[A-Za-z0-9_-]{43}\Z")
NOTED_EVERY: Final = timedelta(minutes=1)
"""How often the last use is stored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """A stored token, without its secret."""

    id: str
    login: str
    """Its user, who may do at least what the token allows."""
    name: str
    """Unique among those of its user."""
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    """Exact to a minute."""


_SHOWN: Final = [tokens.c[name] for name in Token.__dataclass_fields__]


def is_token(text: str) -> bool:
    """Whether a text has the form of a token."""
    return _FORM.match(text) is not None


def new_secret() -> str:
    """Generate a token."""
    return PREFIX + secrets.token_urlsafe(_BYTES)


def _digest(secret: str) -> str:
    """Hash a token of 256 random bits: it cannot be guessed, so a plain digest is safe and can be indexed."""
    return hashlib.sha256(secret.encode()).hexdigest()


def add(
    tx: Transaction,
    login: str,
    name: str,
    secret: str,
    scopes: list[str],
    *,
    now: datetime,
    expires_at: datetime | None,
) -> Token:
    """Store a token.

    Raises:
        DuplicateResource: the user has one with that name.
    """
    row: dict[str, Any] = {"id": object_id(), "login": login, "name": name, "scopes": scopes, "expires_at": expires_at}
    try:
        tx.connection.execute(insert(tokens).values(digest=_digest(secret), created_at=now, **row))
    except IntegrityError:
        raise DuplicateResource(name) from None
    return Token(**row, created_at=now, last_used_at=None)


def shown_as(connection: Connection, secret: str) -> Token | None:
    """Return the token with this secret, or none."""
    row = connection.execute(select(*_SHOWN).where(tokens.c.digest == _digest(secret))).mappings().one_or_none()
    return None if row is None else Token(**row)


def every(connection: Connection, login: str | None = None) -> list[Token]:
    """All tokens, or those of one user, by user and name."""
    wanted = select(*_SHOWN).order_by(tokens.c.login, tokens.c.name)
    if login is not None:
        wanted = wanted.where(tokens.c.login == login)
    return [Token(**row) for row in connection.execute(wanted).mappings()]


def count(connection: Connection, login: str) -> int:
    """How many tokens a user has."""
    return connection.execute(select(func.count()).select_from(tokens).where(tokens.c.login == login)).scalar_one()


def get(connection: Connection, token_id: str) -> Token:
    """One token.

    Raises:
        MissingResource: there is no such token.
    """
    row = connection.execute(select(*_SHOWN).where(tokens.c.id == token_id)).mappings().one_or_none()
    if row is None:
        raise MissingResource(token=token_id)
    return Token(**row)


def note_use(tx: Transaction, token_id: str, *, now: datetime) -> None:
    """Record that a token was used."""
    tx.connection.execute(update(tokens).where(tokens.c.id == token_id).values(last_used_at=now))


def remove(tx: Transaction, token_id: str) -> None:
    """Revoke a token: the next request with it is rejected."""
    tx.connection.execute(delete(tokens).where(tokens.c.id == token_id))
