"""The pages of an index, in both forms: HTML (PEP 503, 592, 629) and JSON (PEP 691, 700).

The start tags of a page are read in time that grows with the page and no faster: the standard library's parser takes
half a minute for 64 KiB of `<a <a <a …`, and a page comes from a stranger.
"""

import hashlib
import html
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import unquote, urljoin, urlsplit

from pulpit.clock import iso_micro
from pulpit.content.limits import MIB
from pulpit.content.port import BadFeed, Checksum
from pulpit.content.python import distributions
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
"""Hexadecimal digits of each algorithm that everybody's `hashlib` has, the one to rely on first."""
_HEXADECIMAL: Final = re.compile("[0-9a-f]+")
_VERSION: Final = re.compile(r"([0-9]{1,9})\.[0-9]{1,9}\Z")

MOST_TAG: Final = 64 * 1024
"""Characters in one tag."""

_NAME: Final = re.compile(r"[A-Za-z][^\s/>]*")
_GAP: Final = re.compile(r"[\s/]*")
_ATTRIBUTE: Final = re.compile(r"[^\s/>][^\s/>=]*")
_EQUALS: Final = re.compile(r"\s*=\s*")
_UNQUOTED: Final = re.compile(r"[^\s>]*")
_RAW: Final = {
    name: re.compile(rf"</{name}[\s/>]", re.IGNORECASE) for name in ("script", "style", "textarea", "title", "xmp")
}
"""Elements whose content is text, whatever it looks like."""


class BadMarkup(ValueError):
    """The page cannot be read; the text is the end of a sentence about it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tag:
    """A start tag; names in lower case, values without character references, `""` where there is none."""

    name: str
    attributes: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A file as a project's page names it; `yanked` is the reason, perhaps empty, or `None`."""

    filename: str
    url: str
    checksum: Checksum | None
    requires_python: str | None = None
    yanked: str | None = None
    size: int | None = None
    upload_time: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """A fetched page; `url` is where redirects led to, `subject` what a sentence calls it."""

    content: bytes
    media_type: str
    url: str
    subject: str

    def refused(self, reason: str) -> BadFeed:
        """The page cannot be used."""
        return BadFeed(f"{self.subject} is refused: {reason}.")

    @property
    def is_json(self) -> bool:
        """Whether it is JSON rather than HTML.

        Raises:
            BadFeed: it is neither.
        """
        if self.media_type == "application/json" or self.media_type.endswith("+json"):
            return True
        if self.media_type.endswith("html"):
            return False
        raise self.refused(f"it is {shown(self.media_type)}, neither HTML nor JSON")


def files(page: Page, project: str) -> list[Entry]:
    """The files of a project, each name once; links to whatever else are passed over.

    Raises:
        BadFeed: the page cannot be used.
    """
    found: dict[str, Entry] = {}
    for entry in _json_files(page) if page.is_json else _html_files(page):
        if distributions.is_distribution(entry.filename) and not distributions.is_usable(entry.filename):
            raise page.refused(f"{shown(entry.filename)!r} is no name of a file")
        if distributions.parse_filename(entry.filename, project) is None:
            continue
        if found.setdefault(entry.filename, entry).checksum != entry.checksum:
            raise page.refused(f"it names {entry.filename} twice, with different checksums")
    return list(found.values())


def projects(page: Page) -> list[str]:
    """The projects of an index, as its root names them, spelt as in URLs.

    Raises:
        BadFeed: the page cannot be used.
    """
    found: dict[str, None] = {}
    for name in _json_projects(page) if page.is_json else _html_projects(page):
        project = distributions.project_name(name)
        if project is None:
            raise page.refused(f"{shown(name)!r} is no name of a project")
        found[project] = None
    return list(found)


def _html_files(page: Page) -> Iterator[Entry]:
    for base, tag in _anchors(page):
        url = _joined(base, tag.attributes["href"])
        if url is not None:
            yield _html_entry(url, tag.attributes)


def _html_entry(url: str, attributes: Mapping[str, str]) -> Entry:
    plain, _, fragment = url.partition("#")
    hashes = dict(part.partition("=")[::2] for part in fragment.split("&"))
    return Entry(
        filename=unquote(urlsplit(plain).path.rpartition("/")[2]),
        url=plain,
        checksum=_checksum(hashes),
        requires_python=_text(attributes.get("data-requires-python")) or None,
        yanked=_text(attributes.get("data-yanked")),
    )


def _html_projects(page: Page) -> Iterator[str]:
    """What lies right beneath the root."""
    root = page.url.partition("?")[0].rpartition("/")[0] + "/"
    for base, tag in _anchors(page):
        url = (_joined(base, tag.attributes["href"]) or "").partition("#")[0].partition("?")[0]
        name = url.removeprefix(root).rstrip("/")
        if url.startswith(root) and name and "/" not in name:
            yield unquote(name)


def _anchors(page: Page) -> Iterator[tuple[str, Tag]]:
    """Each link, with the URL that it is relative to."""
    base = page.url
    try:
        for tag in start_tags(page.content.decode(errors="replace")):
            if tag.name == "a" and "href" in tag.attributes:
                yield base, tag
            elif tag.name == "base" and base == page.url:
                base = _joined(base, tag.attributes.get("href", "")) or base
            elif tag.name == "meta" and tag.attributes.get("name") == "pypi:repository-version":
                _check_version(page, tag.attributes.get("content", ""))
    except BadMarkup as error:
        raise page.refused(str(error)) from None


def _json_files(page: Page) -> Iterator[Entry]:
    for item in _items(page, "files"):
        filename, url = item.get("filename"), item.get("url")
        joined = _joined(page.url, url) if isinstance(url, str) else None
        if not isinstance(filename, str) or joined is None:
            raise page.refused("one of its files has no name, or no URL that can be fetched from")
        yield _json_entry(filename, joined.partition("#")[0], item)


