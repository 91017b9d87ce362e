"""The history of syncs and publishes, which also pairs every start event with its one finish event.

A record is opened in the transaction that fires the start and closed in the one that fires the finish. A record can
be closed only once.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from pulpit.ids import object_id
from pulpit.store.database import Transaction
from pulpit.store.schema import history

SYNC = "sync"
PUBLISH = "publish"


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One sync or publish; `plugin_id` is the importer's or the distributor's id."""

    id: str
    kind: str
    repo_id: str
    plugin_id: str
    plugin_type_id: str
    task_id: str
    started: datetime
    completed: datetime | None
    result: str | None
    added_count: int | None
    updated_count: int | None
    removed_count: int | None
    summary: Any
    details: Any
    error_message: str | None
    exception: str | None
    traceback: list[str] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """How a sync or publish ended; counts belong to a sync and are null when unknown."""

    result: str
    added_count: int | None = None
    updated_count: int | None = None
    removed_count: int | None = None
    summary: Any = None
    details: Any = None
    error_message: str | None = None
    exception: str | None = None
    traceback: list[str] | None = None


def begin(
    tx: Transaction, kind: str, *, repo_id: str, plugin_id: str, plugin_type_id: str, task_id: str, now: datetime
) -> str:
    """Open a record and return its id."""
    record_id = object_id()
    row = {"repo_id": repo_id, "plugin_id": plugin_id, "plugin_type_id": plugin_type_id, "task_id": task_id}
    tx.connection.execute(insert(history).values(id=record_id, kind=kind, started=now, **row))
    return record_id


def close(tx: Transaction, record_id: str, ending: Ending, *, now: datetime) -> Record | None:
    """Close an open record; `None` if it is closed already."""
    row = {name: getattr(ending, name) for name in Ending.__dataclass_fields__}
    unfinished = (history.c.id == record_id) & history.c.completed.is_(None)
    closed = tx.connection.execute(update(history).where(unfinished).values(completed=now, **row))
    if closed.rowcount != 1:
        return None
    return Record(**tx.connection.execute(select(history).where(history.c.id == record_id)).mappings().one())


def open_records(connection: Connection, task_id: str) -> list[Record]:
    """Return the records that a task opened and that are still open."""
    wanted = select(history).where((history.c.task_id == task_id) & history.c.completed.is_(None))
    return [Record(**row) for row in connection.execute(wanted).mappings()]


def of_repository(
    connection: Connection,
    repo_id: str,
    kind: str,
    *,
    plugin_id: str | None = None,
    limit: int | None = None,
    ascending: bool = False,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[Record]:
    """Return a repository's closed records, newest first by default; the times bound `started`."""
    columns = history.c
    wanted = select(history).where(
        (columns.repo_id == repo_id) & (columns.kind == kind) & columns.completed.is_not(None)
    )
    if plugin_id is not None:
        wanted = wanted.where(columns.plugin_id == plugin_id)
    if since is not None:
        wanted = wanted.where(columns.started >= since)
    if until is not None:
        wanted = wanted.where(columns.started <= until)
    wanted = wanted.order_by(columns.id.asc() if ascending else columns.id.desc()).limit(limit)
    return [Record(**row) for row in connection.execute(wanted).mappings()]


def forget(tx: Transaction, *, ended_before: datetime, limit: int) -> int:
    """Delete the records that were closed longest ago, and return how many."""
    oldest = select(history.c.id).where(history.c.completed < ended_before).order_by(history.c.id).limit(limit)
    return tx.connection.execute(delete(history).where(history.c.id.in_(oldest))).rowcount
