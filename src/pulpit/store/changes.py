"""What changed in repositories, unit by unit: added, removed, replaced.

Each change is written in the transaction that makes it, into the change set of the running task. The end of the task
fires an event and assigns its number to the set, so a set is reported once, whatever crashes. Sets are deleted with
their events. A publish records what changed for readers, at most `MOST_OF_A_PUBLISH` units by name; the sets before it
are complete.
"""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Self

from sqlalchemy import ColumnElement, Connection, RowMapping, delete, exists, func, insert, select, update

from pulpit.events import PUBLISH_FINISH, UNIT_WITHDRAWN
from pulpit.store.database import Transaction
from pulpit.store.schema import change_sets, changes, events

_SETS_AT_ONCE: Final = 200
_NAMES_AT_ONCE: Final = 500
MOST_OF_A_PUBLISH: Final = 5_000
"""Units that one publish records by name; it counts all."""

Unit = dict[str, Any]
"""A unit in a change: `type`, `id`, and the fields of `Description`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Description:
    """What people and scanners call a unit; `version` includes epoch and release if there are any."""

    name: str
    version: str | None = None
    arch: str | None = None
    file: str | None = None
    purl: str | None = None
    """The package URL, for types that the purl specification defines."""
    advisory: dict[str, str | None] | None = None
    """`type`, `severity` and `title` of an advisory."""


Describe = Callable[[str, Mapping[str, Any], Mapping[str, Any]], Description]
"""Returns the description of a unit, given its type, key and metadata."""


class Change(StrEnum):
    """What happened to a unit; `replaced` also if it is the same unit with other metadata."""

    ADDED = "added"
    REMOVED = "removed"
    REPLACED = "replaced"


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitChange:
    """One change; `before` is the unit that was replaced."""

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

    @classmethod
    def of(cls, found: Iterable[UnitChange]) -> Self:
        """Count the changes of each kind."""
        kinds = Counter(change.change for change in found)
        return cls(**{str(kind): kinds[kind] for kind in Change})


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangeSet:
    """What one task has changed in one repository."""

    id: int
    repo_id: str
    counts: Counts


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorder:
    """Records changes for a task; without a recorder no event reports them, and none are written."""

    task_id: str | None
    describe: Describe

    def unit(self, unit_id: str, type_id: str, key: Mapping[str, Any], metadata: Mapping[str, Any]) -> Unit:
        """Describe a unit as changes do."""
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

    def write(
        self, tx: Transaction, repo_id: str, found: Sequence[UnitChange], *, counts: Counts | None = None
    ) -> None:
        """Add changes to the task's set, creating it if needed; `counts` if there are more than are given."""
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
        more = counts or Counts.of(found)
        columns = change_sets.c
        counted = {str(kind): columns[kind] + getattr(more, kind) for kind in Change}
        tx.connection.execute(update(change_sets).where(columns.id == known.id).values(counted))


def untold(connection: Connection, task_id: str) -> dict[str, ChangeSet]:
    """Return a task's sets that no event has reported yet, by repository."""
    columns = change_sets.c
    wanted = select(change_sets).where((columns.task_id == task_id) & columns.event_number.is_(None))
    return {
        row["repo_id"]: ChangeSet(
            id=row["id"], repo_id=row["repo_id"], counts=Counts(**{str(kind): row[kind] for kind in Change})
        )
        for row in connection.execute(wanted.order_by(columns.id)).mappings()
    }


def first_of(connection: Connection, set_id: int, limit: int) -> list[UnitChange]:
    """Return the first changes of a set."""
    wanted = select(changes).where(changes.c.set_id == set_id).order_by(changes.c.position).limit(limit)
    return [_change(row) for row in connection.execute(wanted).mappings()]


def tell(tx: Transaction, set_id: int, event_number: int) -> None:
    """Assign a set to the event that reports it."""
    tx.connection.execute(update(change_sets).where(change_sets.c.id == set_id).values(event_number=event_number))


