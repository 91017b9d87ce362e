"""Units and their files, and queries of which repository holds which; orphans are held by none.

Every function works on a bounded number of units; callers pass batches of at most `MOST_AT_ONCE`.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Final, TypeVar

from sqlalchemy import (
    Connection,
    RowMapping,
    select,
    update,
)

from pulpit.errors import MissingResource
from pulpit.store.database import Transaction
from pulpit.store.schema import artifacts, associations, repositories, unit_files, units

MOST_AT_ONCE: Final = 500
_in_order: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
COLUMNS: Final = [column for column in units.c if column.name != "detail"]
"""What `from_row` needs."""

T = TypeVar("T")
Identity = tuple[str, str]
"""A unit's type and the digest of its key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredFile:
    """A stored file, identified by its SHA-256."""

    relative_path: str
    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class NewUnit:
    """A unit whose files are all stored; for `slot` see the content port."""

    type_id: str
    key: dict[str, Any]
    metadata: dict[str, Any]
    files: tuple[StoredFile, ...]
    slot: str | None
    detail: bytes | None = None
    """Data for publishing, which is never searched; `None` leaves it unchanged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """A unit as stored."""

    id: str
    type_id: str
    key: dict[str, Any]
    metadata: dict[str, Any]
    created_at: datetime
    files: tuple[StoredFile, ...]
    detail: bytes = b""
    """Empty unless it was requested."""
    user_metadata: dict[str, Any] | None = None
    """Metadata that users attach; nothing here reads it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """A unit in a repository, and since when."""

    unit: Unit
    created: datetime
    updated: datetime


def portions(ids: Iterable[T]) -> Iterator[list[T]]:
    """Cut ids, or whatever else there are many of, into batches of `MOST_AT_ONCE`."""
    remaining = iter(ids)
    while portion := list(islice(remaining, MOST_AT_ONCE)):
        yield portion


def key_digest(key: Mapping[str, Any]) -> str:
    """Return a digest that is equal for equal keys, whatever their order."""
    return hashlib.sha256(_in_order(key).encode()).hexdigest()


def find(connection: Connection, identities: Collection[Identity]) -> dict[Identity, Unit]:
    """Return those of the units that exist, in whatever repository."""
    wanted = set(identities)
    types, digests = {type_id for type_id, _ in wanted}, {digest for _, digest in wanted}
    by_index = units.c.type_id.in_(types) & units.c.key_digest.in_(digests)  # without the type the index is not used
    rows = connection.execute(select(*COLUMNS).where(by_index)).mappings().all()
    mine = {(row["type_id"], row["key_digest"]): row for row in rows}
    mine = {identity: row for identity, row in mine.items() if identity in wanted}
    files = files_of(connection, [row["id"] for row in mine.values()])
    return {identity: from_row(row, files) for identity, row in mine.items()}


def files_of(connection: Connection, unit_ids: Collection[str]) -> dict[str, tuple[StoredFile, ...]]:
    """The files of each unit."""
    files: dict[str, tuple[StoredFile, ...]] = dict.fromkeys(unit_ids, ())
    if not files:
        return files
    columns = unit_files.c
    wanted = select(columns.unit_id, columns.relative_path, columns.sha256, columns.size)
    for unit_id, path, sha256, size in connection.execute(wanted.where(columns.unit_id.in_(unit_ids))):
        files[unit_id] += (StoredFile(relative_path=path, sha256=sha256, size=size),)
    return files


def any_kept(connection: Connection) -> bool:
    """Return whether any file is recorded."""
    return connection.execute(select(artifacts.c.sha256).limit(1)).first() is not None


def kept(connection: Connection, sha256s: Collection[str]) -> dict[str, int]:
    """Return the sizes of those files that are recorded as stored."""
    wanted = select(artifacts.c.sha256, artifacts.c.size).where(artifacts.c.sha256.in_(sha256s))
    return {row.sha256: row.size for row in connection.execute(wanted)}


def held_ids(connection: Connection, repo_id: str, type_ids: Collection[str] | None = None) -> set[str]:
    """The ids of all units of a repository, or of those of some types."""
    query = select(associations.c.unit_id).where(associations.c.repo_id == repo_id)
    if type_ids is not None:
        query = query.join(units, units.c.id == associations.c.unit_id).where(units.c.type_id.in_(type_ids))
    return set(connection.execute(query).scalars())


def held_of(connection: Connection, repo_id: str, unit_ids: Collection[str]) -> set[str]:
    """Return those of the units that a repository holds."""
    mine = (associations.c.repo_id == repo_id) & associations.c.unit_id.in_(unit_ids)
    return set(connection.execute(select(associations.c.unit_id).where(mine)).scalars())


def held(
    connection: Connection, repo_id: str, type_ids: Sequence[str] | None = None, *, with_detail: bool = False
) -> Iterator[Held]:
    """Yield every unit of a repository with its files, by id, read in portions; keep the transaction open meanwhile."""
    detail = [units.c.detail] if with_detail else []
    columns = [associations.c.created, associations.c.updated, *COLUMNS, *detail]
    wanted = select(*columns).join(units, units.c.id == associations.c.unit_id)
    wanted = wanted.where(associations.c.repo_id == repo_id).order_by(associations.c.unit_id).limit(MOST_AT_ONCE)
    if type_ids is not None:
        wanted = wanted.where(associations.c.unit_type_id.in_(type_ids))
    last = ""
    while rows := connection.execute(wanted.where(associations.c.unit_id > last)).mappings().all():
        files = files_of(connection, [row["id"] for row in rows])
        for row in rows:
            yield Held(unit=from_row(row, files), created=row["created"], updated=row["updated"])
        last = rows[-1]["id"]


