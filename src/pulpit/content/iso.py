"""Content type `iso`: any files, listed upstream in a PULP_MANIFEST of lines `name,SHA-256,size`."""

import codecs
import contextlib
import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from pulpit.content import encodings, feed, paths, purl
from pulpit.content.limits import Limits
from pulpit.content.port import (
    BadFeed,
    Catalogue,
    Checksum,
    Config,
    Content,
    ContentType,
    Description,
    LeftOut,
    Phase,
    Progress,
    StoredFile,
    Tree,
    Upstream,
    WantedFile,
    WantedUnit,
)
from pulpit.errors import InvalidValue
from pulpit.text import shown

UNIT_TYPE: Final = "iso"
MANIFEST: Final = "PULP_MANIFEST"

_BATCH: Final = 500
_SHA256: Final = re.compile("[0-9a-f]{64}")
_SIZE: Final = re.compile(r"([0-9]{1,16})(?:\.0+)?")
"""Sixteen digits are more than any file system holds; spreadsheets and pandas write whole numbers as `1024.0`."""
_AROUND: Final = ' \t"'
"""What may stand around checksum and size: quotes, as of CSV writers that quote everything."""
_HEADER: Final = re.compile(
    r'"?(?:file ?)?(?:name|path)"?\s*,\s*"?(?:checksum|digest|sha-?256)"?\s*,\s*"?size"?\s*', re.IGNORECASE
)
_HEX: Final = re.compile("[0-9a-f]+")
_OTHER_CHECKSUMS: Final = {32: "MD5", 40: "SHA-1", 56: "SHA-224", 96: "SHA-384", 128: "SHA-512"}
"""By their number of hexadecimal digits."""
_CHECKSUMS_ALONE: Final = re.compile(r"\\?[0-9A-Fa-f]{32,128} [ *]|[A-Z0-9-]+ ?\(.*\) ?= ?[0-9A-Fa-f]{32,128}$")
_KEY: Final = frozenset({"name", "checksum", "size"})
_SYNC_STATES: Final = {
    Phase.NOT_STARTED: "not_started",
    Phase.METADATA: "manifest_in_progress",
    Phase.CONTENT: "isos_in_progress",
    Phase.METADATA_FAILED: "manifest_failed",
    Phase.CONTENT_FAILED: "isos_failed",
    Phase.CANCELLED: "cancelled",
    Phase.COMPLETE: "complete",
}
_PUBLISH_STATES: Final = {
    Phase.NOT_STARTED: "not_started",
    Phase.CONTENT: "in_progress",
    Phase.CONTENT_FAILED: "failed",
    Phase.CANCELLED: "cancelled",
    Phase.COMPLETE: "complete",
}


