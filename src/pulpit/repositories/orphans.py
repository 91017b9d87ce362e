"""Removal of what no repository holds: units, their files, and what broken-off work left in the storage."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from pulpit.repositories.concurrency import in_thread
from pulpit.repositories.context import TaskContext
from pulpit.repositories.storage import Storage, sweep_scratch
from pulpit.store import units

DAY: Final = 86400
PARTIALS_FOR: Final = 7 * DAY
"""Seconds for which an unfinished download waits to be gone on with."""
STRAYS_FOR: Final = DAY
"""Seconds for which a file that the database does not know may still be recorded."""


async def remove_orphans(
    context: TaskContext, type_id: str | None = None, unit_id: str | None = None
) -> dict[str, int]:
    """Remove all orphans, those of a type, or one, with their files; answers how many of each type.

    A sync that counts on one of the files meanwhile notices when it commits, and fetches it again.
    """
    storage = Storage(context.data_dir)
    removed: dict[str, int] = {}

    def remove_units() -> dict[str, int]:
        with context.database.write() as tx:
            units.lock_artifacts(tx)
            return units.remove_orphans(tx, type_id, unit_id)

    while portion := await in_thread(remove_units):
        for one, count in portion.items():
            removed[one] = removed.get(one, 0) + count
    while await in_thread(_remove_files, context, storage):
        pass
    await in_thread(remove_strays, context, storage)
    return removed


def _remove_files(context: TaskContext, storage: Storage) -> int:
    """Remove files while nobody else can begin to count on them; published trees keep links of their own."""
    with context.database.write() as tx:
        units.lock_artifacts(tx)
        gone = units.remove_unused_artifacts(tx)
        for sha256 in gone:
            storage.path(sha256).unlink(missing_ok=True)
    return len(gone)


def remove_strays(context: TaskContext, storage: Storage) -> None:
    """Remove files that were downloaded but never recorded, and downloads that nobody went on with."""
    now = time.time()
    for folder in storage.content.glob("??"):
        names = [path.name for path in folder.iterdir()]
        with context.database.write() as tx:
            units.lock_artifacts(tx)
            known = units.kept(tx.connection, names)
            for name in set(names) - known.keys():
                _remove_older(folder / name, now - STRAYS_FOR)
    sweep_scratch(storage.downloads)
    for path in storage.downloads.glob("*.part"):
        _remove_older(path, now - PARTIALS_FOR)


def _remove_older(path: Path, moment: float) -> None:
    with suppress(FileNotFoundError):
        if path.stat().st_mtime < moment:
            path.unlink()
