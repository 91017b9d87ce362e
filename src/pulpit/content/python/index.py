"""Index pages in both forms: HTML (PEP 503, 592, 629) and JSON (PEP 691, 700), with PEP 740 and 792."""

import codecs
import hashlib
import json
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit

from pulpit.clock import iso_micro
from pulpit.content.limits import MIB
from pulpit.content.port import BadFeed, Checksum, LeftOut
from pulpit.content.python import distributions
from pulpit.content.python.markup import BadMarkup, Tag, start_tags
from pulpit.content.python.status import ProjectStatus
from pulpit.text import blanked, shown

ACCEPT: Final = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
MOST_PAGE: Final = 32 * MIB
STRONG: Final = ("sha256", "sha512", "sha384", "sha3_512", "sha3_384", "sha3_256", "blake2b", "blake2s")
WEAK: Final = ("sha224", "sha3_224", "sha1", "md5")

_MOST_VALUES: Final = 1_000_000
_EPOCH: Final = 1970
_LONGEST_URL: Final = 4096
_LONGEST_TEXT: Final = 1000
_DIGITS: Final = {name: hashlib.new(name, usedforsecurity=False).digest_size * 2 for name in (*STRONG, *WEAK)}
"""Hexadecimal digits of each algorithm in `hashlib`, the strongest first."""
_HEXADECIMAL: Final = re.compile("[0-9a-f]+")
_VERSION: Final = re.compile(r"([0-9]{1,9})(\.[0-9]{1,9})*\Z")
_TITLES: Final = ("links for", "simple index")
_STATUS_TAG: Final = "pypi:project-status"
_REASON_TAG: Final = "pypi:project-status-reason"
_UNSAFE_IN_URLS: Final = frozenset(' "<>\\^`{|}')
_SAFE: Final = "".join(sorted(set(string.punctuation) - _UNSAFE_IN_URLS))


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexedFile:
    """A file as a project's page lists it; `yanked` is the reason, perhaps empty, or `None`.

    `provenance` is the URL of its build attestation (PEP 740).
    """

    filename: str
    url: str
    checksum: Checksum | None
    requires_python: str | None = None
    yanked: str | None = None
    size: int | None = None
    upload_time: str | None = None
    provenance: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ProjectPage:
    """The content of a project's page."""

    files: Sequence[IndexedFile]
    status: ProjectStatus
    left_out: Sequence[LeftOut]
    is_index: bool
    """Whether anything shows that this is an index page: a login page, for example, has no such sign."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RootPage:
    """The projects that an index lists, spelt as in URLs."""

    projects: Sequence[str]
    left_out: Sequence[LeftOut]
    is_index: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexPage:
    """A downloaded page; `url` is the final one after redirects, `subject` its name in messages."""

    content: bytes
    media_type: str
    url: str
    subject: str

    def refused(self, reason: str) -> BadFeed:
        """Return the error for a page that cannot be used."""
        return BadFeed(f"{self.subject} is refused: {reason}.")

    @property
    def is_json(self) -> bool:
        """Whether it is JSON rather than HTML, by its content: many servers send a wrong type for both.

        Raises:
            BadFeed: it is neither.
        """
        start = self.content.removeprefix(codecs.BOM_UTF8).lstrip()[:1]
        if start in {b"{", b"<"}:
            return start == b"{"
        if self.media_type == "application/json" or self.media_type.endswith("+json"):
            return True
        if self.media_type.endswith("html") or b"<a " in self.content.lower():
            return False
        raise self.refused(f"it is {shown(self.media_type) or 'of no type'}, neither HTML nor JSON")


def read_project(page: IndexPage, project: str) -> ProjectPage:
    """Parse the files of a project, each name once; other links are ignored.

    Raises:
        BadFeed: the page cannot be used.
    """
    signs = _Signs()
    left_out: dict[str, LeftOut] = {}
    files: dict[str, IndexedFile] = {}
    for entry in _json_files(page, signs) if page.is_json else _html_files(page, signs):
        if isinstance(entry, LeftOut):
            left_out[entry.name] = entry
            continue
        if distributions.is_distribution(entry.filename):
            signs.is_index = True
        if distributions.parse_filename(entry.filename, project) is None:
            reason = _flaw(entry.filename, project)
            if reason:
                left_out[entry.filename] = LeftOut(name=shown(entry.filename), reason=reason)
        else:
            known = files.setdefault(entry.filename, entry)
            if _contradict(known, entry):
                reason = "is named twice, with different checksums"
                left_out[entry.filename] = LeftOut(name=entry.filename, reason=reason, slot=entry.filename)
            elif known.checksum is None:
                files[entry.filename] = entry
    return ProjectPage(
        files=[entry for name, entry in files.items() if name not in left_out],
        status=ProjectStatus.read(signs.marker, signs.reason),
        left_out=list(left_out.values()),
        is_index=signs.is_index,
    )


def read_root(page: IndexPage) -> RootPage:
    """Parse the projects of an index.

    Raises:
        BadFeed: the page cannot be used.
    """
    signs = _Signs()
    projects: dict[str, None] = {}
    left_out: dict[str, None] = {}
    items = _items(page, "projects", signs)
    listed = (name if isinstance(name := item.get("name"), str) else str(item) for item in items)
    for name in listed if page.is_json else _html_projects(page, signs):
        project = distributions.project_name(name)
        if project is None:
            left_out[shown(name)] = None
        else:
            projects[project] = None
    return RootPage(
        projects=list(projects),
        left_out=[LeftOut(name=name, reason="is no name of a project") for name in left_out],
        is_index=signs.is_index or bool(projects),
    )


@dataclass(slots=True)
class _Signs:
    """What was seen while a page was parsed."""

    is_index: bool = False
    marker: str = ""
    reason: str | None = None


def _flaw(filename: str, project: str) -> str:
    """Say why a file of the project is skipped, if it looks like one."""
    if not distributions.is_distribution(filename):
        return ""
    if not distributions.is_usable(filename):
        return "is no name of a file"
    stem = distributions.project_name(filename.partition("-")[0])
    return "has no version that pip knows in its name" if stem == project else ""


def _contradict(known: IndexedFile, entry: IndexedFile) -> bool:
    """Whether two entries of one name cannot be the same file; checksums of different algorithms are not comparable."""
    if known.checksum is None or entry.checksum is None:
        return False
    return known.checksum.algorithm == entry.checksum.algorithm and known.checksum != entry.checksum


def _html_files(page: IndexPage, signs: _Signs) -> Iterator[IndexedFile | LeftOut]:
    for base, tag in _anchors(page, signs):
        link = tag.attributes["href"]
        url = _joined(base, link)
        if url is not None:
            yield _html_entry(url, tag.attributes)
        elif distributions.is_distribution(link.partition("#")[0]) and link.startswith(("http:", "https:")):
            yield LeftOut(name=shown(link), reason="is no URL that can be fetched from")


def _html_entry(url: str, attributes: Mapping[str, str]) -> IndexedFile:
    plain, _, fragment = url.partition("#")
    hashes = dict(part.partition("=")[::2] for part in fragment.split("&"))
    return IndexedFile(
        filename=_last_part(plain),
        url=plain,
        checksum=_checksum(hashes),
        requires_python=_text(attributes.get("data-requires-python")) or None,
        yanked=_text(attributes.get("data-yanked")),
        provenance=_provenance(url, attributes.get("data-provenance")),
    )


def _last_part(url: str) -> str:
    return unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2])


def _html_projects(page: IndexPage, signs: _Signs) -> Iterator[str]:
    """Yield projects directly below the root, and elsewhere on the same server under the name that the link shows."""
    root = page.url.partition("?")[0].rpartition("/")[0] + "/"
    for base, tag in _anchors(page, signs):
        url = (_joined(base, tag.attributes["href"]) or "").partition("#")[0].partition("?")[0].rstrip("/")
        folder, _, name = url.rpartition("/")
        name = unquote(name)
        if not name or distributions.is_distribution(name):
            continue
        is_named_so = distributions.project_name(name) == distributions.project_name(tag.text.strip())
        if folder + "/" == root or (is_named_so and urlsplit(url).netloc == urlsplit(root).netloc):
            yield name


def _anchors(page: IndexPage, signs: _Signs) -> Iterator[tuple[str, Tag]]:
    """Yield each link, with its base URL."""
    base = page.url
    is_utf16 = page.content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = page.content.decode("utf-16" if is_utf16 else "utf-8-sig", errors="replace")
    try:
        for tag in start_tags(text):
            if tag.name == "a" and "href" in tag.attributes:
                yield base, tag
            elif tag.name == "base" and base == page.url:
                base = _joined(base, tag.attributes.get("href", "")) or base
            elif tag.name == "meta":
                _read_meta(page, tag.attributes.get("name"), tag.attributes.get("content", ""), signs)
            elif tag.name in {"title", "h1"} and tag.text.strip().lower().startswith(_TITLES):
                signs.is_index = True
    except BadMarkup as error:
        raise page.refused(str(error)) from None


def _read_meta(page: IndexPage, name: str | None, content: str, signs: _Signs) -> None:
    if name == "pypi:repository-version":
        _check_version(page, content)
        signs.is_index = True
    elif name == _STATUS_TAG:
        signs.marker = content
    elif name == _REASON_TAG:
        signs.reason = _text(content) or None


def _json_files(page: IndexPage, signs: _Signs) -> Iterator[IndexedFile | LeftOut]:
    for item in _items(page, "files", signs):
        url = item.get("url")
        joined = _joined(page.url, url) if isinstance(url, str) else None
        filename = _filename(item.get("filename"), joined)
        if filename is None:
            yield LeftOut(name="a file", reason="has no name")
        elif joined is None:
            yield LeftOut(name=shown(filename), reason="has no URL that can be fetched from", slot=filename)
        else:
            yield _json_entry(filename, joined.partition("#")[0], item)


def _filename(stated: Any, url: str | None) -> str | None:
    """Return the name of a file; pip reads it from the URL alone, so that some indexes omit or escape the other."""
    in_url = _last_part(url.partition("#")[0]) if url is not None else ""
    if distributions.is_distribution(in_url) and (not isinstance(stated, str) or unquote(stated) == in_url):
        return in_url
    return stated if isinstance(stated, str) else None


def _json_entry(filename: str, url: str, item: Mapping[str, Any]) -> IndexedFile:
    hashes, yanked, size = item.get("hashes"), item.get("yanked"), item.get("size")
    return IndexedFile(
        filename=filename,
        url=url,
        checksum=_checksum(hashes if isinstance(hashes, dict) else {}),
        requires_python=_text(item.get("requires-python")) or None,
        yanked=_text(yanked) if isinstance(yanked, str) and yanked else "" if yanked is True else None,
        size=size if isinstance(size, int) and not isinstance(size, bool) and size > 0 else None,  # 0: nobody knew
        upload_time=_moment(item.get("upload-time")),
        provenance=_provenance(url, item.get("provenance")),
    )


def _items(page: IndexPage, key: str, signs: _Signs) -> Iterator[Mapping[str, Any]]:
    """Yield the objects of a list at the top level of a JSON page."""
    document = _json(page)
    items = document.get(key)
    objects = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    if not isinstance(items, list) or (items and not objects):
        raise page.refused(f"it has no list of {key}")
    meta = document.get("meta")
    _check_version(page, meta.get("api-version") if isinstance(meta, dict) else None)
    signs.is_index = True
    status = document.get("project-status")
    if isinstance(status, dict):
        signs.marker = _text(status.get("status")) or ""
        signs.reason = _text(status.get("reason")) or None
    yield from objects


def _json(page: IndexPage) -> Mapping[str, Any]:
    if sum(page.content.count(sign) for sign in (b"[", b"{", b",")) > _MOST_VALUES:
        raise page.refused(f"it holds more than {_MOST_VALUES} values")
    try:
        document = json.loads(page.content)
    except (ValueError, RecursionError):
        raise page.refused("it is no JSON") from None
    if not isinstance(document, dict):
        raise page.refused("it is no object of JSON")
    return document


def _check_version(page: IndexPage, version: Any) -> None:
    """Reject another major version than 1 (PEP 629)."""
    found = _VERSION.match(str(version))  # a number in some indexes
    if version is not None and (found is None or int(found[1]) != 1):
        readable = shown(str(version))
        raise page.refused(f"it follows version {readable!r} of the simple API, and 1 is what is read here")


def _joined(base: str, link: str) -> str | None:
    """Return the absolute URL of a link, or `None` if it cannot be downloaded.

    Existing escapes are unchanged, because some servers sign them; invalid characters are escaped, as pip and browsers
    do.
    """
    try:
        url = urljoin(base, link.strip())
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return None
    if not usable or len(url) > _LONGEST_URL or not url.isprintable():
        return None
    if url.isascii() and _UNSAFE_IN_URLS.isdisjoint(url):
        return url
    path, query, fragment = (quote(part, safe=_SAFE) for part in (parts.path, parts.query, parts.fragment))
    return urlunsplit(parts._replace(path=path, query=query, fragment=fragment))


def _checksum(hashes: Mapping[str, Any]) -> Checksum | None:
    """Return the strongest checksum."""
    for algorithm, digits in _DIGITS.items():
        digest = hashes.get(algorithm)
        if isinstance(digest, str) and len(digest) == digits and _HEXADECIMAL.fullmatch(digest.lower()):
            return Checksum(algorithm=algorithm, digest=digest.lower())
    return None


def _provenance(base: str, value: Any) -> str | None:
    """Return the absolute URL of an attestation; one with credentials is dropped."""
    url = _joined(base, value) if isinstance(value, str) and value.strip() else None
    return None if url is None or "@" in urlsplit(url).netloc else url


def _text(value: Any) -> str | None:
    """Return foreign text on one line."""
    if not isinstance(value, str):
        return None
    return blanked(value[:_LONGEST_TEXT]).strip()


def _moment(value: Any) -> str | None:
    """Parse a time as PEP 700 writes it."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        known = moment is not None and moment.tzinfo is not None and moment.year > _EPOCH
        return iso_micro(moment) if moment is not None and known else None
    except (ValueError, OverflowError):
        return None
