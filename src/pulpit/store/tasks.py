"""Tasks: what to do, which worker does it and how it ended.

Every change of state is one statement that names the state it starts from, so that two processes can never both make
it: a worker that was declared dead no longer owns its task and cannot change it.
"""

import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, text, true, update

from pulpit.errors import MissingResource
from pulpit.ids import object_id
from pulpit.store.database import Transaction
from pulpit.store.schema import tasks
from pulpit.store.wakeups import Wakeup

WAITING: Final = "waiting"
RUNNING: Final = "running"
FINISHED: Final = "finished"
ERROR: Final = "error"
CANCELED: Final = "canceled"
SKIPPED: Final = "skipped"
_POSTGRESQL_LOCK: Final = text("SELECT pg_advisory_xact_lock(7085748)")
ENDED: Final = frozenset({FINISHED, ERROR, CANCELED, SKIPPED})
_PORTION: Final = 200
"""Tasks read by one query."""
STATES: Final = (WAITING, RUNNING, FINISHED, ERROR, CANCELED, SKIPPED)


@dataclass(frozen=True, kw_only=True, slots=True)
class NewTask:
    """Work to be queued; tasks of one `resource` run one at a time, in order."""

    task_type: str
    arguments: dict[str, Any]
    tags: list[str]
    resource: str | None = None
    principal_login: str | None = None
    parent_id: str | None = None
    schedule_id: str | None = None
    """The schedule that queued it, if any."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A task as stored; `object_id` sorts by creation."""

    object_id: str
    id: str
    task_type: str
    arguments: dict[str, Any]
    tags: list[str]
    resource: str | None
    state: str
    principal_login: str | None
    parent_id: str | None
    worker_name: str | None
    cancel_requested: bool
    created_at: datetime
    start_time: datetime | None
    finish_time: datetime | None
    progress_report: dict[str, Any]
    result: Any
    error: dict[str, Any] | None
    spawned: list[str]
    schedule_id: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class EndedTask:
    """The columns written when a task ends."""

    state: str
    progress_report: dict[str, Any] | None = None
    """None keeps the last one that was written."""
    result: Any = None
    error: dict[str, Any] | None = None


def add(tx: Transaction, new: NewTask, *, now: datetime) -> Task:
    """Queue a task."""
    row = {name: getattr(new, name) for name in NewTask.__dataclass_fields__}
    task_id = str(uuid.uuid4())
    blank: dict[str, Any] = {"state": WAITING, "progress_report": {}, "spawned": []}
    tx.connection.execute(insert(tasks).values(id=task_id, object_id=object_id(), created_at=now, **row, **blank))
    tx.wakeups.add(Wakeup.TASKS)
    return get(tx.connection, task_id)


def find(connection: Connection, task_id: str) -> Task | None:
    """One task, if it is kept."""
    row = connection.execute(select(tasks).where(tasks.c.id == task_id)).mappings().one_or_none()
    return None if row is None else Task(**row)


def get(connection: Connection, task_id: str) -> Task:
    """Return one task.

    Raises:
        MissingResource: there is none with that id.
    """
    task = find(connection, task_id)
    if task is None:
        raise MissingResource(resource_id=task_id)
    return task


def search(
    connection: Connection,
    *,
    states: Sequence[str] | None = None,
    tags: Sequence[str] = (),
) -> list[Task]:
    """Return tasks in one of the states and with all of the tags, oldest first."""
    wanted = select(tasks).where(*_conditions(states, tags)).order_by(tasks.c.object_id)
    found = [Task(**row) for row in connection.execute(wanted).mappings()]
    return [task for task in found if set(tags) <= set(task.tags)]


def each(
    connection: Connection, *, states: Sequence[str] | None, tags: Sequence[str], newest_first: bool
) -> Iterator[Task]:
    """Yield the same in either order, read in portions; keep the transaction open meanwhile."""
    column = tasks.c.object_id
    wanted = select(tasks).where(*_conditions(states, tags)).limit(_PORTION)
    wanted = wanted.order_by(column.desc() if newest_first else column)
    last: ColumnElement[bool] = true()
    while rows := connection.execute(wanted.where(last)).mappings().all():
        yield from (task for task in (Task(**row) for row in rows) if set(tags) <= set(task.tags))
        last = column < rows[-1]["object_id"] if newest_first else column > rows[-1]["object_id"]


def counts(connection: Connection) -> Counter[str]:
    """Count the tasks in each state."""
    rows = connection.execute(select(tasks.c.state, func.count()).group_by(tasks.c.state))
    return Counter({row[0]: row[1] for row in rows})