def held_like(connection: Connection, repo_id: str, text: str, *, after: str, limit: int) -> list[Held]:
    """Return a repository's units after an id whose keys contain a text, by id; every unit for the empty text."""
    columns = [associations.c.created, associations.c.updated, *COLUMNS]
    wanted = select(*columns).join(units, units.c.id == associations.c.unit_id)
    mine = (associations.c.repo_id == repo_id) & (associations.c.unit_id > after)
    if text:
        mine &= units.c.key.icontains(text, autoescape=True)
    rows = connection.execute(wanted.where(mine).order_by(associations.c.unit_id).limit(limit)).mappings().all()
    files = files_of(connection, [row["id"] for row in rows])
    return [Held(unit=from_row(row, files), created=row["created"], updated=row["updated"]) for row in rows]


def of_type(connection: Connection, type_id: str) -> Iterator[Unit]:
    """Yield every unit of a type, held or not, by id, read in portions; keep the transaction open meanwhile."""
    wanted = select(*COLUMNS).where(units.c.type_id == type_id).order_by(units.c.id).limit(MOST_AT_ONCE)
    last = ""
    while rows := connection.execute(wanted.where(units.c.id > last)).mappings().all():
        files = files_of(connection, [row["id"] for row in rows])
        yield from (from_row(row, files) for row in rows)
        last = rows[-1]["id"]


def get(connection: Connection, type_id: str, unit_id: str) -> Unit:
    """Return one unit.

    Raises:
        MissingResource: there is none with that type and id.
    """
    wanted = select(*COLUMNS).where((units.c.type_id == type_id) & (units.c.id == unit_id))
    row = connection.execute(wanted).mappings().one_or_none()
    if row is None:
        raise MissingResource(content_type_id=type_id, content_unit_id=unit_id)
    return from_row(row, files_of(connection, [unit_id]))


def metadata_of(connection: Connection, unit_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the metadata of those of the units that exist."""
    found: dict[str, dict[str, Any]] = {}
    for portion in portions(unit_ids):
        rows = connection.execute(select(units.c.id, units.c.metadata).where(units.c.id.in_(portion)))
        found |= {unit_id: metadata for unit_id, metadata in rows}  # noqa: C416 - rows are no pairs to mypy
    return found


def note(tx: Transaction, type_id: str, unit_id: str, user_metadata: dict[str, Any] | None) -> None:
    """Replace a unit's user metadata.

    Raises:
        MissingResource: there is no unit with that type and id.
    """
    condition = (units.c.type_id == type_id) & (units.c.id == unit_id)
    if not tx.connection.execute(update(units).where(condition).values(user_metadata=user_metadata)).rowcount:
        raise MissingResource(content_type_id=type_id, content_unit_id=unit_id)


def holders(connection: Connection, unit_ids: Sequence[str]) -> dict[str, list[str]]:
    """Return the repositories that hold each of the units; a unit that none holds is absent."""
    found: dict[str, list[str]] = {}
    columns = associations.c
    wanted = select(columns.unit_id, columns.repo_id).order_by(columns.repo_id)
    for portion in portions(unit_ids):
        for unit_id, repo_id in connection.execute(wanted.where(columns.unit_id.in_(portion))):
            found.setdefault(unit_id, []).append(repo_id)
    return found


def in_slots(connection: Connection, repo_id: str, slots: Collection[str]) -> set[str]:
    """Return the ids of the units that a repository holds in these slots, of any type."""
    found: set[str] = set()
    for portion in portions(slots):
        mine = associations.c.slot.in_(portion) & (associations.c.repo_id == repo_id)
        found.update(connection.scalars(select(associations.c.unit_id).where(mine)))
    return found


def held_slots(connection: Connection, type_id: str, slots: Collection[str]) -> set[str]:
    """Return those of the slots in which any repository holds a unit of a type."""
    found: set[str] = set()
    for portion in portions(slots):
        mine = associations.c.slot.in_(portion) & (associations.c.unit_type_id == type_id)
        found.update(connection.scalars(select(associations.c.slot).where(mine).distinct()))
    return found


def in_slot(connection: Connection, type_id: str, slot: str) -> dict[str, Unit]:
    """Return what each repository holds in a slot, with its detail, by repository."""
    columns = associations.c
    held = (columns.repo_id == repositories.c.id) & (columns.unit_type_id == type_id) & (columns.slot == slot)
    places = select(columns.repo_id, columns.unit_id).select_from(repositories.join(associations, held))
    holders = {repo_id: unit_id for repo_id, unit_id in connection.execute(places)}  # noqa: C416 - rows are no pairs to mypy
    rows = connection.execute(select(units).where(units.c.id.in_(set(holders.values())))).mappings()
    found = {row["id"]: from_row(row, {}) for row in rows}
    return {repo_id: found[unit_id] for repo_id, unit_id in holders.items()}


def from_row(row: RowMapping, files: Mapping[str, tuple[StoredFile, ...]]) -> Unit:
    columns = {name: row[name] for name in ("id", "type_id", "key", "metadata", "created_at", "user_metadata")}
    return Unit(**columns, files=files.get(row["id"], ()), detail=row.get("detail") or b"")
