"""Actions on a repository: each is queued and answers 202 at once."""

from typing import Final

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from pulpit.api.endpoints import QUEUED, Asking, Provided, queued
from pulpit.api.models import PublishOrder, SyncOrder
from pulpit.tasks import queue

router: Final = APIRouter(prefix="/repositories/{repo_id}/actions", tags=["actions"])


@router.post("/sync/", operation_id="sync_repository", status_code=202, responses=QUEUED)
def sync_repository(repo_id: str, body: SyncOrder, services: Provided, user: Asking) -> JSONResponse:
    """Queue a sync; distributors that publish by themselves follow it."""
    with services.database.write() as tx:
        task = queue.sync(tx, repo_id, body.override_config, login=user.login, clock=services.clock)
    return queued(task)


@router.post("/publish/", operation_id="publish_repository", status_code=202, responses=QUEUED)
def publish_repository(repo_id: str, body: PublishOrder, services: Provided, user: Asking) -> JSONResponse:
    """Queue a publish by one distributor."""
    with services.database.write() as tx:
        task = queue.publish(tx, repo_id, body.id, body.override_config, login=user.login, clock=services.clock)
    return queued(task)
