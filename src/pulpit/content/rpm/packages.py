"""Packages: out of the lists of an upstream or out of a file, into units and back into lists."""

import importlib
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import quoteattr

from pulpit.content import feed, paths
from pulpit.content.limits import MIB, Limits
from pulpit.content.port import BadFeed, StoredUnit, WantedFile, WantedUnit
from pulpit.content.rpm import repomd
from pulpit.content.rpm.versions import Evr, evr, sort_index
from pulpit.errors import InvalidValue, WorkFailed
from pulpit.text import shown

CREATEREPO: Final = "createrepo_c"
RPM: Final = "rpm"
SRPM: Final = "srpm"
TYPES: Final = (RPM, SRPM)
SOURCE: Final = frozenset({"src", "nosrc"})
MOST_XML: Final = 64 * MIB
"""Bytes that one package may take in all lists together."""

_BATCH: Final = 500
_PLACE: Final = "@"
"""Stands in a kept entry for the location, which each published tree gives."""
_LOCATION: Final = f'<location href="{_PLACE}"/>'
_FLAGS: Final = frozenset({"EQ", "LT", "LE", "GT", "GE"})
_DEPENDENCIES: Final = ("requires", "provides", "recommends")


@dataclass(frozen=True, kw_only=True, slots=True)
class Lists:
    """The opened lists of an upstream; those but the first may be absent."""

    primary: Path
    filelists: Path | None
    other: Path | None


@dataclass(kw_only=True, slots=True)
class Survey:
    """What a first reading of the primary list found: what to take, and how much that is."""

    counts: Counter[str] = field(default_factory=Counter)
    byte_count: int = 0
    taken: set[int] = field(default_factory=set)


@dataclass(frozen=True, kw_only=True, slots=True)
class Entries:
    """A package as it stands in the three lists."""

    primary: str
    filelists: str
    other: str


@cache
def createrepo() -> Any:
    """The module.

    Raises:
        WorkFailed: a library that it needs is not on this machine; the text says what to install.
    """
    try:
        return importlib.import_module(CREATEREPO)
    except ImportError as error:
        reason = shown(str(error))
        raise WorkFailed(f"Yum repositories need GLib on the server (Debian: libglib2.0-0): {reason}.") from None


def survey(lists: Lists, config: Mapping[str, Any], limits: Limits) -> Survey:
    """Read the primary list and judge every package in it, before anything is downloaded.

    Raises:
        BadFeed: the list cannot be used as a whole.
    """
    found, slots, places = Survey(), set[int](), dict[int, int]()
    skipped, retained = set(config.get("type_skip_list") or ()), _Newest(config.get("retain_old_count"))
    total = 0
    for package in _iterate(Lists(primary=lists.primary, filelists=None, other=None)):
        total += 1
        if total > limits.entries:
            raise BadFeed(f"The primary list is refused: it names more than {limits.entries} packages.")
        _check(package, limits)
        _refuse_collision(package, places)
        type_id, slot = type_of(package.arch), hash((package.arch in SOURCE, package.nevra()))
        if type_id in skipped or slot in slots:
            continue
        slots.add(slot)
        retained.add(_Candidate(type_id=type_id, size=package.size_package, token=_token(package)), package)
    for candidate in retained.chosen():
        found.taken.add(candidate.token)
        found.counts[candidate.type_id] += 1
        found.byte_count += candidate.size
    return found


