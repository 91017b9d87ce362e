"""Uploads: files that grow piece by piece until an import takes them over."""

from typing import Any, Final

from fastapi import Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, StrictStr

from pulpit.api.auth.rights import Verb
from pulpit.api.endpoints import Document, Endpoints
from pulpit.api.services import CREATED, OK, QUEUED, Allowed, Asking, Provided, Services, queued, returns
from pulpit.api.v2.models import V2, Config
from pulpit.errors import (
    InvalidValue,
    UnsupportedValue,
)
from pulpit.repositories.pending_uploads import SharedUploads, UploadLimits, Uploads
from pulpit.storage.scratch import Scratch
from pulpit.store import repositories
from pulpit.store.tasks import Task
from pulpit.store.users import User
from pulpit.tasks import queue

router: Final = Endpoints(tags=["uploads"])

_LONGEST_OFFSET: Final = 18


class ImportOrder(BaseModel):
    """An import of uploaded content as a unit."""

    upload_id: StrictStr
    unit_type_id: StrictStr
    unit_key: dict[str, Any] | None = None
    unit_metadata: dict[str, Any] | None = None
    override_config: Config | None = None


class UploadStarted(Document):
    """A new, empty upload."""

    upload_id: str
    href: str = Field(alias="_href")


class UploadDocument(UploadStarted):
    """An upload and the number of bytes received."""

    size: int


class UploadIds(BaseModel):
    """All uploads."""

    upload_ids: list[str]


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
        return SharedUploads(services.database, storage, Scratch(services.data_dir), services.database.clock, limits)
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
