"""Units that are copied together: members of groups, packages of errata and modules, dependencies of packages.

Dependencies are resolved by libsolv, as in dnf and zypper: versions, files, rich dependencies, by rpm's own rules.
"""

import importlib
import tempfile
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from pulpit.content import feed
from pulpit.content.port import Config, Content, StoredUnit
from pulpit.content.rpm import comps, modules, packages, updateinfo
from pulpit.content.rpm.lists import HEADS, TAILS
from pulpit.content.rpm.versions import evr
from pulpit.errors import WorkFailed
from pulpit.text import shown

OPTIONS: Final = {
    "recursive": feed.boolean,
    "recursive_conservative": feed.boolean,
    "require_signature": feed.boolean,
}
"""Options of a copy, as in Pulp 2; the second copies nothing that the target has in any version."""

_PARENTS: Final = {
    comps.CATEGORY: ("packagegroupids",),
    comps.ENVIRONMENT: ("group_ids", "options"),
}


def copied_along(chosen: Sequence[StoredUnit], source: Content, target: Content, config: Config) -> Collection[str]:
    """Return the ids of the source's units to copy with the selected ones; none unless an option asks for it.

    Raises:
        WorkFailed: libsolv is not installed.
    """
    conservative = bool(config.get("recursive_conservative"))
    if not (config.get("recursive") or conservative):
        return ()
    groups = list(_groups(chosen, source))
    members = [unit for unit in chosen if unit.type_id == comps.GROUP] + groups
    roots = set(_members(members, source, target if conservative else None))
    roots |= _named(chosen, source)
    roots |= {unit.id for unit in chosen if unit.type_id == packages.RPM}
    return {unit.id for unit in groups} | _closure(roots, source, target if conservative else None)


@cache
def libsolv() -> Any:
    """Import libsolv's Python binding at first use.

    Raises:
        WorkFailed: it is not installed.
    """
    try:
        return importlib.import_module("solv")
    except ImportError as error:
        raise WorkFailed(
            f"Recursive copies need libsolv on the server (pip install solv): {shown(str(error))}."
        ) from None


def _groups(chosen: Iterable[StoredUnit], source: Content) -> Iterator[StoredUnit]:
    wanted: set[str] = set()
    for unit in chosen:
        for name in _PARENTS.get(unit.type_id, ()):
            entries = unit.metadata.get(name) or ()
            wanted.update(entry["group"] if isinstance(entry, dict) else entry for entry in entries)
    for group in source.of(comps.GROUP) if wanted else ():
        # In the keys of groups stored by older versions the id has another name.
        if str(group.key.get("id") or group.metadata.get("id")) in wanted:
            yield group


def _members(groups: Sequence[StoredUnit], source: Content, target: Content | None) -> Iterator[str]:
    """Yield the newest package of each name and architecture that a group lists, mandatory or not."""
    names = set[str]()
    for group in groups:
        for kind in comps.KINDS:
            entries = group.metadata.get(f"{kind}_package_names") or ()
            names.update(entry[0] if isinstance(entry, list) else entry for entry in entries)
    if names and target is not None:
        names -= {unit.key["name"] for unit in target.of(packages.RPM)}
    newest: dict[tuple[str, str], StoredUnit] = {}
    for unit in source.of(packages.RPM) if names else ():
        if unit.key["name"] in names:
            best = newest.setdefault((unit.key["name"], unit.key["arch"]), unit)
            if evr(best.key) < evr(unit.key):
                newest[unit.key["name"], unit.key["arch"]] = unit
    yield from (unit.id for unit in newest.values())


def _named(chosen: Iterable[StoredUnit], source: Content) -> set[str]:
    """Return the packages that errata and modules list by version."""
    slots = set[str]()
    for unit in chosen:
        if unit.type_id == updateinfo.ERRATUM:
            listed = (package for part in unit.metadata["pkglist"] for package in part["packages"])
            slots.update(packages.slot({**package, "epoch": package["epoch"] or "0"}) for package in listed)
        elif unit.type_id == modules.MODULE:
            slots.update(unit.metadata["artifacts"])
    return {unit.id for unit in source.of(*packages.TYPES) if packages.slot(unit.key) in slots} if slots else set()


