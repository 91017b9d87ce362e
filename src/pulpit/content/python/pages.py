"""Fetching from an upstream index: where its pages are, which of them changed, and files that have no checksum.

Pages are fetched side by side and read one after the other, so that one of them at a time is in memory.
"""

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Generic, TypeVar
from urllib.parse import urlsplit

from pulpit.content.port import BadFeed, Checksum, Document, NotThere, Upstream
from pulpit.content.python import index
from pulpit.content.python.index import Page
from pulpit.content.python.selection import Choice
from pulpit.errors import WorkFailed

T = TypeVar("T")

_LISTS: Final = 4
"""All pages of one sync may have together so many times the bytes of one list."""
_ROOT: Final = ""
"""Stands for the page that lists all projects, which no project is called."""


class Pages(Generic[T]):
    """The pages of one sync; `read` makes of each project's page what is wanted of it, in a thread."""

    def __init__(self, upstream: Upstream, memory: Mapping[str, Any] | None, read: Callable[[str, Page], T]) -> None:
        self._upstream: Final = upstream
        self._known: Final[Mapping[str, Mapping[str, Any]]] = (memory or {}).get("pages") or {}
        self._read: Final = read
        self._reading: Final = asyncio.Lock()
        self._came = 0
        self.seen: Final[dict[str, dict[str, Any]]] = {}
        """What tells next time whether the pages are the same: the `pages` of the memory."""

    async def projects(self) -> list[str]:
        """The projects that the index lists.

        Raises:
            WorkFailed: the list cannot be had, or not be used.
        """
        document = await self._document(_ROOT, self._known.get(_ROOT))
        if document is None:
            return [name for name in self._known if name != _ROOT]
        return await self._upstream.aside(lambda: index.projects(_page(document, _ROOT)))

    async def changed(self, projects: Collection[str]) -> dict[str, T] | None:
        """Read the pages of these projects; `None` if they are the same as last time, all of them.

        Raises:
            WorkFailed: a page cannot be had, or not be used.
        """
        found: dict[str, T] = {}
        await self._read_all(found, projects, self._known)
        if self._known and self._marks(self.seen) == self._marks(self._known):
            return None
        await self._read_all(found, [project for project in projects if project not in found], {})
        return found

    async def _read_all(
        self, found: dict[str, T], projects: Collection[str], known: Mapping[str, Mapping[str, Any]]
    ) -> None:
        async def one(project: str) -> None:
            document = await self._document(project, known.get(project))
            if document is not None:
                async with self._reading:
                    found[project] = await self._upstream.aside(lambda: self._read(project, _page(document, project)))

        await self._upstream.together([one(project) for project in projects])

    def _marks(self, pages: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        return {name: page["sha256"] for name, page in pages.items()}

    async def _document(self, project: str, known: Mapping[str, Any] | None) -> Document | None:
        """A page, or `None` if it is still the one that is known."""
        where, document = await self._fetch(project, known)
        if document is None:
            self.seen[project] = dict(known or {})
            return None
        self.seen[project] = {
            "url": where,
            "sha256": document.sha256,
            "etag": document.etag,
            "last_modified": document.last_modified,
        }
        self._came += document.size
        most = self._upstream.limits.manifest_bytes * _LISTS
        if self._came > most:
            raise BadFeed(f"The index is refused: its pages have more than {most} bytes in all.")
        return document

    async def _fetch(self, project: str, known: Mapping[str, Any] | None) -> tuple[str, Document | None]:
        """Fetch a page from where it was last time, else from where it may be; answers the URL, too."""
        absent: WorkFailed | None = None
        for url in self._places(project):
            mine = known if known is not None and known.get("url") == url else None
            try:
                document = await self._upstream.fetch(url, most=index.MOST_PAGE, known=mine, accept=index.ACCEPT)
            except NotThere as error:
                absent = absent or error
            else:
                return url, document
        raise BadFeed(f"The feed has no {f'project {project}' if project else 'list of projects'}: {absent}")

    def _places(self, project: str) -> Sequence[str]:
        page = f"{project}/" if project else ""
        places = [root + page for root in roots(self._upstream.feed)]
        before = self._known.get(project, {}).get("url")
        return sorted(places, key=lambda url: url != before)


def roots(feed: str) -> Sequence[str]:
    """Where an index's root may be: at a feed that ends in `simple`, else there or in a folder `simple` beneath it."""
    last = urlsplit(feed).path.rstrip("/").rpartition("/")[2]
    return (feed,) if last.endswith("simple") else (f"{feed}simple/", feed)


def _page(document: Document, project: str) -> Page:
    """Read a page into memory and remove its file."""
    content = document.path.read_bytes()
    document.path.unlink()
    subject = f"The page of {project}" if project else "The list of projects"
    return Page(content=content, media_type=document.media_type, url=document.url, subject=subject)


Choices = Mapping[str, list[Choice]]
"""By project."""


class Unhashed:
    """What is known of such files, by URL; `known` is the `memory` of last time."""

    def __init__(self, upstream: Upstream, known: Mapping[str, Mapping[str, Any]]) -> None:
        self._upstream: Final = upstream
        self._known: Final = known
        self.memory: Final[dict[str, Mapping[str, Any]]] = {}

    async def complete(self, found: Choices) -> dict[str, list[Choice]]:
        """Give every file a checksum.

        Raises:
            WorkFailed: one cannot be had.
        """
        await self._upstream.together([self._learn(url) for url in set(_without(found))])
        return {project: [self._completed(choice) for choice in choices] for project, choices in found.items()}

    async def _learn(self, url: str) -> None:
        before = self._known.get(url)
        document = await self._upstream.fetch(url, most=self._upstream.limits.file_bytes, known=before)
        if document is None:
            self.memory[url] = before or {}
            return
        await self._upstream.aside(document.path.unlink)
        self.memory[url] = {
            "sha256": document.sha256,
            "size": document.size,
            "etag": document.etag,
            "last_modified": document.last_modified,
        }

    def _completed(self, choice: Choice) -> Choice:
        if choice.entry.checksum is not None:
            return choice
        known = self.memory[choice.entry.url]
        checksum = Checksum(algorithm="sha256", digest=known["sha256"])
        return replace(choice, entry=replace(choice.entry, checksum=checksum, size=known["size"]))


def _without(found: Choices) -> Iterator[str]:
    return (choice.entry.url for choices in found.values() for choice in choices if choice.entry.checksum is None)
