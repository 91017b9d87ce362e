"""What must hold between the database and the storage: every file that counts is there, and is what it should be.

Others may work meanwhile. What looks wrong is looked at again while nobody can save or remove files, and what a task
may be about to record is left alone.
"""

import hashlib
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from pulpit.repositories import workroom
from pulpit.repositories.marking import fetch_again
from pulpit.repositories.orphans import PARTIALS_FOR, STRAYS_FOR, remove_strays
from pulpit.repositories.storage import Storage
from pulpit.server.checks.scene import BY_STARTING, SYNC_AGAIN, Finding, Mend, Scene
from pulpit.store import audit, units
from pulpit.store.audit import Kept, Use
from pulpit.store.tasks import RUNNING, WAITING, search
from pulpit.tasks import queue
from pulpit.tasks.leftovers import QUEUED_UPLOADS, sweep_uploads

_PREFIXES: Final = [f"{number:02x}" for number in range(256)]


def files(scene: Scene) -> Iterator[Finding]:
    """The storage, folder by folder, then what is on its way there."""
    storage = Storage(scene.workplace.data_dir)
    strays: list[Path] = []
    for number, prefix in enumerate(_PREFIXES):
        scene.say("files", number, len(_PREFIXES))
        with scene.workplace.database.read() as connection:
            kept = audit.kept_beneath(connection, prefix)
        yield from _missing(scene, storage, kept)
        strays += _unknown(scene, storage.content / prefix, kept)
    yield from _left_over(
        "files.stray", "content", strays, "are in no unit", lambda: remove_strays(scene.workplace, storage)
    )
    yield from _downloads(storage.downloads)
    yield from _uploads(scene)


def _missing(scene: Scene, storage: Storage, kept: Sequence[Kept]) -> Iterator[Finding]:
    for one in kept:
        flaw = _flaw(storage, one, deep=scene.deep) if one.used else None
        if flaw is None or not _still_counts(scene, one) or _flaw(storage, one, deep=scene.deep) is None:
            continue
        with scene.workplace.database.read() as connection:
            uses = audit.uses(connection, one.sha256)
        yield Finding(
            rule="files.content",
            subject=one.sha256,
            problem=f"{_named(uses)} {flaw}.",
            remedy=_remedy(uses),
            mend=_mend(scene, storage, one, uses),
        )


def _flaw(storage: Storage, one: Kept, *, deep: bool) -> str | None:
    path = storage.path(one.sha256)
    try:
        size = path.stat().st_size
        if size != one.size:
            return f"has {size} bytes instead of {one.size}"
        if deep:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            return None if found == one.sha256 else "has other content than it had"
    except FileNotFoundError:
        return "is gone from the storage"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None


def _still_counts(scene: Scene, one: Kept) -> bool:
    """Whether a unit still consists of the file, seen while nobody can save or remove one."""
    with scene.workplace.database.write() as tx:
        units.lock_artifacts(tx)
        return any(audit.uses(tx.connection, one.sha256))


def _named(uses: Sequence[Use]) -> str:
    name = uses[0].relative_path
    holders = sorted({use.repo_id for use in uses if use.repo_id})
    return f"{name} of {', '.join(holders)}" if holders else f"{name}, an orphan,"


def _remedy(uses: Sequence[Use]) -> str:
    if any(use.repo_id for use in uses):
        return f"{SYNC_AGAIN} What was uploaded must be uploaded again."
    return "`pulp-admin orphan remove --all` lets go of it."


def _mend(scene: Scene, storage: Storage, one: Kept, uses: Sequence[Use]) -> Mend | None:
    holders = sorted({use.repo_id for use in uses if use.repo_id})
    return partial(fetch_again, scene.workplace, storage, one.sha256, holders) if holders else None


def _unknown(scene: Scene, folder: Path, kept: Sequence[Kept]) -> list[Path]:
    """Files that the database does not know, but those that somebody may be about to record."""
    known = {one.sha256 for one in kept}
    found = [path for path in _in(folder) if path.name not in known]
    if not found or not scene.busy():
        return found
    with scene.workplace.database.read() as connection:
        recorded = units.kept(connection, [path.name for path in found])
    return [path for path in found if path.name not in recorded and _age(path) > STRAYS_FOR]


def _downloads(folder: Path) -> Iterator[Finding]:
    """Nobody asks for what was begun so long ago; a younger one is gone on with."""
    old = [path for path in _in(folder) if path.suffix == ".part" and _age(path) > PARTIALS_FOR]
    yield from _left_over("files.partial", "downloads", old, "were begun and never ended", lambda: _remove(old))
    dead = list(workroom.abandoned(folder))
    yield from _left_over("files.room", "downloads", dead, "were left by dead workers", lambda: _sweep(folder))


def _uploads(scene: Scene) -> Iterator[Finding]:
    workplace = scene.workplace
    with workplace.database.read() as connection:
        waiting = [
            task for task in search(connection, states=[WAITING, RUNNING]) if task.task_type == queue.IMPORT_UPLOAD
        ]
    for task in waiting:
        if task.state == WAITING and not (workplace.data_dir / task.arguments["path"]).exists():
            problem = f"The file that it should import into {task.arguments['repo_id']} is gone."
            yield Finding(
                rule="files.upload", subject=task.id, problem=problem, remedy="Cancel the task and upload it again."
            )
    wanted = {workplace.data_dir / task.arguments["path"] for task in waiting}
    left = [path for path in _in(workplace.data_dir / QUEUED_UPLOADS) if path not in wanted]
    if not scene.is_served:
        yield from _left_over(
            "files.queued", str(QUEUED_UPLOADS), left, "wait for no task", lambda: _sweep_uploads(scene)
        )


def _left_over(rule: str, where: str, found: Sequence[Path], what: str, mend: Mend) -> Iterator[Finding]:
    """One line for all of a kind."""
    if found:
        problem = f"{len(found)} of its files and folders {what}, such as {found[0].name}."
        remedy = _GOES_BY.get(rule, BY_STARTING)
        yield Finding(rule=rule, subject=where, problem=problem, remedy=remedy, harmless=True, mend=mend)


def _in(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _remove(found: Sequence[Path]) -> None:
    for path in found:
        path.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    workroom.sweep(folder)


def _sweep_uploads(scene: Scene) -> None:
    sweep_uploads(scene.workplace.database, scene.workplace.data_dir)


_ORPHANS: Final = "`pulp-admin orphan remove --all` removes what is {}, and so does `--repair`."
_GOES_BY: Final = {
    "files.stray": _ORPHANS.format("older than a day; a sync may take it over until then"),
    "files.partial": _ORPHANS.format("older than a week"),
}
