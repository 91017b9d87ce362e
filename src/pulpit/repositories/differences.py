"""What differs between two publications: of their files, and of what the repository held."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from sqlalchemy import Connection

from pulpit.content.port import StoredFile
from pulpit.repositories import inventory
from pulpit.repositories.context import TaskContext
from pulpit.storage.port import Storage
from pulpit.store import changes, publications, snapshots, units
from pulpit.store.changes import MOST_OF_A_PUBLISH, Change, Counts, Unit, UnitChange
from pulpit.store.database import Transaction
from pulpit.store.publications import Publication

Show = Callable[[Transaction], dict[str, Any]]
"""Lets a place show a publication, and returns what the event says of it; raises `WorkFailed` if it cannot be."""

_NOTHING: Final = frozenset[bytes]()

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class FileDifference:
    """A path that one of two publications has, or both with other bytes."""

    path: str
    before: StoredFile | None
    after: StoredFile | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Differences:
    """By path, and by type and key."""

    files: list[FileDifference]
    units_added: list[tuple[str, dict[str, Any]]]
    units_removed: list[tuple[str, dict[str, Any]]]


def between(storage: Storage, before: Publication, after: Publication) -> Differences:
    """What was added, removed and changed on the way from one publication to another; blocks.

    Raises:
        FileNotFoundError: the storage has lost an inventory.
        ValueError: an inventory is damaged.
    """
    old_units, new_units = held(storage, before), held(storage, after)
    return Differences(
        files=list(_files(files(storage, before), files(storage, after))),
        units_added=[new_units[unit] for unit in new_units if unit not in old_units],
        units_removed=[old_units[unit] for unit in old_units if unit not in new_units],
    )


def files(storage: Storage, publication: Publication) -> dict[str, StoredFile]:
    """The files of a publication by path, in order.

    Raises:
        FileNotFoundError: the storage has lost the inventory.
        ValueError: the inventory is damaged.
    """
    return {file.relative_path: file for file in inventory.files(storage, publication.inventory)}


def held(storage: Storage, publication: Publication) -> dict[str, tuple[str, dict[str, Any]]]:
    """Type and key of the units that the repository held, by the unit's id.

    Raises:
        FileNotFoundError: the storage has lost the file that says it.
        ValueError: that file is damaged.
    """
    with storage.open(publication.content) as lines:
        return {unit_id: (type_id, key) for type_id, unit_id, key in snapshots.read_snapshot(lines)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """What a repository held: a line of `snapshots.snapshot` for each unit; and the last event that told of it."""

    repo_id: str
    lines: frozenset[bytes]
    last_event: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ContentChanges:
    """What is other in a snapshot than in an earlier one; `found` are at most `MOST_OF_A_PUBLISH` of it."""

    counts: Counts
    found: list[UnitChange]


def snapshot_of(storage: Storage, publication: Publication) -> Snapshot:
    """What the repository held.

    Raises:
        FileNotFoundError: the storage has lost the file that says it.
    """
    with storage.open(publication.content) as lines:
        return Snapshot(repo_id=publication.repo_id, lines=frozenset(lines), last_event=publication.last_event)


def content_changes(
    context: TaskContext, connection: Connection, before: Publication | None, after: Snapshot
) -> ContentChanges:
    """What a place that showed one publication of a repository shows otherwise from now on; blocks.

    Names of units that are in no repository any more are made from their keys alone. Of more than `MOST_OF_A_PUBLISH`
    changes none counts as replacement.
    """
    old = Snapshot(repo_id=after.repo_id, lines=_NOTHING, last_event=after.last_event)
    try:
        if before is not None:
            old = snapshot_of(context.storage, before)
        came, gone = after.lines - old.lines, old.lines - after.lines
        first_gone = _first(gone, max(MOST_OF_A_PUBLISH - len(came), 0))
    except (FileNotFoundError, ValueError) as error:
        _log.warning("what changed is unknown: %s", error, extra={"action": "content_lost", "repo_id": after.repo_id})
        came, gone, first_gone = after.lines, _NOTHING, []
    added = _named(context, connection, _first(came, MOST_OF_A_PUBLISH))
    removed = _named(context, connection, first_gone)
    in_place = list(_changed_in_place(connection, old, after))
    if len(came) + len(gone) > MOST_OF_A_PUBLISH:
        counts = Counts(added=len(came), removed=len(gone), replaced=len(in_place))
        found = [
            *(UnitChange(change=Change.ADDED, unit=unit) for _, unit in added),
            *(UnitChange(change=Change.REMOVED, unit=unit) for _, unit in removed),
        ]
    else:
        found = [*_paired(added, removed), *in_place]
        counts = Counts.of(found)
    return ContentChanges(counts=counts, found=sorted(found[:MOST_OF_A_PUBLISH], key=_order))


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangesAtPlace:
    """What readers of a place will find otherwise, worked out before the transaction that lets them."""

    context: TaskContext
    after: Snapshot
    shown: Publication | None
    """What the place showed when it was worked out."""
    changes: ContentChanges

    @classmethod
    def prepared(cls, context: TaskContext, connection: Connection, path: str, after: Snapshot) -> Self:
        """Work it out; blocks."""
        shown = publications.at(connection, path)
        changed = content_changes(context, connection, shown, after)
        return cls(context=context, after=after, shown=shown, changes=changed)

    def write(self, tx: Transaction, before: Publication | None) -> None:
        """Write it down for the event, seen from what the place showed in the end."""
        changed = self.changes
        if (before and before.id) != (self.shown and self.shown.id):
            changed = content_changes(self.context, tx.connection, before, self.after)
        self.context.recorder.write(tx, self.after.repo_id, changed.found, counts=changed.counts)


def publications_shown(before: Publication | None, after: Publication) -> dict[str, Any]:
    """Between which publications the changes are, as the event says it."""
    return {"publications": {"from": before.number if before else None, "to": after.number}}


def _first(lines: frozenset[bytes], most: int) -> list[tuple[str, str, dict[str, Any]]]:
    """The first units of a snapshot, by id; of many lines the others are not even read."""
    return list(snapshots.read_snapshot(sorted(lines, key=lambda line: line.split(b"\t", 2)[1])[:most]))


def _named(
    context: TaskContext, connection: Connection, found: Sequence[tuple[str, str, dict[str, Any]]]
) -> Iterator[tuple[str | None, Unit]]:
    """Units as changes name them, each with what it takes the place of others by."""
    recorder = context.recorder
    metadata = units.metadata_of(connection, [unit_id for _, unit_id, _ in found])
    for type_id, unit_id, key in found:
        unit = recorder.unit(unit_id, type_id, key, metadata.get(unit_id, {}))
        yield context.slot(type_id, key), unit


def _paired(came: Iterable[tuple[str | None, Unit]], gone: Iterable[tuple[str | None, Unit]]) -> Iterator[UnitChange]:
    """What came and went; of one type in one slot it is one change."""
    left = {(unit["type"], slot or unit["id"]): unit for slot, unit in gone}
    for slot, unit in came:
        before = left.pop((unit["type"], slot or unit["id"]), None)
        yield UnitChange(change=Change.REPLACED if before else Change.ADDED, unit=unit, before=before)
    for unit in left.values():
        yield UnitChange(change=Change.REMOVED, unit=unit)


def _changed_in_place(connection: Connection, old: Snapshot, new: Snapshot) -> Iterator[UnitChange]:
    """The units that both have and that were told to have got other metadata meanwhile, forwards or backwards."""
    first, last = sorted((old.last_event, new.last_event))
    told = changes.in_place(connection, new.repo_id, first, last) if first < last else {}
    both = {line.split(b"\t", 2)[1].decode() for line in old.lines & new.lines} if told else ()
    for unit_id, (earlier, later) in told.items():
        before, unit = (earlier, later) if old.last_event <= new.last_event else (later, earlier)
        if unit_id in both:
            yield UnitChange(change=Change.REPLACED, unit=unit, before=before)


def _order(change: UnitChange) -> tuple[str, str, str]:
    return str(change.unit["type"]), str(change.unit["name"]), str(change.unit["version"] or "")


def _files(before: Mapping[str, StoredFile], after: Mapping[str, StoredFile]) -> Iterator[FileDifference]:
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path), after.get(path)
        if old != new:
            yield FileDifference(path=path, before=old, after=new)
