"""What must hold between the database and the published trees: readers see what it names, whole and unchanged.

A path is switched in the transaction that writes it down, so link and table are compared in one that holds others off.
The tree that it leads to may be swept while it is read, when two publishes follow; then the newer one is looked at.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from pulpit.repositories import inventory, recovery, tree
from pulpit.repositories.inventory import Line
from pulpit.repositories.marking import publish_again
from pulpit.repositories.storage import Storage
from pulpit.repositories.tree import Shelf
from pulpit.server.checks.scene import BY_STARTING, PUBLISH_AGAIN, Finding, Scene
from pulpit.store import audit, repositories
from pulpit.store.repositories import Distributor

_LOOKS: Final = 5
"""Times that a tree is looked at which others switch meanwhile."""
_MOST: Final = 100
"""Files of one tree that are named."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Seen:
    """What is published of a distributor, and whether the path leads there."""

    distributor: Distributor
    published: dict[str, Any] | None
    leads_there: bool


def trees(scene: Scene) -> Iterator[Finding]:
    """Every distributor, then what belongs to none."""
    shown = list(tree.links(scene.workplace.data_dir))
    with scene.workplace.database.read() as connection:
        found = repositories.distributors_of(connection)
    for number, distributor in enumerate(found):
        scene.say("published trees", number, len(found))
        yield from _of(scene, distributor.object_id)
        yield from _half_built(scene, distributor)
    yield from _strangers(scene, shown, found)


def _of(scene: Scene, object_id: str) -> Iterator[Finding]:
    for _ in range(_LOOKS):
        seen = _look(scene, object_id)
        findings = list(_breaches(scene, seen)) if seen else []
        if seen is None or not findings or _look(scene, object_id) == seen:
            yield from findings
            return


def _look(scene: Scene, object_id: str) -> _Seen | None:
    """`None` if the distributor is gone by now."""
    data_dir = scene.workplace.data_dir
    with scene.workplace.database.write() as tx:
        found = audit.distributor_at_rest(tx.connection, object_id)
        if found is None:
            return None
        published = (found.scratchpad or {}).get("published")
        shelf = Shelf(data_dir, object_id)
        leads = published is None or shelf.shown_at(published["place"]) == shelf.tree(published["tree"])
    return _Seen(distributor=found, published=published, leads_there=leads)


def _breaches(scene: Scene, seen: _Seen) -> Iterator[Finding]:
    if seen.published is None:
        return
    place, one = seen.published["place"], seen.distributor
    root = Shelf(scene.workplace.data_dir, one.object_id).tree(seen.published["tree"])
    flaws = list(_flaws(scene, root))
    if not seen.leads_there and not flaws:
        problem = f"The published path does not lead to the tree {root.name} of {one.repo_id}."
        yield Finding(rule="trees.link", subject=place, problem=problem, remedy=BY_STARTING, mend=_settle(scene, one))
    for name, flaw in flaws:
        problem = f"{name or 'The whole tree'} of {one.repo_id} {flaw}."
        mend = partial(publish_again, scene.workplace.database, one)
        yield Finding(rule="trees.file", subject=place, problem=problem, remedy=PUBLISH_AGAIN, mend=mend)


def _flaws(scene: Scene, root: Path) -> Iterator[tuple[str, str]]:
    """Names of files that are not as the inventory says, at most so many, and how they are."""
    if not root.is_dir():
        yield "", "is gone"
        return
    listed: set[str] = set()
    count = 0
    try:
        for line in inventory.read(root):
            listed.add(line.relative_path)
            flaw = _file_flaw(scene, root, line)
            if flaw and count < _MOST:
                count += 1
                yield line.relative_path, flaw
    except FileNotFoundError:
        yield "", "has no inventory"
        return
    except ValueError:
        yield "", "has a damaged inventory"
        return
    for name in sorted(set(_names(root)) - listed)[:_MOST]:
        yield name, "was not published and is there"


def _file_flaw(scene: Scene, root: Path, line: Line) -> str | None:
    path = root / line.relative_path
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            return "is no file"
        if found.st_size != line.size:
            return f"has {found.st_size} bytes instead of {line.size}"
        if scene.deep and not _is_kept(scene, line, found):
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            return None if digest == line.sha256 else "has other content than was published"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None


def _is_kept(scene: Scene, line: Line, found: os.stat_result) -> bool:
    """Whether it is the very file of the storage, which is read there."""
    try:
        return os.path.samestat(Storage(scene.workplace.data_dir).path(line.sha256).stat(), found)
    except OSError:
        return False


def _names(root: Path) -> Iterator[str]:
    for folder, _, names in os.walk(root):
        for name in names:
            yield os.path.relpath(os.path.join(folder, name), root)  # noqa: PTH118 - called for every published file


def _half_built(scene: Scene, one: Distributor) -> Iterator[Finding]:
    left = Shelf(scene.workplace.data_dir, one.object_id).unfinished()
    if left and not scene.is_busy_with(one.repo_id):
        problem = f"{len(left)} trees of {one.repo_id} were begun and never ended, such as {left[0].name}."
        mend = _settle(scene, one)
        yield Finding(rule="trees.begun", subject=one.id, problem=problem, remedy=BY_STARTING, harmless=True, mend=mend)


def _strangers(scene: Scene, shown: list[tuple[str, Path | None]], found: list[Distributor]) -> Iterator[Finding]:
    """Published paths that were there before the distributors were read, and that none of them names."""
    data_dir = scene.workplace.data_dir
    owners = {one.object_id: one for one in found}
    mend = partial(recovery.recover, scene.workplace.database, data_dir)
    for place, target in shown:
        owner = owners.get(target.parent.name) if target else None
        published = (owner.scratchpad or {}).get("published") if owner else None
        if published and published["place"] == place:
            continue
        if _leads_nowhere_known(scene, place, owner):
            problem = "The published path belongs to nobody."
            yield Finding(rule="trees.path", subject=place, problem=problem, remedy=BY_STARTING, mend=mend)
    for shelf in sorted((data_dir / tree.PUBLISHED / tree.TREES).glob("*")):
        if shelf.name not in owners and not _exists(scene, shelf.name):
            problem = f"The trees {shelf.name} belong to nobody."
            yield Finding(
                rule="trees.shelf", subject=shelf.name, problem=problem, remedy=BY_STARTING, harmless=True, mend=mend
            )


def _leads_nowhere_known(scene: Scene, place: str, owner: Distributor | None) -> bool:
    """Look again at a path while nobody can switch it."""
    with scene.workplace.database.write() as tx:
        now = audit.distributor_at_rest(tx.connection, owner.object_id) if owner else None
        published = (now.scratchpad or {}).get("published") if now else None
        is_there = (scene.workplace.data_dir / tree.PUBLISHED / place).is_symlink()
    return is_there and not (published and published["place"] == place)


def _exists(scene: Scene, object_id: str) -> bool:
    with scene.workplace.database.write() as tx:
        return audit.distributor_at_rest(tx.connection, object_id) is not None


def _settle(scene: Scene, one: Distributor) -> Any:
    data_dir = scene.workplace.data_dir
    return lambda: recovery.settle(data_dir, one, tree.links(data_dir))