def batches(lists: Lists, taken: set[int], urls: Sequence[str]) -> Iterator[Sequence[WantedUnit]]:
    """The packages that a survey chose, each once, as units; `urls` are those of the repository and its mirrors.

    Raises:
        BadFeed: the lists contradict one another.
    """
    left, batch = set(taken), list[WantedUnit]()
    for package in _iterate(lists):
        token = _token(package)
        if token not in left:
            continue
        left.remove(token)
        batch.append(_unit(package, urls))
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def from_file(path: Path, name: str, key: Mapping[str, Any], sha256: str, size: int) -> WantedUnit:
    """The unit of an uploaded package; a key must not say anything else than the package itself.

    Raises:
        InvalidValue: it is no package, or another one.
    """
    cr = createrepo()
    try:
        package = cr.package_from_rpm(str(path), cr.SHA256, name)
    except (cr.CreaterepoCError, OSError, UnicodeDecodeError):
        raise InvalidValue("upload_id", "the uploaded file is no RPM package.") from None
    package.location_href = canonical_name(package)
    try:
        _check(package, Limits())
    except BadFeed as error:
        raise InvalidValue("upload_id", f"the package cannot be used: {error}") from None
    unit = _unit(package, ("",))
    wrong = sorted(part for part in unit.key.keys() & key.keys() if key[part] not in {unit.key[part], None})
    if wrong:
        raise InvalidValue(wrong, "the uploaded file has another.")
    if unit.key["checksum"] != sha256 or unit.metadata["size"] != size:
        raise InvalidValue("upload_id", "the uploaded file changed while it was read.")
    return unit


def canonical_name(package: Any) -> str:
    """The file name that a package without one gets."""
    return f"{package.name}-{package.version}-{package.release}.{package.arch}.rpm"


def type_of(arch: str) -> str:
    """The unit type of a package."""
    return SRPM if arch in SOURCE else RPM


def slot(key: Mapping[str, Any]) -> str:
    """A repository holds one package of a name, epoch, version, release and architecture."""
    return f"{key['name']}-{key['epoch']}:{key['version']}-{key['release']}.{key['arch']}"


def entries(unit: StoredUnit) -> Entries:
    """The entries as they were kept, with a mark for the location."""
    primary, filelists, other = zlib.decompress(unit.detail).decode().split("\0")
    return Entries(primary=primary, filelists=filelists, other=other)


def placed(kept: Entries, unit: StoredUnit, location: str, checksum: tuple[str, str] | None) -> Entries:
    """The entries for a tree: with a location, and with another checksum (type and digest) if one is given."""
    primary = kept.primary.replace(_LOCATION, f"<location href={quoteattr(location)}/>", 1)
    filelists, other = kept.filelists, kept.other
    if checksum:
        kind, digest = checksum
        old = unit.key["checksum"]
        begin, middle, rest = primary.partition("<checksum ")
        _, tail, rest = rest.partition("</checksum>")
        primary = f'{begin}{middle}type="{kind}" pkgid="YES">{digest}{tail}{rest}'
        filelists = filelists.replace(f'pkgid="{old}"', f'pkgid="{digest}"', 1)
        other = other.replace(f'pkgid="{old}"', f'pkgid="{digest}"', 1)
    return Entries(primary=primary, filelists=filelists, other=other)


def older(held: Iterator[StoredUnit], retained: int) -> Collection[str]:
    """The ids of packages of which so many newer ones are held besides the newest."""
    newest: dict[tuple[str, str], list[tuple[Evr, str]]] = {}
    for unit in held:
        if unit.type_id in TYPES:
            of_name = newest.setdefault((unit.key["name"], unit.key["arch"]), [])
            of_name.append((evr(unit.key), unit.id))
    surplus = []
    for candidates in newest.values():
        candidates.sort(reverse=True)
        surplus += [unit_id for _, unit_id in candidates[retained + 1 :]]
    return surplus


@dataclass(frozen=True, kw_only=True, slots=True)
class _Candidate:
    type_id: str
    size: int
    token: int


class _Newest:
    """Keeps, of each name and architecture, so many packages besides the newest one; all without a number."""

    def __init__(self, retained: int | None) -> None:
        self._retained: Final = retained
        self._everything: Final[list[_Candidate]] = []
        self._by_name: Final[dict[tuple[str, str], list[tuple[Evr, int, _Candidate]]]] = {}

    def add(self, candidate: _Candidate, package: Any) -> None:
        if self._retained is None:
            self._everything.append(candidate)
            return
        kept = self._by_name.setdefault((package.name, package.arch), [])
        kept.append((Evr(package.epoch, package.version, package.release), candidate.token, candidate))
        if len(kept) > self._retained + 1:
            kept.remove(min(kept, key=lambda candidate: candidate[:2]))

    def chosen(self) -> Iterator[_Candidate]:
        yield from self._everything
        for kept in self._by_name.values():
            yield from (candidate for _, _, candidate in kept)


