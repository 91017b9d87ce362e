"""Differences between two publications: in their files, and in the content of the repository."""

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
"""Lets a place show a publication, and returns what the event says about it; raises `WorkFailed` if it cannot."""

_NOTHING: Final = frozenset[bytes]()

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class FileDifference:
    """A path that only one of two publications has, or whose content differs."""

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
    """Compare two publications and return what was added, removed and changed; blocks.

    Raises:
        FileNotFoundError: an inventory is missing from the storage.
        ValueError: an inventory is damaged.
    """
    old_units, new_units = held(storage, before), held(storage, after)
    return Differences(
        files=list(_files(files(storage, before), files(storage, after))),
        units_added=[new_units[unit] for unit in new_units if unit not in old_units],
        units_removed=[old_units[unit] for unit in old_units if unit not in new_units],
    )


def files(storage: Storage, publication: Publication) -> dict[str, StoredFile]:
    """Return the files of a publication by path, in order.

    Raises:
        FileNotFoundError: the inventory is missing from the storage.
        ValueError: the inventory is damaged.
    """
    return {file.relative_path: file for file in inventory.files(storage, publication.inventory)}


def held(storage: Storage, publication: Publication) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return type and key of the units that the repository held, by unit id.

    Raises:
        FileNotFoundError: the file that lists them is missing from the storage.
        ValueError: that file is damaged.
    """
    with storage.open(publication.content) as lines:
        return {unit_id: (type_id, key) for type_id, unit_id, key in snapshots.read_snapshot(lines)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """What a repository held: a line of `snapshots.snapshot` for each unit; and the last event that is included."""

    repo_id: str
    lines: frozenset[bytes]
    last_event: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ContentChanges:
    """Differences between two snapshots; `found` are at most `MOST_OF_A_PUBLISH` of them."""

    counts: Counts
    found: list[UnitChange]


def snapshot_of(storage: Storage, publication: Publication) -> Snapshot:
    """Read what the repository held.

    Raises:
        FileNotFoundError: the file that lists it is missing from the storage.
    """
    with storage.open(publication.content) as lines:
        return Snapshot(repo_id=publication.repo_id, lines=frozenset(lines), last_event=publication.last_event)


def content_changes(
    context: TaskContext, connection: Connection, before: Publication | None, after: Snapshot
) -> ContentChanges:
    """Compare the content of a place's new publication with that of the one it showed; blocks.

    Units that are in no repository any more are named by their keys alone. Beyond `MOST_OF_A_PUBLISH` changes none is
    reported as a replacement.
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
    """What will change for readers of a place, computed before the transaction that shows it."""

    context: TaskContext
    after: Snapshot
    shown: Publication | None
    """What the place showed when it was computed."""
    changes: ContentChanges

    @classmethod
    def prepared(cls, context: TaskContext, connection: Connection, path: str, after: Snapshot) -> Self:
        """Compute it; blocks."""
        shown = publications.at(connection, path)
        changed = content_changes(context, connection, shown, after)
        return cls(context=context, after=after, shown=shown, changes=changed)

    def write(self, tx: Transaction, before: Publication | None) -> None:
        """Write it for the event, relative to what the place showed in the end."""
        changed = self.changes
        if (before and before.id) != (self.shown and self.shown.id):
            changed = content_changes(self.context, tx.connection, before, self.after)
        self.context.recorder.write(tx, self.after.repo_id, changed.found, counts=changed.counts)


def publications_shown(before: Publication | None, after: Publication) -> dict[str, Any]:
    """Return the publications between which the changes lie, as the event names them."""
    return {"publications": {"from": before.number if before else None, "to": after.number}}


def _first(lines: frozenset[bytes], most: int) -> list[tuple[str, str, dict[str, Any]]]:
    """Return the first units of a snapshot, by id, without parsing the other lines."""
    return list(snapshots.read_snapshot(sorted(lines, key=lambda line: line.split(b"\t", 2)[1])[:most]))


def _named(
    context: TaskContext, connection: Connection, found: Sequence[tuple[str, str, dict[str, Any]]]
) -> Iterator[tuple[str | None, Unit]]:
    """Yield units as changes name them, each with its slot."""
    recorder = context.recorder
    metadata = units.metadata_of(connection, [unit_id for _, unit_id, _ in found])
    for type_id, unit_id, key in found:
        unit = recorder.unit(unit_id, type_id, key, metadata.get(unit_id, {}))
        yield context.slot(type_id, key), unit


def _paired(came: Iterable[tuple[str | None, Unit]], gone: Iterable[tuple[str | None, Unit]]) -> Iterator[UnitChange]:
    """Pair added and removed units: in one slot, two units of a type are one replacement."""
    left = {(unit["type"], slot or unit["id"]): unit for slot, unit in gone}
    for slot, unit in came:
        before = left.pop((unit["type"], slot or unit["id"]), None)
        yield UnitChange(change=Change.REPLACED if before else Change.ADDED, unit=unit, before=before)
    for unit in left.values():
        yield UnitChange(change=Change.REMOVED, unit=unit)


def _changed_in_place(connection: Connection, old: Snapshot, new: Snapshot) -> Iterator[UnitChange]:
    """Yield the units in both snapshots whose metadata changed in between, in either direction."""
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
