"""Tasks and publications of a Pulp 3 for which events were fired: one start and one finish each.

Writers hold the log's lock, so that two readers of one outbox, one of which has not noticed yet that it lost its
connection, wait for each other and fire nothing twice.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, delete, insert, select, update

from pulpit.store.database import Transaction
from pulpit.store.schema import pulp3_work


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """A task or publication; `data` is what Pulp's outbox recorded at its start."""

    source: str
    object_id: str
    task_id: str
    data: dict[str, Any]
    seen_at: datetime
    started_at: datetime | None
    """When the start event was fired, if it was."""
    ended_at: datetime | None


def get(connection: Connection, source: str, object_id: str) -> Work | None:
    """Return what was recorded for a task or publication, if anything."""
    row = connection.execute(select(pulp3_work).where(_is(source, object_id))).mappings().one_or_none()
    return None if row is None else Work(**row)


def add(tx: Transaction, work: Work) -> None:
    """Add a new record."""
    row = {name: getattr(work, name) for name in Work.__dataclass_fields__}
    tx.connection.execute(insert(pulp3_work).values(row))


def start(tx: Transaction, work: Work, data: dict[str, Any], *, now: datetime) -> None:
    """Record that its start event is fired in this transaction."""
    there = update(pulp3_work).where(_is(work.source, work.object_id))
    tx.connection.execute(there.values(started_at=now, data=data))


def end(tx: Transaction, source: str, object_id: str, *, now: datetime) -> None:
    """Record that its finish event is fired in this transaction."""
    tx.connection.execute(update(pulp3_work).where(_is(source, object_id)).values(ended_at=now))


def open_since(connection: Connection, source: str, moment: datetime, *, limit: int) -> list[Work]:
    """Return those that began before a moment and have not ended, the oldest first."""
    columns = pulp3_work.c
    wanted = select(pulp3_work).where(
        (columns.source == source) & columns.ended_at.is_(None) & (columns.seen_at < moment)
    )
    rows = connection.execute(wanted.order_by(columns.seen_at).limit(limit)).mappings()
    return [Work(**row) for row in rows]


def forget(tx: Transaction, *, ended_before: datetime, limit: int) -> int:
    """Delete those that ended long ago, and return how many."""
    columns = pulp3_work.c
    old = select(columns.source, columns.object_id).where(columns.ended_at < ended_before).limit(limit)
    rows: Collection[Any] = tx.connection.execute(old).all()
    for source, object_id in rows:
        tx.connection.execute(delete(pulp3_work).where(_is(source, object_id)))
    return len(rows)


def _is(source: str, object_id: str) -> Any:
    return and_(pulp3_work.c.source == source, pulp3_work.c.object_id == object_id)
