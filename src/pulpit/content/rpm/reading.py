"""Reading an upstream: `repomd.xml`, the lists that it names, and the units in them."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from xml.etree.ElementTree import Element

from pulpit.content import feed
from pulpit.content.limits import KIB
from pulpit.content.port import BadFeed, Catalogue, Config, Upstream, WantedFile, WantedUnit
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
from pulpit.content.rpm.mirrors import Found, Source
from pulpit.content.rpm.packages import Lists, Survey
from pulpit.content.rpm.repomd import Record

_BATCH: Final = 500
_MOST_SIGNATURE: Final = 256 * KIB
_OWN: Final = frozenset({"primary", "filelists", "other", "updateinfo", "group", "modules"})
_DERIVED: Final = ("_db", "_zck", "_gz", "_xz", "-ext", "delta", "deltainfo")
"""Ends of the names of lists that say again what others say, or belong to what is not mirrored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Opened:
    """The lists of one state of an upstream, opened; those of packages apart."""

    lists: Lists
    updateinfo: Path | None
    group: Path | None
    modules: Path | None


async def read(upstream: Upstream, config: Config, memory: Mapping[str, Any] | None) -> Catalogue | None:
    """Fetch `repomd.xml` and, if it is new, the lists that it names."""
    where = (await mirrors.source(upstream)).first(memory.get("url") if memory else None)
    found = await mirrors.fetch(
        upstream, where, repomd.NAME, most=repomd.MOST_BYTES, checksum=where.checksum, known=memory
    )
    if found is None or (memory is not None and memory.get("sha256") == found.document.sha256):
        return None
    where = where.first(found.url)
    if config.get("repo_gpgcheck"):
        await _check_signature(upstream, where, found, config["gpgkey"])
    path = found.document.path
    records = await upstream.aside(lambda: repomd.parse(path))
    lists = await _open_lists(upstream, where, records)
    skipped = treeinfo.DISTRIBUTION in (config.get("type_skip_list") or ())
    tree = None if skipped else await treeinfo.read(upstream, where)
    return await upstream.aside(lambda: _catalogue(upstream, config, where, records, lists, found, tree))


async def _check_signature(upstream: Upstream, where: Source, found: Found, public_keys: str) -> None:
    name = f"{repomd.NAME}.asc"
    signature = await mirrors.fetch(upstream, where.only(found.url), name, most=_MOST_SIGNATURE)
    if signature is None:
        raise BadFeed("repomd.xml.asc was answered with nothing.")
    document, proof = found.document.path, signature.document.path

    def signers() -> set[str]:
        return signatures.verified_by(proof.read_bytes(), document.read_bytes(), signatures.dearmored(public_keys))

    if not await upstream.aside(signers):
        raise BadFeed("repomd.xml is refused: none of the keys of gpgkey signed it.")


async def _open_lists(upstream: Upstream, where: Source, records: Mapping[str, Record]) -> _Opened:
    async def opened(kind: str) -> Path | None:
        record = records.get(kind) or records.get(f"{kind}_gz") or records.get(f"{kind}_xz")
        return await _open(upstream, where, record) if record else None

    primary = await _open(upstream, where, records["primary"])
    return _Opened(
        lists=Lists(primary=primary, filelists=await opened("filelists"), other=await opened("other")),
        updateinfo=await opened("updateinfo"),
        group=await opened("group"),
        modules=await opened("modules"),
    )


async def _open(upstream: Upstream, where: Source, record: Record) -> Path:
    """Fetch a list and open it."""
    name, most = f"The list {record.type}", upstream.limits.manifest_bytes
    if record.size is not None and record.size > most:
        raise BadFeed(f"{name} is refused: it has more than {most} bytes.")
    found = await mirrors.fetch(upstream, where, record.path, most=record.size or most, checksum=record.checksum)
    if found is None:
        raise BadFeed(f"{name} was answered with nothing.")
    source, target = found.document.path, upstream.scratch()

    def work() -> None:
        unpack.unpack(source, target, name, open_size=record.open_size)
        source.unlink()
        if record.type.partition("_")[0] in {"primary", "filelists", "other"}:
            unpack.refuse_declarations(target, name)
            unpack.refuse_endless_entries(target, name, packages.MOST_XML)

    await upstream.aside(work)
    return target


