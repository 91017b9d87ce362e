"""Units that come or go by hand: uploads, copies from another repository, removals."""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection

from pulpit.content.port import ContentType, StoredFile, StoredUnit
from pulpit.errors import InvalidValue, WorkFailed
from pulpit.repositories.storage import FILE_MODE, Storage, disk_errors
from pulpit.repositories.threads import in_thread
from pulpit.repositories.workplace import Workplace
from pulpit.repositories.workroom import workroom
from pulpit.store import repositories, units
from pulpit.store.units import Held, NewUnit, Unit

_PIECE: Final = 1 << 20

Chooses = Callable[[Held], bool]
"""Whether a unit is meant."""


async def import_file(  # noqa: PLR0917 - the order of the fields of an import request
    workplace: Workplace,
    repo_id: str,
    unit_type_id: str,
    unit_key: dict[str, Any],
    unit_metadata: dict[str, Any],
    path: Path,
) -> StoredUnit:
    """Take an uploaded file into a repository; the file at `path` stays where it is.

    Raises:
        MissingResource: the repository or its importer does not exist.
        InvalidValue: the file is not what the key says.
        StorageFull: the disk has no room.
    """
    return await in_thread(
        _import, workplace, repo_id, path, type_id=unit_type_id, key=unit_key, metadata=unit_metadata
    )


async def copy_units(
    workplace: Workplace, source_id: str, target_id: str, type_ids: Sequence[str] | None, chosen: Chooses
) -> list[Unit]:
    """Let a repository hold units of another too; answers those that were chosen.

    Raises:
        MissingResource: a repository, or the target's importer, does not exist.
        InvalidValue: the target holds units of other types.
    """
    return await in_thread(_copy, workplace, source_id, target_id, type_ids, chosen)


async def remove_units(
    workplace: Workplace, repo_id: str, type_ids: Sequence[str] | None, chosen: Chooses
) -> list[Unit]:
    """Take units out of a repository; answers those that were chosen.

    Raises:
        MissingResource: the repository does not exist.
    """
    return await in_thread(_remove, workplace, repo_id, type_ids, chosen)


def _import(
    workplace: Workplace, repo_id: str, path: Path, *, type_id: str, key: dict[str, Any], metadata: dict[str, Any]
) -> StoredUnit:
    content_type = _type_of(workplace, repo_id)
    storage = Storage(workplace.data_dir)
    with disk_errors("The uploaded file"):
        storage.prepare()
        file = _take(storage, path)
    wanted = content_type.uploaded(type_id, key, metadata, file, path)
    flaw = content_type.flaw(wanted, path, _config_of(workplace, repo_id))
    if flaw:
        raise InvalidValue("upload_id", f"the uploaded file {flaw}.")
    name = wanted.files[0].relative_path
    kept = units.File(relative_path=name, sha256=file.sha256, size=file.size)
    new = NewUnit(
        type_id=wanted.type_id,
        key=wanted.key,
        metadata=wanted.metadata,
        files=(kept,),
        slot=wanted.slot,
        detail=wanted.detail,
    )
    with workplace.database.write() as tx:
        units.lock_artifacts(tx)
        if not storage.has(file.sha256, file.size):
            raise WorkFailed("The uploaded file was removed as an orphan while it was imported; import it again.")
        saved = units.save(tx, repo_id, [new], now=workplace.clock())
    stored = StoredFile(relative_path=name, sha256=file.sha256, size=file.size)
    unit_id = next(iter(saved.unit_ids))
    return StoredUnit(id=unit_id, type_id=wanted.type_id, key=wanted.key, metadata=wanted.metadata, files=(stored,))


def _take(storage: Storage, path: Path) -> StoredFile:
    """Copy a file into the storage."""
    running, size = hashlib.sha256(), 0
    with path.open("rb") as source, workroom(storage.downloads) as room:
        copy = room / "copy"
        fd = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        with os.fdopen(fd, "wb") as target:
            while piece := source.read(_PIECE):
                running.update(piece)
                size += len(piece)
                target.write(piece)
            target.flush()
            os.fsync(fd)
        storage.place(copy, running.hexdigest())
    storage.flush([running.hexdigest()])
    return StoredFile(relative_path=path.name, sha256=running.hexdigest(), size=size)


def _copy(
    workplace: Workplace, source_id: str, target_id: str, type_ids: Sequence[str] | None, chosen: Chooses
) -> list[Unit]:
    content_type = _type_of(workplace, target_id)
    with workplace.database.write() as tx:
        units.lock_artifacts(tx)
        found = _chosen(tx.connection, source_id, type_ids, chosen)
        strange = sorted({unit.type_id for unit in found} - set(content_type.unit_type_ids))
        if strange:
            raise InvalidValue("source_repo_id", f"{target_id} holds no units of type {', '.join(strange)}.")
        for start in range(0, len(found), units.MOST_AT_ONCE):
            portion = found[start : start + units.MOST_AT_ONCE]
            slots = [content_type.slot(unit.type_id, unit.key) for unit in portion]
            units.hold(tx, target_id, portion, slots, now=workplace.clock())
    return found


def _remove(workplace: Workplace, repo_id: str, type_ids: Sequence[str] | None, chosen: Chooses) -> list[Unit]:
    with workplace.database.write() as tx:
        found = _chosen(tx.connection, repo_id, type_ids, chosen)
        units.let_go(tx, repo_id, [unit.id for unit in found], now=workplace.clock())
    return found


def _chosen(connection: Connection, repo_id: str, type_ids: Sequence[str] | None, chosen: Chooses) -> list[Unit]:
    repositories.get(connection, repo_id)
    return [one.unit for one in units.held(connection, repo_id, type_ids) if chosen(one)]


def _config_of(workplace: Workplace, repo_id: str) -> dict[str, Any]:
    with workplace.database.read() as connection:
        return repositories.importer(connection, repo_id).config


def _type_of(workplace: Workplace, repo_id: str) -> ContentType:
    with workplace.database.read() as connection:
        importer = repositories.importer(connection, repo_id)
    return workplace.content_type(importer.importer_type_id)
