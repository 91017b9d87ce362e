"""Packages: parsed from an upstream's lists or from a file into units, and written back into lists."""

import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote
from xml.sax.saxutils import quoteattr

from pulpit.content import paths, purl
from pulpit.content.limits import Limits
from pulpit.content.port import BadFeed, Description, LeftOut, StoredUnit, WantedFile, WantedUnit
from pulpit.content.rpm import mirrors, repomd
from pulpit.content.rpm.elements import writable
from pulpit.content.rpm.lists import MOST_ENTRY, PackageList, createrepo, parsed
from pulpit.content.rpm.modules import MODULE
from pulpit.content.rpm.versions import Evr, evr, sort_index
from pulpit.errors import InvalidValue
from pulpit.text import shown

RPM: Final = "rpm"
SRPM: Final = "srpm"
TYPES: Final = (RPM, SRPM)
SIGNER: Final = "signing_key"
"""Pulp 2's name of the short id of the key that signed a package; an unsigned one has none."""
SOURCE: Final = frozenset({"src", "nosrc"})

_BATCH: Final = 500
_MOST_RIVALS: Final = 10
_PLACE: Final = "@"
"""Placeholder in a stored entry for the location, which differs for each published tree."""
_LOCATION: Final = f'<location href="{_PLACE}"/>'
_FLAGS: Final = frozenset({"EQ", "LT", "LE", "GT", "GE"})
_KEY: Final = ("name", "epoch", "version", "release", "arch")
_DEPENDENCIES: Final = ("requires", "provides", "recommends")


@dataclass(frozen=True, kw_only=True, slots=True)
class Lists:
    """The opened lists of an upstream; all but the first may be absent."""

    primary: PackageList
    filelists: PackageList | None
    other: PackageList | None


@dataclass(frozen=True, kw_only=True, slots=True)
class PartlyListed(WantedUnit):
    """A package missing from `filelists` or `other`; their data is read from the package itself."""


@dataclass(kw_only=True, slots=True)
class Candidate:
    """A package that an upstream offers: its entries in the primary list, and what selection needs."""

    entries: list[tuple[int, int]]
    """Several for a package that is listed more than once: each may have another location."""
    package_id: str
    type_id: str
    nevra: str
    version: tuple[tuple[str, str], Evr] | None
    """Name and architecture, and version; only if old versions are excluded, because it takes most of the memory."""
    size: int
    location: int
    """Its hash."""
    listed_at: int
    """The file's time, by which the newer of two contradicting entries is recognised."""
    rivals: list["Candidate"] = field(default_factory=list)
    """Other packages of the same name and version, used if this one is missing from its location."""


@dataclass(kw_only=True, slots=True)
class Survey:
    """The result of a first pass over the primary list: what to take, how much that is, and what to skip and why."""

    counts: Counter[str] = field(default_factory=Counter)
    byte_count: int = 0
    taken: list[Candidate] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class Entries:
    """A package's entries in the three lists."""

    primary: str
    filelists: str
    other: str


