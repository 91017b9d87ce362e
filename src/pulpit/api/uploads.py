"""Uploads: files that grow piece by piece below the data folder until an import takes them over.

    uploads/<id>            what a client has sent so far
    uploads/queued/<id>     a second link to a file that an import task will read

The task's link is its own: the original client deletes the upload as soon as the import is queued, and the bytes stay.
While both links exist, no further piece is taken.
"""

import contextlib
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

FOLDER: Final = "uploads"
QUEUED: Final = "queued"

_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


@dataclass(frozen=True, kw_only=True, slots=True)
class UploadLimits:
    """What uploads may take of the disk; sizes in bytes."""

    piece: int = 256 * 2**20
    one: int = 64 * 2**30
    count: int = 10_000
    kept_for: timedelta = timedelta(days=7)
    """An upload that nobody has touched for so long is thrown away when the next one begins."""


class Uploads:
    """The uploads of one data folder; safe to use from several threads."""

    def __init__(self, data_dir: Path, clock: Clock, limits: UploadLimits) -> None:
        self._data_dir: Final = data_dir
        self._folder: Final = data_dir / FOLDER
        self._clock: Final = clock
        self._limits: Final = limits

    def begin(self) -> str:
        """Make an empty upload and answer its id.

        Raises:
            ConflictingOperation: there are too many already.
        """
        (self._folder / QUEUED).mkdir(mode=0o700, parents=True, exist_ok=True)
        self._forget_old()
        if len(self.ids()) >= self._limits.count:
            raise ConflictingOperation(f"There are {self._limits.count} uploads; delete some first.")
        upload_id = str(uuid.uuid4())
        os.close(os.open(self._folder / upload_id, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        return upload_id

    def ids(self) -> list[str]:
        """The ids of all uploads."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(path.name for path in self._folder.iterdir() if _ID.match(path.name))
        return []

    def size(self, upload_id: str) -> int:
        """How many bytes of an upload have come.

        Raises:
            MissingResource: `upload_request`.
        """
        return self._path(upload_id).stat().st_size

    async def write(self, upload_id: str, offset: int, pieces: AsyncIterable[bytes]) -> None:
        """Write bytes at an offset, over what stands there, or on from the end.

        Raises:
            MissingResource: `upload_request`.
            InvalidValue: `offset` lies behind the end, so that a hole would come to be.
            ConflictingOperation: an import of this upload is waiting.
            RequestTooLarge: the piece or the whole would be too long.
            StorageFull: the disk has no room.
        """
        descriptor = await to_thread.run_sync(self._open, upload_id, offset)
        try:
            end = min(self._limits.one, offset + self._limits.piece)
            async for piece in pieces:
                if offset + len(piece) > end:
                    raise RequestTooLarge(
                        f"An upload takes {self._limits.piece} bytes at once, {self._limits.one} in all."
                    )
                await to_thread.run_sync(_write_all, descriptor, piece, offset)
                offset += len(piece)
        finally:
            await to_thread.run_sync(os.close, descriptor)

    def hand_over(self, upload_id: str) -> str:
        """Make a link for an import task and answer its path below the data folder; the task removes it at its end.

        Raises:
            MissingResource: `upload_request`.
        """
        path = Path(FOLDER, QUEUED, str(uuid.uuid4()))
        os.link(self._path(upload_id), self._data_dir / path)
        return str(path)

    def take_back(self, path: str) -> None:
        """Remove a link that no task got."""
        (self._data_dir / path).unlink(missing_ok=True)

    def remove(self, upload_id: str) -> None:
        """Delete an upload; an import that is queued keeps its bytes.

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
