"""Upload requests: begin one, send its bytes in pieces, import it into a repository, delete it."""

from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from pulpit.api.documents import V2
from pulpit.api.endpoints import CREATED, OK, QUEUED, Asking, Provided, answers, queued
from pulpit.api.models import ImportOrder, UploadDocument, UploadIds, UploadStarted
from pulpit.api.services import Services
from pulpit.errors import InvalidValue
from pulpit.store import repositories
from pulpit.store.tasks import Task
from pulpit.store.users import User
from pulpit.tasks import queue

router: Final = APIRouter(tags=["uploads"])

_LONGEST_OFFSET: Final = 18


@router.post(
    "/content/uploads/", operation_id="begin_upload", status_code=201, responses=answers(CREATED, UploadStarted, 409)
)
def begin_upload(services: Provided) -> JSONResponse:
    """Begin an upload."""
    document = _reference(services.uploads.begin())
    return JSONResponse(document, CREATED, {"Location": document["_href"]})


@router.get("/content/uploads/", operation_id="list_uploads", responses=answers(OK, UploadIds))
def list_uploads(services: Provided) -> JSONResponse:
    """List the ids of all uploads."""
    return JSONResponse({"upload_ids": services.uploads.ids()})


@router.get("/content/uploads/{upload_id}/", operation_id="read_upload", responses=answers(OK, UploadDocument, 404))
def read_upload(upload_id: str, services: Provided) -> JSONResponse:
    """Tell how many bytes have come, so that a broken upload can be resumed from there."""
    return JSONResponse(_reference(upload_id) | {"size": services.uploads.size(upload_id)})


@router.put(
    "/content/uploads/{upload_id}/{offset}/",
    operation_id="write_upload",
    responses=answers(OK, None, 400, 404, 409, 413, 507),
    openapi_extra={
        "requestBody": {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
    },
)
async def write_upload(upload_id: str, offset: str, request: Request, services: Provided) -> JSONResponse:
    """Take bytes that begin at an offset, as they come; whatever arrived before a connection broke is kept."""
    if not offset.isascii() or not offset.isdigit() or len(offset) > _LONGEST_OFFSET:
        raise InvalidValue("offset", "it must be a whole number from 0.")
    await services.uploads.write(upload_id, int(offset), request.stream())
    return JSONResponse(None)


@router.delete("/content/uploads/{upload_id}/", operation_id="delete_upload", responses=answers(OK, None, 404))
def delete_upload(upload_id: str, services: Provided) -> JSONResponse:
    """Delete an upload; an import that is queued goes on."""
    services.uploads.remove(upload_id)
    return JSONResponse(None)


@router.post(
    "/repositories/{repo_id}/actions/import_upload/", operation_id="import_upload", status_code=202, responses=QUEUED
)
def import_upload(repo_id: str, body: ImportOrder, services: Provided, user: Asking) -> JSONResponse:
    """Queue the import of what was uploaded, as a unit of the repository."""
    with services.database.read() as connection:
        repositories.get(connection, repo_id)
    if body.unit_type_id not in services.plugins.unit_types:
        raise InvalidValue("unit_type_id", "there is no such type of unit.")
    path = services.uploads.hand_over(body.upload_id)
    try:
        return queued(_queue_import(repo_id, body, path, services, user))
    except BaseException:
        services.uploads.take_back(path)
        raise


def _queue_import(repo_id: str, body: ImportOrder, path: str, services: Services, user: User) -> Task:
    unit: dict[str, Any] = {
        "unit_type_id": body.unit_type_id,
        "unit_key": body.unit_key or {},
        "unit_metadata": body.unit_metadata or {},
        "path": path,
        "override_config": body.override_config,
    }
    with services.database.write() as tx:
        return queue.import_upload(tx, repo_id, unit, login=user.login, clock=services.clock)


def _reference(upload_id: str) -> dict[str, str]:
    return {"upload_id": upload_id, "_href": f"{V2}/content/uploads/{upload_id}/"}
