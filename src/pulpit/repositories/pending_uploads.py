"""Uploads, which grow piece by piece until an import takes them over.

A single server keeps them in files of its data folder (`Uploads`):

    uploads/<id>            what a client has sent so far
    uploads/queued/<id>     a second link to a file that an import task will read

The task has a link of its own: the original client deletes the upload as soon as the import is queued, but the content
stays. While both links exist, no further piece is accepted.

With a shared storage (`SharedUploads`) each piece is a file of the storage, and the database records its offset. Pieces
may go to different servers, overwrite earlier bytes or append. A task gets a file of its own in the storage, assembled
from all pieces.
"""

import contextlib
import hashlib
import os
import re
import uuid
from collections.abc import AsyncIterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from anyio import to_thread

from pulpit.clock import Clock
from pulpit.errors import ConflictingOperation, InvalidValue, MissingResource, RequestTooLarge, StorageFull
from pulpit.repositories.uploads import IN_STORAGE
from pulpit.storage.disk import FILE_MODE, disk_errors, write_all
from pulpit.storage.port import Storage
from pulpit.storage.scratch import Scratch
from pulpit.store import uploads
from pulpit.store.database import Database
from pulpit.store.uploads import Piece

MOST_PIECES: Final = 100_000
"""Per upload."""
_COPIED_AT_ONCE: Final = 1 << 20
_WHAT: Final = "The uploaded file"
FOLDER: Final = Path("uploads")
LINKED: Final = FOLDER / "queued"
"""Below the data folder: what clients send, and the files that import tasks will read."""

_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


@dataclass(frozen=True, kw_only=True, slots=True)
class UploadLimits:
    """Disk limits of uploads; sizes in bytes."""

    piece: int = 256 * 2**20
    whole: int = 64 * 2**30
    count: int = 10_000
    kept_for: timedelta = timedelta(days=7)
    """An upload untouched for so long is deleted when the next one begins."""

    @property
    def too_many(self) -> ConflictingOperation:
        """The error if `count` uploads exist already."""
        return ConflictingOperation(f"There are {self.count} uploads; delete some first.")

    @property
    def too_long(self) -> RequestTooLarge:
        """The error for a piece, or a whole upload, that exceeds its limit."""
        return RequestTooLarge(f"An upload takes {self.piece} bytes at once, {self.whole} in all.")