def _iterate(lists: Lists) -> Iterator[Any]:
    cr = createrepo()
    files = [str(path) if path else None for path in (lists.primary, lists.filelists, lists.other)]
    try:
        for package in cr.PackageIterator(*files, warningcb=_go_on):
            if not package.epoch:
                package.epoch = "0"
            yield package
    except (cr.CreaterepoCError, OSError, UnicodeDecodeError) as error:
        raise BadFeed(f"The lists of packages are refused: {shown(str(error), 300)}") from None


def _go_on(_kind: int, _message: str) -> bool:
    """Warnings are about what `_check` looks at."""
    return True


def _token(package: Any) -> int:
    return hash((package.nevra(), package.pkgId, package.location_href))


def _check(package: Any, limits: Limits) -> None:
    """Refuse a package that cannot be one.

    Raises:
        BadFeed: why.
    """
    subject = f"The package {shown(str(package.name))!r} of the primary list"
    parts = (package.name, package.version, package.release, package.arch, package.pkgId, package.location_href)
    if not all(parts):
        raise BadFeed(f"{subject} is refused: its name, version, architecture, checksum or location is missing.")
    if any("/" in part or paths.flaw(part) for part in (*parts[:4], package.epoch)):
        raise BadFeed(f"{subject} is refused: its name, version or architecture could be no part of a file's name.")
    if not (package.epoch.isascii() and package.epoch.isdigit()):
        raise BadFeed(f"{subject} is refused: its epoch is no number.")
    repomd.checksum(package.checksum_type or "", package.pkgId, subject)
    reason = repomd.href_flaw(package.location_href, package.location_base, limits.name_bytes)
    if reason:
        raise BadFeed(f"{subject} is refused: its location {shown(package.location_href)!r} {reason}.")
    if not 0 < package.size_package <= limits.file_bytes:
        raise BadFeed(f"{subject} is refused: its size is missing or not from 1 to {limits.file_bytes} bytes.")


def _refuse_collision(package: Any, places: dict[int, int]) -> None:
    mine = hash(package.pkgId)
    if places.setdefault(hash(package.location_href), mine) != mine:
        raise BadFeed(f"The primary list is refused: two packages have the location {shown(package.location_href)!r}.")


def _unit(package: Any, urls: Sequence[str]) -> WantedUnit:
    href, name = package.location_href, package.location_href.rpartition("/")[2]
    checksum = repomd.checksum(package.checksum_type, package.pkgId, name)
    package.location_href, package.location_base = _PLACE, None
    package.time_file = package.time_build  # the one of an upstream is when somebody copied it
    wanted = WantedFile(
        relative_path=name,
        urls=tuple(feed.beneath(url, href) for url in urls),
        checksum=checksum,
        size=package.size_package,
    )
    key = {name: getattr(package, name) for name in ("name", "epoch", "version", "release", "arch")}
    key |= {"checksumtype": checksum.algorithm, "checksum": checksum.digest}
    package.pkgId = checksum.digest
    return WantedUnit(
        type_id=type_of(package.arch),
        key=key,
        metadata=_metadata(package, name),
        files=(wanted,),
        slot=slot(key),
        detail=_detail(package, name),
    )


def _detail(package: Any, name: str) -> bytes:
    cr = createrepo()
    xml = "\0".join((cr.xml_dump_primary(package), cr.xml_dump_filelists(package), cr.xml_dump_other(package)))
    packed = xml.encode()
    if len(packed) > MOST_XML or xml.count("\0") != 2:  # noqa: PLR2004 - between three entries
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
    """Text or null, never a number: the original client fails on those."""
    name, flags, epoch, version, release, *_ = entry
    return {
        "name": name,
        "flags": flags if flags in _FLAGS else None,
        "epoch": epoch or None,
        "version": version or None,
        "release": release or None,
    }
