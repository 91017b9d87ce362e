"""Hooks: incoming webhooks of other systems, and the events and syncs that they trigger."""

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
    """One incoming webhook."""

    id: str
    name: str
    provider: str
    """Format of the requests: `github`, `gitlab`, `gitea` or `generic`."""
    secret: str
    """Signs the requests; stored in clear, because a signature cannot be verified from a hash."""
    fires: str
    """The type of the events; words in braces are filled in from the request."""
    repo_id: str | None
    """Repository of the events, with the same placeholders; null is none."""
    starts_sync: str | None
    """The repository that a request syncs; null is none."""
    only: list[str] | None
    """The provider's events that are accepted; null is all."""
    created_at: datetime
    received: int
    """Requests that were accepted."""
    last_received_at: datetime | None
    last_problem: str | None
    """Why the last request was not accepted; null after an accepted one."""


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
    """Record an accepted request."""
    well = {"received": hooks.c.received + 1, "last_received_at": now, "last_problem": None}
    tx.connection.execute(update(hooks).where(hooks.c.id == hook_id).values(**well))


def note_problem(tx: Transaction, hook_id: str, problem: str) -> None:
    """Record why a request was not accepted."""
    tx.connection.execute(update(hooks).where(hooks.c.id == hook_id).values(last_problem=problem))


def remove(tx: Transaction, hook_id: str) -> None:
    """Delete a hook: the next request to it is a 404.

    Raises:
        MissingResource: there is no such hook.
    """
    get(tx.connection, hook_id)
    tx.connection.execute(delete(hooks).where(hooks.c.id == hook_id))
