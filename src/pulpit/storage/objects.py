"""The storage in an object store: S3 and compatible ones, Google's, Azure's, through obstore.

    <prefix>/ab/abcdef…          whole, verified files
    <prefix>/pulpit-storage      the marker: distinguishes the place from an empty or another one

An object is visible only when it is complete: sent in one request, or as a completed multipart upload. Files are
uploaded in the background, and `flush` waits for them. Other objects below the prefix are ignored.
"""

import hashlib
import io
import re
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import obstore
from obstore.exceptions import BaseError, GenericError, PermissionDeniedError, UnauthenticatedError

from pulpit.errors import StorageUnavailable, WorkFailed
from pulpit.ids import object_id
from pulpit.storage.cache import Cache
from pulpit.storage.port import Kept

MARKER: Final = "pulpit-storage"
PART: Final = 8 << 20
"""Bytes of a part of a multipart upload; smaller files are uploaded in one request."""
MOST_PARTS: Final = 9_000
AT_ONCE: Final = 32
"""Concurrent requests of one process."""
LARGE_AT_ONCE: Final = 2
"""Concurrent multipart uploads, each with so many parts at a time:"""
PARTS_AT_ONCE: Final = 4
PIECE: Final = 1 << 18
"""Bytes that are handed to a reader at a time."""
FETCHED_AT_ONCE: Final = 1 << 20
"""Bytes up to which a file is downloaded completely before it is sent, so that the next reader finds it cached."""
_NAME_LENGTH: Final = 64
_LONGEST_IDENTITY: Final = 64
_STATUS: Final = "status code: "
_REFUSALS: Final = ("401", "403")
_WHOLE_INSTEAD: Final = "non-partial"
"""obstore's message for a store that ignores a range request (rclone's does for parts)."""
_REFUSED: Final = "refuses us, so check the credentials, what they may do there, and the clock of this machine"
_OTHER_REGION: Final = "is in another region, so set `[storage] region`"
_REDIRECTED: Final = "configured region"
"""In obstore's message for a redirect, which S3 sends from the wrong region."""
_CODE: Final = re.compile(r"<Code>([A-Za-z]{1,60})</Code>")
_MEANINGS: Final = {
    "RequestTimeTooSkewed": "refuses us because the clock of this machine is wrong, so run a time service",
    "ExpiredToken": "refuses us because the session token of the credentials has expired, so renew it",
    "PermanentRedirect": _OTHER_REGION,
    "AuthorizationHeaderMalformed": _OTHER_REGION,
    "IllegalLocationConstraintException": _OTHER_REGION,
    "QuotaExceeded": "is full",
}
"""What the codes in S3's responses mean, as the end of a sentence."""
_PASSING: Final = ("RequestTimeout", "OperationAborted", "NoSuchUpload")
"""Codes of failed uploads that succeed when they are repeated from the beginning, which obstore does not."""
_UPLOAD_TRIES: Final = 3

T = TypeVar("T")


