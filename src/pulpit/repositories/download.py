"""Concurrent downloads, resumed where they broke off, and verified before they are stored.

Transient failures (`transfer`) are retried after a pause.
"""

import asyncio
import hashlib
import os
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from pulpit.backoff import delay
from pulpit.content import encodings
from pulpit.content.feed import Feed
from pulpit.content.limits import KIB, MIB, Limits
from pulpit.content.port import BadFeed, Checksum, Document, StoredFile, WantedFile
from pulpit.repositories.concurrency import in_parallel, in_thread
from pulpit.repositories.exchange import (
    NOT_MODIFIED,
    PARTIAL_CONTENT,
    RANGE_NOT_SATISFIABLE,
    Answer,
    DownloadFailed,
    public,
)
from pulpit.repositories.transfer import Transfers
from pulpit.storage.disk import FILE_MODE, disk_errors
from pulpit.storage.port import Storage
from pulpit.storage.scratch import Partial, Scratch
from pulpit.text import shown

_IF_NONE_MATCH: Final = "If-None-Match"
_IF_MODIFIED_SINCE: Final = "If-Modified-Since"
_PACKED_MORE: Final = 64 * KIB
"""Bytes by which a compressed body may be longer than the file itself."""
_WORTH_ANOTHER_TRY: Final = MIB
"""A try that received so many bytes does not count against the limit of tries."""

T = TypeVar("T")

OnBytes = Callable[[int], None]
"""Called with the number of bytes received; negative when some of them are discarded."""


class _WrongAfterResume(Exception):
    """A resumed download has the wrong checksum; perhaps its first part is to blame."""