def survey(primary: PackageList, config: Mapping[str, Any], limits: Limits, modular: Collection[str]) -> Survey:
    """Read the primary list and check every package in it, before anything is downloaded.

    Args:
        primary: the list.
        config: the importer's configuration.
        limits: the limits for the upstream.
        modular: packages of modules, which packages of other streams never supersede.

    Raises:
        BadFeed: the list as a whole cannot be used.
    """
    survey, by_nevra = Survey(), dict[str, Candidate]()
    skipped, total = frozenset(config.get("type_skip_list") or ()), 0
    retained: int | None = config.get("retain_old_count")
    for entry in primary:
        total += 1
        if total > limits.entries:
            raise BadFeed(f"The primary list is refused: it names more than {limits.entries} packages.")
        try:
            package = parsed(primary.text(entry), None, None)
        except BadFeed as error:
            survey.left_out.append(LeftOut(name=f"entry {total} of primary", reason=f"cannot be read: {error}"))
            continue
        if type_of(package.arch) in skipped:
            continue
        flaw = next(_flaws(package, limits), None)
        if flaw:
            nevra = shown(f"{package.name}-{package.version}-{package.release}.{package.arch}")
            survey.left_out.append(LeftOut(name=nevra, reason=flaw, slot=_slot_of(package)))
            continue
        candidate = _candidate(package, entry, with_version=retained is not None)
        rival = by_nevra.setdefault(candidate.nevra, candidate)
        if rival is not candidate:
            by_nevra[candidate.nevra] = _one_of(rival, candidate, survey)
    if primary.announced is not None and total < primary.announced:
        raise BadFeed(
            f"The primary list is refused: it announces {primary.announced} packages and has {total}. "
            "The upstream must write its lists anew."
        )
    if survey.left_out and not by_nevra:
        first = survey.left_out[0]
        raise BadFeed(f"The primary list is refused: none of its packages can be used. {first.name} {first.reason}.")
    chosen = newest(by_nevra.values(), retained, modular)
    survey.taken = _of_one_location_one(chosen, survey)
    for candidate in survey.taken:
        survey.counts[candidate.type_id] += 1
        survey.byte_count += candidate.size
    return survey


def newest(candidates: Iterable[Candidate], retained: int | None, modular: Collection[str]) -> list[Candidate]:
    """Keep `retained` packages besides the newest of each name and architecture, and all of modules."""
    if retained is None:
        return list(candidates)
    chosen, by_name = list[Candidate](), dict[tuple[str, str], list[tuple[Evr, Candidate]]]()
    for candidate in candidates:
        if candidate.version is None or candidate.nevra in modular:
            chosen.append(candidate)
        else:
            name, version = candidate.version
            by_name.setdefault(name, []).append((version, candidate))
    for of_name in by_name.values():
        of_name.sort(key=lambda versioned: versioned[0], reverse=True)
        chosen += [candidate for _, candidate in of_name[: retained + 1]]
    return chosen


def batches(lists: Lists, taken: Sequence[Candidate], urls: Sequence[str]) -> Iterator[Sequence[WantedUnit]]:
    """Yield the surveyed packages as units; `urls` are those of the repository and its mirrors.

    Raises:
        BadFeed: a list cannot be used.
    """
    package_ids = {offered.package_id for candidate in taken for offered in (candidate, *candidate.rivals)}
    further = [of_list.where(package_ids) if of_list else None for of_list in (lists.filelists, lists.other)]
    for start in range(0, len(taken), _BATCH):
        yield [_with_rivals(lists, candidate, further, urls) for candidate in taken[start : start + _BATCH]]
        for of_list in filter(None, (lists.primary, lists.filelists, lists.other)):
            of_list.forget()


def completed(unit: PartlyListed, path: Path) -> WantedUnit:
    """Return the unit with files and changelog from the package itself; unchanged if the file is another package."""
    name = unit.files[0].relative_path
    package = _of_file(path, name)
    if package is None or _slot_of(package) != unit.slot:
        return unit
    package.checksum_type, package.pkgId = unit.key["checksumtype"], unit.key["checksum"]
    return replace(unit, detail=_detail(package, name, zlib.decompress(unit.detail).decode().partition("\0")[0]))


def from_file(path: Path, name: str, key: Mapping[str, Any], sha256: str, size: int) -> WantedUnit:
    """Return the unit of an uploaded package; the key must match the package.

    Raises:
        InvalidValue: it is not a package, or another one.
    """
    package = _of_file(path, name)
    if package is None:
        raise InvalidValue("upload_id", "the uploaded file is no RPM package.")
    flaw = next(_flaws(package, Limits()), None)
    if flaw:
        raise InvalidValue("upload_id", f"the uploaded package {flaw}.")
    unit = _unit(package, canonical_name(package), ("",))
    wrong = sorted(part for part in unit.key.keys() & key.keys() if key[part] not in {unit.key[part], None})
    if wrong:
        raise InvalidValue(wrong, "the uploaded file has another.")
    if unit.key["checksum"] != sha256 or unit.metadata["size"] != size:
        raise InvalidValue("upload_id", "the uploaded file changed while it was read.")
    return unit