def names(connection: Connection, event_numbers: Collection[int]) -> dict[int, list[str] | None]:
    """Return the names of all units that each of some events lists, `None` where not all are recorded.

    Events without units are absent.
    """
    found: dict[int, list[str] | None] = {}
    columns = change_sets.c
    total = columns.added + columns.removed + columns.replaced
    written = select(func.max(changes.c.position)).where(changes.c.set_id == columns.id).scalar_subquery()
    numbers = sorted(event_numbers)
    for start in range(0, len(numbers), _NAMES_AT_ONCE):
        some = columns.event_number.in_(numbers[start : start + _NAMES_AT_ONCE])
        in_part = set(connection.scalars(select(columns.event_number).where(some & (total > written))))
        found |= dict.fromkeys(in_part)
        wanted = select(columns.event_number, changes.c.name).join(changes, changes.c.set_id == columns.id)
        for number, name in connection.execute(wanted.where(some & columns.event_number.not_in(in_part)).distinct()):
            known = found.setdefault(number, [])
            if known is not None:
                known.append(name)
        withdrawn = events.c.number.in_(numbers[start : start + _NAMES_AT_ONCE]) & (
            events.c.event_type == UNIT_WITHDRAWN
        )
        for number, body in connection.execute(select(events.c.number, events.c.body).where(withdrawn)):
            found[number] = [json.loads(body)["payload"]["name"]]  # all its units have this name
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class ToldChange:
    """A change, and the event that reported it."""

    event_number: int
    event_type: str
    occurred_at: datetime
    position: int
    """Within the event."""
    change: UnitChange


def between(
    connection: Connection, repo_id: str, first: int, last: int, *, after: tuple[int, int] = (0, 0), limit: int
) -> list[ToldChange]:
    """Return a repository's changes in the events after `first` up to `last`; `after` is an event and a position.

    Those of publishes are left out: they were reported before, when the content changed.
    """
    number, position = change_sets.c.event_number, changes.c.position
    further = (number > after[0]) | ((number == after[0]) & (position > after[1]))
    wanted = select(changes, number, events.c.event_type, events.c.occurred_at)
    wanted = wanted.join(change_sets, change_sets.c.id == changes.c.set_id).join(events, events.c.number == number)
    wanted = wanted.where(_of_content(repo_id, max(first, after[0] - 1), last) & further)
    rows = connection.execute(wanted.order_by(number, position).limit(limit)).mappings()
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
    """How many changes of each kind `between` finds."""
    columns = change_sets.c
    sums = [func.coalesce(func.sum(columns[kind]), 0).label(kind) for kind in Change]
    wanted = select(*sums).join(events, events.c.number == columns.event_number)
    row = connection.execute(wanted.where(_of_content(repo_id, first, last))).mappings().one()
    return Counts(**{str(kind): int(row[kind]) for kind in Change})


def in_place(connection: Connection, repo_id: str, first: int, last: int) -> dict[str, tuple[Unit, Unit]]:
    """Return the units whose metadata changed in these events, with their first and last state."""
    wanted = select(changes.c.unit, changes.c.before, change_sets.c.event_number)
    wanted = wanted.join(change_sets, change_sets.c.id == changes.c.set_id)
    wanted = wanted.join(events, events.c.number == change_sets.c.event_number)
    replaced = _of_content(repo_id, first, last) & (changes.c.change == Change.REPLACED)
    found: dict[str, tuple[Unit, Unit]] = {}
    in_order = wanted.where(replaced).order_by(change_sets.c.event_number, changes.c.position)
    for unit, before, _ in connection.execute(in_order):
        if before and before["id"] == unit["id"]:
            found[unit["id"]] = (found.get(unit["id"], (before, None))[0], unit)
    return found


def _of_content(repo_id: str, first: int, last: int) -> ColumnElement[bool]:
    """Select from the sets joined with their events: changes of a repository's content between two events."""
    number = change_sets.c.event_number
    mine = (change_sets.c.repo_id == repo_id) & (number > first) & (number <= last)
    return mine & (events.c.event_type != PUBLISH_FINISH)


def forget(tx: Transaction, *, limit: int) -> int:
    """Delete changes whose events are no longer in the log, about `limit` of them, and return the number of rows."""
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
    if size > limit:  # delete a single large set in portions from its end
        mine = changes.c.set_id == chosen[0]
        rest = tx.connection.execute(select(func.max(changes.c.position)).where(mine)).scalar() or 0
        if rest > limit:
            return tx.connection.execute(delete(changes).where(mine & (changes.c.position > rest - limit))).rowcount
    removed = tx.connection.execute(delete(changes).where(changes.c.set_id.in_(chosen))).rowcount if chosen else 0
    return removed + tx.connection.execute(delete(change_sets).where(columns.id.in_(chosen))).rowcount


def _change(row: RowMapping) -> UnitChange:
    return UnitChange(change=Change(row["change"]), unit=row["unit"], before=row["before"])
