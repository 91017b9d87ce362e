"""A published index: pages in both forms, and the files below `packages/`, as in Pulp 2."""

import hashlib
import html
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from packaging.version import Version

from pulpit.content.port import Content, StoredUnit, Tree
from pulpit.content.python import distributions, status
from pulpit.content.python.status import ACTIVE, ProjectStatus

API_VERSION: Final = "1.4"
_PAGES: Final = ("index.html", "index.v1_json")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Listed:
    """A file as its project's page lists it; `metadata` is the SHA-256 of its separate core metadata."""

    filename: str
    place: str
    version: str
    sha256: str
    size: int
    requires_python: str | None
    yanked: str | None
    upload_time: str | None
    metadata: str | None
    provenance: str | None


def lay_out(content: Content, tree: Tree) -> None:
    """Write the whole index; for a quarantined project only its status."""
    statuses = status.by_project(content.of(status.PROJECT))
    projects: dict[str, list[_Listed]] = {name: [] for name, told in statuses.items() if not told.offers_files}
    for unit in content.of(distributions.PACKAGE):
        name = unit.metadata["name"]
        if statuses.get(name, ACTIVE).offers_files:
            projects.setdefault(name, []).append(_placed(unit, tree))
    names = sorted(projects)
    _write(
        tree,
        "simple/",
        _page("Simple index", [f'<a href="{name}/">{name}</a><br>' for name in names]),
        _json({"projects": [{"name": name} for name in names]}),
    )
    for name, files in projects.items():
        told = statuses.get(name, ACTIVE)
        files.sort(key=lambda file: (Version(file.version), file.filename))
        versions = list(dict.fromkeys(file.version for file in files))
        _write(
            tree,
            f"simple/{name}/",
            _page(f"Links for {name}", [_link(file) for file in files], told),
            _json({"name": name, **_status(told), "versions": versions, "files": [_file(file) for file in files]}),
        )


def _placed(unit: StoredUnit, tree: Tree) -> _Listed:
    """Add a file to the tree, with the separate metadata of a wheel (PEP 658)."""
    (file,) = unit.files
    name, known = unit.metadata["name"], unit.metadata
    place = f"packages/source/{name[0]}/{name}/{file.relative_path}"
    tree.link(place, file)
    return _Listed(
        filename=file.relative_path,
        place=place,
        version=known["version"],
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


def _link(file: _Listed) -> str:
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


def _file(file: _Listed) -> dict[str, Any]:
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


def _json(page: dict[str, Any]) -> str:
    return json.dumps({"meta": {"api-version": API_VERSION}, **page}, ensure_ascii=False, separators=(",", ":"))
