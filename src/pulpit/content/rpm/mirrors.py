"""The URLs of a repository: the feed itself, or the mirrors of a mirrorlist or metalink."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urljoin, urlsplit, urlunsplit
from xml.etree.ElementTree import Element

from pulpit.content.limits import MIB
from pulpit.content.port import BadFeed, Checksum, Document, Upstream
from pulpit.content.rpm import elements, repomd
from pulpit.errors import WorkFailed

MOST_MIRRORS: Final = 8
_MOST_BYTES: Final = MIB
_LIST: Final = re.compile(r"(mirrorlist|metalink)[^/]*$|\.(meta4|metalink|mirrors|txt)$", re.IGNORECASE)
_WITHIN: Final = re.compile(r"/repodata/(repomd\.xml/)?$")
"""What people copy from a browser along with the folder that a feed is."""
_ABSOLUTE: Final = re.compile(r"https?://", re.IGNORECASE)
_ENCODED: Final = re.compile(r"%[0-9A-Fa-f]{2}")
_SLASHES: Final = re.compile(r"//+")
_IN_QUERY: Final = "/%?&=+:@,;~!$'()*"
_STRENGTH: Final = ("sha512", "sha384", "sha256", "sha1", "md5")

_MOST_DIGITS: Final = 9
"""Of a mirror's preference."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MirroredRepository:
    """The URLs of one repository, best first, and the checksum of its `repomd.xml` if it is known."""

    urls: tuple[str, ...]
    checksum: Checksum | None = None

    def first(self, url: str | None) -> "MirroredRepository":
        """Move one of the URLs to the front."""
        if url not in self.urls:
            return self
        others = (other for other in self.urls if other != url)
        return MirroredRepository(urls=(str(url), *others), checksum=self.checksum)

    def only(self, url: str) -> "MirroredRepository":
        """Keep only one of the URLs."""
        return MirroredRepository(urls=(url,), checksum=self.checksum)


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A downloaded list, and the URL that had it."""

    url: str
    document: Document


async def source(upstream: Upstream) -> MirroredRepository:
    """Resolve a mirrorlist or metalink; any other feed is its own only mirror.

    Raises:
        WorkFailed: the list is unavailable.
        BadFeed: it names no usable mirror.
    """
    url = upstream.feed if "?" in upstream.feed else upstream.feed.rstrip("/")
    if "?" not in url and not _LIST.search(urlsplit(url).path):
        return MirroredRepository(urls=(_WITHIN.sub("/", upstream.feed),))
    document = await upstream.fetch(url, most=_MOST_BYTES)
    if document is None:
        raise BadFeed("The list of mirrors was answered with nothing.")
    path = document.path
    return await upstream.aside(lambda: parse(path))


def parse(path: Path) -> MirroredRepository:
    """Parse a mirrorlist (a URL on each line) or a metalink.

    Raises:
        BadFeed: it names no usable mirror.
    """
    content = path.read_bytes()
    if content.lstrip().startswith(b"<"):
        found = _metalink(path)
    else:
        lines = (line.strip() for line in content.decode(errors="replace").splitlines())
        urls = [line for line in lines if line and not line.startswith("#")]
        found = MirroredRepository(
            urls=_usable([url.removesuffix("/").removesuffix(f"/{repomd.NAME}") for url in urls])
        )
    if not found.urls:
        raise BadFeed("The list of mirrors is refused: it names none that is reached by http or https.")
    return MirroredRepository(urls=found.urls[:MOST_MIRRORS], checksum=found.checksum)


async def fetch(
    upstream: Upstream,
    where: MirroredRepository,
    path: str,
    *,
    most: int,
    base: str | None = None,
    checksum: Checksum | None = None,
    known: Mapping[str, Any] | None = None,
) -> Found | None:
    """Download a list from the first mirror that has it; `None` if it is unchanged since `known`.

    Raises:
        WorkFailed: no mirror has it; the text is about the last one.
    """
    problem = WorkFailed("There is no mirror.")
    for url in where.urls:
        mine = known if known is not None and known.get("url") in {url, None} else None
        for place in places([url], path, base):
            try:
                document = await upstream.fetch(place, most=most, checksum=checksum, known=mine)
            except WorkFailed as error:
                problem = error
            else:
                return Found(url=url, document=document) if document is not None else None
    raise problem


def places(urls: Sequence[str], href: str, base: str | None = None) -> tuple[str, ...]:
    """Return the possible URLs of a file that the repository's metadata lists, resolved by RFC 3986.

    A base is first taken for a folder, as in dnf, whether it ends in a slash or not. Ambiguous cases are tried both
    ways: an `href` that is, or only looks, percent-encoded, and doubled slashes.
    """
    found: dict[str, None] = {}
    for url in urls:
        folders = [urljoin(url, f"{base.rstrip('/')}/"), urljoin(url, base)] if base else [url]
        for folder in folders:
            found.update(dict.fromkeys(_resolved(folder, spelling) for spelling in _spellings(href)))
    return tuple(found)


def _spellings(href: str) -> Iterator[str]:
    if _ABSOLUTE.match(href):
        yield href
        return
    path, mark, query = href.partition("?")
    if _ENCODED.search(path) or mark:
        yield quote(path, safe="/%") + mark + quote(query, safe=_IN_QUERY)
    yield quote(href)
    if "//" in path:
        yield quote(_SLASHES.sub("/", href))


def _resolved(folder: str, href: str) -> str:
    """Resolve as `urljoin`, but keep doubled slashes and never let them start a host."""
    if _ABSOLUTE.match(href):
        return href
    parts = urlsplit(folder)
    path, mark, query = href.partition("?")
    segments = [""] if path.startswith("/") else parts.path.split("/")[:-1] or [""]
    for segment in path.lstrip("/").split("/"):
        if segment == "..":
            segments = segments[: max(len(segments) - 1, 1)]
        elif segment != ".":
            segments.append(segment)
    return urlunsplit((parts.scheme, parts.netloc, "/".join(segments), query if mark else parts.query, ""))


def _metalink(path: Path) -> MirroredRepository:
    """Parse the main `repomd.xml` of a metalink; older ones, which it lists too, are ignored."""
    for files in elements.children(path, "metalink", "The metalink"):
        for file in files.iter():
            if elements.local(file.tag) == "file" and file.get("name") == "repomd.xml":
                return MirroredRepository(urls=_urls(file), checksum=_checksum(file))
    raise BadFeed("The metalink is refused: it names no repomd.xml.")


def _urls(file: Element) -> tuple[str, ...]:
    mirrors: list[tuple[int, str]] = []
    for element in file.iter():
        if elements.local(element.tag) == "url" and element.text:
            preference = element.get("preference") or ""
            is_number = preference.isascii() and preference.isdigit() and len(preference) <= _MOST_DIGITS
            mirrors.append((int(preference) if is_number else 0, element.text.strip()))
    mirrors.sort(key=lambda mirror: -mirror[0])
    urls = [url for _, url in mirrors]
    return _usable([url.removesuffix(f"/{repomd.NAME}") for url in urls if url.endswith(f"/{repomd.NAME}")])


def _checksum(file: Element) -> Checksum | None:
    """Return the strongest checksum of the file itself, not of its alternates."""
    for part in file:
        if elements.local(part.tag) == "verification":
            hashes = {(stated.get("type") or "").lower().replace("-", ""): stated.text or "" for stated in part}
            for kind in _STRENGTH:
                if kind in hashes:
                    return repomd.checksum(kind, hashes[kind], "The metalink")
    return None


def _usable(urls: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f"{url}/" for url in urls if _is_http(url)))


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0 and url.isprintable()
        )
    except ValueError:
        return False
