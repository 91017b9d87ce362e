"""Installation trees: boot images and installers that `.treeinfo` lists beside a repository's packages.

Pulp 2 calls such a tree a distribution. A repository holds at most one.
"""

import configparser
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from pulpit.content import feed, paths
from pulpit.content.limits import MIB, Limits
from pulpit.content.port import BadFeed, LeftOut, NotForUs, NotThere, StoredUnit, Upstream, WantedFile, WantedUnit
from pulpit.content.rpm import mirrors, repomd
from pulpit.content.rpm.elements import text_of, text_unit
from pulpit.content.rpm.mirrors import MirroredRepository
from pulpit.text import shown

DISTRIBUTION: Final = "distribution"
SLOT: Final = DISTRIBUTION
NAMES: Final = (".treeinfo", "treeinfo")

_MOST_BYTES: Final = MIB
_MOST_FILES: Final = 10_000
_LONGEST_WORD: Final = 255
_LISTS: Final = "repodata/"
"""Files below are generated, so their checksums are omitted."""
_NAMED: Final = {
    "family": (("general", "family"), ("release", "name")),
    "variant": (("general", "variant"), ("tree", "variants")),
    "version": (("general", "version"), ("release", "version")),
    "arch": (("general", "arch"), ("tree", "arch")),
}
"""Section and option of each value; the old format first, whose sections the new one has too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tree:
    """What was read of a repository's tree; it has no unit if there is none."""

    unit: WantedUnit | None = None
    left_out: Sequence[LeftOut] = ()
    memory: Mapping[str, Any] = field(default_factory=dict)
    """What was computed of files without a checksum, by path: the `known` of the next `read`."""


async def read(upstream: Upstream, where: MirroredRepository, known: Mapping[str, Any]) -> Tree:
    """Read the tree of a repository, if it has one.

    Files without a checksum, of which RHEL 5 has only such, are downloaded here to compute it.

    Raises:
        BadFeed: its list cannot be used.
        WorkFailed: it is unknown whether it has one.
    """
    for name in NAMES:
        try:
            found = await mirrors.fetch(upstream, where, name, most=_MOST_BYTES)
        except (NotThere, NotForUs):
            continue
        text = _text(found.document.path) if found else None
        if text is None:
            continue
        sections = _sections(text)
        computed, missing = dict[str, Mapping[str, Any]](), list[LeftOut]()
        for path in _without_checksum(sections, upstream.limits):
            try:
                computed[path] = await _computed(upstream, where, path, known.get(path))
            except (NotThere, NotForUs) as error:
                missing.append(_left_out(path, f"is not there: {error}"))
        digests = {path: f"sha256:{entry['sha256']}" for path, entry in computed.items()}
        made, left_out = unit(text, name, where.urls, upstream.limits, digests)
        return Tree(unit=made, left_out=[*left_out, *missing], memory=computed)
    return Tree()


def _without_checksum(sections: Mapping[str, Mapping[str, str]], limits: Limits) -> Sequence[str]:
    """Return the images and installers that have no checksum."""
    images = [options for name, options in sections.items() if name.startswith("images-") or name == "stage2"]
    named = {path.removeprefix("./") for options in images for path in options.values() if "://" not in path}
    named -= {path.removeprefix("./") for path in sections.get("checksums", {})}
    found = [
        path
        for path in sorted(named)
        if path not in NAMES and not path.startswith(_LISTS) and not paths.flaw(path, most_bytes=limits.name_bytes)
    ]
    if len(found) > _MOST_FILES:
        raise BadFeed(f"treeinfo is refused: it names more than {_MOST_FILES} files.")
    return found


async def _computed(
    upstream: Upstream, where: MirroredRepository, path: str, known: Mapping[str, Any] | None
) -> Mapping[str, Any]:
    found = await mirrors.fetch(upstream, where, path, most=upstream.limits.file_bytes, known=known)
    if found is None:
        return known or {}
    await upstream.aside(found.document.path.unlink)
    return {"url": found.url, **found.document.memory}


