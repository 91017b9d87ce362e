"""A published index: pages in both forms, what the JSON API needs, and the files below `packages/`, as in Pulp 2."""

import hashlib
import html
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from packaging.version import Version

from pulpit.clock import Clock
from pulpit.content.port import Content, StoredUnit, Tree
from pulpit.content.python import distributions, json_api, status
from pulpit.content.python.json_api import ListedFile
from pulpit.content.python.status import ACTIVE, ProjectStatus

API_VERSION: Final = "1.4"
_SERIALS_SINCE: Final = datetime(2020, 1, 1, tzinfo=UTC)
_PAGES: Final = ("index.html", "index.v1_json")


@dataclass(kw_only=True, slots=True)
class _Project:
    """The files of a project, and by version what `json_api.packed_info` says of it."""

    files: list[ListedFile] = field(default_factory=list)
    infos: dict[str, bytes] = field(default_factory=dict)
    undescribed: set[str] = field(default_factory=set)
    """Versions of which only files without readable metadata were seen."""

    def add(self, unit: StoredUnit, file: ListedFile) -> None:
        self.files.append(file)
        is_described = unit.metadata.get("metadata_version") is not None
        if file.version not in self.infos or (is_described and file.version in self.undescribed):
            self.infos[file.version] = json_api.packed_info(unit)
            (self.undescribed.discard if is_described else self.undescribed.add)(file.version)


def lay_out(content: Content, tree: Tree, clock: Clock) -> None:
    """Write the whole index; for a quarantined project only its status."""
    statuses = status.by_project(content.of(status.PROJECT))
    projects = {name: _Project() for name, told in statuses.items() if not told.offers_files}
    for unit in content.of(distributions.PACKAGE):
        name = unit.metadata["name"]
        if statuses.get(name, ACTIVE).offers_files:
            projects.setdefault(name, _Project()).add(unit, _placed(unit, tree))
    serials = _Serials(tree.remembered(), clock)
    for name, project in projects.items():
        told = statuses.get(name, ACTIVE)
        files = sorted(project.files, key=lambda file: (Version(file.version), file.filename))
        versions = list(dict.fromkeys(file.version for file in files))
        page = _json({"name": name, **_status(told), "versions": versions, "files": [_file(file) for file in files]})
        _write(tree, f"simple/{name}/", _page(f"Links for {name}", [_link(file) for file in files], told), page)
        releases = json_api.releases(name, files, project.infos) if files else {}
        releases["last_serial"] = serials.of(name, page + json.dumps(releases))
        if files:
            with tree.write(f"pypi/{name}/releases.json") as file:
                file.write(json.dumps(releases, ensure_ascii=False, separators=(",", ":")).encode())
    _write(
        tree,
        "simple/",
        _page("Simple index", [f'<a href="{name}/">{name}</a><br>' for name in sorted(projects)]),
        _json(
            {"projects": [{"name": name, "_last-serial": serials.known[name][0]} for name in sorted(projects)]},
            last_serial=serials.last,
        ),
    )
    tree.remember(json.dumps(serials.known, separators=(",", ":")).encode())


class _Serials:
    """Numbers by which mirrors see that a project has changed; each is greater than all before.

    A new one is the seconds since 2020, so that they also grow from one publication to another that was built anew; it
    fits into the 32 bits of XML-RPC until 2088.
    """

    def __init__(self, remembered: bytes | None, clock: Clock) -> None:
        self._former: Final[dict[str, tuple[int, str]]] = json.loads(remembered) if remembered else {}
        last = max((serial for serial, _ in self._former.values()), default=0)
        self._next: Final = max(last + 1, int((clock() - _SERIALS_SINCE).total_seconds()))
        self.known: Final[dict[str, tuple[int, str]]] = {}
        """Serial and digest of the content, by project."""

    def of(self, project: str, content: str) -> int:
        """Return the serial of a project: its former one if the content is the same."""
        digest = hashlib.sha256(content.encode()).hexdigest()
        former, same = self._former.get(project, (self._next, ""))
        serial = former if same == digest else self._next
        self.known[project] = (serial, digest)
        return serial

    @property
    def last(self) -> int:
        """The greatest one."""
        is_same = self.known.keys() == self._former.keys()
        return max((serial for serial, _ in self.known.values()), default=0) if is_same else self._next