def _closure(roots: Collection[str], source: Content, target: Content | None) -> set[str]:
    """Return these packages with all their transitive dependencies in the source."""
    if not roots:
        return set()
    with tempfile.TemporaryDirectory(prefix="pulpit-solv-") as name:
        pool = _Pool(Path(name), source, target)
        found, unmet = pool.closure(roots)
        if any(requirement.startswith("/") for requirement in unmet):
            pool.read_files()
            found, _ = pool.closure(roots)
    return found | set(roots)


class _Pool:
    """The packages of the source, and of the target if its packages need not be copied, in libsolv."""

    def __init__(self, folder: Path, source: Content, target: Content | None) -> None:
        self._solv: Final = libsolv()
        self._pool: Final = self._solv.Pool()
        self._pool.setdisttype(self._solv.Pool.DISTTYPE_RPM)
        self._lists: Final[list[tuple[Any, Path]]] = []
        self._source: Final = self._add(folder, "source", source)
        self._target: Final = self._add(folder, "target", target) if target is not None else None
        self._index()

    def read_files(self) -> None:
        """Load the file lists of all packages, which take much memory and are seldom needed."""
        for repo, path in self._lists:
            self._read(repo, path, "FL", self._solv.Repo.REPO_EXTEND_SOLVABLES)
        self._index()

    def closure(self, roots: Collection[str]) -> tuple[set[str], set[str]]:
        """Return the ids of the source's packages that these need, including themselves, and the unmet requirements."""
        by_id = {solvable.lookup_location()[0]: solvable for solvable in self._source.solvables}
        waiting = deque(by_id[unit_id] for unit_id in sorted(roots) if unit_id in by_id)
        found, unmet = {solvable.id: solvable for solvable in waiting}, set[str]()
        while waiting:
            solvable = waiting.popleft()
            for requirement in self._requirements(solvable):
                providers = self._pool.whatprovides(requirement)
                if any(provider.id in found or provider.repo == self._target for provider in providers):
                    continue
                best = self._best([provider for provider in providers if provider.repo == self._source], solvable)
                if not best:
                    unmet.add(str(requirement))
                for provider in best:
                    found[provider.id] = provider
                    waiting.append(provider)
        return {solvable.lookup_location()[0] for solvable in found.values()}, unmet

    def _requirements(self, solvable: Any) -> Iterator[Any]:
        for requirement in solvable.lookup_deparray(self._solv.SOLVABLE_REQUIRES, 0):
            text = str(requirement)
            if text.startswith("(") and " and " in text and text.count("(") == 1:
                yield from (self._pool.parserpmrichdep(f"({part})") for part in text[1:-1].split(" and "))
            else:
                yield requirement

    def _best(self, providers: Sequence[Any], solvable: Any) -> list[Any]:
        """Return the newest provider that fits the requiring package's architecture, for `noarch` one of each."""
        fitting = [provider for provider in providers if provider.arch in {solvable.arch, "noarch"}] or providers
        best: dict[str, Any] = {}
        for provider in sorted(fitting, key=lambda provider: str(provider.name)):
            rival = best.setdefault(provider.arch, provider)
            if rival.name == provider.name and provider.evrcmp(rival) > 0:
                best[provider.arch] = provider
        same = best.get(solvable.arch)
        return [same] if same is not None else list(best.values())

    def _add(self, folder: Path, name: str, content: Content) -> Any:
        repo = self._pool.add_repo(name)
        primary, filelists = folder / f"{name}-primary.xml", folder / f"{name}-filelists.xml"
        with primary.open("w") as all_primary, filelists.open("w") as all_filelists:
            all_primary.write(f"{HEADS['primary']}>\n")
            all_filelists.write(f"{HEADS['filelists']}>\n")
            for unit in content.of(packages.RPM):
                entries = packages.placed(packages.entries(unit.detail), unit.id)
                all_primary.write(entries.primary)
                all_filelists.write(entries.filelists)
            all_primary.write(TAILS["primary"])
            all_filelists.write(TAILS["filelists"])
        self._read(repo, primary, None, 0)
        self._lists.append((repo, filelists))
        return repo

    def _read(self, repo: Any, path: Path, language: str | None, flags: int) -> None:
        file = self._solv.xfopen(str(path))
        try:
            if not repo.add_rpmmd(file, language, flags):
                raise WorkFailed(f"libsolv cannot read the packages: {shown(str(self._pool.errstr))}.")
        finally:
            file.close()

    def _index(self) -> None:
        self._pool.addfileprovides()
        self._pool.createwhatprovides()