def canonical_name(package: Any) -> str:
    """Return the file name for a package without one."""
    return f"{package.name}-{package.version}-{package.release}.{package.arch}.rpm"


def type_of(arch: str) -> str:
    """The unit type of a package."""
    return SRPM if arch in SOURCE else RPM


def slot(key: Mapping[str, Any]) -> str:
    """Return the slot: name, epoch, version, release and architecture."""
    return f"{key['name']}-{key['epoch']}:{key['version']}-{key['release']}.{key['arch']}"


def description(key: Mapping[str, Any], metadata: Mapping[str, Any]) -> Description:
    """Describe a package by its name; its version is written as rpm does, without an epoch of 0."""
    version = f"{key['version']}-{key['release']}"
    epoch = str(key["epoch"] or "0")
    return Description(
        name=str(key["name"]),
        version=version if epoch == "0" else f"{epoch}:{version}",
        arch=str(key["arch"]),
        file=metadata.get("filename"),
        purl=purl.of_rpm(str(key["name"]), version, epoch, str(key["arch"])),
    )


def entries(detail: bytes) -> Entries:
    """Return the entries stored in a unit's detail, with a placeholder for the location."""
    kept = zlib.decompress(detail).decode().split("\0")
    primary, filelists, other = (writable(text) for text in kept)
    return Entries(primary=primary, filelists=filelists, other=other)


def placed(kept: Entries, location: str, checksum: tuple[str, str, str] | None = None) -> Entries:
    """Fill in the location and, if given, another checksum: old digest, type, digest."""
    primary = kept.primary.replace(_LOCATION, f"<location href={quoteattr(location)}/>", 1)
    filelists, other = kept.filelists, kept.other
    if checksum:
        old, kind, digest = checksum
        begin, middle, rest = primary.partition("<checksum ")
        _, tail, rest = rest.partition("</checksum>")
        primary = f'{begin}{middle}type="{kind}" pkgid="YES">{digest}{tail}{rest}'
        filelists = filelists.replace(f'pkgid="{old}"', f'pkgid="{digest}"', 1)
        other = other.replace(f'pkgid="{old}"', f'pkgid="{digest}"', 1)
    return Entries(primary=primary, filelists=filelists, other=other)


def older(held: Iterator[StoredUnit], retained: int) -> Collection[str]:
    """Return the ids of packages of which `retained` newer ones besides the newest are held; none of modules."""
    modular, packages = set[str](), list[tuple[str, tuple[str, str], Evr, str]]()
    for unit in held:
        if unit.type_id == MODULE:
            modular.update(unit.metadata["artifacts"])
        elif unit.type_id in TYPES:
            packages.append((slot(unit.key), (unit.key["name"], unit.key["arch"]), evr(unit.key), unit.id))
    by_name: dict[tuple[str, str], list[tuple[Evr, str]]] = {}
    for nevra, name, version, unit_id in packages:
        if nevra not in modular:
            by_name.setdefault(name, []).append((version, unit_id))
    surplus = []
    for of_name in by_name.values():
        of_name.sort(reverse=True)
        surplus += [unit_id for _, unit_id in of_name[retained + 1 :]]
    return surplus


def _of_file(path: Path, name: str) -> Any:
    """Parse the package in a file via its XML, as from lists; `None` if it is not a package."""
    cr = createrepo()
    try:
        package = cr.package_from_rpm(str(path), cr.SHA256, name)
        package.location_href = _PLACE
        dumps = (cr.xml_dump_primary, cr.xml_dump_filelists, cr.xml_dump_other)
        return parsed(*(writable(_dumped(dump, package)) for dump in dumps))
    except (cr.CreaterepoCError, BadFeed, OSError, UnicodeError):
        return None


