"""Downloads from an upstream index: where its pages are, which ones changed, and files without a checksum.

Pages are downloaded concurrently and parsed one at a time, so that only one is in memory. A project that was named in
the configuration must have a page; one that the index itself lists may have none, and is skipped.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Generic, TypeVar
from urllib.parse import urlsplit

from pulpit.content import encodings
from pulpit.content.port import BadFeed, Checksum, Document, LeftOut, NotForUs, NotThere, Upstream
from pulpit.content.python import index
from pulpit.content.python.index import IndexPage, RootPage
from pulpit.content.python.selection import Choice
from pulpit.errors import WorkFailed

T = TypeVar("T")

_LISTS: Final = 4
"""Size limit for all pages of one sync, as a multiple of the limit for one list."""
_ROOT: Final = ""
"""Stands for the page that lists all projects; no project has this name."""


class NoPage(WorkFailed):
    """A page is missing or unusable at all its possible URLs."""


class Pages(Generic[T]):
    """The pages of one sync; `read` converts each project's page, in a thread.

    `read` raises `BadFeed` if the page is not the project's: then the next URL is tried.
    """

    def __init__(
        self, upstream: Upstream, memory: Mapping[str, Any] | None, read: Callable[[str, IndexPage], T]
    ) -> None:
        self._upstream: Final = upstream
        self._known: Final[Mapping[str, Mapping[str, Any]]] = (memory or {}).get("pages") or {}
        self._known_missing: Final[Collection[str]] = (memory or {}).get("missing") or ()
        self._read: Final = read
        self._reading: Final = asyncio.Lock()
        self._came = 0
        self.seen: Final[dict[str, dict[str, Any]]] = {}
        """The validators of all pages: the `pages` of the memory."""
        self.missing: Final[dict[str, str]] = {}
        """Projects that the index lists without having a page, with the reason."""
        self.left_out: Final[list[LeftOut]] = []
        """Invalid names in the list of projects."""

    async def projects(self, *, may_be_empty: bool) -> list[str]:
        """Return the projects that the index lists.

        Raises:
            WorkFailed: the list is unavailable or unusable.
        """

        def read(page: IndexPage) -> RootPage:
            root = index.read_root(page)
            if not root.projects and not (root.is_index or may_be_empty):
                if root.left_out:
                    first = root.left_out[0]
                    raise page.refused(f"it lists no project; {first.name!r} {first.reason}")
                raise page.refused(
                    "nothing in it looks like an index of Python packages; with allow_empty a feed may have no project"
                )
            return root

        root = await self._page(_ROOT, self._known.get(_ROOT), read)
        if root is None:
            return [name for name in self._known if name != _ROOT] + list(self._known_missing)
        self.left_out.extend(root.left_out)
        return list(root.projects)

    async def changed(self, projects: Collection[str], named: Collection[str]) -> dict[str, T] | None:
        """Read the pages of these projects; `None` if all are unchanged.

        Raises:
            WorkFailed: a page of a `named` project, or of all of them, is unavailable or unusable.
        """
        read: dict[str, T] = {}
        await self._read_all(read, projects, named, self._known)
        if self._known and self._marks(self.seen) == self._marks(self._known):
            return None
        await self._read_all(read, [name for name in projects if name not in {*read, *self.missing}], named, {})
        if projects and not read:
            raise BadFeed(f"Nothing that the feed lists has a page of an index: {next(iter(self.missing.values()))}")
        return read

    async def _read_all(
        self,
        into: dict[str, T],
        projects: Collection[str],
        named: Collection[str],
        known: Mapping[str, Mapping[str, Any]],
    ) -> None:
        async def read_project(project: str) -> None:
            try:
                result = await self._page(project, known.get(project), lambda page: self._read(project, page))
            except NoPage as error:
                if project in named:
                    raise
                self.missing[project] = str(error)
            else:
                if result is not None:
                    into[project] = result

        await self._upstream.together([read_project(project) for project in projects])

    def _marks(self, pages: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        return {name: page["sha256"] for name, page in pages.items()}

    async def _page(self, project: str, known: Mapping[str, Any] | None, read: Callable[[IndexPage], Any]) -> Any:
        """Read a page from its last URL, else from its possible URLs; `None` if it is unchanged.

        Object stores answer 403 for missing objects, and applications with an HTML page: in these cases, and for an
        unusable page, the next URL is tried.
        """
        reasons: list[str] = []
        before = self._known.get(project, {}).get("url")
        places = [f"{root}{project}/" if project else root for root in roots(self._upstream.feed)]
        for url in sorted(places, key=lambda url: url != before):
            mine = known if known is not None and known.get("url") == url else None
            try:
                document = await self._upstream.fetch(url, most=index.MOST_PAGE, known=mine, accept=index.ACCEPT)
                if document is None:
                    self.seen[project] = dict(known or {})
                    return None
                result = await self._read_document(project, url, document, read)
            except (NotThere, NotForUs, BadFeed) as error:
                reasons.append(str(error))
                continue
            self.seen[project] = {"url": url, **document.memory}
            return result
        what = f"project {project}" if project else "list of projects"
        raise NoPage(f"The feed has no {what}: {' '.join(dict.fromkeys(reasons))}")

    async def _read_document(self, project: str, url: str, document: Document, read: Callable[[IndexPage], Any]) -> Any:
        self._came += document.size
        most = self._upstream.limits.manifest_bytes * _LISTS
        if self._came > most:
            raise WorkFailed(f"The index is refused: its pages have more than {most} bytes in all.")
        subject = f"The page of {project}" if project else "The list of projects"
        place = url.removeprefix(self._upstream.feed)
        page_of = IndexPage(
            content=b"", media_type=document.media_type, url=document.url, subject=f"{subject} in {place}"
        )
        async with self._reading:
            return await self._upstream.aside(lambda: read(replace(page_of, content=self._content(document, subject))))

    def _content(self, document: Document, subject: str) -> bytes:
        """Read a page into memory and remove its file."""
        path = encodings.plain(document.path, self._upstream.scratch(), subject, most=index.MOST_PAGE)
        content = path.read_bytes()
        for file in {path, document.path}:
            file.unlink()
        return content


def roots(feed: str) -> Sequence[str]:
    """Return the possible roots of an index: a feed that ends in `simple`, else the feed or its folder `simple`."""
    last = urlsplit(feed).path.rstrip("/").rpartition("/")[2]
    return (feed,) if last.endswith("simple") else (f"{feed}simple/", feed)


Choices = Mapping[str, list[Choice]]
"""By project."""


class Unhashed:
    """Files for which an index gives no checksum: downloaded once to compute it, if that is allowed.

    Such a file cannot be verified, only compared with an earlier download. Results are stored by URL; `known` is the
    `memory` of the last sync.
    """

    def __init__(self, upstream: Upstream, known: Mapping[str, Mapping[str, Any]]) -> None:
        self._upstream: Final = upstream
        self._known: Final = known
        self.memory: Final[dict[str, Mapping[str, Any]]] = {}
        self.left_out: Final[list[LeftOut]] = []
        """Files that the upstream does not have."""
        self.incomplete: Final[set[str]] = set()
        """Projects of such files, whose pages must be read again next time."""

    async def complete(self, choices: Choices) -> dict[str, list[Choice]]:
        """Add a checksum to every file, and skip missing ones.

        Raises:
            WorkFailed: a file is unavailable now.
        """
        unhashed = {
            choice.entry.url: choice.entry.filename
            for of_project in choices.values()
            for choice in of_project
            if choice.entry.checksum is None
        }
        await self._upstream.together([self._learn(url, name) for url, name in unhashed.items()])
        completed: dict[str, list[Choice]] = {}
        for project, of_project in choices.items():
            completed[project] = []
            for choice in of_project:
                known = self.memory.get(choice.entry.url)
                if choice.entry.checksum is not None:
                    completed[project].append(choice)
                elif known is None:
                    self.incomplete.add(project)
                else:
                    checksum = Checksum(algorithm="sha256", digest=known["sha256"])
                    entry = replace(choice.entry, checksum=checksum, size=known["size"])
                    completed[project].append(replace(choice, entry=entry))
        return completed

    async def _learn(self, url: str, name: str) -> None:
        before = self._known.get(url)
        try:
            document = await self._upstream.fetch(url, most=self._upstream.limits.file_bytes, known=before)
        except (NotThere, NotForUs) as error:
            self.left_out.append(LeftOut(name=name, reason=f"is not there: {error}", slot=name))
            return
        if document is None:
            self.memory[url] = before or {}
            return
        await self._upstream.aside(document.path.unlink)
        self.memory[url] = {"size": document.size, **document.memory}
