"""What must hold between the database and the files: kept files are what they should be, published trees are whole.

Others may work meanwhile. What looks wrong in the storage is looked at again while nobody can save or remove files, and
what a task may be about to record is left alone. A published path is switched in the transaction that writes it down,
so link and table are compared in one that holds others off; the tree that it leads to may be swept while it is read,
when two publishes follow, and then the newer one is looked at.
"""

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from pulpit.content.port import StoredFile
from pulpit.repositories import inventory, recovery, tree
from pulpit.repositories.orphans import PARTIALS_FOR, PREFIXES, STRAYS_FOR, remove_strays
from pulpit.repositories.recovery import invalidate_file, invalidate_publication
from pulpit.repositories.tree import Shelf
from pulpit.server.check_database import BY_STARTING, PUBLISH_AGAIN, SYNC_AGAIN, Finding, Inspection, Mend
from pulpit.storage.port import Kept as InStorage
from pulpit.storage.scratch import Scratch
from pulpit.store import audit, repositories, units
from pulpit.store.audit import Kept
from pulpit.store.repositories import Distributor
from pulpit.store.tasks import RUNNING, WAITING, search
from pulpit.tasks import queue
from pulpit.tasks.recovery import QUEUED_UPLOADS, sweep_uploads

_LOOKS: Final = 5
"""Times that a tree is looked at which others switch meanwhile."""
_NO_INVENTORY: Final = "has no inventory"
_BAD_INVENTORY: Final = "has a damaged inventory"
_COUNT_ANEW: Final = "`--repair` writes down what is there, and the next publish lays it out anew."
_MOST: Final = 100
"""Files of one tree that are named."""


def check_storage(inspection: Inspection) -> Iterator[Finding]:
    """The storage, folder by folder, then what is on its way there."""
    strays: list[str] = []
    for number, prefix in enumerate(PREFIXES):
        inspection.say("files", number, len(PREFIXES))
        with inspection.context.database.read() as connection:
            kept = audit.kept_beneath(connection, prefix)
        stored = {file.sha256: file for file in inspection.context.storage.names(prefix)}
        yield from _missing(inspection, stored, kept)
        strays += _unknown(inspection, stored, kept)
    yield from _left_over("files.stray", "content", strays, "are in no unit", lambda: remove_strays(inspection.context))
    yield from _downloads(inspection.context.scratch)
    yield from _uploads(inspection)


