"""The URLs of a repository: the feed itself, or the mirrors of a mirrorlist or metalink."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urljoin, urlsplit, urlunsplit
from xml.etree.ElementTree import Element

from pulpit.content.limits import MIB
from pulpit.content.port import BadFeed, Checksum, Document, NotForUs, NotThere, Upstream
from pulpit.content.rpm import elements, repomd
from pulpit.errors import WorkFailed
from pulpit.text import shown

MOST_MIRRORS: Final = 8
_MOST_BYTES: Final = MIB
_QUOTED: Final = 100
"""Characters of a list that a message repeats."""
_LIST: Final = re.compile(r"(mirrorlist|metalink)[^/]*$|\.(meta4|metalink|mirrors|txt)$", re.IGNORECASE)
_WITHIN: Final = re.compile(r"/repodata/(repomd\.xml/)?$")
"""What people copy from a browser along with the folder that a feed is."""
_ABSOLUTE: Final = re.compile(r"https?://", re.IGNORECASE)
_ENCODED: Final = re.compile(r"%[0-9A-Fa-f]{2}")
_SLASHES: Final = re.compile(r"//+")
_IN_QUERY: Final = "/%?&=+:@,;~!$'()*"
_STRENGTH: Final = ("sha512", "sha384", "sha256", "sha1", "md5")

_MOST_DIGITS: Final = 12
_MOST_ALTERNATES: Final = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class MirroredRepository:
    """The URLs of one repository, best first."""

    urls: tuple[str, ...]
    checksums: tuple[Checksum, ...] = ()
    """Of its `repomd.xml`, newest first, if they are known: mirrors may lag behind."""

    def first(self, url: str | None) -> "MirroredRepository":
        """Move one of the URLs to the front."""
        if url not in self.urls:
            return self
        others = (other for other in self.urls if other != url)
        return MirroredRepository(urls=(str(url), *others), checksums=self.checksums)

    def only(self, url: str) -> "MirroredRepository":
        """Keep only one of the URLs."""
        return MirroredRepository(urls=(url,), checksums=self.checksums)


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A downloaded list, and the URL that had it."""

    url: str
    document: Document


async def find(upstream: Upstream, known: Mapping[str, Any] | None) -> tuple[MirroredRepository, Found | None]:
    """Resolve the feed and download its `repomd.xml`, which is `None` if it is unchanged since `known`.

    The name tells whether a feed is a folder or a list of mirrors, but not always: distributions have lists such as
    `mirrorlist/9/baseos` and `mirror.list`. So if it is not what its name says, it is taken for the other.

    Raises:
        WorkFailed: the feed, or all its mirrors, are unavailable.
        BadFeed: it names no usable mirror.
    """
    url = upstream.feed if "?" in upstream.feed else upstream.feed.rstrip("/")
    folder = MirroredRepository(urls=(_WITHIN.sub("/", upstream.feed),))
    was_list = known is not None and known.get("url") not in {*folder.urls, None}

    async def as_folder() -> tuple[MirroredRepository, Found | None]:
        return folder, await fetch_repomd(upstream, folder, known)

    async def as_list() -> tuple[MirroredRepository, Found | None]:
        where = (await _listed(upstream, url)).first(known.get("url") if known else None)
        return where, await fetch_repomd(upstream, where, known)

    if "?" in url:
        return await as_list()
    is_list = was_list or _LIST.search(urlsplit(url).path)
    likely, other = (as_list, as_folder) if is_list else (as_folder, as_list)
    try:
        return await likely()
    except (NotThere, NotForUs, BadFeed) as error:
        try:
            return await other()
        except WorkFailed:
            raise error from None


