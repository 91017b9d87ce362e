"""Uploads: files that grow piece by piece below the data folder until an import takes them over.

    uploads/<id>            what a client has sent so far
    uploads/queued/<id>     a second link to a file that an import task will read

The task has a link of its own: the original client deletes the upload as soon as the import is queued, but the content
stays. While both links exist, no further piece is accepted.

This is for a single server; with a shared storage, `repositories/shared_uploads.py` accepts pieces at any server.
"""

import contextlib
import os
import re
import uuid
from collections.abc import AsyncIterable
from pathlib import Path
from typing import Any, Final

from anyio import to_thread
from fastapi import Request
from fastapi.responses import JSONResponse

from pulpit.api.auth.rights import Verb
from pulpit.api.endpoints import Endpoints
from pulpit.api.services import CREATED, OK, QUEUED, Allowed, Asking, Provided, Services, queued, returns
from pulpit.api.v2.models import V2, ImportOrder, UploadDocument, UploadIds, UploadStarted
from pulpit.clock import Clock
from pulpit.errors import (
    ConflictingOperation,
    InvalidValue,
    MissingResource,
    RequestTooLarge,
    StorageFull,
    UnsupportedValue,
)
from pulpit.repositories.shared_uploads import SharedUploads
from pulpit.repositories.uploads import UploadLimits
from pulpit.storage.scratch import Scratch
from pulpit.store import repositories
from pulpit.store.tasks import Task
from pulpit.store.users import User
from pulpit.tasks import queue

FOLDER: Final = "uploads"
LINKED: Final = "queued"

_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


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
        (self._folder / LINKED).mkdir(mode=0o700, parents=True, exist_ok=True)
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
                    raise RequestTooLarge(
                        f"An upload takes {self._limits.piece} bytes at once, {self._limits.whole} in all."
                    )
                await to_thread.run_sync(_write_all, descriptor, piece, offset)
                offset += len(piece)
        finally:
            await to_thread.run_sync(os.close, descriptor)

    def hand_over(self, upload_id: str) -> str:
        """Create a link for an import task and return its path below the data folder; the task removes it at its end.

        Raises:
            MissingResource: `upload_request`.
        """
        path = Path(FOLDER, LINKED, str(uuid.uuid4()))
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


router: Final = Endpoints(tags=["uploads"])

_LONGEST_OFFSET: Final = 18


@router.post("/content/uploads/", responses=returns(CREATED, UploadStarted, 409))
def begin_upload(services: Provided) -> JSONResponse:
    """Begin an upload."""
    document = _reference(uploads_of(services).begin())
    return JSONResponse(document, CREATED, {"Location": document["_href"]})


@router.get("/content/uploads/", responses=returns(OK, UploadIds))
def list_uploads(services: Provided) -> JSONResponse:
    """List the ids of all uploads."""
    return JSONResponse({"upload_ids": uploads_of(services).ids()})


@router.get("/content/uploads/{upload_id}/", responses=returns(OK, UploadDocument, 404))
def read_upload(upload_id: str, services: Provided) -> JSONResponse:
    """Return the number of bytes received, so that an interrupted upload can be resumed."""
    return JSONResponse(_reference(upload_id) | {"size": uploads_of(services).size(upload_id)})


@router.put(
    "/content/uploads/{upload_id}/{offset}/",
    responses=returns(OK, None, 400, 404, 409, 413, 507),
    openapi_extra={
        "requestBody": {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
    },
)
async def write_upload(upload_id: str, offset: str, request: Request, services: Provided) -> JSONResponse:
    """Write bytes at an offset as they arrive; what arrived before a connection broke is kept."""
    if not offset.isascii() or not offset.isdigit() or len(offset) > _LONGEST_OFFSET:
        raise InvalidValue("offset", "it must be a whole number from 0.")
    await uploads_of(services).write(upload_id, int(offset), request.stream())
    return JSONResponse(None)


@router.delete("/content/uploads/{upload_id}/", responses=returns(OK, None, 404))
def delete_upload(upload_id: str, services: Provided) -> JSONResponse:
    """Delete an upload; a queued import continues."""
    uploads_of(services).remove(upload_id)
    return JSONResponse(None)


@router.post("/repositories/{repo_id}/actions/import_upload/", responses=QUEUED)
def import_upload(repo_id: str, body: ImportOrder, services: Provided, user: Asking, rights: Allowed) -> JSONResponse:
    """Queue the import of an upload as a unit of the repository."""
    with services.database.read() as connection:
        repositories.get(connection, repo_id)
    if body.unit_type_id not in services.plugins.unit_types:
        raise InvalidValue("unit_type_id", "there is no such type of unit.")
    if body.override_config:
        raise UnsupportedValue(sorted(body.override_config))
    unit = {
        "unit_type_id": body.unit_type_id,
        "unit_key": body.unit_key or {},
        "unit_metadata": body.unit_metadata or {},
        "everywhere": rights.may(Verb.PUBLISH),
    }
    return queued(queue_import(repo_id, body.upload_id, unit, services, user))


def uploads_of(services: Services) -> Uploads | SharedUploads:
    """Return the uploads of this server's data folder, or the shared ones."""
    storage, limits = services.publications.storage, UploadLimits()
    if storage.is_shared:
        return SharedUploads(services.database, storage, Scratch(services.data_dir), services.clock, limits)
    return Uploads(services.data_dir, services.clock, limits)


def queue_import(repo_id: str, upload_id: str, unit: dict[str, Any], services: Services, user: User) -> Task:
    """Queue the import of an upload; for `unit` see `queue.import_upload`."""
    uploads = uploads_of(services)
    path = uploads.hand_over(upload_id)
    try:
        with services.database.write() as tx:
            unit = {**unit, "path": path, "override_config": None}
            return queue.import_upload(tx, repo_id, unit, login=user.login, clock=services.clock)
    except BaseException:
        uploads.take_back(path)
        raise


def _reference(upload_id: str) -> dict[str, str]:
    return {"upload_id": upload_id, "_href": f"{V2}/content/uploads/{upload_id}/"}
