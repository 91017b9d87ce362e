"""Units, their files, and which repository holds which; orphans are held by none.

Every function works on a bounded number of units; callers pass batches of at most `MOST_AT_ONCE`.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Connection,
    RowMapping,
    case,
    delete,
    insert,
    literal,
    select,
    text,
    type_coerce,
    update,
)

from pulpit.errors import MissingResource
from pulpit.ids import object_id
from pulpit.store.changes import Change, Recorder, UnitChange
from pulpit.store.database import Transaction
from pulpit.store.driver import inserting
from pulpit.store.schema import artifacts, associations, repositories, unit_files, units

MOST_AT_ONCE: Final = 500
_ARTIFACTS_LOCK: Final = 0x70756C70  # an arbitrary number that is unique here
_TICK: Final = timedelta(microseconds=1)
_in_order: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
_COLUMNS: Final = [column for column in units.c if column.name != "detail"]

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


@dataclass(kw_only=True, slots=True)
class Saved:
    """What changed in a repository; `unit_ids` are all units that were given, changed or not."""

    added: int = 0
    updated: int = 0
    unit_ids: set[str] = field(default_factory=set)


def key_digest(key: Mapping[str, Any]) -> str:
    """Return a digest that is equal for equal keys, whatever their order."""
    return hashlib.sha256(_in_order(key).encode()).hexdigest()


def find(connection: Connection, identities: Collection[Identity]) -> dict[Identity, Unit]:
    """Return those of the units that exist, in whatever repository."""
    wanted = set(identities)
    types, digests = {type_id for type_id, _ in wanted}, {digest for _, digest in wanted}
    by_index = units.c.type_id.in_(types) & units.c.key_digest.in_(digests)  # without the type the index is not used
    rows = connection.execute(select(*_COLUMNS).where(by_index)).mappings().all()
    mine = {(row["type_id"], row["key_digest"]): row for row in rows}
    mine = {identity: row for identity, row in mine.items() if identity in wanted}
    files = files_of(connection, [row["id"] for row in mine.values()])
    return {identity: _unit(row, files) for identity, row in mine.items()}


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
    columns = [associations.c.created, associations.c.updated, *_COLUMNS, *detail]
    wanted = select(*columns).join(units, units.c.id == associations.c.unit_id)
    wanted = wanted.where(associations.c.repo_id == repo_id).order_by(associations.c.unit_id).limit(MOST_AT_ONCE)
    if type_ids is not None:
        wanted = wanted.where(associations.c.unit_type_id.in_(type_ids))
    last = ""
    while rows := connection.execute(wanted.where(associations.c.unit_id > last)).mappings().all():
        files = files_of(connection, [row["id"] for row in rows])
        for row in rows:
            yield Held(unit=_unit(row, files), created=row["created"], updated=row["updated"])
        last = rows[-1]["id"]


def held_like(connection: Connection, repo_id: str, text: str, *, after: str, limit: int) -> list[Held]:
    """Return a repository's units after an id whose keys contain a text, by id; every unit for the empty text."""
    columns = [associations.c.created, associations.c.updated, *_COLUMNS]
    wanted = select(*columns).join(units, units.c.id == associations.c.unit_id)
    mine = (associations.c.repo_id == repo_id) & (associations.c.unit_id > after)
    if text:
        mine &= units.c.key.icontains(text, autoescape=True)
    rows = connection.execute(wanted.where(mine).order_by(associations.c.unit_id).limit(limit)).mappings().all()
    files = files_of(connection, [row["id"] for row in rows])
    return [Held(unit=_unit(row, files), created=row["created"], updated=row["updated"]) for row in rows]


def of_type(connection: Connection, type_id: str) -> Iterator[Unit]:
    """Yield every unit of a type, held or not, by id, read in portions; keep the transaction open meanwhile."""
    wanted = select(*_COLUMNS).where(units.c.type_id == type_id).order_by(units.c.id).limit(MOST_AT_ONCE)
    last = ""
    while rows := connection.execute(wanted.where(units.c.id > last)).mappings().all():
        files = files_of(connection, [row["id"] for row in rows])
        yield from (_unit(row, files) for row in rows)
        last = rows[-1]["id"]