def _catalogue(  # noqa: PLR0917 - all that was found out so far
    upstream: Upstream,
    config: Config,
    where: Source,
    records: Mapping[str, Record],
    opened: _Opened,
    found: Found,
    tree: WantedUnit | None,
) -> Catalogue:
    survey = packages.survey(opened.lists, config, upstream.limits)
    parts: list[Callable[[], Iterator[WantedUnit]]] = [lambda: _modules(opened.modules), lambda: _groups(opened.group)]
    if "erratum" not in (config.get("type_skip_list") or ()):
        parts.insert(1, lambda: _errata(opened.updateinfo))
    counts: Counter[str] = survey.counts + Counter(unit.type_id for part in parts for unit in part())
    files = [_file_unit(record, where) for record in records.values() if _is_kept(record.type)]
    counts += Counter({repomd.FILE: len(files)})
    trees = [] if tree is None else [tree]
    counts += Counter({treeinfo.DISTRIBUTION: len(trees)})
    document = found.document
    return Catalogue(
        unit_count=counts.total(),
        byte_count=survey.byte_count + sum(file.size or 0 for unit in files for file in unit.files),
        batches=_batches(opened, survey, where, [files, trees], parts),
        memory={
            "url": found.url,
            "sha256": document.sha256,
            "etag": document.etag,
            "last_modified": document.last_modified,
        },
        counts=counts,
        files={treeinfo.DISTRIBUTION: sum(len(tree.files) for tree in trees)},
    )


def _batches(
    opened: _Opened,
    survey: Survey,
    where: Source,
    few: Sequence[Sequence[WantedUnit]],
    parts: Sequence[Callable[[], Iterator[WantedUnit]]],
) -> Iterator[Sequence[WantedUnit]]:
    """Packages first, in the order of the report."""
    yield from packages.batches(opened.lists, survey.taken, where.urls)
    yield from filter(None, few)
    for part in parts:
        batch = []
        for unit in part():
            batch.append(unit)
            if len(batch) == _BATCH:
                yield batch
                batch = []
        if batch:
            yield batch


def _errata(path: Path | None) -> Iterator[WantedUnit]:
    read = (updateinfo.unit(element, "updateinfo") for element in _children(path, updateinfo.ROOT, updateinfo.TAG))
    return _once(read)


def _groups(path: Path | None) -> Iterator[WantedUnit]:
    read = (comps.unit(element, "comps") for element in _children(path, comps.ROOT, None))
    return _once(unit for unit in read if unit is not None)


def _modules(path: Path | None) -> Iterator[WantedUnit]:
    texts = modules.documents(path, "modules") if path else iter(())
    read = (modules.unit(text, "modules") for text in texts)
    return _once(unit for unit in read if unit is not None)


def _children(path: Path | None, root: str, tag: str | None) -> Iterator[Element]:
    if path is None:
        return
    for element in elements.children(path, root, root):
        if tag is None or element.tag == tag:
            yield element


def _once(units: Iterator[WantedUnit]) -> Iterator[WantedUnit]:
    """Of units that cannot be held together the first."""
    seen: set[tuple[str, str | None]] = set()
    for unit in units:
        identity = unit.type_id, unit.slot
        if identity not in seen:
            seen.add(identity)
            yield unit


def _is_kept(kind: str) -> bool:
    return kind not in _OWN and not kind.endswith(_DERIVED)


def _file_unit(record: Record, where: Source) -> WantedUnit:
    name = record.path.rpartition("/")[2]
    file = WantedFile(
        relative_path=name,
        urls=tuple(feed.beneath(url, record.path) for url in where.urls),
        checksum=record.checksum,
        size=record.size,
    )
    key = {"data_type": record.type, "checksum": record.checksum.digest}
    metadata = {"checksum_type": record.checksum.algorithm}
    return WantedUnit(type_id=repomd.FILE, key=key, metadata=metadata, files=(file,), slot=record.type)