def _json_entry(filename: str, url: str, item: Mapping[str, Any]) -> Entry:
    hashes, yanked, size = item.get("hashes"), item.get("yanked"), item.get("size")
    return Entry(
        filename=filename,
        url=url,
        checksum=_checksum(hashes if isinstance(hashes, dict) else {}),
        requires_python=_text(item.get("requires-python")) or None,
        yanked=_text(yanked) if isinstance(yanked, str) and yanked else "" if yanked is True else None,
        size=size if isinstance(size, int) and not isinstance(size, bool) and size >= 0 else None,
        upload_time=_moment(item.get("upload-time")),
    )


def _json_projects(page: Page) -> Iterator[str]:
    for item in _items(page, "projects"):
        yield str(item.get("name"))


def _items(page: Page, key: str) -> Iterator[Mapping[str, Any]]:
    """The objects of a list at the top of a JSON page."""
    document = _json(page)
    items = document.get(key)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise page.refused(f"it has no list of {key}")
    meta = document.get("meta")
    _check_version(page, meta.get("api-version") if isinstance(meta, dict) else None)
    yield from items


def _json(page: Page) -> Mapping[str, Any]:
    if sum(page.content.count(one) for one in (b"[", b"{", b",")) > _MOST_VALUES:
        raise page.refused(f"it holds more than {_MOST_VALUES} values")
    try:
        document = json.loads(page.content)
    except (ValueError, RecursionError):
        raise page.refused("it is no JSON") from None
    if not isinstance(document, dict):
        raise page.refused("it is no object of JSON")
    return document


def _check_version(page: Page, version: Any) -> None:
    """Refuse another major version than 1 (PEP 629)."""
    found = _VERSION.match(version) if isinstance(version, str) else None
    if version is not None and (found is None or int(found[1]) != 1):
        readable = shown(str(version))
        raise page.refused(f"it follows version {readable!r} of the simple API, and 1 is what is read here")


def _joined(base: str, link: str) -> str | None:
    """The absolute URL of a link, or `None` if there can be none to fetch from."""
    try:
        url = urljoin(base, link.strip())
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return None
    return url if usable and len(url) <= _LONGEST_URL and url.isprintable() else None


def _checksum(hashes: Mapping[str, Any]) -> Checksum | None:
    """The one to rely on most."""
    for algorithm, digits in _DIGITS.items():
        digest = hashes.get(algorithm)
        if isinstance(digest, str) and len(digest) == digits and _HEXADECIMAL.fullmatch(digest.lower()):
            return Checksum(algorithm=algorithm, digest=digest.lower())
    return None


def _text(value: Any) -> str | None:
    """A stranger's text on one line."""
    if not isinstance(value, str):
        return None
    return blanked(value[:_LONGEST_TEXT]).strip()


def _moment(value: Any) -> str | None:
    """A time as PEP 700 writes it."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        known = moment is not None and moment.tzinfo is not None and moment.year > _EPOCH
        return iso_micro(moment) if moment is not None and known else None
    except (ValueError, OverflowError):
        return None


def start_tags(text: str) -> Iterator[Tag]:
    """Every start tag outside comments and raw text.

    Raises:
        BadMarkup: the page ends within a tag or comment, or a tag is too long.
    """
    place = 0
    while (place := text.find("<", place)) >= 0:
        name = _NAME.match(text, place + 1)
        if name is None:
            place = _past(text, place)
            continue
        tag, place = _tag(text, name)
        yield tag
        raw = _RAW.get(tag.name)
        if raw:
            end = raw.search(text, place)
            place = end.start() if end else len(text)


def _past(text: str, place: int) -> int:
    """Where a comment, declaration or end tag ends; a `<` that begins nothing is text."""
    following = text[place + 1 : place + 2]
    if text.startswith("<!--", place):
        return _after(text, "-->", place + 2)
    return _after(text, ">", place + 1) if following in {"!", "?", "/"} and following else place + 1


def _after(text: str, what: str, place: int) -> int:
    end = text.find(what, place)
    if end < 0:
        raise BadMarkup("it ends in the middle of a tag")
    return end + len(what)


def _tag(text: str, name: re.Match[str]) -> tuple[Tag, int]:
    """Read a tag; answers where it ends, too."""
    attributes: dict[str, str] = {}
    place = name.end()
    while True:
        place = _end_of(_GAP, text, place)
        if place - name.start() > MOST_TAG:
            raise BadMarkup(f"one of its tags has more than {MOST_TAG} characters")
        if text.startswith(">", place):
            return Tag(name=name[0].lower(), attributes=attributes), place + 1
        attribute = _ATTRIBUTE.match(text, place)
        if attribute is None:
            raise BadMarkup("it ends in the middle of a tag")
        value, place = _value(text, attribute.end())
        attributes.setdefault(attribute[0].lower(), value)


def _value(text: str, place: int) -> tuple[str, int]:
    equals = _EQUALS.match(text, place)
    if equals is None:
        return "", place
    place = equals.end()
    quote = text[place : place + 1]
    if quote in {'"', "'"}:
        end = _after(text, quote, place + 1)
        return _plain(text[place + 1 : end - 1]), end
    end = _end_of(_UNQUOTED, text, place)
    return _plain(text[place:end]), end


def _end_of(pattern: re.Pattern[str], text: str, place: int) -> int:
    """Where a pattern ends that may match nothing."""
    found = pattern.match(text, place)
    return found.end() if found else place


def _plain(value: str) -> str:
    """Without character references; one of thousands of digits stays as it is."""
    try:
        return html.unescape(value)
    except ValueError:
        return value
