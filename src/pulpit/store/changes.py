"""What changed in repositories, unit by unit: what came, what went, what took another's place.

Each change is written in the transaction that makes it, into the set of the task that works. The task's ending fires an
event and gives the set its number, so a set is told once, whatever dies when. Sets go when their events do.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, delete, exists, func, insert, select, update

from pulpit.store.database import Transaction
from pulpit.store.schema import change_sets, changes, events

_SETS_AT_ONCE: Final = 200
_NAMES_AT_ONCE: Final = 500

Unit = dict[str, Any]
"""A unit as changes name it: `type`, `id`, and what `Description` says."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Description:
    """What people and scanners call a unit; `version` has epoch and release where there are such."""

    name: str
    version: str | None = None
    arch: str | None = None
    file: str | None = None
    purl: str | None = None
    """The package URL, for types that the purl specification knows."""
    advisory: dict[str, str | None] | None = None
    """`type`, `severity` and `title` of an advisory."""


Describe = Callable[[str, Mapping[str, Any], Mapping[str, Any]], Description]
"""Says what the unit of a type, a key and metadata is called."""


class Change(StrEnum):
    """What happened to a unit; `replaced` is also said of one that stayed itself and whose metadata are now others."""

    ADDED = "added"
    REMOVED = "removed"
    REPLACED = "replaced"


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitChange:
    """One change; `before` is what was replaced."""

    change: Change
    unit: Unit
    before: Unit | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """How many changes of each kind."""

    added: int = 0
    removed: int = 0
    replaced: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.added + self.removed + self.replaced


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangeSet:
    """What one task has changed in one repository."""

    id: int
    repo_id: str
    counts: Counts


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorder:
    """Writes changes down for a task; without one nothing is told, and so nothing is written."""

    task_id: str | None
    describe: Describe

    def unit(self, unit_id: str, type_id: str, key: Mapping[str, Any], metadata: Mapping[str, Any]) -> Unit:
        """A unit as changes name it."""
        said = self.describe(type_id, key, metadata)
        unit = {
            "type": type_id,
            "id": unit_id,
            "name": said.name,
            "version": said.version,
            "arch": said.arch,
            "file": said.file,
            "purl": said.purl,
        }
        return unit | {"advisory": said.advisory} if said.advisory else unit

    def write(self, tx: Transaction, repo_id: str, found: Sequence[UnitChange]) -> None:
        """Add changes to the task's set, which is made with the first of them."""
        if self.task_id is None or not found:
            return
        known = untold(tx.connection, self.task_id).get(repo_id)
        if known is None:
            new = insert(change_sets).values(repo_id=repo_id, task_id=self.task_id, added=0, removed=0, replaced=0)
            set_id = tx.connection.execute(new.returning(change_sets.c.id)).scalar_one()
            known = ChangeSet(id=set_id, repo_id=repo_id, counts=Counts())
        rows = [
            {
                "set_id": known.id,
                "position": position,
                "change": change.change,
                "name": change.unit["name"],
                "unit": change.unit,
                "before": change.before,
            }
            for position, change in enumerate(found, known.counts.total + 1)
        ]
        tx.connection.execute(insert(changes), rows)
        more = {kind: sum(change.change is kind for change in found) for kind in Change}
        columns = change_sets.c
        counted = {str(kind): columns[kind] + count for kind, count in more.items()}
        tx.connection.execute(update(change_sets).where(columns.id == known.id).values(counted))


def untold(connection: Connection, task_id: str) -> dict[str, ChangeSet]:
    """The sets of a task of which no event has told yet, by repository."""
    columns = change_sets.c
    wanted = select(change_sets).where((columns.task_id == task_id) & columns.event_number.is_(None))
    return {
        row["repo_id"]: ChangeSet(
            id=row["id"], repo_id=row["repo_id"], counts=Counts(**{str(kind): row[kind] for kind in Change})
        )
        for row in connection.execute(wanted.order_by(columns.id)).mappings()
    }


