"""Converts published trees of symbolic links, as earlier versions wrote them, into publications; no file is copied.

    published/isos/<relative URL>               the link at the published URL
    published/trees/<distributor>/<tree>/       its target
    published/trees/<distributor>/<tree>.files  its inventory

It runs when the server starts, before the first request. What cannot be converted is logged and left where it is; the
next publish of that repository creates a publication.
"""

import hashlib
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pulpit.content.port import StoredFile
from pulpit.errors import PulpitError
from pulpit.repositories import inventory
from pulpit.repositories.context import TaskContext
from pulpit.store import event_log, holdings, publications, repositories, snapshots
from pulpit.store.repositories import Distributor

_PUBLISHED: Final = "published"

_log = logging.getLogger(__name__)


def take_over_trees(context: TaskContext) -> None:
    """Convert existing trees into publications and remove the trees."""
    folder = context.data_dir / _PUBLISHED
    if not folder.is_dir():
        return
    with context.database.read() as connection:
        distributors = repositories.distributors_of(connection)
    is_whole = True
    for distributor in distributors:
        tree = (distributor.scratchpad or {}).get("published")
        if tree is None:
            continue
        try:
            _take_over(context, distributor, tree)
        except (OSError, ValueError, PulpitError) as error:
            is_whole = False
            message = "what %s of %s published could not be taken over: %s"
            _log.error(message, distributor.id, distributor.repo_id, error, extra={"action": "upgrade_failed"})
    if is_whole:
        shutil.rmtree(folder, ignore_errors=True)


def _take_over(context: TaskContext, distributor: Distributor, tree: dict[str, Any]) -> None:
    root = context.data_dir / _PUBLISHED / "trees" / distributor.object_id / tree["tree"]
    files = list(_files(root))
    with context.scratch.folder() as scratch, context.database.read() as connection:
        new = []
        for file in files:
            if not context.storage.has(file.sha256, file.size):
                os.link(root / file.relative_path, scratch / file.sha256)
                context.storage.put(scratch / file.sha256, file.sha256)
                new.append(file.sha256)
        documents = []
        held = [version.partition("\t")[0] for version in snapshots.versions(connection, distributor.repo_id)]
        for content in (inventory.document(files), b"".join(snapshots.snapshot(connection, held))):
            sha256 = hashlib.sha256(content).hexdigest()
            context.storage.put_bytes(content, sha256)
            documents.append(StoredFile(relative_path="", sha256=sha256, size=len(content)))
        last_event = event_log.head(connection)
        counts = repositories.unit_counts(connection, distributor.repo_id).get(distributor.repo_id, {})
    context.storage.flush([*new, *(file.sha256 for file in documents)])
    with context.database.write() as tx:
        holdings.lock_artifacts(tx)
        now = distributor.last_publish or context.clock()
        publication = publications.add(
            tx,
            distributor.repo_id,
            publications.unrecorded(tx.connection, [*files, *documents]),
            now=now,
            distributor_id=distributor.id,
            distributor_object_id=distributor.object_id,
            inventory=documents[0].sha256,
            content=documents[1].sha256,
            file_count=len(files),
            byte_count=sum(file.size for file in files),
            unit_counts=counts,
            made_of=tree["state"],
            last_event=last_event,
        )
        publications.show(tx, tree["place"], publication, now=now)
        scratchpad = {key: value for key, value in (distributor.scratchpad or {}).items() if key != "published"}
        repositories.change_distributor(tx, distributor.repo_id, distributor.id, scratchpad=scratchpad or None)
    _log.info("published tree became a publication", extra={"action": "tree_taken_over", "place": tree["place"]})


def _files(root: Path) -> Iterator[StoredFile]:
    """Yield the files of a tree: from its inventory, or by scanning trees that are older than inventories."""
    beside = root.with_name(f"{root.name}.files")
    if beside.exists():
        with beside.open("rb") as lines:
            yield from inventory.read(lines)
        return
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                size = file.tell()
            yield StoredFile(relative_path=str(path.relative_to(root)), sha256=sha256, size=size)