class Iso(ContentType):
    """Plain files."""

    importer_type_id: Final = "iso_importer"
    distributor_type_ids: Final = ("iso_distributor",)
    unit_type_ids: Final = (UNIT_TYPE,)
    published_under: Final = "isos"

    def check_importer_config(self, config: Config) -> None:
        """Reject an invalid configuration."""
        feed.check(config)

    def check_distributor_config(self, config: Config) -> None:
        """Reject an invalid configuration."""
        feed.check_keys(config, _DISTRIBUTOR_KEYS)

    def relative_url(self, repo_id: str, config: Config) -> str:
        """Return the configured path, else the repository's id."""
        return feed.place(repo_id, config)

    async def read(self, upstream: Upstream, config: Config, memory: Mapping[str, Any] | None) -> Catalogue | None:
        """Fetch and read the manifest."""
        del config
        folder = upstream.feed.removesuffix(f"{MANIFEST}/")  # Pulp 3's feeds end in it
        document = await upstream.fetch(folder + MANIFEST, most=upstream.limits.manifest_bytes, known=memory)
        if document is None or (memory is not None and memory.get("sha256") == document.sha256):
            return None
        path = await upstream.aside(
            lambda: encodings.plain(document.path, upstream.scratch(), MANIFEST, most=upstream.limits.manifest_bytes)
        )
        manifest = await upstream.aside(lambda: parse_manifest(path, limits=upstream.limits))
        entries = manifest.entries
        return Catalogue(
            unit_count=len(entries),
            byte_count=sum(entry.file.size for entry in entries),
            batches=(
                [_unit(entry.file, folder + entry.place, {}) for entry in entries[start : start + _BATCH]]
                for start in range(0, len(entries), _BATCH)
            ),
            memory=document.memory,
            left_out=manifest.left_out,
        )

    def uploaded(
        self, type_id: str, key: dict[str, Any], metadata: dict[str, Any], file: StoredFile, path: Path
    ) -> WantedUnit:
        """Return the unit of an uploaded file; size and checksum in the key must match the file."""
        del path
        if type_id != UNIT_TYPE:
            raise InvalidValue("unit_type_id", f"this repository holds units of type {UNIT_TYPE}.")
        name = key.get("name")
        found = {"name": name, "checksum": file.sha256, "size": file.size}
        wrong = sorted(part for part in _KEY & key.keys() if key[part] != found[part])
        if wrong:
            raise InvalidValue(wrong, "the uploaded file has another.")
        if not isinstance(name, str) or name_flaw(name):
            raise InvalidValue("name", f"it {name_flaw(name) if isinstance(name, str) else 'must be text'}.")
        return _unit(StoredFile(relative_path=name, sha256=file.sha256, size=file.size), "", metadata)

    def check_copy_config(self, config: Config) -> None:
        """Accept no options."""
        feed.check_keys(config, {})

    def slot(self, type_id: str, key: Mapping[str, Any]) -> str | None:
        """Return the file's name: a repository holds one file of each name."""
        del type_id
        return str(key["name"])

    def description(self, type_id: str, key: Mapping[str, Any], metadata: Mapping[str, Any]) -> Description:
        """Describe a file by its name."""
        del type_id, metadata
        name = str(key["name"])
        return Description(name=name, file=name, purl=purl.of_file(name, key["checksum"]))

    def publish(self, content: Content, tree: Tree, config: Config) -> None:
        """Publish every file under its name, and the manifest."""
        del config
        with tree.write(MANIFEST) as manifest:
            for unit in content.of(UNIT_TYPE):
                for file in unit.files:
                    tree.link(file.relative_path, file)
                    manifest.write(manifest_line(file).encode())

    def sync_report(self, progress: Progress) -> dict[str, Any]:
        """Return nine keys, with times without a zone: the original client fails on anything else."""
        return _report(progress, _SYNC_STATES) | {
            "total_bytes": progress.bytes_total,
            "finished_bytes": progress.bytes_done,
            "num_isos": progress.units_total,
            "num_isos_finished": progress.units_done,
            "iso_error_messages": [{"name": failure.name, "error": failure.error} for failure in progress.failures],
        }

    def publish_report(self, progress: Progress) -> dict[str, Any]:
        """Return four keys, as above."""
        return _report(progress, _PUBLISH_STATES)


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestEntry:
    """A file as a manifest lists it; `place` is its percent-encoded path below the feed."""

    file: StoredFile
    place: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """The files of a manifest, and the lines that were skipped."""

    entries: Sequence[ManifestEntry]
    left_out: Sequence[LeftOut]


def parse_manifest(path: Path, *, limits: Limits) -> Manifest:
    """Parse a manifest; skip lines with an invalid file name, and lines that contradict each other.

    Raises:
        BadFeed: a line is malformed, as in a truncated or foreign file; or there are too many.
    """
    entries: dict[str, ManifestEntry] = {}
    left_out: dict[str, LeftOut] = {}
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            fields = _fields(line.removeprefix(codecs.BOM_UTF8) if number == 1 else line, number)
            if fields is None:
                continue
            place, digest, size = fields
            name = _without_dots(place)
            url = quote(place.replace("/./", "/").removeprefix("./"), errors="replace")
            reason = _entry_flaw(name, size, limits)
            entry = ManifestEntry(file=StoredFile(relative_path=name, sha256=digest, size=size), place=url)
            if not reason and entries.setdefault(name, entry).file != entry.file:
                reason = "is named twice, with different checksums or sizes"
            if reason:
                slot = name if _is_text(name) else None
                left_out[name] = LeftOut(name=shown(place), reason=f"{reason} (line {number})", slot=slot)
            if len(entries) + len(left_out) > limits.entries:
                raise BadFeed(f"{MANIFEST} is refused: it names more than {limits.entries} files.")
    for name in entries:
        outer = name.rpartition("/")[0]
        while outer and outer not in entries:
            outer = outer.rpartition("/")[0]
        if outer:
            reason = f"cannot be a file in the file {shown(outer)!r}"
            left_out[name] = LeftOut(name=shown(name), reason=reason, slot=name)
    taken = [entry for name, entry in entries.items() if name not in left_out]
    if left_out and not taken:
        first = next(iter(left_out.values()))
        raise BadFeed(f"{MANIFEST} is refused: none of its files can be taken; {first.name!r} {first.reason}.")
    return Manifest(entries=taken, left_out=list(left_out.values()))