class Downloads:
    """The connections to one upstream; implements the content port's `Upstream`."""

    def __init__(self, feed: Feed, storage: Storage, scratch: Scratch, limits: Limits) -> None:
        self._feed: Final = feed
        self._storage: Final = storage
        self._scratch: Final = scratch
        self._limits: Final = limits
        self._transfers: Final = Transfers(feed, limits)
        self._rooms: Final = ExitStack()
        self._room = scratch.path

    async def __aenter__(self) -> Self:
        self._room = self._rooms.enter_context(self._scratch.folder())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._transfers.close()
        self._rooms.close()

    @property
    def feed(self) -> str:
        """The configured URL."""
        return self._feed.url

    @property
    def limits(self) -> Limits:
        """The limits for this upstream."""
        return self._limits

    @property
    def at_once(self) -> int:
        """Concurrent downloads."""
        return self._feed.max_downloads or self._limits.downloads

    def scratch(self) -> Path:
        """Return a path for a temporary file, which is deleted when the sync ends."""
        return self._room / f"{os.urandom(16).hex()}.list"

    async def together(self, work: Sequence[Coroutine[None, None, None]]) -> None:
        """Run all of the work, as many at a time as there are connections."""
        await in_parallel(self.at_once, work)

    async def aside(self, work: Callable[[], T]) -> T:
        """Run blocking work in a thread; disk errors become a sentence."""
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
        """Fetch a metadata file, as the port describes."""
        tries, given = _Tries(self._limits, [url]), known or {}
        sent = {
            _IF_NONE_MATCH: given.get("etag"),
            _IF_MODIFIED_SINCE: given.get("last_modified"),
            "Accept": accept,
        }
        headers = {name: value for name, value in sent.items() if value}
        while True:
            try:
                return await self._document(url, most, checksum, headers)
            except DownloadFailed as error:
                await tries.another(error, came=0)

    async def file(self, wanted: WantedFile, on_bytes: OnBytes) -> StoredFile:
        """Download a file into the storage, or resume a download that broke off.

        Raises:
            DownloadFailed: it is unavailable, or not what it should be.
            StorageFull: the disk is full.
        """
        tries = _Tries(self._limits, wanted.urls)
        if wanted.size is not None and wanted.size <= self._limits.small_bytes:
            return await self._small_file(wanted, wanted.size, tries, on_bytes)
        with (
            disk_errors(f"The file {shown(wanted.relative_path)!r}"),
            self._scratch.partial(f"{wanted.checksum.algorithm}:{wanted.checksum.digest}") as partial,
        ):
            await in_thread(partial.resume, _algorithms(wanted)) if partial.size else partial.begin(_algorithms(wanted))
            on_bytes(partial.size)
            while True:
                before = partial.size
                try:
                    return await self._receive(wanted, tries.url, partial, on_bytes)
                except DownloadFailed as error:
                    await tries.another(error, came=partial.size - before)

    async def _small_file(self, wanted: WantedFile, size: int, tries: "_Tries", on_bytes: OnBytes) -> StoredFile:
        while True:
            try:
                content, sha256 = await self._small_content(wanted, size, tries.url)
                break
            except DownloadFailed as error:
                await tries.another(error, came=0)
        with disk_errors(f"The file {shown(wanted.relative_path)!r}"):
            self._storage.put_bytes(content, sha256)
        on_bytes(len(content))
        return StoredFile(relative_path=wanted.relative_path, sha256=sha256, size=len(content))

    async def _small_content(self, wanted: WantedFile, size: int, url: str) -> tuple[bytes, str]:
        """Download a small file; return its content and SHA-256."""
        parts, came, most = list[bytes](), 0, size

        def begin(answer: Answer) -> None:
            nonlocal most
            answer.check(url)
            most += _PACKED_MORE if answer.is_encoded else 0

        def take(data: bytes) -> None:
            nonlocal came
            parts.append(data)
            came += len(data)
            if came > most:
                raise DownloadFailed(url, f"is larger than the {size} bytes that it should have")

        answer = await self._transfers.get(url, {}, begin, take)
        content = b"".join(parts)
        flaw, sha256 = _judged(wanted, content)
        if flaw and answer.is_encoded:
            packed = self.scratch()
            with disk_errors(f"The file {shown(wanted.relative_path)!r}"):
                packed.write_bytes(content)
                opened = await in_thread(self._opened, packed, size)
                content = opened.read_bytes()
            flaw, sha256 = _judged(wanted, content)
        if flaw:
            raise DownloadFailed(url, flaw)
        return content, sha256

    async def _receive(self, wanted: WantedFile, url: str, partial: Partial, on_bytes: OnBytes) -> StoredFile:
        """Complete a partial file; start again if the resumed file turns out wrong."""
        try:
            return await self._receive_once(wanted, url, partial, on_bytes)
        except _WrongAfterResume:
            _restart(partial, wanted, on_bytes)
            return await self._receive_once(wanted, url, partial, on_bytes)

    async def _receive_once(self, wanted: WantedFile, url: str, partial: Partial, on_bytes: OnBytes) -> StoredFile:
        resumed, is_encoded = partial.size, False
        if wanted.size is None or resumed < wanted.size or resumed == 0:
            is_encoded = await self._transfer(wanted, url, partial, on_bytes)
        flaw = _flaw(wanted, partial.size, partial.digest(wanted.checksum.algorithm))
        if not flaw:
            sha256 = partial.digest("sha256")
            self._storage.put(partial.path, sha256)
            return StoredFile(relative_path=wanted.relative_path, sha256=sha256, size=partial.size)
        if resumed and partial.size >= resumed:
            raise _WrongAfterResume
        opened = await in_thread(self._opened_file, wanted, partial.path) if is_encoded else None
        if opened is not None:
            on_bytes(opened.size)
        _restart(partial, wanted, on_bytes)
        partial.path.unlink(missing_ok=True)
        if opened is None:
            raise DownloadFailed(url, flaw)
        return opened

    async def _transfer(self, wanted: WantedFile, url: str, partial: Partial, on_bytes: OnBytes) -> bool:
        """Receive what is missing; return whether the server says that it compressed the body."""
        size = self._limits.file_bytes if wanted.size is None else wanted.size
        most = size

        def begin(answer: Answer) -> None:
            nonlocal most
            most += _PACKED_MORE + size // 1000 if answer.is_encoded else 0
            if not partial.size:
                answer.check(url)
                return
            answer.check(url, PARTIAL_CONTENT, RANGE_NOT_SATISFIABLE)
            starts = answer.headers.get("content-range", "").startswith(f"bytes {partial.size}-")
            if answer.status not in (RANGE_NOT_SATISFIABLE, PARTIAL_CONTENT):
                _restart(partial, wanted, on_bytes)
            elif answer.status != PARTIAL_CONTENT or not starts:  # it does not resume at the end of the partial file
                raise _WrongAfterResume

        def take(data: bytes) -> None:
            if partial.size + len(data) > most:
                on_bytes(most - partial.size)
                partial.write(data[: most - partial.size])
                _restart(partial, wanted, on_bytes)
                partial.path.unlink(missing_ok=True)
                raise DownloadFailed(url, f"is larger than the {size} bytes that it should have")
            partial.write(data)
            on_bytes(len(data))

        headers = {"Range": f"bytes={partial.size}-"} if partial.size else {}
        return (await self._transfers.get(url, headers, begin, take)).is_encoded

    def _opened(self, packed: Path, most: int) -> Path:
        """Return the path of a body that the server compressed unasked, decompressed.

        The same path if it cannot be decompressed.
        """
        try:
            return encodings.plain(packed, self.scratch(), "the body", most=most)
        except BadFeed:
            return packed

    def _opened_file(self, wanted: WantedFile, packed: Path) -> StoredFile | None:
        """Store the file from a body that the server compressed unasked, if it is the right one."""
        path = self._opened(packed, self._limits.file_bytes if wanted.size is None else wanted.size)
        if path == packed:
            return None
        size, digests = path.stat().st_size, {name: _digest(path, name) for name in _algorithms(wanted)}
        if _flaw(wanted, size, digests[wanted.checksum.algorithm]):
            return None
        self._storage.put(path, digests["sha256"])
        return StoredFile(relative_path=wanted.relative_path, sha256=digests["sha256"], size=size)

    async def _document(
        self, url: str, most: int, checksum: Checksum | None, headers: dict[str, str]
    ) -> Document | None:
        path, size = self.scratch(), 0
        hashes = {name: hashlib.new(name) for name in {"sha256", checksum.algorithm if checksum else "sha256"}}
        conditions = headers.keys() & {_IF_NONE_MATCH, _IF_MODIFIED_SINCE}
        with (
            disk_errors(public(url)),
            os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE), "wb") as file,
        ):

            def take(data: bytes) -> None:
                nonlocal size
                size += len(data)
                if size > most:
                    raise DownloadFailed(url, f"is larger than the {most} bytes that are read of a list")
                for running in hashes.values():
                    running.update(data)
                file.write(data)

            answer = await self._transfers.get(
                url, headers, lambda answer: answer.check(url, *((NOT_MODIFIED,) if conditions else ())), take
            )
        if answer.status == NOT_MODIFIED:
            return None
        digests = {name: running.hexdigest() for name, running in hashes.items()}
        if answer.is_encoded and (checksum is None or digests[checksum.algorithm] != checksum.digest):
            path = await in_thread(self._opened, path, most)
            size, digests = path.stat().st_size, {name: _digest(path, name) for name in digests}
        if checksum is not None and digests[checksum.algorithm] != checksum.digest:
            raise DownloadFailed(url, f"has another {checksum.algorithm} checksum than announced", transient=True)
        return Document(
            path=path,
            url=answer.url,
            sha256=digests["sha256"],
            size=size,
            etag=answer.headers.get("etag"),
            last_modified=answer.headers.get("last-modified"),
            media_type=answer.headers.get("content-type", "").partition(";")[0].strip().lower(),
        )


