"""What differs between two publications: of their files, and of what the repository held."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pulpit.content.port import StoredFile
from pulpit.repositories import inventory
from pulpit.storage.port import Storage
from pulpit.store import units
from pulpit.store.publications import Publication


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
        return {unit_id: (type_id, key) for type_id, unit_id, key in units.read_snapshot(lines)}


def _files(before: Mapping[str, StoredFile], after: Mapping[str, StoredFile]) -> Iterator[FileDifference]:
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path), after.get(path)
        if old != new:
            yield FileDifference(path=path, before=old, after=new)