def first_of(connection: Connection, set_id: int, limit: int) -> list[UnitChange]:
    """The first changes of a set."""
    wanted = select(changes).where(changes.c.set_id == set_id).order_by(changes.c.position).limit(limit)
    return [_change(row) for row in connection.execute(wanted).mappings()]


def tell(tx: Transaction, set_id: int, event_number: int) -> None:
    """Give a set to the event that tells of it."""
    tx.connection.execute(update(change_sets).where(change_sets.c.id == set_id).values(event_number=event_number))


def names(connection: Connection, event_numbers: Collection[int]) -> dict[int, list[str]]:
    """The names of all units that each of some events tells of; events without any are absent."""
    found: dict[int, list[str]] = {}
    numbers = sorted(event_numbers)
    for start in range(0, len(numbers), _NAMES_AT_ONCE):
        some = change_sets.c.event_number.in_(numbers[start : start + _NAMES_AT_ONCE])
        wanted = select(change_sets.c.event_number, changes.c.name).join(changes, changes.c.set_id == change_sets.c.id)
        for number, name in connection.execute(wanted.where(some).distinct()):
            found.setdefault(number, []).append(name)
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class ToldChange:
    """A change, and the event that told of it."""

    event_number: int
    event_type: str
    occurred_at: datetime
    position: int
    """Within the event."""
    change: UnitChange


def between(
    connection: Connection, repo_id: str, first: int, last: int, *, after: tuple[int, int] = (0, 0), limit: int
) -> list[ToldChange]:
    """The changes of a repository in the events behind one number up to another; `after` is an event and a position."""
    number, position = change_sets.c.event_number, changes.c.position
    joined = changes.join(change_sets, change_sets.c.id == changes.c.set_id).join(events, events.c.number == number)
    mine = (change_sets.c.repo_id == repo_id) & (number > first) & (number >= after[0]) & (number <= last)
    further = (number > after[0]) | (position > after[1])
    wanted = select(changes, number, events.c.event_type, events.c.occurred_at).select_from(joined)
    rows = connection.execute(wanted.where(mine & further).order_by(number, position).limit(limit)).mappings()
    return [
        ToldChange(
            event_number=row["event_number"],
            event_type=row["event_type"],
            occurred_at=row["occurred_at"],
            position=row["position"],
            change=_change(row),
        )
        for row in rows
    ]


def count_between(connection: Connection, repo_id: str, first: int, last: int) -> Counts:
    """How many changes of each kind there are in the events behind one number up to another."""
    columns = change_sets.c
    sums = [func.coalesce(func.sum(columns[kind]), 0).label(kind) for kind in Change]
    mine = (columns.repo_id == repo_id) & (columns.event_number > first) & (columns.event_number <= last)
    row = connection.execute(select(*sums).where(mine)).mappings().one()
    return Counts(**{str(kind): int(row[kind]) for kind in Change})


def forget(tx: Transaction, *, limit: int) -> int:
    """Delete changes whose events the log has no more, about `limit` of them, and return how many rows went."""
    columns = change_sets.c
    total = columns.added + columns.removed + columns.replaced
    gone = columns.event_number.is_not(None) & ~exists().where(events.c.number == columns.event_number)
    rows = tx.connection.execute(select(columns.id, total.label("size")).where(gone).limit(_SETS_AT_ONCE)).all()
    chosen, size = list[int](), 0
    for row in rows:
        if chosen and size + row.size > limit:
            break
        chosen.append(row.id)
        size += row.size
    if size > limit:  # a single large one, in portions from its end
        mine = changes.c.set_id == chosen[0]
        rest = tx.connection.execute(select(func.max(changes.c.position)).where(mine)).scalar() or 0
        if rest > limit:
            return tx.connection.execute(delete(changes).where(mine & (changes.c.position > rest - limit))).rowcount
    removed = tx.connection.execute(delete(changes).where(changes.c.set_id.in_(chosen))).rowcount if chosen else 0
    return removed + tx.connection.execute(delete(change_sets).where(columns.id.in_(chosen))).rowcount


def _change(row: RowMapping) -> UnitChange:
    return UnitChange(change=Change(row["change"]), unit=row["unit"], before=row["before"])
