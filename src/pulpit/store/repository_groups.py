"""Groups of repositories: a name for several, with notes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from pulpit.errors import DuplicateResource, MissingResource
from pulpit.ids import object_id
from pulpit.store import repositories
from pulpit.store.database import Transaction
from pulpit.store.schema import repository_group_members as members
from pulpit.store.schema import repository_groups as groups


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    id: str
    object_id: str
    display_name: str | None
    description: str | None
    notes: dict[str, Any]
    repo_ids: tuple[str, ...]
    """By id."""


def add(
    tx: Transaction,
    group_id: str,
    *,
    display_name: str | None,
    description: str | None,
    notes: dict[str, Any],
    repo_ids: Sequence[str],
) -> Group:
    """Create a group of repositories.

    Raises:
        DuplicateResource: the id is taken.
        MissingResource: one of the repositories does not exist.
    """
    row = {"id": group_id, "display_name": display_name, "description": description, "notes": notes}
    try:
        tx.connection.execute(insert(groups).values(object_id=object_id(), **row))
    except IntegrityError:
        raise DuplicateResource(group_id) from None
    for repo_id in repo_ids:
        repositories.get(tx.connection, repo_id)
    return add_members(tx, group_id, repo_ids)


def get(connection: Connection, group_id: str) -> Group:
    """One group.

    Raises:
        MissingResource: `repo_group`.
    """
    found = every(connection, group_id)
    if not found:
        raise MissingResource(repo_group=group_id)
    return found[0]


def every(connection: Connection, group_id: str | None = None) -> list[Group]:
    """All groups by id, or those of one id."""
    listed, joined = select(groups).order_by(groups.c.id), select(members).order_by(members.c.repo_id)
    if group_id is not None:
        listed, joined = listed.where(groups.c.id == group_id), joined.where(members.c.group_id == group_id)
    repo_ids: dict[str, list[str]] = {}
    for row in connection.execute(joined):
        repo_ids.setdefault(row.group_id, []).append(row.repo_id)
    rows = connection.execute(listed).mappings()
    return [Group(**row, repo_ids=tuple(repo_ids.get(row["id"], ()))) for row in rows]


def change(tx: Transaction, group_id: str, **columns: Any) -> Group:
    """Update columns of a group.

    Raises:
        MissingResource: `repo_group`.
    """
    if columns:
        tx.connection.execute(update(groups).where(groups.c.id == group_id).values(**columns))
    return get(tx.connection, group_id)


def remove(tx: Transaction, group_id: str) -> None:
    """Delete a group, not its repositories.

    Raises:
        MissingResource: `repo_group`.
    """
    if not tx.connection.execute(delete(groups).where(groups.c.id == group_id)).rowcount:
        raise MissingResource(repo_group=group_id)


def add_members(tx: Transaction, group_id: str, repo_ids: Sequence[str]) -> Group:
    """Add repositories to a group; members stay members.

    Raises:
        MissingResource: `repo_group`.
    """
    known = get(tx.connection, group_id).repo_ids
    rows = [{"group_id": group_id, "repo_id": repo_id} for repo_id in sorted(set(repo_ids) - set(known))]
    if rows:
        tx.connection.execute(insert(members), rows)
    return get(tx.connection, group_id)


def remove_members(tx: Transaction, group_id: str, repo_ids: Sequence[str]) -> Group:
    """Remove repositories from a group.

    Raises:
        MissingResource: `repo_group`.
    """
    for repo_id in set(get(tx.connection, group_id).repo_ids) & set(repo_ids):
        tx.connection.execute(delete(members).where((members.c.group_id == group_id) & (members.c.repo_id == repo_id)))
    return get(tx.connection, group_id)
