"""Importers: where a repository's content comes from; a repository has at most one."""

from typing import Any, Final

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from sqlalchemy import Connection

from pulpit.api import documents
from pulpit.api.announcing import repository_changed
from pulpit.api.endpoints import ACCEPTED, OK, QUEUED, Provided, answers
from pulpit.api.models import ImporterChanges, NewImporter
from pulpit.api.redaction import merged
from pulpit.api.services import Services
from pulpit.store import repositories
from pulpit.store.database import Transaction
from pulpit.tasks.reports import accepted

router: Final = APIRouter(prefix="/repositories/{repo_id}/importers", tags=["importers"])

_CONFIG: Final = "importer_config"


@router.get("/", operation_id="list_importers", responses=answers(OK, list[dict[str, Any]], 404))
def list_importers(repo_id: str, services: Provided) -> JSONResponse:
    """List the importer, if there is one."""
    with services.database.read() as connection:
        repositories.get(connection, repo_id)
        found = repositories.importers_of(connection, repo_id)
    types = services.plugins
    return JSONResponse([documents.importer(one, types.secret_keys(one.importer_type_id)) for one in found])


@router.post("/", operation_id="create_importer", status_code=202, responses=QUEUED)
def create_importer(repo_id: str, body: NewImporter, services: Provided) -> JSONResponse:
    """Give the repository an importer in place of the one that it may have; this is done at once, without a task."""
    with services.database.write() as tx:
        repositories.get(tx.connection, repo_id)
        repositories.remove_importer(tx, repo_id)
        repository_changed(tx, repo_id, ["importer"], services)
        attach_importer(tx, repo_id, body.importer_type_id, body.importer_config or {}, services)
        return _done(show(tx.connection, repo_id, None, services))


@router.get("/{importer_id}/", operation_id="read_importer", responses=answers(OK, dict[str, Any], 404))
def read_importer(repo_id: str, importer_id: str, services: Provided) -> JSONResponse:
    """Show the importer."""
    with services.database.read() as connection:
        return JSONResponse(show(connection, repo_id, importer_id, services))


@router.put("/{importer_id}/", operation_id="update_importer", status_code=202, responses=QUEUED)
def update_importer(repo_id: str, importer_id: str, body: ImporterChanges, services: Provided) -> JSONResponse:
    """Change the configuration key by key; null removes a key; this is done at once, without a task."""
    with services.database.write() as tx:
        change_importer(tx, repo_id, importer_id, body.importer_config, services)
        return _done(show(tx.connection, repo_id, importer_id, services))


@router.delete("/{importer_id}/", operation_id="delete_importer", status_code=202, responses=QUEUED)
def delete_importer(repo_id: str, importer_id: str, services: Provided) -> JSONResponse:
    """Detach the importer; this is done at once, without a task."""
    with services.database.write() as tx:
        repositories.importer(tx.connection, repo_id, importer_id)
        repositories.remove_importer(tx, repo_id)
        repository_changed(tx, repo_id, ["importer"], services)
    return _done(None)


def attach_importer(
    tx: Transaction, repo_id: str, importer_type_id: str, config: dict[str, Any], services: Services
) -> None:
    """Attach a checked importer; null in a new configuration means that the key is not given.

    Raises:
        InvalidValue: the type is unknown or the configuration cannot work.
    """
    types = services.plugins
    checked = merged({}, config, types.secret_keys(importer_type_id), property_name=_CONFIG)
    types.check_importer_config(importer_type_id, checked)
    repositories.add_importer(tx, repo_id, importer_type_id, checked, now=services.clock())


def change_importer(
    tx: Transaction, repo_id: str, importer_id: str | None, delta: dict[str, Any], services: Services
) -> None:
    """Merge a delta into the importer's configuration and check the whole.

    Raises:
        MissingResource: the repository or the importer is absent.
        InvalidValue: the configuration cannot work.
    """
    found = repositories.importer(tx.connection, repo_id, importer_id)
    types = services.plugins
    config = merged(found.config, delta, types.secret_keys(found.importer_type_id), property_name=_CONFIG)
    types.check_importer_config(found.importer_type_id, config)
    repositories.change_importer(tx, repo_id, config=config, last_updated=services.clock())
    repository_changed(tx, repo_id, ["importer"], services)


def show(connection: Connection, repo_id: str, importer_id: str | None, services: Services) -> dict[str, Any]:
    """The importer's document.

    Raises:
        MissingResource: the repository or the importer is absent.
    """
    found = repositories.importer(connection, repo_id, importer_id)
    return documents.importer(found, services.plugins.secret_keys(found.importer_type_id))


def _done(result: dict[str, Any] | None) -> JSONResponse:
    """A call report without tasks: Pulp 2 answers 202 here, and its client then has nothing to follow."""
    return JSONResponse(accepted() | {"result": result}, ACCEPTED)
