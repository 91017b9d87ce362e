"""Uploads to any of several servers: each piece is a file of the shared storage, and the database records its offset.

Pieces may go to different servers, overwrite earlier bytes or append. A task gets a file of its own in the storage,
assembled from all pieces.
"""

import hashlib
import os
import uuid
from collections.abc import AsyncIterable
from pathlib import Path
from typing import Final

from anyio import to_thread

from pulpit.clock import Clock
from pulpit.errors import ConflictingOperation, InvalidValue, MissingResource, RequestTooLarge
from pulpit.repositories.uploads import IN_STORAGE, UploadLimits
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


class SharedUploads:
    """The uploads of all servers; safe to use from several threads."""

    def __init__(
        self, database: Database, storage: Storage, scratch: Scratch, clock: Clock, limits: UploadLimits
    ) -> None:
        self._database: Final = database
        self._storage: Final = storage
        self._scratch: Final = scratch
        self._clock: Final = clock
        self._limits: Final = limits

    def begin(self) -> str:
        """Create an empty upload and return its id.

        Raises:
            ConflictingOperation: there are too many already.
        """
        upload_id, now = str(uuid.uuid4()), self._clock()
        with self._database.write() as tx:
            uploads.forget(tx, untouched_since=now - self._limits.kept_for)
            if not uploads.begin(tx, upload_id, most=self._limits.count, now=now):
                raise ConflictingOperation(f"There are {self._limits.count} uploads; delete some first.")
        return upload_id

    def ids(self) -> list[str]:
        """The ids of all uploads."""
        with self._database.read() as connection:
            return uploads.ids(connection)

    def size(self, upload_id: str) -> int:
        """Return how many bytes of an upload have arrived.

        Raises:
            MissingResource: `upload_request`.
        """
        with self._database.read() as connection:
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
        most = min(self._limits.whole - offset, self._limits.piece)
        with self._scratch.folder() as room:
            path, running, size = room / "piece", hashlib.sha256(), 0
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
            try:
                async for piece in pieces:
                    if size + len(piece) > most:
                        raise RequestTooLarge(
                            f"An upload takes {self._limits.piece} bytes at once, {self._limits.whole} in all."
                        )
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
            self._storage.prepare()
            self._storage.put(path, piece.sha256)
            self._storage.flush([piece.sha256])
        with self._database.write() as tx:
            recorded = uploads.add_piece(tx, upload_id, piece, most=MOST_PIECES, now=self._clock())
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
        with self._database.read() as connection:
            pieces = uploads.pieces(connection, upload_id)
        with disk_errors(_WHAT), self._scratch.folder() as room:
            whole = room / "whole"
            fd = os.open(whole, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
            with os.fdopen(fd, "r+b") as target:
                for piece in pieces:
                    target.seek(piece.start)
                    try:
                        source = self._storage.open(piece.sha256)
                    except FileNotFoundError:
                        raise MissingResource(upload_request=upload_id) from None
                    with source:
                        while portion := source.read(_COPIED_AT_ONCE):
                            target.write(portion)
                target.seek(0)
                sha256 = hashlib.file_digest(target, "sha256").hexdigest()
            self._storage.prepare()
            self._storage.put(whole, sha256)
            self._storage.flush([sha256])
        return IN_STORAGE + sha256

    def take_back(self, path: str) -> None:
        """Do nothing: a file that no task took is removed as an orphan."""

    def remove(self, upload_id: str) -> None:
        """Delete an upload; a queued import keeps its bytes.

        Raises:
            MissingResource: `upload_request`.
        """
        with self._database.write() as tx:
            if not uploads.remove(tx, upload_id):
                raise MissingResource(upload_request=upload_id)
