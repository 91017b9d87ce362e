"""Uploads: a file sent by a user becomes a unit of a repository."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pulpit.content.port import LeftOut, StoredFile, StoredUnit, WantedUnit
from pulpit.errors import InvalidValue, WorkFailed
from pulpit.repositories.context import TaskContext
from pulpit.storage.disk import FILE_MODE, disk_errors
from pulpit.storage.port import Storage
from pulpit.storage.scratch import Scratch
from pulpit.store import holdings, repositories, units
from pulpit.store.units import NewUnit, Unit

IN_STORAGE: Final = "storage:"
"""Prefix of the SHA-256 of an uploaded file in the shared storage, used instead of its path."""
NOTES: Final = "pulp_user_metadata"
"""A user's own metadata of a unit, beside the unit's."""
_PIECE: Final = 1 << 20


def import_file(  # noqa: PLR0917 - the order of the fields of an import request
    context: TaskContext,
    repo_id: str,
    type_id: str,
    key: dict[str, Any],
    metadata: dict[str, Any],
    path: Path,
    *,
    everywhere: bool = False,
) -> StoredUnit:
    """Import an uploaded file into a repository; the file at `path` stays where it is. Call it in a thread.

    A unit of a type that is merged changes in other repositories too, if it may do so `everywhere`.

    Raises:
        MissingResource: the repository or its importer does not exist.
        InvalidValue: the file does not match the key.
        StorageFull: the disk is full.
    """
    content_type = context.importers_type(repo_id)
    metadata = dict(metadata)
    notes = metadata.pop(NOTES, None)
    if not isinstance(notes, dict | None):
        raise InvalidValue(NOTES, "it must be an object.")
    by_hand = content_type.written_by_hand(type_id, key, metadata, path)
    if by_hand is not None:
        return _keep(context, repo_id, by_hand, notes, everywhere=everywhere)
    with disk_errors("The uploaded file"):
        context.storage.prepare()
        file = copied(context.storage, context.scratch, path)
    wanted = content_type.uploaded(type_id, key, metadata, file, path)
    with context.database.read() as connection:
        config = repositories.importer(connection, repo_id).config
    flaw = content_type.flaw(wanted, lambda: path, config)
    if flaw:
        reason = flaw.reason if isinstance(flaw, LeftOut) else flaw
        raise InvalidValue("upload_id", f"the uploaded file {reason}.")
    name = wanted.files[0].relative_path
    stored = StoredFile(relative_path=name, sha256=file.sha256, size=file.size)
    with context.database.write() as tx:
        holdings.lock_artifacts(tx)
        if not context.storage.has(file.sha256, file.size):
            raise WorkFailed("The uploaded file was removed as an orphan while it was imported; import it again.")
        saved = holdings.save(tx, repo_id, [_new(wanted, (stored,))], now=context.clock(), recorder=context.recorder)
        unit_id = next(iter(saved.unit_ids))
        if notes:
            units.note(tx, wanted.type_id, unit_id, notes)
    return StoredUnit(id=unit_id, type_id=wanted.type_id, key=wanted.key, metadata=wanted.metadata, files=(stored,))


def _keep(
    context: TaskContext, repo_id: str, wanted: Sequence[WantedUnit], notes: dict[str, Any] | None, *, everywhere: bool
) -> StoredUnit:
    """Add units without files to a repository; return the first, which is the one that the notes are for."""
    content_type = context.importers_type(repo_id)
    with context.database.write() as tx:
        holdings.lock_artifacts(tx)
        batches: dict[str, list[NewUnit]] = {repo_id: []}
        for unit in wanted:
            whole, places = unit, [repo_id]
            if unit.slot is not None and unit.type_id in content_type.merged_type_ids:
                held = units.in_slot(tx.connection, unit.type_id, unit.slot)
                own = held.pop(repo_id, None)
                places += held if everywhere else ()
                others = {other.id: _stored(other) for other in held.values()} if everywhere else {}
                if own:
                    others.pop(own.id, None)
                    notes = notes or own.user_metadata
                if own or others:
                    whole = content_type.merged(unit, _stored(own) if own else None, list(others.values()))
            for place in places:
                batches.setdefault(place, []).append(_new(whole, ()))
        for place, batch in batches.items():
            holdings.save(tx, place, batch, now=context.clock(), recorder=context.recorder)
        first = batches[repo_id][0]
        (kept,) = units.find(tx.connection, {(first.type_id, units.key_digest(first.key))}).values()
        if notes:
            units.note(tx, kept.type_id, kept.id, notes)
    return _stored(kept)


def _stored(unit: Unit) -> StoredUnit:
    return StoredUnit(
        id=unit.id, type_id=unit.type_id, key=unit.key, metadata=unit.metadata, files=(), detail=unit.detail
    )


def _new(unit: WantedUnit, files: tuple[StoredFile, ...]) -> NewUnit:
    return NewUnit(
        type_id=unit.type_id, key=unit.key, metadata=unit.metadata, files=files, slot=unit.slot, detail=unit.detail
    )


def copied(storage: Storage, scratch: Scratch, path: Path) -> StoredFile:
    """Copy a file into the storage, fsynced on return."""
    scratch.prepare()
    running, size = hashlib.sha256(), 0
    with path.open("rb") as source, scratch.folder() as room:
        copy = room / "copy"
        fd = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        with os.fdopen(fd, "wb") as target:
            while piece := source.read(_PIECE):
                running.update(piece)
                size += len(piece)
                target.write(piece)
            target.flush()
            os.fsync(fd)
        storage.put(copy, running.hexdigest())
    storage.flush([running.hexdigest()])
    return StoredFile(relative_path=path.name, sha256=running.hexdigest(), size=size)


@contextmanager
def handed_over(context: TaskContext, path: str) -> Iterator[Path]:
    """Yield the file of an import task: its own file below the data folder, deleted afterwards, or one of the storage.

    Raises:
        WorkFailed: it does not exist any more.
    """
    if path.startswith(IN_STORAGE):
        try:
            local = context.storage.local(path.removeprefix(IN_STORAGE))
        except FileNotFoundError:
            raise WorkFailed("The uploaded file waited for more than a day and was removed; upload it again.") from None
        yield local
        return
    own = context.data_dir / path
    try:
        yield own
    finally:
        own.unlink(missing_ok=True)
