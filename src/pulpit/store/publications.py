"""Publications and the places where clients read them.

A publication is a row and an inventory, a stored file that maps paths to files. A place, such as `repos/zoo`, shows one
publication. What it showed before is recorded with the time, so that clients can finish reading, and so that a rollback
is possible.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, insert, or_, select, update

from pulpit.errors import MissingResource, WorkFailed
from pulpit.ids import object_id
from pulpit.store.database import Transaction
from pulpit.store.schema import artifacts, former_publications, places, publications, repositories
from pulpit.store.units import StoredFile, kept, portions
from pulpit.store.wakeups import Wakeup
from pulpit.text import shown


@dataclass(frozen=True, kw_only=True, slots=True)
class Publication:
    """The state in which a repository was published at one moment; its number is never reused in the repository."""

    id: str
    repo_id: str
    number: int
    distributor_id: str
    distributor_object_id: str
    created_at: datetime
    inventory: str
    """SHA-256 of the file that maps paths to files."""
    content: str
    """SHA-256 of the file that lists the units that the repository held."""
    file_count: int
    byte_count: int
    unit_counts: dict[str, int]
    made_of: dict[str, Any] | None
    """What it was made from; if this is unchanged, a new one would be the same. `None` forces a new one."""
    pinned: bool
    last_event: int
    """The log's last event when the content was read; changes reported later are not in it."""
    layout: str | None = None
    """SHA-256 of the file from which the content type derives the next one, if it wrote any."""

    @property
    def documents(self) -> list[str]:
        """Return the SHA-256 of the internal files about it."""
        return [sha256 for sha256 in (self.inventory, self.content, self.layout) if sha256]


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where clients read a publication: a path below `/pulp/`, such as `repos/zoo`."""

    path: str
    publication_id: str
    distributor_object_id: str
    """The distributor whose configuration says who may read here."""
    shown_at: datetime
    promoted: bool
    """Whether it shows a promoted publication instead of its distributor's last one."""
    only_promoted: bool
    """Whether only promotions may change what it shows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """What serving a place requires."""

    path: str
    distributor_object_id: str
    inventory: str
    since: datetime


def add(tx: Transaction, repo_id: str, files: Sequence[StoredFile], *, now: datetime, **columns: Any) -> Publication:
    """Add a publication with the repository's next number; `holdings.lock_artifacts` first.

    Args:
        tx: the transaction that also shows it.
        repo_id: the repository.
        files: its files that are `unrecorded`; they are in the storage.
        now: its creation time.
        columns: the other fields of `Publication`.

    Raises:
        MissingResource: the repository is gone.
    """
    rows = [{"sha256": file.sha256, "size": file.size, "created_at": now} for file in files]
    if rows:
        tx.connection.execute(insert(artifacts), rows)
    counted = update(repositories).where(repositories.c.id == repo_id)
    counted = counted.values(last_publication=repositories.c.last_publication + 1)
    number = tx.connection.execute(counted.returning(repositories.c.last_publication)).scalar()
    if number is None:
        raise MissingResource(repository=repo_id)
    row = {"id": object_id(), "repo_id": repo_id, "number": number, "created_at": now, "pinned": False, **columns}
    tx.connection.execute(insert(publications).values(**row))
    return Publication(**row)


def unrecorded(connection: Connection, files: Iterable[StoredFile]) -> list[StoredFile]:
    """Return those of the files that the database does not refer to yet, each once."""
    by_digest = {file.sha256: file for file in files}
    for portion in portions(list(by_digest)):
        for sha256 in kept(connection, portion):
            del by_digest[sha256]
    return list(by_digest.values())


def show(
    tx: Transaction, path: str, publication: Publication, *, promoted: bool = False, now: datetime
) -> Publication | None:
    """Let a place show a publication from now on, and return the one that it showed before.

    Raises:
        WorkFailed: the place is taken.
    """
    if reason := taken(tx.connection, path, publication.distributor_object_id):
        raise WorkFailed(reason)
    tx.wakeups.add(Wakeup.PLACES)
    before = at(tx.connection, path)
    values = {
        "publication_id": publication.id,
        "distributor_object_id": publication.distributor_object_id,
        "shown_at": now,
        "promoted": promoted,
    }
    if before is None:
        tx.connection.execute(insert(places).values(path=path, **values))
        return None
    tx.connection.execute(update(places).where(places.c.path == path).values(**values))
    if before.id != publication.id:
        _note_former(tx, path, before.id, now)
        this = (former_publications.c.path == path) & (former_publications.c.publication_id == publication.id)
        tx.connection.execute(delete(former_publications).where(this))
    return before


def hide(tx: Transaction, path: str) -> None:
    """Let a place show nothing, and delete its history."""
    tx.wakeups.add(Wakeup.PLACES)
    tx.connection.execute(delete(places).where(places.c.path == path))
    tx.connection.execute(delete(former_publications).where(former_publications.c.path == path))


def take_down(tx: Transaction, path: str) -> None:
    """Let a place show nothing, and remove the publications that only it needed."""
    needed = [publication.id for publication in (at(tx.connection, path), *former(tx.connection, path)) if publication]
    hide(tx, path)
    for ids in portions(needed):
        remove_unneeded(tx, publications.c.id.in_(ids))


def prune(tx: Transaction, path: str, *, keep: int, hidden_before: datetime) -> None:
    """Delete old entries of a place's history, and remove publications that are no longer needed.

    Args:
        tx: a transaction that writes.
        path: the place.
        keep: how many publications of the place stay, including the current one.
        hidden_before: publications replaced after this moment stay too: clients may still read them.
    """
    columns = former_publications.c
    former = select(columns.publication_id, columns.hidden_at).where(columns.path == path)
    rows = tx.connection.execute(former.order_by(columns.hidden_at.desc(), columns.publication_id.desc())).all()
    over = [row.publication_id for row in rows[max(keep - 1, 0) :] if row.hidden_at <= hidden_before]
    for ids in portions(over):
        tx.connection.execute(
            delete(former_publications).where((columns.path == path) & columns.publication_id.in_(ids))
        )
        remove_unneeded(tx, publications.c.id.in_(ids))


def remove_unneeded(tx: Transaction, which: ColumnElement[bool]) -> int:
    """Remove those of the publications that no place shows or showed and that are not pinned; return how many."""
    shown_now = select(places.c.publication_id).where(places.c.publication_id == publications.c.id).exists()
    shown_before = select(former_publications.c.path).where(former_publications.c.publication_id == publications.c.id)
    unneeded = which & ~publications.c.pinned & ~shown_now & ~shown_before.exists()
    return tx.connection.execute(delete(publications).where(unneeded)).rowcount


def remove(tx: Transaction, publication: Publication) -> None:
    """Remove a publication; places that show it show nothing."""
    shows_it = select(places.c.path).where(places.c.publication_id == publication.id)
    for path in tx.connection.execute(shows_it).scalars().all():
        hide(tx, path)
    tx.connection.execute(delete(former_publications).where(former_publications.c.publication_id == publication.id))
    tx.connection.execute(delete(publications).where(publications.c.id == publication.id))


def remove_of_distributor(tx: Transaction, distributor_object_id: str) -> None:
    """Remove every publication of a distributor, and every place that shows one."""
    its = select(publications.c.id).where(publications.c.distributor_object_id == distributor_object_id)
    of_its = or_(places.c.distributor_object_id == distributor_object_id, places.c.publication_id.in_(its))
    for path in tx.connection.execute(select(places.c.path).where(of_its)).scalars().all():
        hide(tx, path)
    tx.connection.execute(delete(former_publications).where(former_publications.c.publication_id.in_(its)))
    tx.connection.execute(delete(publications).where(publications.c.id.in_(its)))


def pin(tx: Transaction, publication: Publication, *, pinned: bool) -> bool:
    """Pin a publication, or unpin it; return whether it still exists.

    An unpinned one is removed at once if no place needs it any more.
    """
    this = publications.c.id == publication.id
    tx.connection.execute(update(publications).where(this).values(pinned=pinned))
    return not remove_unneeded(tx, this)


def protect(tx: Transaction, path: str, *, only_promoted: bool) -> None:
    """Let only promotions change what a place shows, or publishes too.

    Raises:
        MissingResource: there is no such place.
    """
    values = {"only_promoted": only_promoted}
    if not tx.connection.execute(update(places).where(places.c.path == path).values(**values)).rowcount:
        raise MissingResource(place=path)


def mark_outdated(tx: Transaction, distributor_object_id: str) -> None:
    """Make the next publish create a publication even if nothing changed; the current one stays until then."""
    its = publications.c.distributor_object_id == distributor_object_id
    tx.connection.execute(update(publications).where(its).values(made_of=None))


def get(connection: Connection, repo_id: str, number: int) -> Publication:
    """Return one publication of a repository.

    Raises:
        MissingResource: the repository or the publication does not exist.
    """
    wanted = select(publications).where((publications.c.repo_id == repo_id) & (publications.c.number == number))
    row = connection.execute(wanted).mappings().one_or_none()
    if row is None:
        known = connection.execute(select(repositories.c.id).where(repositories.c.id == repo_id)).scalar()
        raise MissingResource(**({"publication": str(number)} if known else {"repository": repo_id}))
    return Publication(**row)


def at(connection: Connection, path: str) -> Publication | None:
    """The publication that a place shows."""
    joined = select(publications).join(places, places.c.publication_id == publications.c.id)
    row = connection.execute(joined.where(places.c.path == path)).mappings().one_or_none()
    return Publication(**row) if row else None


def former(connection: Connection, path: str, *, since: datetime | None = None) -> list[Publication]:
    """Return what a place showed before, the latest first, or only what it still showed after a moment."""
    columns = former_publications.c
    joined = select(publications).join(former_publications, columns.publication_id == publications.c.id)
    joined = joined.where(columns.path == path).order_by(columns.hidden_at.desc(), publications.c.number.desc())
    if since is not None:
        joined = joined.where(columns.hidden_at > since)
    return [Publication(**row) for row in connection.execute(joined).mappings()]


def of_repository(connection: Connection, repo_id: str) -> list[Publication]:
    """The publications of a repository, the newest first."""
    wanted = select(publications).where(publications.c.repo_id == repo_id).order_by(publications.c.number.desc())
    return [Publication(**row) for row in connection.execute(wanted).mappings()]


def every(connection: Connection) -> list[Publication]:
    """All publications, by repository and number."""
    wanted = select(publications).order_by(publications.c.repo_id, publications.c.number)
    return [Publication(**row) for row in connection.execute(wanted).mappings()]


def places_of(connection: Connection, distributor_object_id: str) -> list[Place]:
    """The places that show what a distributor published, by path."""
    wanted = select(places).where(places.c.distributor_object_id == distributor_object_id).order_by(places.c.path)
    return [Place(**row) for row in connection.execute(wanted).mappings()]


def places_by_publication(connection: Connection, repo_id: str) -> dict[str, list[Place]]:
    """The places that show publications of a repository, by the publication's id."""
    wanted = select(places).join(publications, publications.c.id == places.c.publication_id).order_by(places.c.path)
    found: dict[str, list[Place]] = {}
    for row in connection.execute(wanted.where(publications.c.repo_id == repo_id)).mappings():
        found.setdefault(row["publication_id"], []).append(Place(**row))
    return found


