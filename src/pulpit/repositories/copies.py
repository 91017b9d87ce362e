"""Units copied from another repository, or removed, at a user's request; call both functions in a thread."""

from collections.abc import Callable, Sequence
from functools import partial

from sqlalchemy import Connection

from pulpit.content.port import Config, ContentType, WantedUnit
from pulpit.errors import InvalidValue
from pulpit.repositories.context import TaskContext
from pulpit.repositories.publish import HeldContent, stored
from pulpit.store import holdings, repositories, units
from pulpit.store.units import Held, Unit

Chooses = Callable[[Held], bool]
"""Whether a unit is selected."""


def copy_units(  # noqa: PLR0917 - from where to where, which, and how
    context: TaskContext,
    source_id: str,
    target_id: str,
    type_ids: Sequence[str] | None,
    chosen: Chooses,
    options: Config,
) -> list[Unit]:
    """Add units of one repository to another; return the selected units and those that were copied with them.

    Units that the target's importer would refuse of an upstream stay out.

    Raises:
        MissingResource: a repository, or the target's importer, does not exist.
        InvalidValue: the target holds units of other types, or an option is invalid.
        UnsupportedValue: an option is unknown.
    """
    content_type = context.importers_type(target_id)
    content_type.check_copy_config(options)
    with context.database.read() as connection:
        wanted = [held for held in units.held(connection, source_id, type_ids) if chosen(held)]
        source, target = HeldContent(connection, source_id), HeldContent(connection, target_id)
        along = content_type.copied_along(list(map(stored, wanted)), source, target, options)
        ids = {held.unit.id for held in wanted} | set(along)
        config = {**repositories.importer(connection, target_id).config, **options}
        everything = units.held(connection, source_id) if along else wanted
        offered = (held.unit for held in everything if held.unit.id in ids)
        ids = {unit.id for unit in offered if not _is_refused(context, content_type, unit, config)}
    with context.database.write() as tx:
        holdings.lock_artifacts(tx)
        found = _chosen(tx.connection, source_id, None, lambda held: held.unit.id in ids)
        strange = sorted({unit.type_id for unit in found} - set(content_type.unit_type_ids))
        if strange:
            raise InvalidValue("source_repo_id", f"{target_id} holds no units of type {', '.join(strange)}.")
        for portion in units.portions(found):
            slots = [content_type.slot(unit.type_id, unit.key) for unit in portion]
            holdings.hold(tx, target_id, portion, slots, now=context.clock(), recorder=context.recorder)
    return found


def remove_units(context: TaskContext, repo_id: str, type_ids: Sequence[str] | None, chosen: Chooses) -> list[Unit]:
    """Remove units from a repository; return the selected ones.

    Raises:
        MissingResource: the repository does not exist.
    """
    with context.database.write() as tx:
        found = _chosen(tx.connection, repo_id, type_ids, chosen)
        holdings.let_go(tx, repo_id, [unit.id for unit in found], now=context.clock(), recorder=context.recorder)
    return found


def _is_refused(context: TaskContext, content_type: ContentType, unit: Unit, config: Config) -> bool:
    wanted = WantedUnit(type_id=unit.type_id, key=unit.key, metadata=unit.metadata, files=())
    files = [partial(context.storage.local, file.sha256) for file in unit.files]
    return any(content_type.flaw(wanted, local, config) for local in files)


def _chosen(connection: Connection, repo_id: str, type_ids: Sequence[str] | None, chosen: Chooses) -> list[Unit]:
    repositories.get(connection, repo_id)
    return [held.unit for held in units.held(connection, repo_id, type_ids) if chosen(held)]
