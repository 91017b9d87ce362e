"""What killed work has begun is undone and what is damaged is marked: database, storage and published trees agree.

The database is right: a published path leads again to the tree that it names, and to nothing if it names none. Both are
whole: a tree is flushed before anything leads to it, and stays until another one is shown. Call it when nobody works on
the repositories: when the server starts, or before the task of a dead worker gets its end and the next one may begin.
"""

import logging
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pulpit.errors import PulpitError
from pulpit.repositories import tree
from pulpit.repositories.context import TaskContext
from pulpit.repositories.tree import Shelf
from pulpit.storage.scratch import Scratch
from pulpit.store import repositories
from pulpit.store.database import Database, Transaction
from pulpit.store.repositories import Distributor

_log = logging.getLogger(__name__)


def recover(database: Database, data_dir: Path) -> None:
    """Undo what was left of everybody's work; what the disk refuses is logged and left."""
    with _logged():
        Scratch(data_dir).sweep()
        found = _distributors(database, None)
        shown = list(tree.links(data_dir))
        for distributor in found:
            settle(data_dir, distributor, shown)
        _forget_unknown(data_dir, found, shown)


def recover_one(database: Database, data_dir: Path, repo_id: str | None) -> None:
    """The same for the work on one repository, or on none, while others go on."""
    with _logged():
        Scratch(data_dir).sweep()
        if repo_id is not None:
            shown = list(tree.links(data_dir))
            for distributor in _distributors(database, repo_id):
                settle(data_dir, distributor, shown)


def settle(data_dir: Path, distributor: Distributor, shown: Iterable[tuple[str, Path | None]]) -> None:
    """Let what readers see of a distributor be what the database says; `shown` are all published paths."""
    shelf = Shelf(data_dir, distributor.object_id)
    published = (distributor.scratchpad or {}).get("published")
    right = shelf.tree(published["tree"]) if published else None
    for place, target in shown:
        if target is not None and shelf.owns(target) and (published is None or place != published["place"]):
            shelf.hide(place)
    if published and right in shelf.whole() and shelf.shown_at(published["place"]) != right:
        shelf.show(shelf.tree(published["tree"]), published["place"])
        _say("published path led back", place=published["place"], tree=published["tree"])
    if right is None or right.is_dir():
        # The tree that was shown before stays: somebody may still read it.
        older = [tree for tree in shelf.whole() if right is not None and tree.name < right.name]
        shelf.sweep(right, older[-1] if older else None)


def invalidate_file(context: TaskContext, sha256: str, repo_ids: Sequence[str]) -> None:
    """Let the next sync of the repositories fetch a file again that is gone or is not what it should be.

    What an unchanged upstream is known by is forgotten, and what was published counts as old: it may hold the bad file.
    """
    context.storage.remove([sha256])
    with context.database.write() as tx:
        for repo_id in repo_ids:
            for importer in repositories.importers_of(tx.connection, repo_id):
                scratchpad = {**(importer.scratchpad or {}), "upstream": None}
                repositories.change_importer(tx, repo_id, scratchpad=scratchpad)
            for distributor in repositories.distributors_of(tx.connection, repo_id):
                _mark_outdated(tx, distributor)


def invalidate_publication(database: Database, distributor: Distributor) -> None:
    """Let the next publish build a tree though nothing has changed; the one that is shown stays until then."""
    with database.write() as tx:
        _mark_outdated(tx, repositories.distributor(tx.connection, distributor.repo_id, distributor.id))


def _distributors(database: Database, repo_id: str | None) -> Sequence[Distributor]:
    with database.read() as connection:
        return repositories.distributors_of(connection, repo_id)


@contextmanager
def _logged() -> Iterator[None]:
    try:
        yield
    except (OSError, PulpitError):
        _log.exception("what killed work left could not be put right", extra={"action": "recovery_failed"})


def _forget_unknown(data_dir: Path, known: Iterable[Distributor], shown: Iterable[tuple[str, Path | None]]) -> None:
    """Remove what distributors published that do not exist any more."""
    folder = data_dir / tree.PUBLISHED / tree.TREES
    names = {distributor.object_id for distributor in known}
    for place, target in shown:
        if target is None or target.parent.parent != folder or target.parent.name not in names:
            _say("published path of nobody removed", place=place)
            (data_dir / tree.PUBLISHED / place).unlink(missing_ok=True)
    for shelf in sorted(folder.glob("*")):
        if shelf.name not in names:
            shutil.rmtree(shelf, ignore_errors=True)


def _say(what: str, **facts: str) -> None:
    _log.warning(what, extra={"action": "recovered", **facts})


def _mark_outdated(tx: Transaction, distributor: Distributor) -> None:
    published = (distributor.scratchpad or {}).get("published")
    if published:
        scratchpad = {**(distributor.scratchpad or {}), "published": {**published, "state": None}}
        repositories.change_distributor(tx, distributor.repo_id, distributor.id, scratchpad=scratchpad)