class ObjectStorage:
    """A bucket, or a prefix in it; implements `Storage`."""

    is_shared: Final = True

    def __init__(
        self,
        store: Any,
        readers_store: Any,
        shown: str,
        cache: Cache,
        *,
        redirect: bool = False,
        proves_uploads: bool = False,
    ) -> None:
        """Prepare.

        Args:
            store: the object store as tasks use it, with many retries.
            readers_store: the same for clients' requests, which fail fast.
            shown: its URL, for messages; without secrets.
            cache: the local cache.
            redirect: whether clients may be redirected to the object store.
            proves_uploads: whether each upload carries its SHA-256, and the store verifies it.
        """
        self._store: Final = store
        self._readers_store: Final = readers_store
        self._shown: Final = shown
        self._cache: Final = cache
        self._redirect: Final = redirect
        self._proves_uploads: Final = proves_uploads
        self._pool: Final = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="objects")
        self._large: Final = ThreadPoolExecutor(LARGE_AT_ONCE, thread_name_prefix="large-objects")
        self._pending: Final[dict[str, tuple[Path, Future[None]]]] = {}

    def prepare(self) -> None:
        """Create the cache's folders, and check that the bucket is the one that was initialised."""
        self._cache.prepare()
        self._prove()

    def begin(self) -> None:
        with self._sentences():
            if self._meta(MARKER) is None:
                try:
                    obstore.put(self._store, MARKER, object_id().encode())
                except FileNotFoundError:
                    raise StorageUnavailable(f"There is no bucket at {self._shown}; make it first.") from None

    def identity(self) -> str:
        with self._sentences():
            try:
                return bytes(obstore.get(self._store, MARKER).bytes()).decode(errors="replace")[:_LONGEST_IDENTITY]
            except FileNotFoundError:
                raise StorageUnavailable(self._is_gone()) from None

    def has(self, sha256: str, size: int) -> bool:
        return self.size(sha256) == size

    def present(self, files: Collection[tuple[str, int]]) -> set[str]:
        """Return those that exist with their sizes, with concurrent requests."""
        wanted = list(files)
        with self._sentences():
            sizes = list(self._pool.map(lambda file: self._size(file[0]), wanted))
        found = {sha256 for (sha256, size), there in zip(wanted, sizes, strict=True) if there == size}
        if len(found) < len(wanted):
            self._prove()
        return found

    def size(self, sha256: str) -> int | None:
        with self._sentences():
            size = self._size(sha256)
        if size is None:
            self._prove()
        return size

    def may_hold(self, sha256: str) -> bool:
        """Whether this machine has uploaded it: a request per new file would cost more than some repeated uploads."""
        return self._cache.find(sha256) is not None

    def verified(self, sha256: str) -> int | None:
        """Return the size of an object after verifying its content."""
        if self.size(sha256) is None:
            return None
        self._cache.forget([sha256])
        try:
            return self.local(sha256).stat().st_size
        except (FileNotFoundError, WrongObject):
            self.remove([sha256])
            return None

    def open(self, sha256: str) -> io.BufferedReader:
        """Open an object in the store, without the cache."""
        with self._sentences():
            try:
                stream = obstore.get(self._store, self._key(sha256)).stream(min_chunk_size=PIECE)
            except FileNotFoundError:
                self._prove()
                raise FileNotFoundError(sha256) from None
        return io.BufferedReader(_Reader(iter(stream), self._sentences), PIECE)

    def local(self, sha256: str) -> Path:
        """Return the path of a copy in the cache."""
        waiting = self._pending.get(sha256)
        if waiting is not None and waiting[0].exists():
            return waiting[0]
        return self._cache.find(sha256) or self._fetched(sha256)

    def put(self, path: Path, sha256: str) -> None:
        """Start to upload a file."""
        self._begin(self._cache.outgoing(path, sha256), sha256)

    def put_bytes(self, content: bytes, sha256: str) -> None:
        self._begin(self._cache.outgoing(content, sha256), sha256)

    def flush(self, sha256s: Collection[str]) -> None:
        """Wait for uploads; the first error is raised."""
        uploads = [self._pending[sha256] for sha256 in sha256s if sha256 in self._pending]
        failed = [error for _, upload in uploads if (error := upload.exception()) is not None]
        for sha256 in sha256s:
            self._pending.pop(sha256, None)
        if failed:
            raise failed[0]

    def remove(self, sha256s: Collection[str]) -> None:
        """Remove objects and their copies here; copies on other machines are evicted when unused."""

        def remove(sha256: str) -> None:
            with suppress(FileNotFoundError):
                obstore.delete(self._store, self._key(sha256))

        with self._sentences():
            list(self._pool.map(remove, sha256s))
        self._cache.forget(sha256s)

    def names(self, prefix: str) -> Iterator[Kept]:
        """Yield the objects below one part of the prefix."""
        now = datetime.now(UTC)
        with self._sentences():
            for portion in obstore.list(self._store, prefix, chunk_size=1000):
                for entry in portion:
                    name = entry["path"].rpartition("/")[2]
                    if entry["path"] == f"{prefix}/{name}" and len(name) == _NAME_LENGTH and name.startswith(prefix):
                        age = (now - entry["last_modified"]).total_seconds()
                        yield Kept(sha256=name, size=entry["size"], age=age)

    def sweep(self, older_than: float) -> int:
        """Remove interrupted transfers on this machine.

        Incomplete multipart uploads are left to the bucket's lifecycle rules.
        """
        return self._cache.sweep(older_than)

    def at_hand(self, sha256: str, size: int) -> Path | None:
        """Return the copy in the cache; a small file is downloaded into it."""
        waiting = self._pending.get(sha256)
        if waiting is not None and waiting[0].exists():
            return waiting[0]
        return self._cache.find(sha256) or (self._fetched(sha256) if size <= FETCHED_AT_ONCE else None)

    async def redirected(self, sha256: str, expires_in: timedelta) -> str | None:
        """Return a signed URL for an object; `None` if clients are not redirected."""
        if not self._redirect:
            return None
        with self._sentences():
            return str(await obstore.sign_async(self._readers_store, "GET", self._key(sha256), expires_in))

    async def stream(self, sha256: str, size: int, start: int, end: int) -> AsyncIterator[bytes]:
        """Request the bytes from `start` to before `end` of an object of `size` bytes before returning.

        Of a whole object the last piece is yielded only if the checksum is right.

        Raises:
            FileNotFoundError: it does not exist, or has another size.
            StorageUnavailable: the store does not respond; after the start, the generator raises it.
        """
        with self._sentences():
            if (start, end) != (0, size):
                try:
                    part = await obstore.get_async(
                        self._readers_store, self._key(sha256), options={"range": (start, end)}
                    )
                except GenericError as error:
                    if _WHOLE_INSTEAD not in str(error):
                        raise
                else:
                    if part.meta["size"] != size or part.range != (start, end):
                        raise FileNotFoundError(sha256)
                    return self._checked(part.stream(min_chunk_size=PIECE), sha256, end - start, whole=False)
            got = await obstore.get_async(self._readers_store, self._key(sha256))
        if got.meta["size"] != size:
            raise FileNotFoundError(sha256)
        pieces = self._checked(got.stream(min_chunk_size=PIECE), sha256, size, whole=True)
        return pieces if (start, end) == (0, size) else _cut(pieces, start, end)

    async def _checked(self, pieces: Any, sha256: str, count: int, *, whole: bool) -> AsyncIterator[bytes]:
        running, held = hashlib.sha256(), b""
        with self._sentences():
            async for piece in pieces:
                if held:
                    yield held
                held = bytes(piece)
                count -= len(held)
                if whole:
                    running.update(held)
        if count or (whole and running.hexdigest() != sha256):
            raise WrongObject(self._shown, sha256)
        if held:
            yield held

    def _begin(self, path: Path, sha256: str) -> None:
        pool = self._pool if path.stat().st_size <= PART else self._large
        self._pending[sha256] = (path, pool.submit(self._upload, path, sha256))

    def _upload(self, path: Path, sha256: str) -> None:
        """Upload a file, check that it exists if the response does not say so, and keep it in the cache."""
        size = path.stat().st_size
        try:
            with self._sentences():
                self._send(path, sha256, size)
                there = size if size <= PART and self._proves_uploads else self._size(sha256)
            self._compare(sha256, size, there)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        self._cache.keep(path, sha256)

    def _send(self, path: Path, sha256: str, size: int) -> None:
        content = path.read_bytes() if size <= PART else b""
        for tries_left in reversed(range(_UPLOAD_TRIES)):
            try:
                if size <= PART:
                    obstore.put(self._store, self._key(sha256), content, use_multipart=False)
                else:
                    part = max(PART, size // MOST_PARTS + 1)
                    obstore.put(self._store, self._key(sha256), path, chunk_size=part, max_concurrency=PARTS_AT_ONCE)
            except (BaseError, FileNotFoundError) as error:
                if _code(error) in _PASSING and tries_left:
                    continue
                if isinstance(error, FileNotFoundError):
                    self._prove()
                    raise StorageUnavailable(f"{self._shown} lost an upload; nothing was changed.") from None
                raise
            return

    def _fetched(self, sha256: str) -> Path:
        """Download an object into the cache."""
        path, running = self._cache.incoming(), hashlib.sha256()
        try:
            with self.open(sha256) as source, path.open("xb") as target:
                while piece := source.read(PIECE):
                    running.update(piece)
                    target.write(piece)
            if running.hexdigest() != sha256:
                raise WrongObject(self._shown, sha256)
            return self._cache.keep(path, sha256)
        finally:
            path.unlink(missing_ok=True)

    def _compare(self, sha256: str, size: int, there: int | None) -> None:
        if there != size:
            raise StorageUnavailable(
                f"{self._shown} took {size} bytes of the file {sha256} and has {there}; try again."
            )

    def _key(self, sha256: str) -> str:
        return f"{sha256[:2]}/{sha256}"

    def _size(self, sha256: str) -> int | None:
        meta = self._meta(self._key(sha256))
        return None if meta is None else int(meta["size"])

    def _meta(self, key: str) -> Any:
        try:
            return obstore.head(self._store, key)
        except FileNotFoundError:
            return None

    def _prove(self) -> None:
        """Check that the place is the one that was prepared: in a deleted bucket every file is missing.

        Raises:
            StorageUnavailable: it is not.
        """
        with self._sentences():
            if self._meta(MARKER) is None:
                raise StorageUnavailable(self._is_gone())

    def _is_gone(self) -> str:
        return f"{self._shown} has no object {MARKER}: the bucket is gone, or is another one; bring it back."

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        """Turn the store's errors into sentences without internal details."""
        try:
            yield
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise StorageUnavailable(f"{self._shown} {_MEANINGS.get(_code(error), _REFUSED)}.") from None
        except BaseError as error:
            raise StorageUnavailable(f"{self._shown} {_reason(error)}; nothing was changed.") from None


class WrongObject(WorkFailed):
    """An object's content does not match its name."""

    def __init__(self, shown: str, sha256: str) -> None:
        super().__init__(
            f"The file {sha256} in {shown} has other content than its name says; `pulpit check --deep` tells what uses "
            "it, and with --repair lets the next sync fetch it again."
        )


def _code(error: Exception) -> str:
    """Return the code of an error in S3's response, if there is one."""
    found = _CODE.search(str(error))
    return found[1] if found else ""


def _reason(error: BaseError) -> str:
    """Say what went wrong, as the end of a sentence."""
    if meaning := _MEANINGS.get(_code(error)):
        return meaning
    text = str(error)
    if _REDIRECTED in text:
        return _OTHER_REGION
    _, found, rest = text.partition(_STATUS)
    status = rest[:3]
    if found and status.isdigit():
        return _REFUSED if status in _REFUSALS else f"answered with status {status}"
    if "timed out" in text.lower() or "TimedOut" in text:
        return "did not answer in time"
    if "error sending request" in text or "Connect" in text:
        return "cannot be reached"
    return "broke off its response"


async def _cut(pieces: AsyncIterator[bytes], start: int, end: int) -> AsyncIterator[bytes]:
    """Cut the bytes from `start` to before `end` out of a whole object."""
    position = 0
    async for piece in pieces:
        part = piece[max(start - position, 0) : max(end - position, 0)]
        position += len(piece)
        if part:
            yield part
        if position >= end:
            return


class _Reader(io.RawIOBase):
    """The pieces of an object as a file."""

    def __init__(self, pieces: Iterator[Any], sentences: Callable[[], Any]) -> None:
        self._pieces: Final = pieces
        self._sentences: Final = sentences
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        if not self._rest:
            with self._sentences():
                self._rest = memoryview(bytes(next(self._pieces, b"")))
        count = min(len(target), len(self._rest))
        target[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