def unit(
    text: str, name: str, urls: Sequence[str], limits: Limits, computed: Mapping[str, str] = MappingProxyType({})
) -> tuple[WantedUnit, Sequence[LeftOut]]:
    """Return the unit of a tree, and the skipped entries.

    Args:
        text: the list.
        name: its name.
        urls: those of the repository and its mirrors.
        limits: for names.
        computed: checksums that the list does not have.

    Raises:
        BadFeed: the list cannot be used.
    """
    sections = _sections(text)
    words = {word: _word(sections, places) for word, places in _NAMED.items()}
    files, left_out = _files({**sections.get("checksums", {}), **computed}, urls, limits)
    made = text_unit(
        DISTRIBUTION,
        {"distribution_id": "-".join(["ks", *filter(None, words.values())]), **words},
        text,
        {
            "treeinfo": name,
            "timestamp": _word(sections, (("general", "timestamp"), ("tree", "build_timestamp"))) or None,
            "packagedir": _word(sections, (("general", "packagedir"),)),
            "files": [
                {
                    "relativepath": file.relative_path,
                    "checksum": file.checksum.digest,
                    "checksumtype": file.checksum.algorithm,
                }
                for file in files
            ],
        },
    )
    if computed:  # the same text may name other files
        content = text + json.dumps(computed, sort_keys=True)
        made = replace(made, key=made.key | {"checksum": hashlib.sha256(content.encode()).hexdigest()})
    return replace(made, files=files, slot=SLOT, way_past=repomd.way_past([DISTRIBUTION])), left_out


def published(unit: StoredUnit) -> tuple[str, str]:
    """Return name and text of the published list, with the checksums of published files only.

    Those of generated lists and of skipped files are removed.
    """
    mirrored = {file["relativepath"] for file in unit.metadata["files"]}
    kept, section, keeps = list[str](), "", True
    for line in text_of(unit).splitlines(keepends=True):
        if line.startswith("["):
            section, keeps = line.strip(), True
        elif section == "[checksums]" and "=" in line and not line.startswith((" ", "\t", "#", ";")):
            keeps = line.partition("=")[0].strip().removeprefix("./") in mirrored
        if keeps:
            kept.append(line)
    return str(unit.metadata["treeinfo"]), "".join(kept)


def _text(path: Path) -> str | None:
    """Return the text of a list; `None` for anything else, such as an HTML error page."""
    content = path.read_bytes()
    if not content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"[", b"#", b";")):
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadFeed("treeinfo is refused: it is no UTF-8.") from None


def _sections(text: str) -> Mapping[str, Mapping[str, str]]:
    parser = configparser.RawConfigParser(delimiters=("=",), strict=False, empty_lines_in_values=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # paths keep their case
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise BadFeed(f"treeinfo is refused: it is no INI file ({shown(str(error))}).") from None
    return {name: dict(parser.items(name)) for name in parser.sections()}


def _word(sections: Mapping[str, Mapping[str, str]], places: Sequence[tuple[str, str]]) -> str:
    word = next((sections[section][key] for section, key in places if sections.get(section, {}).get(key)), "")
    if len(word) > _LONGEST_WORD or not word.isprintable():
        raise BadFeed(f"treeinfo is refused: {shown(word)!r} is too long or no text.")
    return word


def _files(
    checksums: Mapping[str, str], urls: Sequence[str], limits: Limits
) -> tuple[tuple[WantedFile, ...], list[LeftOut]]:
    """Return every file with a checksum, and the skipped ones."""
    stripped = {path.removeprefix("./"): stated for path, stated in checksums.items()}
    wanted = {path: stated for path, stated in stripped.items() if not path.startswith(_LISTS)}
    if len(wanted) > _MOST_FILES:
        raise BadFeed(f"treeinfo is refused: it names more than {_MOST_FILES} files.")
    files, left_out = dict[str, WantedFile](), list[LeftOut]()
    for path, stated in wanted.items():
        kind, _, digest = stated.rpartition(":")
        reason = "is its own" if path in NAMES else paths.flaw(path, most_bytes=limits.name_bytes)
        reason = reason or repomd.checksum_flaw(kind, digest)
        if reason:
            left_out.append(_left_out(path, reason))
            continue
        checksum = repomd.checksum(kind, digest, path)
        of_mirrors = tuple(feed.beneath(url, path) for url in urls)
        files[path] = WantedFile(relative_path=path, urls=of_mirrors, checksum=checksum, size=None)
    while collision := paths.beneath_another(files):
        inner, outer = collision
        del files[inner]
        left_out.append(_left_out(inner, f"would lie in {shown(outer)!r}, which is a file"))
    if left_out and not files:
        first = left_out[0]
        raise BadFeed(f"treeinfo is refused: none of its files can be used. {first.name} {first.reason}.")
    return tuple(files.values()), left_out


def _left_out(path: str, reason: str) -> LeftOut:
    return LeftOut(name=f"{shown(path)} of treeinfo", reason=reason)