def get(connection: Connection, type_id: str, unit_id: str) -> Unit:
    """Return one unit.

    Raises:
        MissingResource: there is none with that type and id.
    """
    wanted = select(*_COLUMNS).where((units.c.type_id == type_id) & (units.c.id == unit_id))
    row = connection.execute(wanted).mappings().one_or_none()
    if row is None:
        raise MissingResource(content_type_id=type_id, content_unit_id=unit_id)
    return _unit(row, files_of(connection, [unit_id]))


def metadata_of(connection: Connection, unit_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the metadata of those of the units that exist."""
    found: dict[str, dict[str, Any]] = {}
    for start in range(0, len(unit_ids), MOST_AT_ONCE):
        some = units.c.id.in_(unit_ids[start : start + MOST_AT_ONCE])
        rows = connection.execute(select(units.c.id, units.c.metadata).where(some))
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
    for start in range(0, len(unit_ids), MOST_AT_ONCE):
        some = columns.unit_id.in_(unit_ids[start : start + MOST_AT_ONCE])
        wanted = select(columns.unit_id, columns.repo_id).where(some).order_by(columns.repo_id)
        for unit_id, repo_id in connection.execute(wanted):
            found.setdefault(unit_id, []).append(repo_id)
    return found


def lock_artifacts(tx: Transaction) -> None:
    """Lock the saving and removing of files until the transaction ends; SQLite's write lock implies it.

    A unit that is changed in place changes rows of every repository that holds it. So everything that writes such rows
    takes this lock first; otherwise two transactions that lock the same rows in different orders could deadlock.
    """
    if tx.connection.dialect.name == "postgresql":
        tx.connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _ARTIFACTS_LOCK})


def save(tx: Transaction, repo_id: str, batch: Sequence[NewUnit], *, now: datetime, recorder: Recorder) -> Saved:
    """Save units and add them to a repository; call `lock_artifacts` first, with their files stored."""
    if not batch:
        return Saved()
    _save_artifacts(tx, batch, now)
    wanted = {(unit.type_id, key_digest(unit.key)): unit for unit in batch}
    ids, changed = _save_units(tx, wanted, now)
    saved = Saved(unit_ids=set(ids.values()))
    slots = {(unit.type_id, unit.slot): ids[identity] for identity, unit in wanted.items() if unit.slot is not None}
    replaced = _clear_slots(tx, repo_id, slots)
    present = held_of(tx.connection, repo_id, saved.unit_ids)
    fresh = {ids[identity]: unit for identity, unit in wanted.items() if ids[identity] not in present}
    if fresh:
        rows = [
            {
                "repo_id": repo_id,
                "unit_id": unit_id,
                "unit_type_id": unit.type_id,
                "slot": unit.slot,
                "created": now,
                "updated": now,
            }
            for unit_id, unit in fresh.items()
        ]
        tx.connection.execute(insert(associations), rows)
    saved.added, saved.updated = len(fresh) - len(replaced), len(replaced) + len(changed.keys() & present)
    if fresh or changed:
        _mark(tx, repo_id, "last_unit_added", now)
    before = {unit_id: old for unit_id, old in changed.items() if unit_id in present} | replaced
    recorder.write(
        tx,
        repo_id,
        [
            UnitChange(
                change=Change.REPLACED if unit_id in before else Change.ADDED,
                unit=recorder.unit(unit_id, unit.type_id, unit.key, unit.metadata),
                before=_named(recorder, before[unit_id]) if unit_id in before else None,
            )
            for identity, unit in wanted.items()
            if (unit_id := ids[identity]) in fresh or unit_id in before
        ],
    )
    return saved


def hold(
    tx: Transaction,
    repo_id: str,
    found: Sequence[Unit],
    slots: Sequence[str | None],
    *,
    now: datetime,
    recorder: Recorder,
) -> Saved:
    """Add existing units to a repository."""
    batch = [
        NewUnit(type_id=unit.type_id, key=unit.key, metadata=unit.metadata, files=unit.files, slot=slot)
        for unit, slot in zip(found, slots, strict=True)
    ]
    return save(tx, repo_id, batch, now=now, recorder=recorder)


def in_slots(connection: Connection, repo_id: str, slots: Collection[str]) -> set[str]:
    """Return the ids of the units that a repository holds in these slots, of any type."""
    found: set[str] = set()
    every = sorted(slots)
    for start in range(0, len(every), MOST_AT_ONCE):
        mine = associations.c.slot.in_(every[start : start + MOST_AT_ONCE]) & (associations.c.repo_id == repo_id)
        found.update(connection.scalars(select(associations.c.unit_id).where(mine)))
    return found


def held_slots(connection: Connection, type_id: str, slots: Collection[str]) -> set[str]:
    """Return those of the slots in which any repository holds a unit of a type."""
    found: set[str] = set()
    every = sorted(slots)
    for start in range(0, len(every), MOST_AT_ONCE):
        mine = associations.c.slot.in_(every[start : start + MOST_AT_ONCE]) & (associations.c.unit_type_id == type_id)
        found.update(connection.scalars(select(associations.c.slot).where(mine).distinct()))
    return found


def in_slot(connection: Connection, type_id: str, slot: str) -> dict[str, Unit]:
    """Return what each repository holds in a slot, with its detail, by repository."""
    columns = associations.c
    held = (columns.repo_id == repositories.c.id) & (columns.unit_type_id == type_id) & (columns.slot == slot)
    places = select(columns.repo_id, columns.unit_id).select_from(repositories.join(associations, held))
    holders = {repo_id: unit_id for repo_id, unit_id in connection.execute(places)}  # noqa: C416 - rows are no pairs to mypy
    rows = connection.execute(select(units).where(units.c.id.in_(set(holders.values())))).mappings()
    found = {row["id"]: _unit(row, {}) for row in rows}
    return {repo_id: found[unit_id] for repo_id, unit_id in holders.items()}


def let_go(tx: Transaction, repo_id: str, unit_ids: Collection[str], *, now: datetime, recorder: Recorder) -> int:
    """Remove units from a repository, and return how many it held; the units stay, perhaps as orphans."""
    lock_artifacts(tx)
    count = 0
    every = sorted(unit_ids)
    for start in range(0, len(every), MOST_AT_ONCE):
        mine = associations.c.unit_id.in_(every[start : start + MOST_AT_ONCE]) & (associations.c.repo_id == repo_id)
        joined = select(*_COLUMNS).join(associations, associations.c.unit_id == units.c.id)
        gone = [_unit(row, {}) for row in tx.connection.execute(joined.where(mine)).mappings()]
        count += tx.connection.execute(delete(associations).where(mine)).rowcount
        removed = [UnitChange(change=Change.REMOVED, unit=_named(recorder, unit)) for unit in gone]
        recorder.write(tx, repo_id, removed)
    if count:
        _mark(tx, repo_id, "last_unit_removed", now)
    return count


def note_withdrawn(tx: Transaction, repo_id: str, withdrawn: Mapping[str, str], offered: Collection[str]) -> set[str]:
    """Record how the upstream withdrew units of a repository, by id; return the newly withdrawn ids.

    The record of units that are `offered` again is deleted.
    """
    lock_artifacts(tx)
    columns = associations.c
    mine = columns.repo_id == repo_id
    wanted = select(columns.unit_id, columns.withdrawn).where(mine & columns.withdrawn.is_not(None))
    noted = {unit_id: how for unit_id, how in tx.connection.execute(wanted)}  # noqa: C416 - rows are no pairs to mypy
    again = [unit_id for unit_id in noted if unit_id in offered and unit_id not in withdrawn]
    new = {unit_id: how for unit_id, how in withdrawn.items() if noted.get(unit_id) != how}
    for how in (None, *sorted({*new.values()})):
        changed = again if how is None else [unit_id for unit_id in new if new[unit_id] == how]
        for start in range(0, len(changed), MOST_AT_ONCE):
            some = mine & columns.unit_id.in_(changed[start : start + MOST_AT_ONCE])
            tx.connection.execute(update(associations).where(some).values(withdrawn=how))
    return set(new)


def _save_artifacts(tx: Transaction, batch: Sequence[NewUnit], now: datetime) -> None:
    sizes = {file.sha256: file.size for unit in batch for file in unit.files}
    rows = [{"sha256": sha256, "size": size, "created_at": now} for sha256, size in sizes.items()]
    if not rows:
        return
    tx.connection.execute(inserting(tx.connection.dialect)(artifacts).on_conflict_do_nothing(), rows)


def _save_units(
    tx: Transaction, wanted: Mapping[Identity, NewUnit], now: datetime
) -> tuple[dict[Identity, str], dict[str, Unit]]:
    """Create missing units; return all ids, and the old state of the units whose metadata changes."""
    old = find(tx.connection, wanted.keys())
    new: dict[Identity, dict[str, Any]] = {
        (type_id, digest): {
            "id": object_id(),
            "type_id": type_id,
            "key_digest": digest,
            "key": unit.key,
            "metadata": unit.metadata,
            "created_at": now,
            "detail": unit.detail or None,
        }
        for (type_id, digest), unit in wanted.items()
        if (type_id, digest) not in old
    }
    if new:
        tx.connection.execute(insert(units), list(new.values()))
    rows = [
        {"unit_id": row["id"], "relative_path": file.relative_path, "sha256": file.sha256, "size": file.size}
        for identity, row in new.items()
        for file in wanted[identity].files
    ]
    if rows:
        tx.connection.execute(insert(unit_files), rows)
    ids = {identity: unit.id for identity, unit in old.items()} | {key: str(row["id"]) for key, row in new.items()}
    return ids, _change_units(tx, {unit.id: (unit, wanted[identity]) for identity, unit in old.items()}, now)


def _change_units(tx: Transaction, pairs: Mapping[str, tuple[Unit, NewUnit]], now: datetime) -> dict[str, Unit]:
    """Update changed units, given in their old and new state; return the old ones.

    Every repository that holds one of them notices by a new timestamp (`versions`).
    """
    changed = {}
    detailed = [unit_id for unit_id, (_, new) in pairs.items() if new.detail is not None]
    wanted = select(units.c.id, units.c.detail).where(units.c.id.in_(detailed))
    details = {row.id: row.detail or b"" for row in tx.connection.execute(wanted)} if detailed else {}
    for unit_id, (old, new) in pairs.items():
        values: dict[str, Any] = {} if old.metadata == new.metadata else {"metadata": new.metadata}
        if new.detail is not None and new.detail != details[unit_id]:
            values["detail"] = new.detail
        if values:
            tx.connection.execute(update(units).where(units.c.id == unit_id).values(values))
            changed[unit_id] = old
    if changed:
        before = associations.c.updated
        later = case(
            (before < now, literal(now, before.type)),
            else_=type_coerce(type_coerce(before, BigInteger) + 1, before.type),
        )
        tx.connection.execute(update(associations).where(associations.c.unit_id.in_(changed)).values(updated=later))
    return changed


def _clear_slots(tx: Transaction, repo_id: str, slots: Mapping[tuple[str, str], str]) -> dict[str, Unit]:
    """Remove other units from the slots, and return them by the ids of their replacements."""
    if not slots:
        return {}
    columns = associations.c
    mine = (columns.repo_id == repo_id) & columns.slot.in_([slot for _, slot in slots])
    wanted = select(columns.unit_type_id, columns.slot, columns.unit_id).where(mine)
    rows = tx.connection.execute(wanted).all()
    others = {
        unit_id: slots[type_id, slot]
        for type_id, slot, unit_id in rows
        if slots.get((type_id, slot), unit_id) != unit_id
    }
    if not others:
        return {}
    tx.connection.execute(delete(associations).where((columns.repo_id == repo_id) & columns.unit_id.in_(others)))
    old = tx.connection.execute(select(*_COLUMNS).where(units.c.id.in_(others))).mappings()
    return {others[row["id"]]: _unit(row, {}) for row in old}


def _named(recorder: Recorder, unit: Unit) -> dict[str, Any]:
    return recorder.unit(unit.id, unit.type_id, unit.key, unit.metadata)


def _mark(tx: Transaction, repo_id: str, column: str, now: datetime) -> None:
    """Store when content changed last; times are strictly increasing, so that equal times mean equal content."""
    this = repositories.c.id == repo_id
    before = tx.connection.execute(select(repositories.c[column]).where(this)).scalar()
    moment = now if before is None else max(now, before + _TICK)
    tx.connection.execute(update(repositories).where(this).values({column: moment}))


def _unit(row: RowMapping, files: Mapping[str, tuple[StoredFile, ...]]) -> Unit:
    columns = {name: row[name] for name in ("id", "type_id", "key", "metadata", "created_at", "user_metadata")}
    return Unit(**columns, files=files.get(row["id"], ()), detail=row.get("detail") or b"")
