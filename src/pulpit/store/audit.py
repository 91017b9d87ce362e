"""Consistency checks between the tables: each statement returns the rows that violate a rule.

They only read. What can be read in one snapshot is; files are read in portions by prefix, so that nothing holds a
snapshot for long.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, exists, func, or_, select, text

from pulpit.store.schema import (
    artifacts,
    associations,
    dead_letters,
    event_counters,
    events,
    history,
    listeners,
    tasks,
    unit_files,
    units,
)
from pulpit.store.tasks import ENDED, RUNNING
from pulpit.store.units import StoredFile

MOST: Final = 1000
"""Rows returned per rule; nobody reads more violations of one rule."""
_PORTION: Final = 1000

Rows = Sequence[Any]
"""Rows with the columns that the statement names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A file that the database refers to; `used` if a unit consists of it."""

    sha256: str
    size: int
    used: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Use:
    """A stored file as part of a unit; `repo_id` is null if no repository holds the unit."""

    repo_id: str | None
    relative_path: str


def damage(connection: Connection) -> list[str]:
    """What SQLite's own integrity check reports; PostgreSQL has none."""
    if connection.dialect.name != "sqlite":
        return []
    found = [str(row[0]) for row in connection.execute(text("PRAGMA integrity_check"))]
    return [] if found == ["ok"] else found


def broken_references(connection: Connection) -> list[tuple[str, str]]:
    """The table of each row with a dangling reference, and the table referred to; PostgreSQL does not allow any."""
    if connection.dialect.name != "sqlite":
        return []
    rows = connection.execute(text("PRAGMA foreign_key_check")).fetchmany(MOST)
    return [(row[0], row[2]) for row in rows]


def kept_beneath(connection: Connection, prefix: str) -> list[Kept]:
    """The files whose SHA-256 begins with `prefix`."""
    columns = artifacts.c
    used = exists().where(unit_files.c.sha256 == columns.sha256)
    wanted = select(columns.sha256, columns.size, used.label("used"))
    rows = connection.execute(wanted.where((columns.sha256 >= prefix) & (columns.sha256 < f"{prefix}g")))
    return [Kept(sha256=row.sha256, size=row.size, used=bool(row.used)) for row in rows]


def uses(connection: Connection, sha256: str) -> list[Use]:
    """The units that consist of a file, and the repositories that hold them."""
    joined = unit_files.outerjoin(associations, associations.c.unit_id == unit_files.c.unit_id)
    wanted = select(associations.c.repo_id, unit_files.c.relative_path).select_from(joined)
    rows = connection.execute(wanted.where(unit_files.c.sha256 == sha256).limit(MOST))
    return [Use(repo_id=row.repo_id, relative_path=row.relative_path) for row in rows]


def sizes_apart(connection: Connection) -> list[tuple[str, StoredFile, int]]:
    """Unit, file and recorded size, where the unit and the stored file disagree about the size."""
    columns = unit_files.c
    joined = unit_files.join(artifacts, artifacts.c.sha256 == columns.sha256)
    wanted = select(
        columns.unit_id, columns.relative_path, columns.sha256, columns.size, artifacts.c.size.label("kept")
    )
    rows = connection.execute(wanted.select_from(joined).where(columns.size != artifacts.c.size).limit(MOST))
    return [
        (row.unit_id, StoredFile(relative_path=row.relative_path, sha256=row.sha256, size=row.size), row.kept)
        for row in rows
    ]


def types_apart(connection: Connection) -> Rows:
    """`repo_id`, `unit_id`, `unit_type_id`, `type_id` of units that a repository lists under another type."""
    columns = associations.c
    wanted = select(columns.repo_id, columns.unit_id, columns.unit_type_id, units.c.type_id)
    wanted = wanted.join(units, units.c.id == columns.unit_id).where(units.c.type_id != columns.unit_type_id)
    return connection.execute(wanted.limit(MOST)).all()


def records_left_open(connection: Connection) -> Rows:
    """`kind`, `repo_id`, `task_id`, `known` (whether the task exists) of open records whose task is not running."""
    columns = history.c
    joined = history.outerjoin(tasks, tasks.c.id == columns.task_id)
    wanted = select(columns.kind, columns.repo_id, columns.task_id, tasks.c.id.is_not(None).label("known"))
    over = columns.completed.is_(None) & or_(tasks.c.id.is_(None), tasks.c.state.in_(ENDED))
    return connection.execute(wanted.select_from(joined).where(over).limit(MOST)).all()


