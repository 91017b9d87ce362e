"""Exports written by the server: where it may write, one at a time per folder, and the report about them.

`[publish] export_dir` names the only folder below which it may write. No other user may be able to write there: they
could redirect the server by a symbolic link, or read what it is about to write.
"""

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, Final

from sqlalchemy import Connection

from pulpit.clock import iso
from pulpit.content import paths
from pulpit.content.port import ContentType
from pulpit.errors import InvalidValue, WorkFailed
from pulpit.repositories import differences
from pulpit.repositories.context import TaskContext
from pulpit.repositories.exports import RESERVED_ENDINGS, About, Export, is_export, write_folder, write_tar
from pulpit.repositories.promotion import own_place
from pulpit.repositories.staging import go_on
from pulpit.storage.disk import disk_errors
from pulpit.storage.port import Storage
from pulpit.store import publications, repositories
from pulpit.store.publications import Publication
from pulpit.text import shown

_MODE: Final = 0o755
_LOOK_AGAIN: Final = 0.2  # seconds
_ONLY_OF_PULP_2: Final = ("iso_prefix", "iso_size", "start_date", "end_date", "create_pxe_boot_dir")


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportOrder:
    """What to export, and where to."""

    repo_id: str
    number: int
    to: str
    """A folder below `[publish] export_dir`, or a tar if it ends with `.tar`."""
    since: int | None = None
    """A publication whose files are omitted."""


def check_target(to: str) -> None:
    """Reject what is not a path below a folder.

    Raises:
        InvalidValue: `to`.
    """
    reason = paths.flaw(to)
    if reason:
        raise InvalidValue("to", f"{shown(to)!r} {reason}; name a path below [publish] export_dir of the server.")
    for part in to.split("/"):
        if part.endswith(RESERVED_ENDINGS):
            raise InvalidValue("to", f"{shown(part)!r} has an ending that exports use for themselves.")


def found_export(
    connection: Connection,
    storage: Storage,
    content_types: Mapping[str, ContentType],
    publication: Publication,
    *,
    place: str | None = None,
    since: int | None = None,
) -> Export:
    """Return a publication as an export, as a place shows it, or as its own place would.

    Raises:
        MissingResource: `since` is not a publication of the repository, or the distributor is gone.
    """
    earlier = None if since is None else publications.get(connection, publication.repo_id, since)
    distributor = repositories.distributor(connection, publication.repo_id, publication.distributor_id)
    shown_at = publications.places_by_publication(connection, publication.repo_id).get(publication.id, ())
    content_type = content_types[distributor.distributor_type_id]
    path = place or next((place.path for place in shown_at), "")
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
    return Export(about=about, files=tuple(differences.files(storage, publication).values()), base=frozenset(base))


def export(context: TaskContext, order: ExportOrder, stop: Event) -> dict[str, Any]:
    """Write an export, and return the report; blocks.

    Raises:
        PulpitError: the publication does not exist, or may not or cannot be written there.
    """
    target = _target(context.export_dir, order.to)
    with context.database.read() as connection:
        publication = publications.get(connection, order.repo_id, order.number)
        found = found_export(connection, context.storage, context.content_types, publication, since=order.since)
    said: dict[str, Any] = {
        "path": str(target),
        "publication": order.number,
        "since": order.since,
        "files": sum(1 for _ in found.contained()),
        "bytes": sum(file.size for file in found.contained()),
    }
    with disk_errors("The export"), _alone_in(target.parent, stop):
        if order.to.endswith(".tar"):
            return said | {"sha256": write_tar(found, context.storage, target, each=lambda: go_on(stop))}
        is_new = write_folder(found, context.storage, target, link=True, each=lambda: go_on(stop))
        return said | {"is_new": is_new}


def export_as_pulp_2(
    context: TaskContext, repo_id: str, config: Mapping[str, Any], relative_url: str, stop: Event
) -> dict[str, Any]:
    """Do what Pulp 2's export distributor did: write a plain tree to `relative_url` below `export_dir`.

    Raises:
        PulpitError: as `export`, and if the configuration asks for unsupported features.
    """
    asked = [name for name in _ONLY_OF_PULP_2 if config.get(name) is not None]
    if asked:
        raise WorkFailed(
            f"{', '.join(asked)}: neither ISO images nor exports by date are made. Name a folder as export_dir for a "
            "plain tree, of which mkisofs makes an image; pulp-admin repo export --since leaves out what is old."
        )
    wanted = config.get("export_dir")
    if not wanted or not isinstance(wanted, str):
        raise WorkFailed("Name a folder as export_dir (--export-dir): ISO images, Pulp 2's default, are not made.")
    with context.database.read() as connection:
        place = own_place(connection, repo_id, None)
        publication = publications.at(connection, place.path)
        if publication is None:
            raise WorkFailed(f"The repository {repo_id} is not published; publish it first.")
        publisher = repositories.distributor(connection, repo_id, publication.distributor_id)
    kind, published = config.get("checksum_type"), publisher.config.get("checksum_type") or "sha256"
    if kind and kind != published:
        raise WorkFailed(
            f"checksum_type: an export is a copy of what is published, and that has {published}. Set {kind} for the "
            f"distributor {publisher.id}, publish, and export again."
        )
    below = _below(context.export_dir, wanted)
    to = "/".join(part for part in (below, relative_url) if part)
    return export(context, ExportOrder(repo_id=repo_id, number=publication.number, to=to), stop)


def _allowed(root: Path | None) -> Path:
    if root is None:
        raise WorkFailed("The server may write exports nowhere: its administrator has not set [publish] export_dir.")
    return root


def _below(root: Path | None, wanted: str) -> str:
    """Return a folder relative to the allowed one, if it is given as an absolute path."""
    allowed = str(_allowed(root))
    wanted = wanted.rstrip("/") or "/"
    if not wanted.startswith("/"):
        return wanted
    if wanted != allowed and not wanted.startswith(f"{allowed}/"):
        raise WorkFailed(f"{shown(wanted)!r} is not below {allowed}, where alone this server may write exports.")
    return wanted.removeprefix(allowed).strip("/")


def _target(root: Path | None, to: str) -> Path:
    """Return the path to write; its parent folders exist, belong to the server and contain no symbolic link.

    Raises:
        InvalidValue: `to` is not a valid target.
        WorkFailed: a parent folder is a symbolic link, or another user may write into it.
    """
    folder = _allowed(root)
    check_target(to)
    *above, name = to.split("/")
    _check_folder(folder)
    for part in above:
        folder /= part
        with disk_errors("The export"), contextlib.suppress(FileExistsError):
            folder.mkdir(mode=_MODE)
        _check_folder(folder)
        if is_export(folder):
            raise WorkFailed(f"{folder} is itself an export; nothing else can be written into it.")
    target = folder / name
    if target.is_symlink():
        raise WorkFailed(f"{target} is a link; exports are written through none.")
    return target


def _check_folder(folder: Path) -> None:
    try:
        found = folder.lstat()
    except OSError as error:
        raise WorkFailed(f"{folder} cannot be written to ({error.strerror}).") from None
    if not stat.S_ISDIR(found.st_mode):
        raise WorkFailed(f"{folder} is no folder, or a link; exports are written through none.")
    if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise WorkFailed(f"Others may write into {folder}; give it to the server's user alone (chmod 755).")


@contextlib.contextmanager
def _alone_in(folder: Path, stop: Event) -> Iterator[None]:
    """Wait for the exclusive right to export into a folder; the kernel releases the lock with the process."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                go_on(stop)
                time.sleep(_LOOK_AGAIN)
        yield
    finally:
        os.close(fd)
