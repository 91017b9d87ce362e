"""Units of type `python_package`: out of an index's page or an uploaded file."""

import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from packaging.version import InvalidVersion, Version

from pulpit.content import paths
from pulpit.content.limits import Limits
from pulpit.content.port import BadFeed, Checksum, StoredUnit, WantedFile, WantedUnit
from pulpit.content.python import archives, description, names
from pulpit.content.python.names import FileName
from pulpit.content.python.selection import Choice, Rules
from pulpit.errors import InvalidValue

PACKAGE: Final = "python_package"

_KINDS: Final = {names.SDIST: "sdist", names.WHEEL: "bdist_wheel"}
"""As uploads and Pulp 2 call them."""
_FACTS: Final = frozenset({*description.FIELDS, "size"})
"""What a file tells of itself."""


def unit(choice: Choice, limits: Limits) -> WantedUnit:
    """The unit of a wanted file.

    Raises:
        BadFeed: it is too large, or nobody could tell whether it came whole.
    """
    entry = choice.entry
    if entry.checksum is None:
        raise BadFeed(
            f"{entry.filename} of {choice.name.project} is refused: the index gives no checksum of it that is known "
            "here; with allow_unhashed such files are taken as they come."
        )
    if entry.size is not None and entry.size > limits.file_bytes:
        raise BadFeed(f"{entry.filename} is refused: it has more than {limits.file_bytes} bytes.")
    wanted = _unit(entry.filename, choice.name, entry.checksum, entry.size, entry.url)
    wanted.metadata.update(
        requires_python=entry.requires_python,
        yanked=entry.yanked is not None,
        yanked_reason=entry.yanked,
        upload_time=entry.upload_time,
    )
    return replace(wanted, only_if_held=choice.withdrawn)


def described(wanted: WantedUnit, path: Path, known: Mapping[str, Any] | None) -> WantedUnit:
    """The unit with what its file says; one that is known already has been read."""
    if known is not None and known.keys() >= _FACTS:
        return replace(wanted, metadata=_joined(known, wanted))
    filename = str(wanted.key["filename"])
    named = names.file_name(filename, wanted.metadata["name"])
    try:
        content = archives.metadata(path, filename, named) if named else b""
    except archives.Unreadable:
        content = b""
    return _with_content(wanted, content, path.stat().st_size)


def uploaded(filename: str, sha256: str, size: int, path: Path) -> WantedUnit:
    """The unit of an uploaded file.

    Raises:
        InvalidValue: it is no distribution, or another one than its name says.
    """
    named = names.file_name(filename)
    if named is None:
        shown = paths.shown(filename)
        raise InvalidValue("filename", f"{shown!r} is no name of a wheel or sdist, such as zoo-1.0.tar.gz.")
    try:
        content = archives.metadata(path, filename, named)
    except archives.Unreadable as error:
        raise InvalidValue("upload_id", f"the uploaded file {error}.") from None
    named = _agreed(filename, named, description.fields(content))
    wanted = _unit(filename, named, Checksum(algorithm="sha256", digest=sha256), size, "")
    return _with_content(wanted, content, size)


def _agreed(filename: str, named: FileName, fields: Mapping[str, Any]) -> FileName:
    """The name of a file, which its metadata must bear out."""
    name, version = fields["name"] or "", fields["version"] or ""
    agreed = names.file_name(filename, names.project(name) or "")
    if agreed is None or agreed.version != _version(version):
        said = paths.shown(f"{name} {version}")
        raise InvalidValue("filename", f"the file says that it is {said!r}, not {named.project} {named.version}.")
    return agreed


def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None


def surplus(held: Iterator[StoredUnit], rules: Rules) -> Collection[str]:
    """The ids of packages that are older than what is retained."""
    projects: dict[str, list[tuple[Version, bool, str]]] = {}
    for one in held:
        version, yanked = Version(one.metadata["version"]), bool(one.metadata.get("yanked"))
        projects.setdefault(one.metadata["name"], []).append((version, yanked, one.id))
    gone: list[str] = []
    for project, versions in projects.items():
        oldest = rules.oldest(project, [version for version, yanked, _ in versions if not yanked])
        gone += [unit_id for version, _, unit_id in versions if oldest is not None and version < oldest]
    return gone


def core_metadata(stored: StoredUnit) -> bytes | None:
    """The `METADATA` of a wheel as it is in the file, or `None` (PEP 658)."""
    return zlib.decompress(stored.detail) if stored.detail else None


def _unit(filename: str, named: FileName, checksum: Checksum, size: int | None, url: str) -> WantedUnit:
    metadata = {
        "name": named.project,
        "version": str(named.version),
        "packagetype": _KINDS[named.kind],
        "requires_python": None,
        "yanked": False,
        "yanked_reason": None,
        "upload_time": None,
    }
    file = WantedFile(relative_path=filename, urls=(url,), checksum=checksum, size=size)
    key = {"filename": filename, "checksum_type": checksum.algorithm, "checksum": checksum.digest}
    return WantedUnit(type_id=PACKAGE, key=key, metadata=metadata, files=(file,), slot=filename)


def _with_content(wanted: WantedUnit, content: bytes, size: int) -> WantedUnit:
    keep = bool(content) and wanted.metadata["packagetype"] == _KINDS[names.WHEEL]
    metadata = _joined({**description.fields(content), "size": size}, wanted)
    return replace(wanted, metadata=metadata, detail=zlib.compress(content, 6) if keep else b"")


def _joined(known: Mapping[str, Any], wanted: WantedUnit) -> dict[str, Any]:
    """With the facts out of the file; which Python is needed is what the index says, if it does."""
    facts = {name: known[name] for name in sorted(_FACTS)}
    needed = wanted.metadata["requires_python"] or facts["requires_python"]
    return {**facts, **wanted.metadata, "requires_python": needed}
