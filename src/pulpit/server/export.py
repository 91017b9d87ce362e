"""`pulpit export`: finds and exports a publication, with or without a running server."""

import re
from contextlib import suppress
from pathlib import Path
from typing import Final

from pulpit.errors import ConfigurationError, MissingResource
from pulpit.repositories.exporting import found_export
from pulpit.repositories.exports import Export, write_folder, write_tar
from pulpit.server import data_folder
from pulpit.server.content_types import content_types
from pulpit.settings import Settings
from pulpit.storage.opening import open_storage
from pulpit.storage.port import Storage
from pulpit.store import publications
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
        since: the number of a publication of the same repository whose files are omitted.
        as_tar: whether to write a tar.
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
        publication: Publication | None = None
        if by_number:
            with suppress(MissingResource):
                publication = publications.get(connection, by_number[1], int(by_number[2]))
        else:
            publication = publications.at(connection, place)
        if publication is None:
            reason = f"there is no {what}; `pulp-admin repo publications list --repo-id ID` shows numbers and places."
            raise ConfigurationError("PLACE|REPO:NUMBER", reason)
        shown_at = None if by_number else place
        return found_export(connection, storage, content_types(), publication, place=shown_at, since=since)
