"""Repositories with their importers and distributors."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from pulpit.errors import DuplicateResource, MissingResource
from pulpit.ids import object_id
from pulpit.store import event_log, holdings, publications, units
from pulpit.store.database import Transaction
from pulpit.store.schema import associations, distributors, importers, repositories, schedules


@dataclass(frozen=True, kw_only=True, slots=True)
class Importer:
    """Where a repository's content comes from."""

    repo_id: str
    id: str
    object_id: str
    importer_type_id: str
    config: dict[str, Any]
    scratchpad: dict[str, Any] | None
    last_sync: datetime | None
    last_updated: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Distributor:
    """How a repository's content is published."""

    repo_id: str
    id: str
    object_id: str
    distributor_type_id: str
    auto_publish: bool
    config: dict[str, Any]
    scratchpad: dict[str, Any] | None
    last_publish: datetime | None
    last_updated: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Repository:
    """A named collection of units."""

    id: str
    object_id: str
    display_name: str | None
    description: str | None
    notes: dict[str, Any]
    scratchpad: dict[str, Any]
    last_unit_added: datetime | None
    last_unit_removed: datetime | None
    created_at: datetime
    last_publication: int
    """Number of its newest publication, even if deleted; 0 before the first."""
    changes_from: int
    """Events after this one report every change of the content.

    Earlier ones belong to a deleted repository of the same id.
    """


def add(
    tx: Transaction,
    repo_id: str,
    *,
    display_name: str | None,
    description: str | None,
    notes: dict[str, Any],
    now: datetime,
) -> Repository:
    """Create a repository.

    Raises:
        DuplicateResource: the id is taken.
    """
    texts = {"display_name": display_name, "description": description}
    row = {"notes": notes, "scratchpad": {}, "created_at": now, "changes_from": event_log.head(tx.connection)}
    _insert(tx, repositories, repo_id, **row, **texts)
    return get(tx.connection, repo_id)


def add_importer(
    tx: Transaction, repo_id: str, importer_type_id: str, config: dict[str, Any], *, now: datetime
) -> Importer:
    """Attach the importer; its id is its type's, as in Pulp 2.

    Raises:
        DuplicateResource: the repository has one.
    """
    row = {"repo_id": repo_id, "importer_type_id": importer_type_id, "config": config, "last_updated": now}
    _insert(tx, importers, importer_type_id, **row)
    return importer(tx.connection, repo_id)


def add_distributor(
    tx: Transaction,
    repo_id: str,
    distributor_id: str,
    distributor_type_id: str,
    config: dict[str, Any],
    *,
    auto_publish: bool,
    now: datetime,
) -> Distributor:
    """Attach a distributor.

    Raises:
        DuplicateResource: the repository has one with that id.
    """
    row = {"repo_id": repo_id, "distributor_type_id": distributor_type_id, "config": config, "last_updated": now}
    _insert(tx, distributors, distributor_id, auto_publish=auto_publish, **row)
    return distributor(tx.connection, repo_id, distributor_id)


def get(connection: Connection, repo_id: str) -> Repository:
    """Return one repository.

    Raises:
        MissingResource: there is none with that id.
    """
    row = connection.execute(select(repositories).where(repositories.c.id == repo_id)).mappings().one_or_none()
    if row is None:
        raise MissingResource(repository=repo_id)
    return Repository(**row)


def every(connection: Connection) -> list[Repository]:
    """All repositories, by id."""
    return [
        Repository(**row) for row in connection.execute(select(repositories).order_by(repositories.c.id)).mappings()
    ]


def importer(connection: Connection, repo_id: str, importer_id: str | None = None) -> Importer:
    """Return the importer of a repository; an importer with another id than asked for counts as missing.

    Raises:
        MissingResource: the repository or its importer does not exist.
    """
    found = importers_of(connection, repo_id)
    if not found or importer_id not in (None, found[0].id):
        get(connection, repo_id)
        raise MissingResource(importer_id=importer_id or "importer")
    return found[0]


def importers_of(connection: Connection, repo_id: str | None = None) -> list[Importer]:
    """The importers of one repository (none or one), or of all."""
    wanted = select(importers).order_by(importers.c.repo_id)
    if repo_id is not None:
        wanted = wanted.where(importers.c.repo_id == repo_id)
    return [Importer(**row) for row in connection.execute(wanted).mappings()]


