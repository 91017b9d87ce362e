"""Downloads: many at a time, each gone on with where it broke off, verified before it counts.

What fails in a way that may pass (`failures`) is tried again after a pause (`pace`).
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlsplit

from aiohttp import ClientResponse, hdrs

from pulpit.content.feed import Feed
from pulpit.content.limits import Limits
from pulpit.content.port import Checksum, Document, StoredFile, WantedFile
from pulpit.repositories.concurrency import in_parallel, in_thread
from pulpit.repositories.connections import HEADERS, guard_of, login, open_session, proxy, tls
from pulpit.repositories.express import Express
from pulpit.repositories.failures import DownloadFailed, Failures, public, refuse_status
from pulpit.repositories.pace import Pace, Tries
from pulpit.repositories.storage import FILE_MODE, Partial, Storage, disk_errors, scratch_folder
from pulpit.text import shown

_PARTIAL_CONTENT: Final = 206
_NOT_MODIFIED: Final = 304
_RANGE_NOT_SATISFIABLE: Final = 416

T = TypeVar("T")

OnBytes = Callable[[int], None]
"""Told how many bytes came; a negative number when some of them are thrown away."""


class _WrongAfterResume(Exception):
    """What was gone on with does not have the checksum; perhaps its beginning is to blame."""


class Downloads:
    """The connections to one upstream; it is the `Upstream` of the content port."""

    def __init__(self, feed: Feed, storage: Storage, limits: Limits) -> None:
        self._feed: Final = feed
        self._storage: Final = storage
        self._limits: Final = limits
        trust = tls(feed)
        guard = guard_of(feed)
        self._session: Final = open_session(feed, limits, trust, guard)
        plain = feed.proxy is None and feed.max_speed is None
        self._express: Final = Express(limits, HEADERS, trust, guard.permits) if plain else None
        self._rooms: Final = ExitStack()
        self._room = storage.downloads

    async def __aenter__(self) -> Self:
        self._room = self._rooms.enter_context(scratch_folder(self._storage.downloads))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._express is not None:
            self._express.close()
        await self._session.close()
        self._rooms.close()

    @property
    def feed(self) -> str:
        """The configured URL."""
        return self._feed.url

    @property
    def limits(self) -> Limits:
        """What the upstream may cost."""
        return self._limits

    @property
    def at_once(self) -> int:
        """How many downloads run at one time."""
        return self._feed.max_downloads or self._limits.downloads

    def scratch(self) -> Path:
        """A path for a file that is gone when the sync ends."""
        return self._room / f"{os.urandom(16).hex()}.list"

    async def together(self, work: Sequence[Coroutine[None, None, None]]) -> None:
        """Do all of the work, so much at once as there are connections."""
        await in_parallel(self.at_once, work)

    async def aside(self, work: Callable[[], T]) -> T:
        """Do blocking work in a thread; what the disk refuses becomes a sentence."""
        with disk_errors("A list of the feed"):
            return await in_thread(work)

    async def fetch(
        self,
        url: str,
        *,
        most: int,
        checksum: Checksum | None = None,
        known: Mapping[str, Any] | None = None,
        accept: str | None = None,
    ) -> Document | None:
        """Fetch a list, as the port says."""
        tries, headers = Tries(self._limits, [url]), _conditions(known) | ({hdrs.ACCEPT: accept} if accept else {})
        while True:
            try:
                return await self._document(url, most, checksum, headers)
            except DownloadFailed as error:
                await tries.another(error, came=0)

    async def file(self, wanted: WantedFile, on_bytes: OnBytes) -> StoredFile:
        """Download a file into its place in the storage, or go on with a download that broke off.

        Raises:
            DownloadFailed: it cannot be had, or is not what it should be.
            StorageFull: the disk has no room.
        """
        tries = Tries(self._limits, wanted.urls)
        if wanted.size is not None and wanted.size <= self._limits.small_bytes:
            return await self._small_file(wanted, wanted.size, tries, on_bytes)
        with (
            disk_errors(f"The file {shown(wanted.relative_path)!r}"),
            self._storage.partial(wanted.checksum) as partial,
        ):
            await in_thread(partial.resume, _algorithms(wanted)) if partial.size else partial.begin(_algorithms(wanted))
            on_bytes(partial.size)
            while True:
                before = partial.size
                try:
                    await self._receive(wanted, tries.url, partial, on_bytes)
                    return self._finish(wanted, partial)
                except DownloadFailed as error:
                    await tries.another(error, came=partial.size - before)

    async def _small_file(self, wanted: WantedFile, size: int, tries: Tries, on_bytes: OnBytes) -> StoredFile:
        while True:
            url = tries.url
            try:
                content = await self._content(wanted, size, url)
                sha256 = _verified(wanted, url, content)
                break
            except DownloadFailed as error:
                await tries.another(error, came=0)
        with disk_errors(f"The file {shown(wanted.relative_path)!r}"):
            self._storage.keep(sha256, content, self._room)
        on_bytes(len(content))
        return StoredFile(relative_path=wanted.relative_path, sha256=sha256, size=len(content))

    async def _content(self, wanted: WantedFile, size: int, url: str) -> bytes:
        """The whole content of a small file."""
        if self._express is not None:
            content = await self._express.content(url, size, login(self._feed, url))
            if content is not None:
                return content
        came = bytearray()
        async with self._answer(url, {}) as answer:
            async for data in self._pieces(answer, url):
                came += data
                _refuse_longer(wanted, url, len(came))
        return bytes(came)

    async def _receive(self, wanted: WantedFile, url: str, partial: Partial, on_bytes: OnBytes) -> None:
        """Bring a partial file to its end, from the start again if what was gone on with turns out wrong."""
        try:
            await self._receive_once(wanted, url, partial, on_bytes)
        except _WrongAfterResume:
            _restart(partial, wanted, on_bytes)
            await self._receive_once(wanted, url, partial, on_bytes)

    async def _receive_once(self, wanted: WantedFile, url: str, partial: Partial, on_bytes: OnBytes) -> None:
        resumed = partial.size
        if wanted.size is None or resumed < wanted.size or resumed == 0:
            await self._transfer(wanted, url, partial, on_bytes)
        flaw = _flaw(wanted, partial.size, partial.digest(wanted.checksum.algorithm))
        if flaw and resumed and partial.size >= resumed:
            raise _WrongAfterResume
        if flaw:
            _restart(partial, wanted, on_bytes)
            partial.path.unlink(missing_ok=True)
            raise DownloadFailed(url, flaw)

    async def _transfer(self, wanted: WantedFile, url: str, partial: Partial, on_bytes: OnBytes) -> None:
        headers = {"Range": f"bytes={partial.size}-"} if partial.size else {}
        async with self._answer(url, headers) as answer:
            if partial.size and not _continues(answer, partial.size):
                if answer.status == _RANGE_NOT_SATISFIABLE:
                    raise _WrongAfterResume
                _restart(partial, wanted, on_bytes)
            most = self._limits.file_bytes if wanted.size is None else wanted.size
            async for data in self._pieces(answer, url):
                if partial.size + len(data) > most:
                    on_bytes(most - partial.size)
                    partial.write(data[: most - partial.size])
                    _restart(partial, wanted, on_bytes)
                    partial.path.unlink(missing_ok=True)
                    raise DownloadFailed(url, f"is larger than the {most} bytes that it should have")
                partial.write(data)
                on_bytes(len(data))

    def _finish(self, wanted: WantedFile, partial: Partial) -> StoredFile:
        sha256 = partial.digest("sha256")
        self._storage.place(partial.path, sha256)
        return StoredFile(relative_path=wanted.relative_path, sha256=sha256, size=partial.size)

    async def _document(
        self, url: str, most: int, checksum: Checksum | None, headers: dict[str, str]
    ) -> Document | None:
        async with self._answer(url, headers) as answer:
            if answer.status == _NOT_MODIFIED:
                return None
            path = self.scratch()
            with disk_errors(f"{public(url)}"):
                sha256, found, size = await self._save(answer, url, path, most, checksum)
            if checksum is not None and found != checksum.digest:
                raise DownloadFailed(url, f"has another {checksum.algorithm} checksum than announced", transient=True)
            return Document(
                path=path,
                url=str(answer.url),
                sha256=sha256,
                size=size,
                etag=answer.headers.get(hdrs.ETAG),
                last_modified=answer.headers.get(hdrs.LAST_MODIFIED),
                media_type=answer.content_type.lower(),
            )

    async def _save(
        self, answer: ClientResponse, url: str, path: Path, most: int, checksum: Checksum | None
    ) -> tuple[str, str, int]:
        sha256, further, size = hashlib.sha256(), hashlib.new(checksum.algorithm if checksum else "sha256"), 0
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE), "wb") as file:
            async for data in self._pieces(answer, url):
                size += len(data)
                if size > most:
                    raise DownloadFailed(url, f"is larger than the {most} bytes that are read of a list")
                sha256.update(data)
                if checksum:
                    further.update(data)
                file.write(data)
        return sha256.hexdigest(), further.hexdigest(), size

    @asynccontextmanager
    async def _answer(self, url: str, headers: dict[str, str]) -> AsyncIterator[ClientResponse]:
        """An answer whose status promises something to read."""
        with Failures(url, self._limits):
            answer = await self._ask(url, headers)
        try:
            refuse_status(url, answer)
            yield answer
        finally:
            answer.release()

    async def _ask(self, url: str, headers: dict[str, str]) -> ClientResponse:
        async with asyncio.timeout(self._limits.answer_timeout):
            answer = await self._session.get(
                url, headers=headers | login(self._feed, url), max_redirects=self._limits.redirects, **proxy(self._feed)
            )
        if answer.history and urlsplit(url).scheme == "https" and answer.url.scheme != "https":
            answer.close()
            raise DownloadFailed(url, f"redirects to {public(str(answer.url))}, which is not encrypted")
        return answer

    async def _pieces(self, answer: ClientResponse, url: str) -> AsyncIterator[bytes]:
        """The body as it comes, not faster than allowed, and not slower than is worth waiting for."""
        pace = Pace(self._limits, self._feed.max_speed)
        with Failures(url, self._limits):
            async for data in answer.content.iter_any():
                yield data
                if pace.too_slow(len(data)):
                    raise DownloadFailed(url, f"came slower than {pace.least:.0f} bytes per second", transient=True)
                if pace.most is not None:
                    await asyncio.sleep(pace.ahead())


def _continues(answer: ClientResponse, size: int) -> bool:
    """Whether an answer goes on exactly where the partial file ends."""
    return answer.status == _PARTIAL_CONTENT and answer.headers.get(hdrs.CONTENT_RANGE, "").startswith(f"bytes {size}-")


def _restart(partial: Partial, wanted: WantedFile, on_bytes: OnBytes) -> None:
    on_bytes(-partial.size)
    partial.begin(_algorithms(wanted))


def _refuse_longer(wanted: WantedFile, url: str, size: int) -> None:
    if wanted.size is not None and size > wanted.size:
        raise DownloadFailed(url, f"is larger than the {wanted.size} bytes that it should have")


def _verified(wanted: WantedFile, url: str, content: bytes) -> str:
    """The SHA-256 of a content that is what it should be."""
    sha256 = digest = hashlib.sha256(content).hexdigest()
    if wanted.checksum.algorithm != "sha256":
        digest = hashlib.new(wanted.checksum.algorithm, content).hexdigest()
    flaw = _flaw(wanted, len(content), digest)
    if flaw:
        raise DownloadFailed(url, flaw)
    return sha256


def _flaw(wanted: WantedFile, size: int, digest: str) -> str:
    if wanted.size is not None and size != wanted.size:
        return f"has {size} bytes instead of {wanted.size}"
    if digest != wanted.checksum.digest:
        return f"has another {wanted.checksum.algorithm} checksum than announced"
    return ""


def _algorithms(wanted: WantedFile) -> set[str]:
    return {"sha256", wanted.checksum.algorithm}


def _conditions(known: Mapping[str, Any] | None) -> dict[str, str]:
    if known is None:
        return {}
    headers = {hdrs.IF_NONE_MATCH: known.get("etag"), hdrs.IF_MODIFIED_SINCE: known.get("last_modified")}
    return {str(name): value for name, value in headers.items() if value}