def _entry_flaw(name: str, size: int, limits: Limits) -> str | None:
    """Say why an entry is rejected, as the end of a sentence, or return `None`."""
    if not _is_text(name):
        return "is not written in UTF-8"
    if size > limits.file_bytes:
        return f"is larger than {limits.file_bytes} bytes"
    return name_flaw(name, most_bytes=limits.name_bytes)


def _is_text(name: str) -> bool:
    """Whether a name was valid UTF-8; `_fields` keeps other bytes as surrogates."""
    return name.isascii() or not any("\udc80" <= character <= "\udcff" for character in name)


def manifest_line(file: StoredFile) -> str:
    """Write a line of a manifest; an ambiguous name is quoted as in CSV, and no other: Pulp 3 does not read quotes."""
    name = file.relative_path
    if name.startswith('"') or "," in name or name != name.strip():
        name = '"' + name.replace('"', '""') + '"'
    return f"{name},{file.sha256},{file.size}\n"


def name_flaw(name: str, *, most_bytes: int = Limits().name_bytes) -> str | None:
    """Say what is wrong with a file's name, as the end of a sentence, or return `None`."""
    if name.split("/", maxsplit=1)[0] == MANIFEST:
        return "is reserved for the manifest"
    return paths.flaw(name, most_bytes=most_bytes)


def _fields(raw: bytes, number: int) -> tuple[str, str, int] | None:
    """Split a line; Pulp's own are CSV, those of shell scripts have an unquoted name that may contain commas.

    Returns nothing for an empty line, a comment, or a first line that names the columns.

    Raises:
        BadFeed: it does not have three fields of the right form.
    """
    line = raw.decode(errors="surrogateescape").rstrip("\r\n")
    if not line.strip() or (number == 1 and _HEADER.fullmatch(line)):
        return None
    name, digest, size = line, "", ""
    with contextlib.suppress(ValueError, csv.Error):
        is_quoted = line.startswith('"')
        name, digest, size = (
            next(csv.reader([line], strict=True, skipinitialspace=True)) if is_quoted else line.rsplit(",", 2)
        )
        name = name.rstrip() if not is_quoted and digest[:1].isspace() else name  # `name , digest , size`
    digest = digest.strip(_AROUND).lower().removeprefix("sha256:")
    whole = _SIZE.fullmatch(size.strip(_AROUND))
    if _SHA256.fullmatch(digest) and whole:
        return name, digest, int(whole[1])
    if line.startswith("#"):
        return None
    raise BadFeed(f"{MANIFEST} is refused: line {number} {_line_flaw(line, digest, size)}.")


def _line_flaw(line: str, digest: str, size: str) -> str:
    """Say what is wrong with a line, as the end of a sentence."""
    if _SHA256.fullmatch(digest):
        return f"gives {shown(size)!r} as the file's size, which is no number of bytes"
    if _HEX.fullmatch(digest) and len(digest) in _OTHER_CHECKSUMS:
        return f"gives a checksum by {_OTHER_CHECKSUMS[len(digest)]}; SHA-256 is needed"
    if _CHECKSUMS_ALONE.match(line):
        return "is one of a list of checksums, as sha256sum writes it; needed is `name,SHA-256,size`"
    return "is not `name,SHA-256,size`"


def _without_dots(place: str) -> str:
    """Normalise a path: `find .` writes `./a/b`, and servers treat `a//b` as `a/b`."""
    if place.startswith("/") or place.endswith("/"):
        return place  # not a file
    return "/".join(part for part in place.split("/") if part not in {"", "."})


def _unit(file: StoredFile, url: str, metadata: dict[str, Any]) -> WantedUnit:
    name = file.relative_path
    checksum = Checksum(algorithm="sha256", digest=file.sha256)
    wanted = WantedFile(relative_path=name, urls=(url,), checksum=checksum, size=file.size)
    key = {"name": name, "checksum": file.sha256, "size": file.size}
    return WantedUnit(type_id=UNIT_TYPE, key=key, metadata=metadata, files=(wanted,), slot=name)


def _report(progress: Progress, states: Mapping[Phase, str]) -> dict[str, Any]:
    times = {
        states[phase]: time.replace(tzinfo=None).isoformat(timespec="seconds")
        for phase, time in progress.phase_times.items()
    }
    return {
        "state": states[progress.phase],
        "state_times": times,
        "error_message": progress.error_message,
        "traceback": None,
    }


_DISTRIBUTOR_KEYS: Final = {
    "serve_http": feed.boolean,
    "serve_https": feed.boolean,
    "relative_url": feed.relative_url,
    "ssl_auth_ca_cert": feed.pem,
    "force_full": feed.boolean,
}