def _dumped(dump: Callable[[Any], str], package: Any) -> str:
    """Return a package's entry; halves of surrogate pairs, which createrepo_c takes for UTF-8, are replaced."""
    try:
        return dump(package)
    except UnicodeDecodeError as error:
        return error.object.decode(errors="replace")


def _candidate(package: Any, entry: tuple[int, int], *, with_version: bool) -> Candidate:
    return Candidate(
        entries=[entry],
        package_id=package.pkgId.lower(),
        type_id=type_of(package.arch),
        nevra=_slot_of(package),
        version=((package.name, package.arch), Evr(package.epoch, package.version, package.release))
        if with_version
        else None,
        size=package.size_package,
        location=hash((package.location_base, package.location_href)),
        listed_at=package.time_file or 0,
    )


def _one_of(first: Candidate, second: Candidate, survey: Survey) -> Candidate:
    """Choose one of two entries of one name and version: a package with two locations, or a stale entry."""
    if first.package_id == second.package_id:
        first.entries += second.entries
        return first
    reason = "is listed twice with different checksums; the entry of the newer file is taken"
    newer = _newer(first, second, survey, reason)
    older = first if newer is second else second
    newer.rivals = sorted([older, *older.rivals, *newer.rivals], key=lambda rival: rival.listed_at, reverse=True)
    older.rivals = []
    return newer


def _of_one_location_one(chosen: Iterable[Candidate], survey: Survey) -> list[Candidate]:
    """Return the candidates; of two with the same location only the newer."""
    by_location: dict[int, Candidate] = {}
    for candidate in chosen:
        rival = by_location.setdefault(candidate.location, candidate)
        if rival is not candidate:
            reason = "has the location of another package, whose entry is newer"
            by_location[candidate.location] = _newer(rival, candidate, survey, reason)
    return sorted(by_location.values(), key=lambda candidate: candidate.entries[0])


def _newer(first: Candidate, second: Candidate, survey: Survey, reason: str) -> Candidate:
    newer, older = (first, second) if first.listed_at > second.listed_at else (second, first)
    survey.left_out.append(LeftOut(name=older.nevra, reason=reason, slot=older.nevra))
    return newer


def _flaws(package: Any, limits: Limits) -> Iterator[str]:
    """Yield the problems of a package, as ends of a sentence."""
    parts = (package.name, package.version, package.release, package.arch, package.pkgId, package.location_href)
    if not all(parts):
        yield "has no name, version, release, architecture, checksum or location"
        return
    if ":" in package.version:
        yield "has a version with a colon, and dnf aborts when it reads one"
    if any("/" in part or paths.flaw(part) for part in (*parts[:4], package.epoch)):
        yield "has a name, version or architecture that could be no part of a file's name"
    if not (package.epoch.isascii() and package.epoch.isdigit()):
        yield "has an epoch that is no number"
    algorithm = repomd.ALGORITHMS.get((package.checksum_type or "").lower())
    if algorithm is None:
        yield f"has a checksum of the unknown type {shown(package.checksum_type or '')!r}"
    elif len(package.pkgId) != repomd.DIGITS[algorithm] or not repomd.HEX.fullmatch(package.pkgId.lower()):
        yield f"has a checksum that is no {algorithm}"
    if not 0 <= package.size_package <= limits.file_bytes:
        yield f"has a size that is not from 1 to {limits.file_bytes} bytes"
    flaw = repomd.location_flaw(package.location_href, package.location_base)
    if flaw:
        yield f"has a location that {flaw}"


def _slot_of(package: Any) -> str:
    return slot({name: getattr(package, name) for name in _KEY})