def claim(tx: Transaction, worker_name: str, *, now: datetime) -> Task | None:
    """Claim the oldest waiting task whose resource is not being worked on; `None` if there is none.

    Claims are serialised, on SQLite by its write lock and on PostgreSQL by an advisory one: skipping locked rows
    would take the tasks of a resource out of order.
    """
    if tx.connection.dialect.name == "postgresql":
        tx.connection.execute(_POSTGRESQL_LOCK)
    busy = select(tasks.c.resource).where((tasks.c.state == RUNNING) & tasks.c.resource.is_not(None))
    free = tasks.c.resource.is_(None) | tasks.c.resource.not_in(busy)
    oldest = select(tasks.c.id).where((tasks.c.state == WAITING) & free).order_by(tasks.c.object_id).limit(1)
    mine = update(tasks).where((tasks.c.id == oldest.scalar_subquery()) & (tasks.c.state == WAITING))
    taken = tx.connection.execute(
        mine.values(state=RUNNING, worker_name=worker_name, start_time=now).returning(tasks.c.id)
    ).scalar()
    return None if taken is None else get(tx.connection, taken)


def report_progress(tx: Transaction, task_id: str, worker_name: str, progress_report: dict[str, Any]) -> None:
    """Store the progress of a worker's own running task."""
    tx.connection.execute(_own(task_id, worker_name).values(progress_report=progress_report))


def end(tx: Transaction, task_id: str, worker_name: str, ended: EndedTask, *, now: datetime) -> Task | None:
    """End a worker's own running task; `None` and no change if the worker no longer owns it."""
    columns: dict[str, Any] = {"state": ended.state, "result": ended.result, "error": ended.error}
    if ended.progress_report is not None:
        columns["progress_report"] = ended.progress_report
    done = tx.connection.execute(_own(task_id, worker_name).values(finish_time=now, **columns))
    if done.rowcount != 1:
        return None
    tx.wakeups.add(Wakeup.TASKS)  # the next task of the same resource may now be taken
    return get(tx.connection, task_id)


def amend(tx: Transaction, task_id: str, **columns: Any) -> Task:
    """Update columns of a task that ended in this transaction."""
    tx.connection.execute(update(tasks).where(tasks.c.id == task_id).values(**columns))
    return get(tx.connection, task_id)


def cancel(tx: Transaction, task_id: str, *, now: datetime) -> None:
    """Cancel a waiting task at once, ask the worker of a running one to stop, leave an ended one as it is.

    Raises:
        MissingResource: there is no such task.
    """
    get(tx.connection, task_id)
    is_it = tasks.c.id == task_id
    waiting = update(tasks).where(is_it & (tasks.c.state == WAITING))
    tx.connection.execute(waiting.values(state=CANCELED, finish_time=now))
    running = update(tasks).where(is_it & (tasks.c.state == RUNNING))
    tx.connection.execute(running.values(cancel_requested=True))
    tx.wakeups.add(Wakeup.TASKS)


def running_at(connection: Connection, worker_pattern: str) -> list[Task]:
    """Return running tasks of the workers whose name ends in the pattern."""
    mine = (tasks.c.state == RUNNING) & tasks.c.worker_name.endswith(worker_pattern, autoescape=True)
    return [Task(**row) for row in connection.execute(select(tasks).where(mine)).mappings()]


def purge(tx: Transaction, states: Sequence[str]) -> int:
    """Delete ended tasks in the given states and return how many."""
    done = tx.connection.execute(delete(tasks).where(tasks.c.state.in_(set(states) & ENDED)))
    return done.rowcount


def forget(tx: Transaction, *, ended_before: datetime, limit: int) -> int:
    """Delete the tasks that ended longest ago, and return how many."""
    old = tasks.c.state.in_(ENDED) & (tasks.c.finish_time < ended_before)
    oldest = select(tasks.c.object_id).where(old).order_by(tasks.c.object_id).limit(limit)
    return tx.connection.execute(delete(tasks).where(tasks.c.object_id.in_(oldest))).rowcount


def _conditions(states: Sequence[str] | None, tags: Sequence[str]) -> list[ColumnElement[bool]]:
    """Return the conditions that a database can evaluate; for tags they match too many tasks."""
    conditions: list[ColumnElement[bool]] = [tasks.c.tags.contains(f'"{tag}"', autoescape=True) for tag in tags]
    return conditions if states is None else [*conditions, tasks.c.state.in_(states)]


def _own(task_id: str, worker_name: str) -> Any:
    mine = (tasks.c.id == task_id) & (tasks.c.worker_name == worker_name) & (tasks.c.state == RUNNING)
    return update(tasks).where(mine)
