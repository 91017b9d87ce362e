# SPDX-License-Identifier: Apache-2.0
"""Notes: an upstream lists text files in `notes.txt`, a line `SHA-256 name` each; that is all there is to it."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pulpit.content import feed, paths
from pulpit.content.port import (
    BadFeed,
    Catalogue,
    Checksum,
    Config,
    Content,
    ContentType,
    Description,
    Document,
    LocalFile,
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

UNIT_TYPE: Final = "note"
LIST: Final = "notes.txt"
_MOST_BYTES: Final = 1_000_000
_LINE: Final = re.compile(r"([0-9a-f]{64}) (\S+)")
_STATES: Final = {
    Phase.NOT_STARTED: "NOT_STARTED",
    Phase.COMPLETE: "FINISHED",
    Phase.CANCELLED: "CANCELLED",
    Phase.METADATA_FAILED: "FAILED",
    Phase.CONTENT_FAILED: "FAILED",
}


class Notes(ContentType):
    """The content type; Pulpit makes one object of it for each process."""

    importer_type_id: Final = "notes_importer"
    distributor_type_ids: Final = ("notes_distributor",)
    unit_type_ids: Final = (UNIT_TYPE,)
    published_under: Final = "notes"

    def check_importer_config(self, config: Config) -> None:
        """Know the keys that every feed has, and no other."""
        feed.check(config)

    def check_distributor_config(self, config: Config) -> None:
        feed.check_keys(config, {"relative_url": feed.text, "force_full": feed.boolean})

    def relative_url(self, repo_id: str, config: Config) -> str:
        """The configured one, else the repository's id."""
        return str(config.get("relative_url") or repo_id)

    async def read(self, upstream: Upstream, config: Config, memory: Mapping[str, Any] | None) -> Catalogue | None:
        """Fetch the list, unless it is the one of last time."""
        del config
        document = await upstream.fetch(upstream.feed + LIST, most=_MOST_BYTES, known=memory)
        if document is None:
            return None
        units = _units(document, upstream.feed)
        return Catalogue(unit_count=len(units), byte_count=0, batches=[units], memory={"etag": document.etag})

    def flaw(self, unit: WantedUnit, local: LocalFile, config: Config) -> str | None:
        del unit, config
        try:
            local().read_text(encoding="utf-8")
        except UnicodeDecodeError:
            return "is no text"
        return None

    def uploaded(
        self, type_id: str, key: dict[str, Any], metadata: dict[str, Any], file: StoredFile, path: Path
    ) -> WantedUnit:
        del type_id, path
        name = key.get("name")
        if not isinstance(name, str) or paths.flaw(name):
            raise InvalidValue("name", "it must be a file's name.")
        return _unit(name, file.sha256, "", metadata)

    def check_copy_config(self, config: Config) -> None:
        feed.check_keys(config, {})

    def slot(self, type_id: str, key: Mapping[str, Any]) -> str | None:
        """A repository holds one note of a name."""
        del type_id
        return str(key["name"])

    def description(self, type_id: str, key: Mapping[str, Any], metadata: Mapping[str, Any]) -> Description:
        del type_id, metadata
        return Description(name=str(key["name"]), file=str(key["name"]))

    def publish(self, content: Content, tree: Tree, config: Config) -> None:
        """The notes, and the list of them."""
        del config
        with tree.write(LIST) as notes:
            for unit in content.of(UNIT_TYPE):
                (file,) = unit.files
                tree.link(file.relative_path, file)
                notes.write(f"{file.sha256} {file.relative_path}\n".encode())

    def sync_report(self, progress: Progress) -> dict[str, Any]:
        return {
            "state": _STATES.get(progress.phase, "IN_PROGRESS"),
            "items_total": progress.units_total,
            "items_left": progress.units_total - progress.units_done,
            "error_message": progress.error_message,
        }

    def publish_report(self, progress: Progress) -> Any:
        return self.sync_report(progress)


def _units(document: Document, url: str) -> Sequence[WantedUnit]:
    units = {}
    for line in document.path.read_text(errors="replace").splitlines():
        found = _LINE.fullmatch(line)
        if not found or paths.flaw(found[2]) or found[2] == LIST:
            raise BadFeed(f"{LIST} is refused: the line {shown(line)!r} is not `SHA-256 name`.")
        units[found[2]] = _unit(found[2], found[1], url, {})
    return list(units.values())


def _unit(name: str, sha256: str, url: str, metadata: dict[str, Any]) -> WantedUnit:
    checksum = Checksum(algorithm="sha256", digest=sha256)
    file = WantedFile(relative_path=name, urls=(feed.beneath(url, name),), checksum=checksum, size=None)
    key = {"name": name, "sha256": sha256}
    return WantedUnit(type_id=UNIT_TYPE, key=key, metadata=metadata, files=(file,), slot=name)
