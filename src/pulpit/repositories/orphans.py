"""Removal of what no repository holds: units, their files, and what broken-off work left in the storage."""

from typing import Final

from pulpit.repositories.concurrency import in_thread
from pulpit.repositories.context import TaskContext
from pulpit.store import units

DAY: Final = 86400
PREFIXES: Final = [f"{number:02x}" for number in range(256)]
"""How the names of files begin: the storage is looked through in so many portions."""
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
    removed: dict[str, int] = {}

    def remove_units() -> dict[str, int]:
        with context.database.write() as tx:
            units.lock_artifacts(tx)
            return units.remove_orphans(tx, type_id, unit_id)

    while portion := await in_thread(remove_units):
        for one, count in portion.items():
            removed[one] = removed.get(one, 0) + count
    while await in_thread(_remove_files, context):
        pass
    await in_thread(remove_strays, context)
    return removed


def _remove_files(context: TaskContext) -> int:
    """Remove files while nobody else can begin to count on them; published trees keep links of their own."""
    with context.database.write() as tx:
        units.lock_artifacts(tx)
        gone = units.remove_unused_artifacts(tx)
        context.storage.remove(gone)
    return len(gone)


def remove_strays(context: TaskContext) -> None:
    """Remove files that were downloaded but never recorded, and downloads that nobody went on with."""
    for prefix in PREFIXES:
        old = {file.sha256 for file in context.storage.names(prefix) if file.age > STRAYS_FOR}
        if not old:
            continue
        with context.database.write() as tx:
            units.lock_artifacts(tx)
            context.storage.remove(old - units.kept(tx.connection, old).keys())
    context.storage.sweep(STRAYS_FOR)
    context.scratch.sweep()
    context.scratch.sweep_partials(PARTIALS_FOR)