def _missing(inspection: Inspection, stored: Mapping[str, InStorage], kept: Sequence[Kept]) -> Iterator[Finding]:
    for file in kept:
        if not file.used or (not inspection.deep and _is_listed(stored, file)):
            continue
        flaw = _flaw(inspection, file)
        if flaw is None:
            continue
        with inspection.context.database.write() as tx:  # does a unit still consist of it?
            units.lock_artifacts(tx)
            uses = audit.uses(tx.connection, file.sha256)
        if not uses or _flaw(inspection, file) is None:
            continue
        name, holders = uses[0].relative_path, sorted({use.repo_id for use in uses if use.repo_id})
        if holders:
            yield Finding(
                rule="files.content",
                subject=file.sha256,
                problem=f"{name} of {', '.join(holders)} {flaw}.",
                remedy=f"{SYNC_AGAIN} What was uploaded must be uploaded again.",
                mend=partial(invalidate_file, inspection.context, file.sha256, holders),
            )
        else:
            yield Finding(
                rule="files.content",
                subject=file.sha256,
                problem=f"{name}, an orphan, {flaw}.",
                remedy="`pulp-admin orphan remove --all` lets go of it.",
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
    """Files that the database does not know, but those that somebody may be about to record."""
    found = sorted(stored.keys() - {file.sha256 for file in kept})
    if not found or not inspection.busy():
        return found
    with inspection.context.database.read() as connection:
        recorded = units.kept(connection, found)
    return [sha256 for sha256 in found if sha256 not in recorded and stored[sha256].age > STRAYS_FOR]


def _downloads(scratch: Scratch) -> Iterator[Finding]:
    """Nobody asks for what was begun so long ago; a younger one is gone on with."""
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
        if task.state == WAITING and not (context.data_dir / task.arguments["path"]).exists():
            problem = f"The file that it should import into {task.arguments['repo_id']} is gone."
            yield Finding(
                rule="files.upload", subject=task.id, problem=problem, remedy="Cancel the task and upload it again."
            )
    wanted = {context.data_dir / task.arguments["path"] for task in waiting}
    left = [path.name for path in _in(context.data_dir / QUEUED_UPLOADS) if path not in wanted]
    if not inspection.is_served:
        mend = partial(sweep_uploads, context.database, context.data_dir)
        yield from _left_over("files.queued", str(QUEUED_UPLOADS), left, "wait for no task", mend)


def _left_over(rule: str, where: str, found: Sequence[str], what: str, mend: Mend) -> Iterator[Finding]:
    """One line for all of a kind."""
    if found:
        problem = f"{len(found)} of its files and folders {what}, such as {found[0]}."
        remedy = _GOES_BY.get(rule, BY_STARTING)
        yield Finding(rule=rule, subject=where, problem=problem, remedy=remedy, harmless=True, mend=mend)


def _in(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


_ORPHANS: Final = "`pulp-admin orphan remove --all` removes what is {}, and so does `--repair`."
_GOES_BY: Final = {
    "files.stray": _ORPHANS.format("older than a day; a sync may take it over until then"),
    "files.partial": _ORPHANS.format("older than a week"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Seen:
    """What is published of a distributor, and whether the path leads there."""

    distributor: Distributor
    published: dict[str, Any] | None
    leads_there: bool


def check_trees(inspection: Inspection) -> Iterator[Finding]:
    """Every distributor, then what belongs to none."""
    shown = list(tree.links(inspection.context.data_dir))
    with inspection.context.database.read() as connection:
        found = repositories.distributors_of(connection)
    for number, distributor in enumerate(found):
        inspection.say("published trees", number, len(found))
        yield from _of(inspection, distributor.object_id)
        yield from _half_built(inspection, distributor)
    yield from _strangers(inspection, shown, found)


def _of(inspection: Inspection, object_id: str) -> Iterator[Finding]:
    for _ in range(_LOOKS):
        seen = _look(inspection, object_id)
        findings = list(_breaches(inspection, seen)) if seen else []
        if seen is None or not findings or _look(inspection, object_id) == seen:
            yield from findings
            return


def _look(inspection: Inspection, object_id: str) -> _Seen | None:
    """`None` if the distributor is gone by now."""
    data_dir = inspection.context.data_dir
    with inspection.context.database.write() as tx:
        found = audit.distributor_at_rest(tx.connection, object_id)
        if found is None:
            return None
        published = (found.scratchpad or {}).get("published")
        shelf = Shelf(data_dir, object_id)
        leads = published is None or shelf.shown_at(published["place"]) == shelf.tree(published["tree"])
    return _Seen(distributor=found, published=published, leads_there=leads)


def _breaches(inspection: Inspection, seen: _Seen) -> Iterator[Finding]:
    if seen.published is None:
        return
    place, distributor = seen.published["place"], seen.distributor
    root = Shelf(inspection.context.data_dir, distributor.object_id).tree(seen.published["tree"])
    flaws = list(_flaws(inspection, root))
    if not seen.leads_there and not flaws:
        problem = f"The published path does not lead to the tree {root.name} of {distributor.repo_id}."
        yield Finding(
            rule="trees.link", subject=place, problem=problem, remedy=BY_STARTING, mend=_settle(inspection, distributor)
        )
    for name, flaw in flaws:
        problem = f"{name or 'The whole tree'} of {distributor.repo_id} {flaw}."
        remedy, mend = PUBLISH_AGAIN, partial(invalidate_publication, inspection.context.database, distributor)
        if flaw in (_NO_INVENTORY, _BAD_INVENTORY):
            remedy, mend = _COUNT_ANEW, partial(_write_inventory, inspection, distributor, root)
        yield Finding(rule="trees.file", subject=place, problem=problem, remedy=remedy, mend=mend)


def _write_inventory(inspection: Inspection, distributor: Distributor, root: Path) -> None:
    """Write down what a tree holds that was published before there were inventories, or has lost its own."""
    files = []
    for name in _names(root):
        with (root / name).open("rb") as file:
            digest, size = hashlib.file_digest(file, "sha256").hexdigest(), os.fstat(file.fileno()).st_size
        files.append(StoredFile(relative_path=name, sha256=digest, size=size))
    inventory.write(root, files)
    invalidate_publication(inspection.context.database, distributor)


def _flaws(inspection: Inspection, root: Path) -> Iterator[tuple[str, str]]:
    """Names of files that are not as the inventory says, at most so many, and how they are."""
    if not root.is_dir():
        yield "", "is gone"
        return
    listed: set[str] = set()
    count = 0
    try:
        for line in inventory.read(root):
            listed.add(line.relative_path)
            flaw = _file_flaw(inspection, root, line)
            if flaw and count < _MOST:
                count += 1
                yield line.relative_path, flaw
    except FileNotFoundError:
        yield "", _NO_INVENTORY
        return
    except ValueError:
        yield "", _BAD_INVENTORY
        return
    for name in sorted(set(_names(root)) - listed)[:_MOST]:
        yield name, "was not published and is there"


def _file_flaw(inspection: Inspection, root: Path, line: StoredFile) -> str | None:
    path = root / line.relative_path
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            return "is no file"
        if found.st_size != line.size:
            return f"has {found.st_size} bytes instead of {line.size}"
        if inspection.deep and not _is_kept(inspection, line, found):
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            return None if digest == line.sha256 else "has other content than was published"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None


def _is_kept(inspection: Inspection, line: StoredFile, found: os.stat_result) -> bool:
    """Whether it is the very file of the storage, which is read there."""
    try:
        return os.path.samestat(inspection.context.storage.local(line.sha256).stat(), found)
    except OSError:
        return False


def _names(root: Path) -> Iterator[str]:
    for folder, _, names in os.walk(root):
        for name in names:
            yield os.path.relpath(os.path.join(folder, name), root)  # noqa: PTH118 - called for every published file


def _half_built(inspection: Inspection, distributor: Distributor) -> Iterator[Finding]:
    left = Shelf(inspection.context.data_dir, distributor.object_id).unfinished()
    if left and not inspection.is_busy_with(distributor.repo_id):
        problem = f"{len(left)} trees of {distributor.repo_id} were begun and never ended, such as {left[0].name}."
        mend = _settle(inspection, distributor)
        yield Finding(
            rule="trees.begun", subject=distributor.id, problem=problem, remedy=BY_STARTING, harmless=True, mend=mend
        )


def _strangers(
    inspection: Inspection, shown: list[tuple[str, Path | None]], found: list[Distributor]
) -> Iterator[Finding]:
    """Published paths that were there before the distributors were read, and that none of them names."""
    data_dir = inspection.context.data_dir
    owners = {distributor.object_id: distributor for distributor in found}
    mend = partial(recovery.recover, inspection.context.database, data_dir)
    for place, target in shown:
        owner = owners.get(target.parent.name) if target else None
        published = (owner.scratchpad or {}).get("published") if owner else None
        if published and published["place"] == place:
            continue
        if _leads_nowhere_known(inspection, place, owner):
            problem = "The published path belongs to nobody."
            yield Finding(rule="trees.path", subject=place, problem=problem, remedy=BY_STARTING, mend=mend)
    for shelf in sorted((data_dir / tree.PUBLISHED / tree.TREES).glob("*")):
        if shelf.name in owners:
            continue
        with inspection.context.database.write() as tx:  # was it made since?
            owner = audit.distributor_at_rest(tx.connection, shelf.name)
        if owner is None:
            problem = f"The trees {shelf.name} belong to nobody."
            yield Finding(
                rule="trees.shelf", subject=shelf.name, problem=problem, remedy=BY_STARTING, harmless=True, mend=mend
            )


def _leads_nowhere_known(inspection: Inspection, place: str, owner: Distributor | None) -> bool:
    """Look again at a path while nobody can switch it."""
    with inspection.context.database.write() as tx:
        now = audit.distributor_at_rest(tx.connection, owner.object_id) if owner else None
        published = (now.scratchpad or {}).get("published") if now else None
        is_there = (inspection.context.data_dir / tree.PUBLISHED / place).is_symlink()
    return is_there and not (published and published["place"] == place)


def _settle(inspection: Inspection, distributor: Distributor) -> Any:
    data_dir = inspection.context.data_dir
    return lambda: recovery.settle(data_dir, distributor, tree.links(data_dir))