def distributor(connection: Connection, repo_id: str, distributor_id: str) -> Distributor:
    """Return one distributor.

    Raises:
        MissingResource: the repository or the distributor does not exist.
    """
    for found in distributors_of(connection, repo_id):
        if found.id == distributor_id:
            return found
    get(connection, repo_id)
    raise MissingResource(repo_id=repo_id, distributor_id=distributor_id)


def distributors_of(connection: Connection, repo_id: str | None = None) -> list[Distributor]:
    """The distributors of one repository, or of all, by id."""
    wanted = select(distributors).order_by(distributors.c.repo_id, distributors.c.id)
    if repo_id is not None:
        wanted = wanted.where(distributors.c.repo_id == repo_id)
    return [Distributor(**row) for row in connection.execute(wanted).mappings()]


def distributor_configs(connection: Connection, object_ids: Collection[str]) -> dict[str, dict[str, Any]]:
    """The configurations of those of the distributors that exist, by object id."""
    columns = distributors.c
    wanted = select(columns.object_id, columns.config)
    return {
        row.object_id: row.config
        for portion in units.portions(object_ids)
        for row in connection.execute(wanted.where(columns.object_id.in_(portion)))
    }


def authorities(connection: Connection) -> list[dict[str, Any]]:
    """Return the configurations of distributors that may name a CA for client certificates."""
    config = distributors.c.config
    return list(connection.execute(select(config).where(config.contains("CERTIFICATE"))).scalars())


def unit_counts(connection: Connection, repo_id: str | None = None) -> dict[str, dict[str, int]]:
    """Return the number of units by repository id and unit type."""
    columns = associations.c
    wanted = select(columns.repo_id, columns.unit_type_id, func.count()).group_by(columns.repo_id, columns.unit_type_id)
    if repo_id is not None:
        wanted = wanted.where(columns.repo_id == repo_id)
    counts: dict[str, dict[str, int]] = {}
    for repo, type_id, count in connection.execute(wanted):
        counts.setdefault(repo, {})[type_id] = count
    return counts


def change(tx: Transaction, repo_id: str, **columns: Any) -> None:
    """Update columns of a repository."""
    if columns:
        tx.connection.execute(update(repositories).where(repositories.c.id == repo_id).values(**columns))


def change_importer(tx: Transaction, repo_id: str, **columns: Any) -> None:
    """Update columns of a repository's importer."""
    tx.connection.execute(update(importers).where(importers.c.repo_id == repo_id).values(**columns))


def change_distributor(tx: Transaction, repo_id: str, distributor_id: str, **columns: Any) -> None:
    """Update columns of a distributor."""
    which = (distributors.c.repo_id == repo_id) & (distributors.c.id == distributor_id)
    tx.connection.execute(update(distributors).where(which).values(**columns))


def remove_importer(tx: Transaction, repo_id: str) -> None:
    """Detach the importer with its schedules, if there is one."""
    event_log.lock(tx)
    tx.connection.execute(delete(schedules).where((schedules.c.repo_id == repo_id) & (schedules.c.action == "sync")))
    tx.connection.execute(delete(importers).where(importers.c.repo_id == repo_id))


def remove_distributor(tx: Transaction, repo_id: str, distributor_id: str) -> None:
    """Detach a distributor with its schedules, and remove what it published.

    Raises:
        MissingResource: the repository or the distributor does not exist.
    """
    publications.remove_of_distributor(tx, distributor(tx.connection, repo_id, distributor_id).object_id)
    event_log.lock(tx)
    its = (schedules.c.repo_id == repo_id) & (schedules.c.action == "publish")
    tx.connection.execute(delete(schedules).where(its & (schedules.c.plugin_id == distributor_id)))
    tx.connection.execute(
        delete(distributors).where((distributors.c.repo_id == repo_id) & (distributors.c.id == distributor_id))
    )


def remove(tx: Transaction, repo_id: str) -> None:
    """Delete a repository with everything that belongs to it and that it published; its units stay, as orphans."""
    holdings.lock_artifacts(tx)
    for found in distributors_of(tx.connection, repo_id):
        publications.remove_of_distributor(tx, found.object_id)
    event_log.lock(tx)
    tx.connection.execute(delete(associations).where(associations.c.repo_id == repo_id))
    for table in (schedules, importers, distributors):
        tx.connection.execute(delete(table).where(table.c.repo_id == repo_id))
    tx.connection.execute(delete(repositories).where(repositories.c.id == repo_id))


def _insert(tx: Transaction, table: Table, name: str, **row: Any) -> None:
    try:
        tx.connection.execute(insert(table).values(id=name, object_id=object_id(), **row))
    except IntegrityError:
        raise DuplicateResource(name) from None