def _with_rivals(
    lists: Lists, candidate: Candidate, further: Sequence[Mapping[str, tuple[int, int]] | None], urls: Sequence[str]
) -> WantedUnit:
    unit = _listed_unit(lists, candidate, further, urls)
    for rival in reversed(candidate.rivals[:_MOST_RIVALS]):
        unit = replace(unit, instead=replace(_listed_unit(lists, rival, further, urls), instead=unit.instead))
    return unit


def _listed_unit(
    lists: Lists, candidate: Candidate, further: Sequence[Mapping[str, tuple[int, int]] | None], urls: Sequence[str]
) -> WantedUnit:
    entries: list[str | None] = []
    for of_list, where in zip((lists.filelists, lists.other), further, strict=True):
        entry = where.get(candidate.package_id) if where is not None else None
        entries.append(of_list.text(entry) if of_list is not None and entry is not None else None)
    package = parsed(lists.primary.text(candidate.entries[0], proven=True), entries[0], entries[1])
    places = dict.fromkeys(mirrors.places(urls, package.location_href, package.location_base))
    for entry in candidate.entries[1:]:
        again = parsed(lists.primary.text(entry, proven=True), None, None)
        places.update(dict.fromkeys(mirrors.places(urls, again.location_href, again.location_base)))
    name = unquote(package.location_href.partition("?")[0].rpartition("/")[2])
    if not name.endswith(".rpm") or "/" in name or paths.flaw(name):  # not a valid file name of a package
        name = canonical_name(package)
    unit = _unit(package, name, tuple(places))
    if all(entries):
        return unit
    return PartlyListed(**{part.name: getattr(unit, part.name) for part in fields(unit)})


def _unit(package: Any, name: str, urls: tuple[str, ...]) -> WantedUnit:
    checksum = repomd.checksum(package.checksum_type, package.pkgId, name)
    package.location_href, package.location_base = _PLACE, None
    package.time_file = package.time_build  # an upstream's file time says when somebody copied it
    key = {name: getattr(package, name) for name in _KEY}
    key |= {"checksumtype": checksum.algorithm, "checksum": checksum.digest}
    package.pkgId = checksum.digest
    return WantedUnit(
        type_id=type_of(package.arch),
        key=key,
        metadata=_metadata(package, name),
        files=(WantedFile(relative_path=name, urls=urls, checksum=checksum, size=package.size_package or None),),
        slot=slot(key),
        detail=_detail(package, name, createrepo().xml_dump_primary(package)),
    )


def _detail(package: Any, name: str, primary: str) -> bytes:
    cr = createrepo()
    xml = "\0".join((primary, cr.xml_dump_filelists(package), cr.xml_dump_other(package)))
    packed = xml.encode()
    if len(packed) > MOST_ENTRY or xml.count("\0") != 2:  # noqa: PLR2004 - between three entries
        raise BadFeed(f"The package {shown(name)!r} is refused: the lists say too much of it.")
    return zlib.compress(packed, 1)


def _metadata(package: Any, name: str) -> dict[str, Any]:
    return {
        "filename": name,
        "relativepath": name,
        "relative_url_path": None,
        "version_sort_index": sort_index(package.version),
        "release_sort_index": sort_index(package.release),
        "summary": package.summary,
        "description": package.description,
        "url": package.url or None,
        "license": package.rpm_license or None,
        "vendor": package.rpm_vendor or None,
        "group": package.rpm_group or None,
        "buildhost": package.rpm_buildhost or None,
        "sourcerpm": package.rpm_sourcerpm or None,
        "build_time": package.time_build,
        "size": package.size_package,
        **{kind: [_dependency(entry) for entry in getattr(package, kind)] for kind in _DEPENDENCIES},
    }


def _dependency(entry: Sequence[Any]) -> dict[str, str | None]:
    """Convert to text or null, never a number: the original client fails on those."""
    name, flags, epoch, version, release, *_ = entry
    return {
        "name": name,
        "flags": flags if flags in _FLAGS else None,
        "epoch": epoch or None,
        "version": version or None,
        "release": release or None,
    }
