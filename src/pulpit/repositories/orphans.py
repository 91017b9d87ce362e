"""Removes what nothing needs: orphaned units, files of no unit and no publication, and remains of interrupted work."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection

from pulpit.clock import system_clock
from pulpit.errors import WorkFailed
from pulpit.repositories import inventory
from pulpit.repositories.concurrency import in_thread
from pulpit.repositories.context import TaskContext
from pulpit.storage.port import Storage
from pulpit.store import holdings, orphans, publications, units, uploads

DAY: Final = 86400
PREFIXES: Final = [f"{number:02x}" for number in range(256)]
"""Prefixes of file names: the storage is scanned in these portions."""
PARTIALS_FOR: Final = 7 * DAY
"""Seconds for which an unfinished download is kept to be resumed."""
STRAYS_FOR: Final = DAY
"""Seconds for which a file that the database does not know may still be recorded."""


class Published:
    """The files that publications need, by SHA-256; can be updated while others publish.

    Args:
        storage: holds the inventories.
        passes_over: whether to skip an unreadable inventory, with the files that it needs.
    """

    def __init__(self, storage: Storage, *, passes_over: bool = False) -> None:
        self._storage: Final = storage
        self._passes_over: Final = passes_over
        self._read: Final[set[str]] = set()
        self._files: Final[set[bytes]] = set()

    def read_on(self, connection: Connection) -> None:
        """Read the inventories of publications created since; those removed since still count.

        Raises:
            WorkFailed: an inventory cannot be read, so it is unknown which files are needed.
        """
        for publication in publications.every(connection):
            if publication.inventory in self._read:
                continue
            try:
                found = inventory.files(self._storage, publication.inventory)
                digests = {bytes.fromhex(file.sha256) for file in found}
            except (OSError, ValueError):
                if self._passes_over:
                    continue
                raise WorkFailed(
                    f"The inventory of publication {publication.number} of {publication.repo_id} cannot be read, so no "
                    "file can be removed; run `pulpit check --repair`."
                ) from None
            self._files.update(digests, map(bytes.fromhex, publication.documents))
            self._read.add(publication.inventory)

    def __contains__(self, sha256: str) -> bool:
        return bytes.fromhex(sha256) in self._files


async def remove_orphans(
    context: TaskContext, type_id: str | None = None, unit_ids: Sequence[str] | None = None
) -> dict[str, int]:
    """Remove all orphans, those of a type, or some, with their files; return how many of each type.

    A concurrent sync that relies on one of the files notices when it commits, and downloads it again.

    Raises:
        WorkFailed: an inventory cannot be read.
    """
    removed: dict[str, int] = {}

    def remove_units() -> dict[str, int]:
        with context.database.write() as tx:
            holdings.lock_artifacts(tx)
            return orphans.remove_orphans(tx, type_id, unit_ids)

    while portion := await in_thread(remove_units):
        for unit_type, count in portion.items():
            removed[unit_type] = removed.get(unit_type, 0) + count
    await in_thread(_remove_files, context)
    await in_thread(remove_strays, context)
    return removed


def _remove_files(context: TaskContext) -> None:
    """Remove files that neither units nor publications need.

    Each portion under the lock, so that none comes into use.
    """
    published = Published(context.storage)
    with context.database.read() as connection:
        published.read_on(connection)
    unused: Sequence[str] = [""]
    while unused:
        with context.database.write() as tx:
            holdings.lock_artifacts(tx)
            published.read_on(tx.connection)
            unused = orphans.unused_artifacts(tx.connection, unused[-1])
            gone = [sha256 for sha256 in unused if sha256 not in published]
            orphans.forget_artifacts(tx, gone)
            context.storage.remove(gone)


def remove_strays(context: TaskContext) -> None:
    """Remove files that were downloaded but never recorded, and abandoned partial downloads.

    To a machine whose clock is ahead, what others are storing now looks old.
    """
    strays_for = STRAYS_FOR + max((system_clock() - context.database.clock()).total_seconds(), 0)
    for prefix in PREFIXES:
        old = {file.sha256 for file in context.storage.names(prefix) if file.age > strays_for}
        if not old:
            continue
        with context.database.write() as tx:
            holdings.lock_artifacts(tx)
            context.storage.remove(old - units.kept(tx.connection, old).keys() - uploads.files(tx.connection))
    context.storage.sweep(strays_for)
    context.scratch.sweep()
    context.scratch.sweep_partials(PARTIALS_FOR)
