"""Schedules: when to queue which sync or publish, and how the last runs went.

The next slot is a column; running it advances the column in the transaction that queues the task. So a slot is run
once, whatever crashes and however many servers look.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, delete, func, insert, select, text, update

from pulpit.errors import MissingResource
from pulpit.ids import object_id
from pulpit.store.database import Transaction
from pulpit.store.schema import schedules
from pulpit.store.wakeups import Wakeup

SYNC: Final = "sync"
PUBLISH: Final = "publish"

_POSTGRESQL_LOCK: Final = text("SELECT pg_advisory_xact_lock(7085750)")


@dataclass(frozen=True, kw_only=True, slots=True)
class NewSchedule:
    """The fields of a new schedule; `plugin_id` is the importer that syncs or the distributor that publishes."""

    repo_id: str
    action: str
    plugin_id: str
    schedule: str
    override_config: dict[str, Any]
    principal_login: str | None
    enabled: bool
    failure_threshold: int | None
    first_run: datetime
    next_run: datetime
    remaining_runs: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule(NewSchedule):
    """A schedule as stored; all slots are computed from `first_run`."""

    id: str
    consecutive_failures: int
    total_run_count: int
    last_run_at: datetime | None
    last_task_id: str | None
    last_updated: datetime


def add(tx: Transaction, new: NewSchedule, *, now: datetime) -> Schedule:
    """Add a schedule."""
    row = {name: getattr(new, name) for name in NewSchedule.__dataclass_fields__}
    schedule_id = object_id()
    tx.connection.execute(insert(schedules).values(id=schedule_id, last_updated=now, **row))
    tx.wakeups.add(Wakeup.SCHEDULES)
    return get(tx.connection, schedule_id)


def get(connection: Connection, schedule_id: str) -> Schedule:
    """Return one schedule.

    Raises:
        MissingResource: there is none with that id.
    """
    row = connection.execute(select(schedules).where(schedules.c.id == schedule_id)).mappings().one_or_none()
    if row is None:
        raise MissingResource(schedule_id=schedule_id)
    return Schedule(**row)


def of_plugin(connection: Connection, repo_id: str, action: str, plugin_id: str) -> list[Schedule]:
    """Return the schedules of a repository's importer or distributor, oldest first."""
    columns = schedules.c
    mine = (columns.repo_id == repo_id) & (columns.action == action) & (columns.plugin_id == plugin_id)
    return [
        Schedule(**row) for row in connection.execute(select(schedules).where(mine).order_by(columns.id)).mappings()
    ]


def of_repository(connection: Connection, repo_id: str) -> list[Schedule]:
    """The schedules of a repository, oldest first."""
    wanted = select(schedules).where(schedules.c.repo_id == repo_id).order_by(schedules.c.id)
    return [Schedule(**row) for row in connection.execute(wanted).mappings()]


def every(connection: Connection) -> list[Schedule]:
    """All schedules, oldest first."""
    return [Schedule(**row) for row in connection.execute(select(schedules).order_by(schedules.c.id)).mappings()]


def change(tx: Transaction, schedule_id: str, **columns: Any) -> Schedule:
    """Update columns of a schedule."""
    tx.connection.execute(update(schedules).where(schedules.c.id == schedule_id).values(**columns))
    tx.wakeups.add(Wakeup.SCHEDULES)
    return get(tx.connection, schedule_id)


def remove(tx: Transaction, schedule_id: str) -> None:
    """Delete a schedule; a task that it queued continues."""
    tx.connection.execute(delete(schedules).where(schedules.c.id == schedule_id))


def next_slot(connection: Connection) -> datetime | None:
    """Return the earliest next slot of all enabled schedules, which may lie in the past."""
    earliest: datetime | None = connection.execute(select(func.min(schedules.c.next_run)).where(_enabled())).scalar()
    return earliest


def due(tx: Transaction, *, now: datetime, limit: int) -> Sequence[Schedule]:
    """Return enabled schedules that are due, the longest overdue first.

    On PostgreSQL one server at a time gets them.
    """
    if tx.connection.dialect.name == "postgresql":
        tx.connection.execute(_POSTGRESQL_LOCK)
    wanted = select(schedules).where(_enabled() & (schedules.c.next_run <= now))
    found = tx.connection.execute(wanted.order_by(schedules.c.next_run, schedules.c.id).limit(limit))
    return [Schedule(**row) for row in found.mappings()]


def later_than(tx: Transaction, moment: datetime) -> Sequence[Schedule]:
    """Return enabled schedules whose next slot is after a moment; on PostgreSQL one server at a time gets them."""
    if tx.connection.dialect.name == "postgresql":
        tx.connection.execute(_POSTGRESQL_LOCK)
    wanted = select(schedules).where(_enabled() & (schedules.c.next_run > moment)).order_by(schedules.c.id)
    return [Schedule(**row) for row in tx.connection.execute(wanted).mappings()]


def reckon(tx: Transaction, schedule_id: str, *, first_run: datetime, next_run: datetime) -> None:
    """Store recomputed slots."""
    this = update(schedules).where(schedules.c.id == schedule_id)
    tx.connection.execute(this.values(first_run=first_run, next_run=next_run))


def met(tx: Transaction, schedule: Schedule, task_id: str, *, next_run: datetime, now: datetime) -> None:
    """Record that a slot became a task; the last one of a limited number disables the schedule."""
    left = None if schedule.remaining_runs is None else schedule.remaining_runs - 1
    columns: dict[str, Any] = {"next_run": next_run, "last_run_at": now, "last_task_id": task_id}
    columns |= {"total_run_count": schedule.total_run_count + 1, "remaining_runs": left, "enabled": left != 0}
    tx.connection.execute(update(schedules).where(schedules.c.id == schedule.id).values(**columns))


def skip(tx: Transaction, schedule_id: str, *, next_run: datetime) -> None:
    """Skip a slot."""
    tx.connection.execute(update(schedules).where(schedules.c.id == schedule_id).values(next_run=next_run))


def succeed(tx: Transaction, schedule_id: str) -> None:
    """Reset the failures of a schedule after a successful task."""
    tx.connection.execute(update(schedules).where(schedules.c.id == schedule_id).values(consecutive_failures=0))


def fail(tx: Transaction, schedule_id: str) -> Schedule | None:
    """Count a failure; return the schedule if this one has disabled it."""
    columns = schedules.c
    this = update(schedules).where(columns.id == schedule_id)
    tx.connection.execute(this.values(consecutive_failures=columns.consecutive_failures + 1))
    too_many = _enabled() & (columns.consecutive_failures >= columns.failure_threshold)
    disabled = tx.connection.execute(this.where(too_many).values(enabled=False))
    return get(tx.connection, schedule_id) if disabled.rowcount else None


def _enabled() -> Any:
    return schedules.c.enabled.is_(True)
