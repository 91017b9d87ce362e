"""Rules between the database and the files: stored files are intact, publications are complete.

A server may be running. What looks wrong in the storage is checked again under the lock that saving and removing files
need, and files that a task may be about to record are ignored.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

from pulpit.repositories import inventory
from pulpit.repositories.context import TaskContext
from pulpit.repositories.orphans import PARTIALS_FOR, PREFIXES, STRAYS_FOR, Published, remove_strays
from pulpit.repositories.pending_uploads import LINKED
from pulpit.repositories.recovery import invalidate_file
from pulpit.repositories.uploads import IN_STORAGE
from pulpit.server.check_database import BY_STARTING, PUBLISH_AGAIN, SYNC_AGAIN, Finding, Inspection, Repair
from pulpit.storage.port import Kept as InStorage
from pulpit.storage.scratch import Scratch
from pulpit.store import audit, holdings, publications, units, uploads
from pulpit.store.audit import Kept
from pulpit.store.publications import Publication
from pulpit.store.tasks import RUNNING, WAITING, search
from pulpit.tasks import queue
from pulpit.tasks.recovery import sweep_uploads
from pulpit.text import shown


def check_storage(inspection: Inspection) -> Iterator[Finding]:
    """Check the storage, prefix by prefix, then the work in progress."""
    strays: list[str] = []
    published = Published(inspection.context.storage, passes_over=True)
    with inspection.context.database.read() as connection:
        published.read_on(connection)
    for number, prefix in enumerate(PREFIXES):
        inspection.say("files", number, len(PREFIXES))
        with inspection.context.database.read() as connection:
            kept = audit.kept_beneath(connection, prefix)
            pieces = uploads.files(connection)
        stored = {file.sha256: file for file in inspection.context.storage.names(prefix)}
        yield from _missing(inspection, stored, kept, published)
        strays += _unknown(inspection, {name: file for name, file in stored.items() if name not in pieces}, kept)
    yield from _left_over("files.stray", "content", strays, "are in no unit", lambda: remove_strays(inspection.context))
    yield from _downloads(inspection.context.scratch)
    yield from _uploads(inspection)


def _missing(
    inspection: Inspection, stored: Mapping[str, InStorage], kept: Sequence[Kept], published: Published
) -> Iterator[Finding]:
    for file in kept:
        is_used = file.used or file.sha256 in published
        if not is_used or (not inspection.deep and _is_listed(stored, file)):
            continue
        flaw = _flaw(inspection, file)
        if flaw is None:
            continue
        with inspection.context.database.write() as tx:  # does any unit still use it?
            holdings.lock_artifacts(tx)
            uses = audit.uses(tx.connection, file.sha256)
        needing = [] if uses else _published_with(inspection, file.sha256)
        if not (uses or needing) or _flaw(inspection, file) is None:
            continue
        if needing:
            publication, path = needing[0]
            yield Finding(
                rule="files.published",
                subject=file.sha256,
                problem=f"{shown(path)} of publication {publication.number} of {publication.repo_id} {flaw}.",
                remedy=PUBLISH_AGAIN,
                repair=partial(
                    _rewrite_at_next_publish, inspection, file.sha256, [publication for publication, _ in needing]
                ),
            )
            continue
        name, holders = uses[0].relative_path, sorted({use.repo_id for use in uses if use.repo_id})
        if holders:
            yield Finding(
                rule="files.content",
                subject=file.sha256,
                problem=f"{name} of {', '.join(holders)} {flaw}.",
                remedy=f"{SYNC_AGAIN} What was uploaded must be uploaded again.",
                repair=partial(invalidate_file, inspection.context, file.sha256, holders),
            )
        else:
            yield Finding(
                rule="files.content",
                subject=file.sha256,
                problem=f"{name}, an orphan, {flaw}.",
                remedy="`pulp-admin orphan remove --all` removes it.",
            )


def _is_listed(stored: Mapping[str, InStorage], kept: Kept) -> bool:
    return kept.sha256 in stored and stored[kept.sha256].size == kept.size


def _flaw(inspection: Inspection, kept: Kept) -> str | None:
    storage = inspection.context.storage
    try:
        size = storage.size(kept.sha256)
        if size is None:
            return "is gone from the storage"
        if size != kept.size:
            return f"has {size} bytes instead of {kept.size}"
        if inspection.deep:
            with storage.open(kept.sha256) as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            return None if digest == kept.sha256 else "has other content than it had"
    except FileNotFoundError:
        return "is gone from the storage"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None


def _unknown(inspection: Inspection, stored: Mapping[str, InStorage], kept: Sequence[Kept]) -> list[str]:
    """Return files that the database does not know, except those that may be about to be recorded."""
    found = sorted(stored.keys() - {file.sha256 for file in kept})
    if not found or not inspection.busy():
        return found
    with inspection.context.database.read() as connection:
        recorded = units.kept(connection, found)
    return [sha256 for sha256 in found if sha256 not in recorded and stored[sha256].age > STRAYS_FOR]


def _downloads(scratch: Scratch) -> Iterator[Finding]:
    """Yield abandoned partial downloads; a younger one may still be resumed."""
    old = [path.name for path in scratch.partials(PARTIALS_FOR)]
    remove = partial(scratch.sweep_partials, PARTIALS_FOR)
    yield from _left_over("files.partial", "downloads", old, "were begun and never ended", remove)
    dead = [folder.name for folder in scratch.abandoned()]
    yield from _left_over("files.room", "downloads", dead, "were left by dead workers", scratch.sweep)


def _uploads(inspection: Inspection) -> Iterator[Finding]:
    context = inspection.context
    with context.database.read() as connection:
        waiting = [
            task for task in search(connection, states=[WAITING, RUNNING]) if task.task_type == queue.IMPORT_UPLOAD
        ]
    for task in waiting:
        if task.state == WAITING and not _exists(context, task.arguments["path"]):
            problem = f"The file that it should import into {task.arguments['repo_id']} is gone."
            yield Finding(
                rule="files.upload", subject=task.id, problem=problem, remedy="Cancel the task and upload it again."
            )
    wanted = {context.data_dir / task.arguments["path"] for task in waiting}
    left = [path.name for path in _entries(context.data_dir / LINKED) if path not in wanted]
    if not inspection.is_served:
        repair = partial(sweep_uploads, context.database, context.data_dir)
        yield from _left_over("files.queued", str(LINKED), left, "wait for no task", repair)


def _exists(context: TaskContext, path: str) -> bool:
    if path.startswith(IN_STORAGE):
        return context.storage.size(path.removeprefix(IN_STORAGE)) is not None
    return (context.data_dir / path).exists()


def _left_over(rule: str, where: str, found: Sequence[str], what: str, repair: Repair) -> Iterator[Finding]:
    if found:
        problem = f"{len(found)} of its files and folders {what}, such as {found[0]}."
        remedy = _GOES_BY.get(rule, BY_STARTING)
        yield Finding(rule=rule, subject=where, problem=problem, remedy=remedy, harmless=True, repair=repair)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


_ORPHANS: Final = "`pulp-admin orphan remove --all` removes what is {}, and so does `--repair`."
_GOES_BY: Final = {
    "files.stray": _ORPHANS.format("older than a day; a sync may take it over until then"),
    "files.partial": _ORPHANS.format("older than a week"),
}


def check_publications(inspection: Inspection) -> Iterator[Finding]:
    """Check that every publication has a readable inventory, whose files the database knows."""
    with inspection.context.database.read() as connection:
        found = publications.every(connection)
    for number, publication in enumerate(found):
        inspection.say("publications", number, len(found))
        problem = _inventory_flaw(inspection, publication)
        if problem is None:
            continue
        with inspection.context.database.read() as connection:  # was it removed since?
            if publication not in publications.every(connection):
                continue
        yield Finding(
            rule="publications.inventory",
            subject=f"{publication.repo_id}/{publication.number}",
            problem=problem,
            remedy="`--repair` removes it, and the next publish makes another one.",
            repair=partial(_remove_publication, inspection, publication),
        )


def _inventory_flaw(inspection: Inspection, publication: Publication) -> str | None:
    try:
        files = list(inventory.files(inspection.context.storage, publication.inventory))
    except (OSError, ValueError):
        return "Its inventory is gone or damaged, so nothing of it can be served."
    with inspection.context.database.read() as connection:
        lost = publications.unrecorded(connection, files)
    return f"The database does not know {shown(lost[0].relative_path)}, which it needs." if lost else None


def _remove_publication(inspection: Inspection, publication: Publication) -> None:
    with inspection.context.database.write() as tx:
        publications.remove(tx, publication)


def _published_with(inspection: Inspection, sha256: str) -> list[tuple[Publication, str]]:
    """Return the publications that need a file, with its path in each."""
    found = []
    with inspection.context.database.read() as connection:
        for publication in publications.every(connection):
            if sha256 in publication.documents:
                found.append((publication, "A list"))
                continue
            with suppress(OSError, ValueError):
                files = inventory.files(inspection.context.storage, publication.inventory)
                paths = (file.relative_path for file in files if file.sha256 == sha256)
                found.extend((publication, path) for path in islice(paths, 1))
    return found


def _rewrite_at_next_publish(inspection: Inspection, sha256: str, needing: Sequence[Publication]) -> None:
    """Make the next publish write a file again; remove publications that need it and that no place shows."""
    inspection.context.storage.remove([sha256])
    with inspection.context.database.write() as tx:
        shown_now = {place.publication_id for place in publications.every_place(tx.connection)}
        for publication in needing:
            if publication.id in shown_now:
                publications.mark_outdated(tx, publication.distributor_object_id)
            else:
                publications.remove(tx, publication)