async def _listed(upstream: Upstream, url: str) -> MirroredRepository:
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
    content, begin = path.read_bytes(), ""
    if content.lstrip().startswith(b"<"):
        found = _metalink(path)
    else:
        lines = (line.strip() for line in content.decode("utf-8-sig", errors="replace").splitlines())
        urls = [line for line in lines if line and not line.startswith("#")]
        found = MirroredRepository(
            urls=_usable([url.removesuffix("/").removesuffix(f"/{repomd.NAME}") for url in urls])
        )
        if urls and "://" not in urls[0]:  # servers of lists say so if they have none for a distribution
            begin = f"; it begins with {shown(urls[0][:_QUOTED])!r}"
    if not found.urls:
        raise BadFeed(f"The list of mirrors is refused: it names none that is reached by http or https{begin}.")
    return MirroredRepository(urls=found.urls[:MOST_MIRRORS], checksums=found.checksums)


async def fetch_repomd(upstream: Upstream, where: MirroredRepository, known: Mapping[str, Any] | None) -> Found | None:
    """Download `repomd.xml`, as new as any mirror has it; `None` if it is unchanged since `known`.

    None is accepted that is older than the known one.

    Raises:
        WorkFailed: no mirror has it.
    """
    problem: WorkFailed | None = None
    for checksum in where.checksums or (None,):
        try:
            return await fetch(upstream, where, repomd.NAME, most=repomd.MOST_BYTES, checksum=checksum, known=known)
        except WorkFailed as error:
            problem = problem or error
        if checksum and known and known.get("sha256") == checksum.digest:
            break
    raise problem or WorkFailed("There is no mirror.")


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
        WorkFailed: no mirror has it; the error is that of the first one, which decides whether it exists.
    """
    problem: WorkFailed | None = None
    for url in where.urls:
        mine = known if known is not None and known.get("url") in {url, None} else None
        for place in places([url], path, base):
            try:
                document = await upstream.fetch(place, most=most, checksum=checksum, known=mine)
            except WorkFailed as error:
                problem = problem or error
            else:
                return Found(url=url, document=document) if document is not None else None
    raise problem or WorkFailed("There is no mirror.")


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
    """Parse the `repomd.xml` of a metalink, of version 3 or 4."""
    for files in elements.children(path, "metalink", "The metalink"):
        for file in files.iter():
            if elements.local(file.tag) == "file" and file.get("name") == "repomd.xml":
                checksums = [_checksum(file), *(_checksum(older) for older in _alternates(file))]
                return MirroredRepository(urls=_urls(file), checksums=tuple(filter(None, checksums)))
    raise BadFeed("The metalink is refused: it names no repomd.xml.")


def _urls(file: Element) -> tuple[str, ...]:
    """Return the mirrors, by preference (version 3, the highest first) or priority (version 4, the lowest first)."""
    mirrors: list[tuple[int, str]] = []
    for element in file.iter():
        if elements.local(element.tag) == "url" and element.text:
            rank = _number(element.get("preference")) - _number(element.get("priority"))
            mirrors.append((rank, element.text.strip()))
    mirrors.sort(key=lambda mirror: -mirror[0])
    urls = [url for _, url in mirrors]
    return _usable([url.removesuffix(f"/{repomd.NAME}") for url in urls if url.endswith(f"/{repomd.NAME}")])


def _alternates(file: Element) -> Sequence[Element]:
    """Return the older files that mirrors may still have, newest first."""

    def time(older: Element) -> int:
        return next((_number(part.text) for part in older if elements.local(part.tag) == "timestamp"), 0)

    found = [element for element in file.iter() if elements.local(element.tag) == "alternate"]
    return sorted(found, key=time, reverse=True)[:_MOST_ALTERNATES]


def _checksum(file: Element) -> Checksum | None:
    """Return the strongest checksum of a file itself, not of its alternates."""
    parts = [file, *(part for part in file if elements.local(part.tag) == "verification")]
    stated = [part for holder in parts for part in holder if elements.local(part.tag) == "hash"]
    hashes = {(part.get("type") or "").lower().replace("-", ""): part.text or "" for part in stated}
    kind = next((kind for kind in _STRENGTH if kind in hashes), None)
    return repomd.checksum(kind, hashes[kind], "The metalink") if kind else None


def _number(text: str | None) -> int:
    """Return a number; 0 for anything else."""
    stated = (text or "").strip()
    return int(stated) if stated.isascii() and stated.isdigit() and len(stated) <= _MOST_DIGITS else 0


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
