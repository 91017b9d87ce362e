"""Which repository holds which units: adding, replacing and removing them, each change recorded for events.

Every function works on a bounded number of units; callers pass batches of at most `MOST_AT_ONCE`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import BigInteger, case, delete, insert, literal, select, text, type_coerce, update

from pulpit.ids import object_id
from pulpit.store.changes import Change, Recorder, UnitChange
from pulpit.store.database import Transaction
from pulpit.store.driver import inserting
from pulpit.store.schema import artifacts, associations, repositories, unit_files, units
from pulpit.store.units import COLUMNS, Identity, NewUnit, Unit, find, from_row, held_of, key_digest, portions

_ARTIFACTS_LOCK: Final = 0x70756C70  # an arbitrary number that is unique here
_TICK: Final = timedelta(microseconds=1)


@dataclass(kw_only=True, slots=True)
class Saved:
    """What changed in a repository; `unit_ids` are all units that were given, changed or not."""

    added: int = 0
    updated: int = 0
    unit_ids: set[str] = field(default_factory=set)


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


def let_go(tx: Transaction, repo_id: str, unit_ids: Collection[str], *, now: datetime, recorder: Recorder) -> int:
    """Remove units from a repository, and return how many it held; the units stay, perhaps as orphans."""
    lock_artifacts(tx)
    count = 0
    for portion in portions(sorted(unit_ids)):
        mine = associations.c.unit_id.in_(portion) & (associations.c.repo_id == repo_id)
        joined = select(*COLUMNS).join(associations, associations.c.unit_id == units.c.id)
        gone = [from_row(row, {}) for row in tx.connection.execute(joined.where(mine)).mappings()]
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
        for portion in portions(changed):
            some = mine & columns.unit_id.in_(portion)
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
    old = tx.connection.execute(select(*COLUMNS).where(units.c.id.in_(others))).mappings()
    return {others[row["id"]]: from_row(row, {}) for row in old}


def _named(recorder: Recorder, unit: Unit) -> dict[str, Any]:
    return recorder.unit(unit.id, unit.type_id, unit.key, unit.metadata)


def _mark(tx: Transaction, repo_id: str, column: str, now: datetime) -> None:
    """Store when content changed last; times are strictly increasing, so that equal times mean equal content."""
    this = repositories.c.id == repo_id
    before = tx.connection.execute(select(repositories.c[column]).where(this)).scalar()
    moment = now if before is None else max(now, before + _TICK)
    tx.connection.execute(update(repositories).where(this).values({column: moment}))