class _Tries:
    """Counts the tries of one download, one URL after another, and pauses between them."""

    def __init__(self, limits: Limits, urls: Sequence[str]) -> None:
        self._limits: Final = limits
        self._urls: Final = list(urls)
        self._failed = 0

    @property
    def url(self) -> str:
        """The URL to request now."""
        return self._urls[0]

    async def another(self, error: DownloadFailed, *, came: int) -> None:
        """Wait until the next try is due; a URL that failed permanently is not requested again.

        Raises:
            DownloadFailed: there is no point in one.
        """
        url = self._urls.pop(0)
        if not error.transient:
            if not self._urls:
                raise error
            return
        self._urls.append(url)
        self._failed = 1 if came >= _WORTH_ANOTHER_TRY else self._failed + 1
        if self._failed >= self._limits.tries:
            raise error
        first, longest = timedelta(seconds=self._limits.first_pause), timedelta(seconds=self._limits.longest_pause)
        pause = delay(self._failed, first=first, longest=longest, random=random.random())  # noqa: S311 - no secret
        await asyncio.sleep(pause.total_seconds())


def _restart(partial: Partial, wanted: WantedFile, on_bytes: OnBytes) -> None:
    on_bytes(-partial.size)
    partial.begin(_algorithms(wanted))


def _judged(wanted: WantedFile, content: bytes) -> tuple[str, str]:
    """Say what is wrong with a content, and return its SHA-256."""
    sha256 = digest = hashlib.sha256(content).hexdigest()
    if wanted.checksum.algorithm != "sha256":
        digest = hashlib.new(wanted.checksum.algorithm, content).hexdigest()
    return _flaw(wanted, len(content), digest), sha256


def _flaw(wanted: WantedFile, size: int, digest: str) -> str:
    if wanted.size is not None and size != wanted.size:
        return f"has {size} bytes instead of {wanted.size}"
    if digest != wanted.checksum.digest:
        return f"has another {wanted.checksum.algorithm} checksum than announced"
    return ""


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _algorithms(wanted: WantedFile) -> set[str]:
    return {"sha256", wanted.checksum.algorithm}