def place(connection: Connection, path: str) -> Place | None:
    """One place."""
    row = connection.execute(select(places).where(places.c.path == path)).mappings().one_or_none()
    return Place(**row) if row else None


def taken(connection: Connection, path: str, distributor_object_id: str) -> str | None:
    """Say why a distributor's publication cannot be shown at a place; `None` if it can."""
    here = place(connection, path)
    if here is not None and here.distributor_object_id != distributor_object_id:
        return f"Another repository is published at {shown(path)!r}."
    parts = path.split("/")
    above = shown_at(connection, ["/".join(parts[:count]) for count in range(1, len(parts))])
    other = above or next(iter(beneath(connection, path)), None)
    if other is not None:
        return f"Nothing can be shown at {shown(path)!r} as long as {shown(other.path)!r} is a place."
    return None


def every_place(connection: Connection) -> list[Place]:
    """All places, by path."""
    return [Place(**row) for row in connection.execute(select(places).order_by(places.c.path)).mappings()]


def shown_at(connection: Connection, paths: Collection[str]) -> Shown | None:
    """Return the place among these paths; there is at most one, because no place is below another."""
    row = connection.execute(_shown().where(places.c.path.in_(paths))).mappings().first()
    return Shown(**row) if row else None


def beneath(connection: Connection, folder: str) -> list[Shown]:
    """Return the places below a folder (`repos/some`), by path."""
    inside = (places.c.path > f"{folder}/") & (places.c.path < f"{folder}0")  # "0" comes right after "/"
    return [Shown(**row) for row in connection.execute(_shown().where(inside).order_by(places.c.path)).mappings()]


def _shown() -> Any:
    columns = places.c
    wanted = select(
        columns.path, columns.distributor_object_id, publications.c.inventory, columns.shown_at.label("since")
    )
    return wanted.join(publications, publications.c.id == columns.publication_id)


def _note_former(tx: Transaction, path: str, publication_id: str, now: datetime) -> None:
    this = (former_publications.c.path == path) & (former_publications.c.publication_id == publication_id)
    tx.connection.execute(delete(former_publications).where(this))
    tx.connection.execute(insert(former_publications).values(path=path, publication_id=publication_id, hidden_at=now))