def _placed(unit: StoredUnit, tree: Tree) -> ListedFile:
    """Add a file to the tree, with the separate metadata of a wheel (PEP 658)."""
    (file,) = unit.files
    name, known = unit.metadata["name"], unit.metadata
    place = f"packages/source/{name[0]}/{name}/{file.relative_path}"
    tree.link(place, file)
    return ListedFile(
        filename=file.relative_path,
        place=place,
        version=known["version"],
        packagetype=known["packagetype"],
        sha256=file.sha256,
        size=file.size,
        requires_python=known.get("requires_python"),
        yanked=(known.get("yanked_reason") or "") if known.get("yanked") else None,
        upload_time=known.get("upload_time"),
        metadata=_metadata_beside(unit, tree, place),
        provenance=known.get("provenance"),
    )


def _metadata_beside(unit: StoredUnit, tree: Tree, place: str) -> str | None:
    """Write the `METADATA` of a wheel, byte for byte."""
    if not unit.detail:
        return None
    content = zlib.decompress(unit.detail)
    with tree.write(f"{place}.metadata") as file:
        file.write(content)
    return hashlib.sha256(content).hexdigest()


def _write(tree: Tree, folder: str, *forms: str) -> None:
    for name, text in zip(_PAGES, forms, strict=True):
        with tree.write(folder + name) as file:
            file.write(text.encode())


def _link(file: ListedFile) -> str:
    digest = f"sha256={file.metadata}" if file.metadata else None
    attributes = {
        "href": f"../../{file.place}#sha256={file.sha256}",
        "data-requires-python": file.requires_python,
        "data-yanked": file.yanked,
        "data-core-metadata": digest,
        "data-dist-info-metadata": digest,
        "data-provenance": file.provenance,
    }
    written = "".join(f' {name}="{html.escape(text)}"' for name, text in attributes.items() if text is not None)
    return f"<a{written}>{html.escape(file.filename)}</a><br>"


def _page(title: str, lines: Sequence[str], told: ProjectStatus = ACTIVE) -> str:
    metas = {"pypi:repository-version": API_VERSION}
    if told != ACTIVE:
        metas["pypi:project-status"] = told.marker
        metas |= {"pypi:project-status-reason": told.reason} if told.reason else {}
    head = "".join(f'<meta name="{name}" content="{html.escape(text)}">' for name, text in metas.items())
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">{head}<title>{title}</title></head>\n'
        f"<body><h1>{title}</h1>\n" + "".join(f"{line}\n" for line in lines) + "</body></html>\n"
    )


def _status(told: ProjectStatus) -> dict[str, Any]:
    if told == ACTIVE:
        return {}
    return {"project-status": {"status": told.marker, **({"reason": told.reason} if told.reason else {})}}


def _file(file: ListedFile) -> dict[str, Any]:
    digest: bool | dict[str, str] = {"sha256": file.metadata} if file.metadata else False
    optional = {
        "requires-python": file.requires_python,
        "upload-time": file.upload_time,
        "provenance": file.provenance,
    }
    return {
        "filename": file.filename,
        "url": f"../../{file.place}",
        "hashes": {"sha256": file.sha256},
        "size": file.size,
        "yanked": False if file.yanked is None else file.yanked or True,
        "core-metadata": digest,  # and not PEP 658's "dist-info-metadata" too: pip 22.3 to 23.1 crash on it (PEP 714)
        **{key: value for key, value in optional.items() if value is not None},
    }


def _json(page: dict[str, Any], last_serial: int | None = None) -> str:
    meta = {"api-version": API_VERSION, **({} if last_serial is None else {"_last-serial": last_serial})}
    return json.dumps({"meta": meta, **page}, ensure_ascii=False, separators=(",", ":"))