class Uploads:
    """The uploads of one data folder; safe to use from several threads."""

    def __init__(self, data_dir: Path, clock: Clock, limits: UploadLimits) -> None:
        self._data_dir: Final = data_dir
        self._folder: Final = data_dir / FOLDER
        self._clock: Final = clock
        self._limits: Final = limits

    def begin(self) -> str:
        """Create an empty upload and return its id.

        Raises:
            ConflictingOperation: there are too many already.
        """
        (self._data_dir / LINKED).mkdir(mode=0o700, parents=True, exist_ok=True)
        self._forget_old()
        if len(self.ids()) >= self._limits.count:
            raise self._limits.too_many
        upload_id = str(uuid.uuid4())
        os.close(os.open(self._folder / upload_id, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        return upload_id

    def ids(self) -> list[str]:
        """The ids of all uploads."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(path.name for path in self._folder.iterdir() if _ID.match(path.name))
        return []

    def size(self, upload_id: str) -> int:
        """Return how many bytes of an upload have arrived.

        Raises:
            MissingResource: `upload_request`.
        """
        return self._path(upload_id).stat().st_size

    async def write(self, upload_id: str, offset: int, pieces: AsyncIterable[bytes]) -> None:
        """Write bytes at an offset, overwriting or appending.

        Raises:
            MissingResource: `upload_request`.
            InvalidValue: `offset` is beyond the end and would leave a gap.
            ConflictingOperation: an import of this upload is waiting.
            RequestTooLarge: the piece or the whole would be too long.
            StorageFull: the disk is full.
        """
        descriptor = await to_thread.run_sync(self._open, upload_id, offset)
        try:
            end = min(self._limits.whole, offset + self._limits.piece)
            async for piece in pieces:
                if offset + len(piece) > end:
                    raise self._limits.too_long
                await to_thread.run_sync(_write_all, descriptor, piece, offset)
                offset += len(piece)
        finally:
            await to_thread.run_sync(os.close, descriptor)

    def hand_over(self, upload_id: str) -> str:
        """Create a link for an import task and return its path below the data folder; the task removes it at its end.

        Raises:
            MissingResource: `upload_request`.
        """
        path = LINKED / str(uuid.uuid4())
        os.link(self._path(upload_id), self._data_dir / path)
        return str(path)

    def take_back(self, path: str) -> None:
        """Remove a link that no task took."""
        (self._data_dir / path).unlink(missing_ok=True)

    def remove(self, upload_id: str) -> None:
        """Delete an upload; a queued import keeps its content.

        Raises:
            MissingResource: `upload_request`.
        """
        self._path(upload_id).unlink()

    def _path(self, upload_id: str) -> Path:
        path = self._folder / upload_id
        if not _ID.match(upload_id) or not path.is_file():
            raise MissingResource(upload_request=upload_id)
        return path

    def _open(self, upload_id: str, offset: int) -> int:
        path = self._path(upload_id)
        found = path.stat()
        if not 0 <= offset <= found.st_size:
            raise InvalidValue("offset", f"{found.st_size} bytes of this upload have come; go on from there.")
        if found.st_nlink > 1:
            raise ConflictingOperation("An import of this upload is waiting.")
        return os.open(path, os.O_WRONLY | os.O_NOFOLLOW)

    def _forget_old(self) -> None:
        oldest = (self._clock() - self._limits.kept_for).timestamp()
        for upload_id in self.ids():
            path = self._folder / upload_id
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < oldest:
                    path.unlink()


def _write_all(descriptor: int, piece: bytes, offset: int) -> None:
    view = memoryview(piece)
    try:
        while view:
            written = os.pwrite(descriptor, view, offset)
            view, offset = view[written:], offset + written
    except OSError as error:
        raise StorageFull(f"The upload cannot be kept ({error.strerror}).") from None


@dataclass(frozen=True, slots=True)
class SharedUploads:
    """The uploads of all servers; safe to use from several threads."""

    database: Database
    storage: Storage
    scratch: Scratch
    clock: Clock
    limits: UploadLimits

    def begin(self) -> str:
        """Create an empty upload and return its id.

        Raises:
            ConflictingOperation: there are too many already.
        """
        upload_id, now = str(uuid.uuid4()), self.clock()
        with self.database.write() as tx:
            uploads.forget(tx, untouched_since=now - self.limits.kept_for)
            if not uploads.begin(tx, upload_id, most=self.limits.count, now=now):
                raise self.limits.too_many
        return upload_id

    def ids(self) -> list[str]:
        """The ids of all uploads."""
        with self.database.read() as connection:
            return uploads.ids(connection)

    def size(self, upload_id: str) -> int:
        """Return how many bytes of an upload have arrived.

        Raises:
            MissingResource: `upload_request`.
        """
        with self.database.read() as connection:
            size = uploads.size(connection, upload_id)
        if size is None:
            raise MissingResource(upload_request=upload_id)
        return size

    async def write(self, upload_id: str, offset: int, pieces: AsyncIterable[bytes]) -> None:
        """Store bytes from an offset on; what arrived before a client disconnected is kept.

        Raises:
            MissingResource: `upload_request`.
            InvalidValue: `offset` is beyond the end and would leave a gap.
            ConflictingOperation: there are too many pieces.
            RequestTooLarge: the piece or the whole would be too long.
            StorageFull: the disk is full.
            StorageUnavailable: the storage rejects it.
        """
        there = await to_thread.run_sync(self.size, upload_id)
        if not 0 <= offset <= there:
            raise InvalidValue("offset", f"{there} bytes of this upload have come; go on from there.")
        most = min(self.limits.whole - offset, self.limits.piece)
        with self.scratch.folder() as room:
            path, running, size = room / "piece", hashlib.sha256(), 0
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
            try:
                async for piece in pieces:
                    if size + len(piece) > most:
                        raise self.limits.too_long
                    with disk_errors(_WHAT):
                        await to_thread.run_sync(write_all, fd, memoryview(piece))
                    running.update(piece)
                    size += len(piece)
            finally:
                os.close(fd)
                if size:
                    came = Piece(start=offset, size=size, sha256=running.hexdigest())
                    await to_thread.run_sync(self._keep, upload_id, path, came)

    def _keep(self, upload_id: str, path: Path, piece: Piece) -> None:
        with disk_errors(_WHAT):
            self.storage.prepare()
            self.storage.put(path, piece.sha256)
            self.storage.flush([piece.sha256])
        with self.database.write() as tx:
            recorded = uploads.add_piece(tx, upload_id, piece, most=MOST_PIECES, now=self.clock())
        if recorded is None:
            raise MissingResource(upload_request=upload_id)
        if not recorded:
            raise ConflictingOperation(f"An upload is of {MOST_PIECES} pieces at most; send larger ones.")

    def hand_over(self, upload_id: str) -> str:
        """Assemble all pieces into a file of the storage, and return its name for an import task.

        Raises:
            MissingResource: `upload_request`.
            StorageFull: there is no room for another copy.
            StorageUnavailable: the storage rejects it, or has lost a piece.
        """
        self.size(upload_id)
        with self.database.read() as connection:
            pieces = uploads.pieces(connection, upload_id)
        with disk_errors(_WHAT), self.scratch.folder() as room:
            whole = room / "whole"
            fd = os.open(whole, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
            with os.fdopen(fd, "r+b") as target:
                for piece in pieces:
                    target.seek(piece.start)
                    try:
                        source = self.storage.open(piece.sha256)
                    except FileNotFoundError:
                        raise MissingResource(upload_request=upload_id) from None
                    with source:
                        while portion := source.read(_COPIED_AT_ONCE):
                            target.write(portion)
                target.seek(0)
                sha256 = hashlib.file_digest(target, "sha256").hexdigest()
            self.storage.prepare()
            self.storage.put(whole, sha256)
            self.storage.flush([sha256])
        return IN_STORAGE + sha256

    def take_back(self, path: str) -> None:
        """Do nothing: a file that no task took is removed as an orphan."""

    def remove(self, upload_id: str) -> None:
        """Delete an upload; a queued import keeps its bytes.

        Raises:
            MissingResource: `upload_request`.
        """
        with self.database.write() as tx:
            if not uploads.remove(tx, upload_id):
                raise MissingResource(upload_request=upload_id)
