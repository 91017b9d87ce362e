"""Hooks: where other systems tell what happened there, and what it becomes here."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from pulpit.errors import DuplicateResource, MissingResource
from pulpit.ids import object_id
from pulpit.store.database import Transaction
from pulpit.store.schema import hooks


@dataclass(frozen=True, kw_only=True, slots=True)
class Hook:
    """One address that somebody else posts to."""

    id: str
    name: str
    provider: str
    """Whose requests it takes: `github`, `gitlab`, `gitea` or `generic`."""
    secret: str
    """By which they are known; kept as it is, for a signature cannot be checked by less."""
    fires: str
    """The type of the events, with words in braces that the request fills in."""
    repo_id: str | None
    """What the events are about, with the same words; null is nothing."""
    starts_sync: str | None
    """The repository whose sync a request starts; null starts none."""
    only: list[str] | None
    """The provider's events that count; null is all."""
    created_at: datetime
    received: int
    """Requests that counted."""
    last_received_at: datetime | None
    last_problem: str | None
    """Why the last request did not count, since the last one that did."""


def add(tx: Transaction, *, now: datetime, **columns: Any) -> Hook:
    """Create a hook.

    Raises:
        DuplicateResource: the name is taken.
    """
    hook_id = object_id()
    try:
        tx.connection.execute(insert(hooks).values(id=hook_id, created_at=now, received=0, **columns))
    except IntegrityError:
        raise DuplicateResource(str(columns["name"])) from None
    return get(tx.connection, hook_id)


def get(connection: Connection, hook_id: str) -> Hook:
    """One hook.

    Raises:
        MissingResource: `hook`.
    """
    row = connection.execute(select(hooks).where(hooks.c.id == hook_id)).mappings().one_or_none()
    if row is None:
        raise MissingResource(hook=hook_id)
    return Hook(**row)


def every(connection: Connection) -> list[Hook]:
    """All hooks by name."""
    return [Hook(**row) for row in connection.execute(select(hooks).order_by(hooks.c.name)).mappings()]


def count(connection: Connection) -> int:
    """How many hooks there are."""
    return connection.execute(select(func.count()).select_from(hooks)).scalar_one()


def note(tx: Transaction, hook_id: str, *, now: datetime) -> None:
    """Write down that a request counted."""
    well = {"received": hooks.c.received + 1, "last_received_at": now, "last_problem": None}
    tx.connection.execute(update(hooks).where(hooks.c.id == hook_id).values(**well))


def note_problem(tx: Transaction, hook_id: str, problem: str) -> None:
    """Write down why a request did not count."""
    tx.connection.execute(update(hooks).where(hooks.c.id == hook_id).values(last_problem=problem))


def remove(tx: Transaction, hook_id: str) -> None:
    """Delete a hook: the next request to it is a 404.

    Raises:
        MissingResource: there is no such hook.
    """
    get(tx.connection, hook_id)
    tx.connection.execute(delete(hooks).where(hooks.c.id == hook_id))
