"""Where a repository's lists are: at the feed itself, or at mirrors that a mirrorlist or metalink names."""

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
_ABSOLUTE: Final = re.compile(r"https?://", re.IGNORECASE)
_ENCODED: Final = re.compile(r"%[0-9A-Fa-f]{2}")
_SLASHES: Final = re.compile(r"//+")
_IN_QUERY: Final = "/%?&=+:@,;~!$'()*"
_STRENGTH: Final = ("sha512", "sha384", "sha256", "sha1", "md5")

_MOST_DIGITS: Final = 9
"""Of a mirror's preference."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MirroredRepository:
    """The URLs of one repository, best first, and what its `repomd.xml` must be where that is known."""

    urls: tuple[str, ...]
    checksum: Checksum | None = None

    def first(self, url: str | None) -> "MirroredRepository":
        """The same with one of the URLs before the others, if it is one of them."""
        if url not in self.urls:
            return self
        others = (other for other in self.urls if other != url)
        return MirroredRepository(urls=(str(url), *others), checksum=self.checksum)

    def only(self, url: str) -> "MirroredRepository":
        """One of the URLs alone."""
        return MirroredRepository(urls=(url,), checksum=self.checksum)


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A list, and at which of the URLs it was."""

    url: str
    document: Document


async def source(upstream: Upstream) -> MirroredRepository:
    """Find the mirrors of a feed that is a list of them; any other feed is its own only one.

    Raises:
        WorkFailed: the list cannot be had.
        BadFeed: it names no mirror that can be used.
    """
    url = upstream.feed if "?" in upstream.feed else upstream.feed.rstrip("/")
    if "?" not in url and not _LIST.search(urlsplit(url).path):
        return MirroredRepository(urls=(upstream.feed,))
    document = await upstream.fetch(url, most=_MOST_BYTES)
    if document is None:
        raise BadFeed("The list of mirrors was answered with nothing.")
    path = document.path
    return await upstream.aside(lambda: parse(path))


def parse(path: Path) -> MirroredRepository:
    """Read a mirrorlist (a URL on each line) or a metalink.

    Raises:
        BadFeed: it names no mirror that can be used.
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
    """Fetch a list from the first mirror that has it; `None` if it is still the one of `known`.

    Raises:
        WorkFailed: none has it; the text is about the last one.
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
    """Where a file may be that a list of the repository at these URLs names, as RFC 3986 resolves it.

    A base is taken for a folder first, as dnf does, whether it ends in a slash or not. What can be read in two ways is
    tried in both: an `href` that is percent-encoded already or only looks so, and doubled slashes.
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
    """As `urljoin`, but a doubled slash stays and never begins a host."""
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
    """The main `repomd.xml` of a metalink; those of yesterday, which it names too, are not taken."""
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
    """The strongest one of the file itself, not of its alternates."""
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