def open_records(connection: Connection) -> Rows:
    """`kind`, `task_id` of the records that are still open."""
    columns = history.c
    return connection.execute(select(columns.kind, columns.task_id).where(columns.completed.is_(None))).all()


def running(connection: Connection) -> Rows:
    """`id`, `task_type`, `arguments` of running tasks."""
    wanted = select(tasks.c.id, tasks.c.task_type, tasks.c.arguments).where(tasks.c.state == RUNNING)
    return connection.execute(wanted).all()


def surely_kept_from(connection: Connection, *, older_than: datetime | None, beyond: int | None) -> int:
    """The number from which on retention has deleted nothing: an event missing above it was lost."""
    floor = 0
    if older_than is not None:
        aged = select(func.max(events.c.number)).where(events.c.occurred_at < older_than)
        floor = connection.execute(aged).scalar() or 0
    if beyond:
        newest = select(events.c.number).order_by(events.c.number.desc()).offset(beyond - 1).limit(1)
        floor = max(floor, connection.execute(newest).scalar() or 0)
    return floor


def gaps(connection: Connection, floor: int) -> Rows:
    """`repo_id`, `before`, `after` (repository numbers), `number` where a repository's numbers have a gap.

    A dead letter may be the only event of its time that retention kept, so a gap after one does not count.
    """
    columns = events.c
    by_repository: dict[str, Any] = {"partition_by": columns.repo_id, "order_by": columns.number}
    pairs = select(
        columns.repo_id,
        columns.number,
        columns.repo_number.label("after"),
        func.lag(columns.repo_number).over(**by_repository).label("before"),
        func.lag(columns.number).over(**by_repository).label("from_number"),
    ).where(columns.repo_number.is_not(None))
    numbers = pairs.subquery()
    buried = exists().where(dead_letters.c.event_number == numbers.c.from_number)
    wrong = (numbers.c.after != numbers.c.before + 1) & (numbers.c.from_number > floor) & ~buried
    doubled = numbers.c.after <= numbers.c.before
    wanted = select(numbers.c.repo_id, numbers.c.before, numbers.c.after, numbers.c.number).where(or_(wrong, doubled))
    return connection.execute(wanted.order_by(numbers.c.number).limit(MOST)).all()


def counters_behind(connection: Connection) -> Rows:
    """`repo_id`, `highest`, `last_number` of repositories whose counter would repeat a number."""
    columns = events.c
    highest = select(columns.repo_id, func.max(columns.repo_number).label("highest")).group_by(columns.repo_id)
    highest_of = highest.where(columns.repo_number.is_not(None)).subquery()
    joined = highest_of.outerjoin(event_counters, event_counters.c.repo_id == highest_of.c.repo_id)
    wanted = select(highest_of.c.repo_id, highest_of.c.highest, event_counters.c.last_number).select_from(joined)
    behind = or_(event_counters.c.last_number.is_(None), event_counters.c.last_number < highest_of.c.highest)
    return connection.execute(wanted.where(behind).limit(MOST)).all()


def bodies(connection: Connection, event_types: Sequence[str], floor: int) -> Iterator[tuple[int, str, str]]:
    """Number, type and body of the events of these types above a number, in order, read in portions."""
    columns = events.c
    wanted = select(columns.number, columns.event_type, columns.body).where(columns.event_type.in_(event_types))
    portion = wanted.order_by(columns.number).limit(_PORTION)
    while rows := connection.execute(portion.where(columns.number > floor)).all():
        for row in rows:
            yield row.number, row.event_type, row.body
        floor = rows[-1].number


def positions_beyond(connection: Connection, head: int) -> list[tuple[str, int]]:
    """Listeners whose position is beyond the end of the log, with the position."""
    rows = connection.execute(select(listeners.c.id, listeners.c.position).where(listeners.c.position > head))
    return [(row.id, row.position) for row in rows]


def letters_without_event(connection: Connection) -> list[tuple[str, int]]:
    """Dead letters whose event is not in the log, and its number."""
    gone = ~exists().where(events.c.number == dead_letters.c.event_number)
    rows = connection.execute(select(dead_letters.c.id, dead_letters.c.event_number).where(gone).limit(MOST))
    return [(row.id, row.event_number) for row in rows]
