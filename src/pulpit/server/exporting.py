"""`pulpit export`: finds the publication that somebody names, beside a running server or without one."""

import re
from pathlib import Path
from typing import Final

from pulpit.clock import iso
from pulpit.errors import ConfigurationError, MissingResource
from pulpit.repositories import differences
from pulpit.repositories.exports import About, Export, write_folder, write_tar
from pulpit.server import data_folder
from pulpit.server.content_types import content_types
from pulpit.settings import Settings
from pulpit.storage.opening import open_storage
from pulpit.storage.port import Storage
from pulpit.store import publications, repositories
from pulpit.store.database import Database
from pulpit.store.publications import Publication
from pulpit.store.wakeups import WakeupSocket

_BY_NUMBER: Final = re.compile(r"([^/:]+):([0-9]{1,9})\Z", re.ASCII)


def export(settings: Settings, what: str, target: Path, *, since: int | None, as_tar: bool, link: bool) -> str:
    """Export a publication, and return a sentence about it.

    Args:
        settings: where the data are.
        what: a place such as `repos/zoo`, or a repository and a number such as `zoo:7`.
        target: the folder or the tar.
        since: the number of a publication of the same repository whose files are left out.
        as_tar: whether it shall be a tar.
        link: whether files of a folder may be hard links to the storage.

    Raises:
        PulpitError: there is no such publication, or it cannot be written.
    """
    data_folder.check_own(settings.data_dir)
    storage = open_storage(settings.storage, settings.data_dir)
    with WakeupSocket(settings.data_dir) as wakeups:
        database = Database.look_into(settings.data_dir, wakeups, url=settings.database.url)
        try:
            found = _find(database, storage, what, since)
        finally:
            database.close()
    count = sum(1 for _ in found.contained())
    said = f"publication {found.about.publication} of {found.about.repo_id}, {count} files"
    try:
        if as_tar:
            return f"{target}: {said}, SHA-256 {write_tar(found, storage, target)}"
        is_new = write_folder(found, storage, target, link=link)
    except OSError as error:
        raise ConfigurationError("DIR", f"{target} cannot be written ({error.strerror or error}).") from None
    return f"{target}: {said}" if is_new else f"{target} has {said}, already"


def _find(database: Database, storage: Storage, what: str, since: int | None) -> Export:
    by_number = _BY_NUMBER.match(what)
    place = what.strip("/").removeprefix("pulp/")
    with database.read() as connection:
        if by_number:
            publication: Publication | None = publications.get(connection, by_number[1], int(by_number[2]))
        else:
            publication = publications.at(connection, place)
        if publication is None:
            raise MissingResource(place=place)
        earlier = None if since is None else publications.get(connection, publication.repo_id, since)
        distributor = repositories.distributor(connection, publication.repo_id, publication.distributor_id)
        shown_at = publications.places_by_publication(connection, publication.repo_id).get(publication.id, ())
    content_type = content_types()[distributor.distributor_type_id]
    path = place if not by_number else next((place.path for place in shown_at), "")
    own = content_type.relative_url(publication.repo_id, distributor.config)
    about = About(
        repo_id=publication.repo_id,
        publication=publication.number,
        relative_url=path.removeprefix(f"{content_type.published_under}/") or own,
        importer_type_id=content_type.importer_type_id,
        distributor_type_id=distributor.distributor_type_id,
        created_at=iso(publication.created_at) or "",
        inventory=publication.inventory,
        since=since,
        base=earlier.inventory if earlier else None,
    )
    base = {file.sha256 for file in differences.files(storage, earlier).values()} if earlier else set()
    files = tuple(differences.files(storage, publication).values())
    return Export(about=about, files=files, base=frozenset(base))
