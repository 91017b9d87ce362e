"""Reading an upstream: `repomd.xml`, its lists, and their units."""

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from xml.etree.ElementTree import Element

from pulpit.content import paths
from pulpit.content.limits import KIB
from pulpit.content.port import (
    BadFeed,
    Catalogue,
    Checksum,
    Config,
    LeftOut,
    StoredFile,
    Upstream,
    WantedFile,
    WantedUnit,
)
from pulpit.content.rpm import (
    comps,
    elements,
    mirrors,
    modules,
    packages,
    repomd,
    signatures,
    treeinfo,
    unpack,
    updateinfo,
)
from pulpit.content.rpm.lists import ROOTS, PackageList
from pulpit.content.rpm.mirrors import Found, MirroredRepository
from pulpit.content.rpm.packages import Lists
from pulpit.content.rpm.repomd import RepomdRecord
from pulpit.content.rpm.treeinfo import Tree
from pulpit.errors import InvalidValue, WorkFailed

T = TypeVar("T")

_BATCH: Final = 500
_MOST_SIGNATURE: Final = 256 * KIB
_DERIVED: Final = ("_db", "_zck", "_gz", "_xz", "-ext", "delta", "deltainfo")
"""Endings of list names that repeat other lists, or belong to what is not mirrored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Accessory:
    """A list beside those of packages, and its parser."""

    type_ids: tuple[str, ...]
    units: Callable[[Path, Callable[[str], None]], Iterator[WantedUnit]]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Upstream:
    """One consistent state of an upstream: its lists, opened."""

    where: MirroredRepository
    repomd: Found
    records: Mapping[str, RepomdRecord]
    lists: Lists
    accessories: Mapping[str, Path]
    tree: Tree


async def read(upstream: Upstream, config: Config, memory: Mapping[str, Any] | None) -> Catalogue | None:
    """Download `repomd.xml` and, if it changed, the lists that it names.

    Raises:
        BadFeed: a list cannot be used; the text says how to do without it if that is possible.
        WorkFailed: a list is unavailable.
    """
    where, found = await mirrors.find(upstream, memory)
    if found is None or (memory is not None and memory.get("sha256") == found.document.sha256):
        return None
    where = where.first(found.url)
    if config.get("repo_gpgcheck"):
        await _check_signature(upstream, where, found, config["gpgkey"])
    path, skipped = found.document.path, repomd.skipped_types(config.get("type_skip_list"))
    records = await upstream.aside(lambda: repomd.parse(path))
    lists = {kind: await _package_list(upstream, where, records, kind) for kind in ROOTS}
    primary = lists["primary"]
    if primary is None:
        raise BadFeed("repomd.xml is refused: it names no primary list.")
    images = (memory or {}).get("images") or {}
    tree = (
        Tree()
        if treeinfo.DISTRIBUTION in skipped
        else await _or_refused(treeinfo.read(upstream, where, images), [treeinfo.DISTRIBUTION])
    )
    state = _Upstream(
        where=where,
        repomd=found,
        records=records,
        lists=Lists(primary=primary, filelists=lists["filelists"], other=lists["other"]),
        accessories={
            kind: await _or_refused(_opened(upstream, where, record), accessory.type_ids)
            for kind, accessory in _ACCESSORIES.items()
            if not skipped.issuperset(accessory.type_ids) and (record := _record(records, kind)) is not None
        },
        tree=tree,
    )
    return await upstream.aside(lambda: _catalogue(upstream, config, state))


async def _check_signature(upstream: Upstream, where: MirroredRepository, found: Found, public_keys: str) -> None:
    signature = await mirrors.fetch(upstream, where.only(found.url), f"{repomd.NAME}.asc", most=_MOST_SIGNATURE)
    if signature is None:
        raise BadFeed("repomd.xml.asc was answered with nothing.")
    document, proof = found.document.path, signature.document.path

    def signers() -> set[str]:
        return signatures.verified_by(proof.read_bytes(), document.read_bytes(), signatures.dearmored(public_keys))

    if not await upstream.aside(signers):
        raise BadFeed("repomd.xml is refused: none of the keys of gpgkey signed it.")


def _record(records: Mapping[str, RepomdRecord], kind: str) -> RepomdRecord | None:
    return records.get(kind) or records.get(f"{kind}_gz") or records.get(f"{kind}_xz")


async def _package_list(
    upstream: Upstream, where: MirroredRepository, records: Mapping[str, RepomdRecord], kind: str
) -> PackageList | None:
    record = _record(records, kind)
    if record is None:
        return None
    path = await _opened(upstream, where, record)
    return await upstream.aside(lambda: PackageList(path, kind))


async def _or_refused(wanted: Awaitable[T], type_ids: Collection[str]) -> T:
    """Await a download; on failure the error says how to do without these types."""
    try:
        return await wanted
    except WorkFailed as error:
        raise BadFeed(f"{error} {repomd.way_past(type_ids)}") from None


async def _opened(upstream: Upstream, where: MirroredRepository, record: RepomdRecord) -> Path:
    """Download and decompress a list."""
    name, most = f"The list {record.type}", upstream.limits.manifest_bytes
    if record.flaw:
        raise BadFeed(f"{name} of repomd.xml is refused: it {record.flaw}.")
    if record.size is not None and record.size > most:
        raise BadFeed(f"{name} is refused: it has more than {most} bytes.")
    found = await mirrors.fetch(
        upstream, where, record.path, base=record.base, most=record.size or most, checksum=record.checksum
    )
    if found is None:
        raise BadFeed(f"{name} was answered with nothing.")
    source, target = found.document.path, upstream.scratch()

    def work() -> None:
        unpack.unpack(source, target, name)
        source.unlink()

    await upstream.aside(work)
    return target


def _catalogue(upstream: Upstream, config: Config, state: _Upstream) -> Catalogue:
    skipped, left_out = repomd.skipped_types(config.get("type_skip_list")), list[LeftOut]()
    counts: Counter[str] = Counter()
    modular = set[str]()
    for kind in state.accessories:
        try:
            for unit in _units(state, kind, skipped, left_out):
                counts[unit.type_id] += 1
                if unit.type_id == modules.MODULE:
                    modular.update(unit.metadata["artifacts"])
        except BadFeed as error:
            raise BadFeed(f"{error} {repomd.way_past(_ACCESSORIES[kind].type_ids)}") from None
    survey = packages.survey(state.lists.primary, {**config, "type_skip_list": skipped}, upstream.limits, modular)
    left_out += [*survey.left_out, *state.tree.left_out]
    files = [] if repomd.FILE in skipped else list(_file_units(state, left_out))
    trees = [] if state.tree.unit is None else [state.tree.unit]
    counts += survey.counts
    counts += Counter({repomd.FILE: len(files), treeinfo.DISTRIBUTION: len(trees)})
    return Catalogue(
        unit_count=counts.total(),
        byte_count=survey.byte_count + sum(file.size or 0 for unit in files for file in unit.files),
        batches=_batches(state, survey.taken, [files, trees], skipped),
        memory={"url": state.repomd.url, **state.repomd.document.memory, "images": state.tree.memory},
        counts=counts,
        files={treeinfo.DISTRIBUTION: sum(len(tree.files) for tree in trees)},
        left_out=left_out,
        proves_empty=packages.RPM in skipped or _announces_none(state.lists),
    )


def _announces_none(lists: Lists) -> bool:
    """Whether the primary list says that there is no package, and the other lists do not contradict it."""
    others = [other for other in (lists.filelists, lists.other) if other is not None]
    return lists.primary.announced == 0 and not any(other.announced for other in others)


def _batches(
    state: _Upstream, taken: Sequence[packages.Candidate], few: Iterable[Sequence[WantedUnit]], skipped: Collection[str]
) -> Iterator[Sequence[WantedUnit]]:
    """Yield packages first, in the order of the report."""
    yield from packages.batches(state.lists, taken, state.where.urls)
    yield from filter(None, few)
    for kind in state.accessories:
        batch = []
        for unit in _units(state, kind, skipped, []):
            batch.append(unit)
            if len(batch) == _BATCH:
                yield batch
                batch = []
        if batch:
            yield batch


def _units(state: _Upstream, kind: str, skipped: Collection[str], left_out: list[LeftOut]) -> Iterator[WantedUnit]:
    """Yield the wanted units of an accessory; of two in the same slot only the one that its list prefers."""

    def leave_out(sentence: str) -> None:
        left_out.append(LeftOut(name=f"an entry of {kind}", reason=sentence))

    seen: set[tuple[str, str | None]] = set()
    for unit in _ACCESSORIES[kind].units(state.accessories[kind], leave_out):
        identity = unit.type_id, unit.slot
        if unit.type_id not in skipped and identity not in seen:
            seen.add(identity)
            yield unit


def _errata(path: Path, leave_out: Callable[[str], None]) -> Iterator[WantedUnit]:
    """Yield the errata; some distributions split one into several updates of one id, each with other packages."""

    def updates() -> Iterator[Element]:
        every = _children(path, updateinfo.ROOT, "The list updateinfo")
        return (element for element in every if elements.local(element.tag) == updateinfo.TAG)

    for element in _merged(updates, updateinfo.id_of, updateinfo.joined):
        try:
            yield updateinfo.unit(element, "updateinfo")
        except BadFeed as error:
            leave_out(str(error))


def _groups(path: Path, leave_out: Callable[[str], None]) -> Iterator[WantedUnit]:
    def parts() -> Iterator[Element]:
        return _children(path, comps.ROOT, "The list group (comps)")

    for element in _merged(parts, comps.identity, comps.joined):
        try:
            unit = comps.unit(element, "comps")
        except BadFeed as error:
            leave_out(str(error))
        else:
            if unit is not None:
                yield unit


def _children(path: Path, root: str, name: str) -> Iterator[Element]:
    """Those of a list; one of no bytes is a list of nothing, as dnf takes it."""
    return elements.children(path, root, name) if path.stat().st_size else iter(())


def _merged(
    every: Callable[[], Iterator[Element]],
    identity: Callable[[Element], Any],
    joined: Callable[[Sequence[Element]], Element],
) -> Iterator[Element]:
    """Yield elements, those of one identity merged; the list is read twice, so that only those are in memory."""
    left = Counter(map(identity, every()))
    parts: dict[Any, list[Element]] = {}
    for element in every():
        mine = identity(element)
        left[mine] -= 1
        if mine is not None and (left[mine] or mine in parts):
            parts.setdefault(mine, []).append(element)
            if left[mine]:
                continue
        yield joined(parts.pop(mine, [element]))


_ACCESSORIES: Final[Mapping[str, _Accessory]] = {
    "modules": _Accessory(type_ids=modules.TYPES, units=modules.units),
    "updateinfo": _Accessory(type_ids=(updateinfo.ERRATUM,), units=_errata),
    "group": _Accessory(type_ids=comps.TYPES, units=_groups),
}
"""In the order of the report."""
_OWN: Final = frozenset({*ROOTS, *_ACCESSORIES})
_DATA_TYPE: Final = re.compile(r"[A-Za-z0-9_-]{1,100}\Z")


def _file_units(state: _Upstream, left_out: list[LeftOut]) -> Iterator[WantedUnit]:
    """The lists that are kept as they come; one that cannot be is left out, and what is held of its type stays."""
    for record in state.records.values():
        if record.type in _OWN or record.type.endswith(_DERIVED):
            continue
        if record.flaw or record.checksum is None:
            reason = record.flaw or "has no checksum in repomd.xml"
            left_out.append(LeftOut(name=f"the list {record.type}", reason=reason, slot=record.type))
        else:
            yield _file_unit(record, record.checksum, state.where)


def _file_unit(record: RepomdRecord, checksum: Checksum, where: MirroredRepository) -> WantedUnit:
    name = record.path.partition("?")[0].rpartition("/")[2]
    file = WantedFile(
        relative_path=record.type if not name or paths.flaw(name) else name,
        urls=mirrors.places(where.urls, record.path, record.base),
        checksum=checksum,
        size=record.size,
    )
    return WantedUnit(
        type_id=repomd.FILE,
        key={"data_type": record.type, "checksum": checksum.digest},
        metadata={"checksum_type": checksum.algorithm},
        files=(file,),
        slot=record.type,
        way_past=repomd.way_past(["metafile"]),
    )


def uploaded_file(key: Mapping[str, Any], file: StoredFile) -> WantedUnit:
    """Return the unit of an uploaded file that `repomd.xml` lists beside the others, such as a `productid`.

    Raises:
        InvalidValue: `data_type`, under which it is published.
    """
    data_type = key.get("data_type")
    if not isinstance(data_type, str) or not _DATA_TYPE.match(data_type):
        raise InvalidValue("data_type", "it must be a word of at most 100 letters, digits, '_' and '-'.")
    if data_type in _OWN or data_type.endswith(_DERIVED):
        raise InvalidValue("data_type", f"the list {data_type} is made when the repository is published.")
    checksum = Checksum(algorithm="sha256", digest=file.sha256)
    return WantedUnit(
        type_id=repomd.FILE,
        key={"data_type": data_type, "checksum": file.sha256},
        metadata={"checksum_type": checksum.algorithm},
        files=(WantedFile(relative_path=data_type, urls=("",), checksum=checksum, size=file.size),),
        slot=data_type,
    )
