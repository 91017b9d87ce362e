"""The JSON API of an index, `pypi/NAME/json` and `pypi/NAME/VERSION/json`, which bandersnatch and Pulp 3 read.

Its URLs are absolute, and only a request says how the index is reached. A publication therefore contains one file for
each project, `pypi/NAME/releases.json`, of which both documents are made when they are asked for.
"""

import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from packaging.version import InvalidVersion, Version

from pulpit.content.port import Derived, DerivedDocument, StoredUnit
from pulpit.content.python import distributions

SERIAL: Final = "X-PyPI-Last-Serial"
"""The header that bandersnatch compares with the number in the list of projects."""
_DOCUMENT: Final = re.compile(r"(.*/)pypi/([^/]+)/(?:([^/]+)/)?json/?")
_INFO: Final = (
    *("author", "author_email", "classifiers", "home_page", "keywords", "license", "license_expression", "maintainer"),
    *("maintainer_email", "project_urls", "provides_extra", "requires_dist", "requires_python", "summary", "version"),
    *("yanked", "yanked_reason"),
)
"""Fields of a unit's metadata that the API names alike."""
_TEXTS: Final = (
    "author",
    "author_email",
    "home_page",
    "keywords",
    "license",
    "maintainer",
    "maintainer_email",
    "summary",
)
"""Fields that are empty texts, not null, for a project that does not state them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedFile:
    """A file as its project's pages list it; `metadata` is the SHA-256 of its separate core metadata."""

    filename: str
    place: str
    """Its path in the index."""
    version: str
    packagetype: str
    sha256: str
    size: int
    requires_python: str | None
    yanked: str | None
    upload_time: str | None
    metadata: str | None
    provenance: str | None


def packed_info(unit: StoredUnit) -> bytes:
    """Return what a unit says of its version, small: an index may have very many."""
    known = unit.metadata
    info = {name: known.get(name) for name in _INFO}
    info |= {name: info[name] or "" for name in _TEXTS}
    info |= {"keywords": ",".join(known["keywords"])} if isinstance(known.get("keywords"), list) else {}
    info |= {"platform": ",".join(known.get("platforms") or []), "classifiers": known.get("classifiers") or []}
    return zlib.compress(json.dumps(info).encode(), 1)


def releases(name: str, files: Sequence[ListedFile], infos: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the content of a project's `releases.json`, without its serial.

    `info` describes the newest version; of the others it contains only what differs.
    """
    by_version: dict[str, list[dict[str, Any]]] = {}
    for file in files:
        by_version.setdefault(file.version, []).append(_file(file))
    newest = max(files, key=lambda file: _preference(file.version, yanked=file.yanked is not None)).version
    info: dict[str, Any] = json.loads(zlib.decompress(infos[newest]))
    others: dict[str, dict[str, Any]] = {}
    for version in by_version.keys() - {newest}:
        theirs: dict[str, Any] = json.loads(zlib.decompress(infos[version]))
        others[version] = {field: value for field, value in theirs.items() if info[field] != value}
    described = {"name": name, **info, **_UNKNOWN}
    return {"info": described, "others": dict(sorted(others.items())), "releases": by_version}


def derived(path: str) -> Derived | None:
    """Return how the document at a URL path is made, if it is one of this API."""
    asked = _DOCUMENT.fullmatch(path)
    project = distributions.project_name(asked[2]) if asked else None
    if asked is None or project is None:
        return None
    version = asked[3]
    return Derived(
        root=asked[1],
        source=f"{asked[1]}pypi/{project}/releases.json",
        write=lambda content, root, _: _document(json.loads(content), version, root),
    )


_UNKNOWN: Final = {
    "bugtrack_url": None,
    "description": "",
    "description_content_type": None,
    "docs_url": None,
    "download_url": "",
    "downloads": {"last_day": -1, "last_month": -1, "last_week": -1},
}
"""What is not kept here."""
_NEVER: Final = "1970-01-01T00:00:00.000000Z"
"""Stands for an unknown upload time: bandersnatch requires one."""


def _preference(version: str, *, yanked: bool) -> tuple[bool, bool, Version]:
    parsed = Version(version)
    return not yanked, not parsed.is_prerelease, parsed


def _file(file: ListedFile) -> dict[str, Any]:
    uploaded = file.upload_time or _NEVER
    return {
        "comment_text": "",
        "digests": {"sha256": file.sha256},
        "downloads": -1,
        "filename": file.filename,
        "has_sig": False,
        "packagetype": file.packagetype,
        "python_version": _python_version(file),
        "requires_python": file.requires_python,
        "size": file.size,
        "upload_time": uploaded.partition(".")[0].removesuffix("Z"),
        "upload_time_iso_8601": uploaded,
        "url": quote(file.place),
        "yanked": file.yanked is not None,
        "yanked_reason": file.yanked or None,
    }


def _python_version(file: ListedFile) -> str:
    wheel = file.filename.removesuffix(".whl")
    return "source" if wheel == file.filename else wheel.split("-")[-3]


def _document(project: dict[str, Any], wanted: str | None, root: str) -> DerivedDocument | None:
    """Write the document of a project, or of one version, for an index at this URL."""
    files: dict[str, list[dict[str, Any]]] = project["releases"]
    info: dict[str, Any] = project["info"]
    version = info["version"] if wanted is None else _spelled(wanted, files)
    if version is None:
        return None
    for file in (file for release in files.values() for file in release):
        file["url"] = root + file["url"]
    page = f"{root}simple/{info['name']}/"
    links = {"package_url": page, "project_url": page, "release_url": f"{root}pypi/{info['name']}/{version}/json"}
    document = {
        "info": {**info, **project["others"].get(version, {}), **links},
        "last_serial": project["last_serial"],
        **({"releases": files} if wanted is None else {}),
        "urls": files[version],
        "vulnerabilities": [],
    }
    return DerivedDocument(
        content=json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(),
        media_type="application/json",
        headers={SERIAL: str(project["last_serial"])},
    )


def _spelled(wanted: str, versions: Mapping[str, Any]) -> str | None:
    """Return the version as the index spells it."""
    try:
        parsed = Version(wanted)
    except InvalidVersion:
        return None
    return next((version for version in versions if Version(version) == parsed), None)
