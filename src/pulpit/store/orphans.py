"""Units that no repository holds, and files that belong to no unit."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, exists, func, select

from pulpit.store.database import Transaction
from pulpit.store.schema import artifacts, associations, unit_files, units
from pulpit.store.units import MOST_AT_ONCE


def orphan_counts(connection: Connection) -> dict[str, int]:
    """Return the number of orphans of each unit type that has any."""
    wanted = select(units.c.type_id, func.count()).where(_unheld()).group_by(units.c.type_id)
    return {type_id: count for type_id, count in connection.execute(wanted)}  # noqa: C416 - rows are no pairs to mypy


def orphan_keys(
    connection: Connection, type_id: str, *, unit_id: str | None = None
) -> list[tuple[str, dict[str, Any]]]:
    """Return id and key of every orphan of a type, or of the one with the id."""
    wanted = select(units.c.id, units.c.key).where(_unheld() & (units.c.type_id == type_id)).order_by(units.c.id)
    if unit_id is not None:
        wanted = wanted.where(units.c.id == unit_id)
    return [(row.id, row.key) for row in connection.execute(wanted)]


def remove_orphans(tx: Transaction, type_id: str | None, unit_ids: Sequence[str] | None) -> dict[str, int]:
    """Delete a portion of the orphans, and return how many of each type; `lock_artifacts` first."""
    condition = _unheld()
    if type_id is not None:
        condition &= units.c.type_id == type_id
    if unit_ids is not None:
        condition &= units.c.id.in_(unit_ids)
    wanted = select(units.c.id, units.c.type_id).where(condition).order_by(units.c.id).limit(MOST_AT_ONCE)
    found = {row.id: row.type_id for row in tx.connection.execute(wanted.with_for_update(of=units))}
    tx.connection.execute(delete(unit_files).where(unit_files.c.unit_id.in_(found)))
    tx.connection.execute(delete(units).where(units.c.id.in_(found)))
    types = list(found.values())
    return {orphan_type: types.count(orphan_type) for orphan_type in set(types)}


def unused_artifacts(connection: Connection, after: str) -> Sequence[str]:
    """Return a portion of the files that belong to no unit: their SHA-256 in order, after a given one."""
    used = exists().where(unit_files.c.sha256 == artifacts.c.sha256)
    wanted = select(artifacts.c.sha256).where(~used & (artifacts.c.sha256 > after)).order_by(artifacts.c.sha256)
    return connection.execute(wanted.limit(MOST_AT_ONCE)).scalars().all()


def forget_artifacts(tx: Transaction, sha256s: Sequence[str]) -> None:
    """Delete the records of at most `MOST_AT_ONCE` files; `lock_artifacts` first."""
    tx.connection.execute(delete(artifacts).where(artifacts.c.sha256.in_(sha256s)))


def _unheld() -> ColumnElement[bool]:
    return ~exists().where(associations.c.unit_id == units.c.id)
