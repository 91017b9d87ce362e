"""Importers: where a repository's content comes from; a repository has at most one."""

from typing import Any, Final

from fastapi.responses import JSONResponse

from pulpit.api.endpoints import Endpoints
from pulpit.api.redaction import SECRET_KEYS, masked, merged
from pulpit.api.services import ACCEPTED, OK, QUEUED, Provided, Services, returns
from pulpit.api.v2.models import V2, ImporterChanges, NewImporter
from pulpit.clock import iso
from pulpit.content.feed import without_credentials
from pulpit.events import REPO_UPDATE
from pulpit.fire import fire
from pulpit.store import repositories
from pulpit.store.database import Transaction
from pulpit.store.repositories import Importer
from pulpit.tasks.reports import accepted

router: Final = Endpoints(prefix="/repositories/{repo_id}/importers", tags=["importers"])

_CONFIG: Final = "importer_config"


@router.get("/", responses=returns(OK, list[dict[str, Any]], 404))
def list_importers(repo_id: str, services: Provided) -> JSONResponse:
    """List the importer, if there is one."""
    with services.database.read() as connection:
        repositories.get(connection, repo_id)
        found = repositories.importers_of(connection, repo_id)
    return JSONResponse([importer_document(importer) for importer in found])


@router.post("/", responses=QUEUED)
def create_importer(repo_id: str, body: NewImporter, services: Provided) -> JSONResponse:
    """Set the repository's importer, replacing an existing one; done at once, without a task."""
    with services.database.write() as tx:
        repositories.get(tx.connection, repo_id)
        repositories.remove_importer(tx, repo_id)
        repository_changed(tx, repo_id, ["importer"], services)
        attach_importer(tx, repo_id, body.importer_type_id, body.importer_config or {}, services)
        return _done(importer_document(repositories.importer(tx.connection, repo_id)))


@router.get("/{importer_id}/", responses=returns(OK, dict[str, Any], 404))
def read_importer(repo_id: str, importer_id: str, services: Provided) -> JSONResponse:
    """Show the importer."""
    with services.database.read() as connection:
        return JSONResponse(importer_document(repositories.importer(connection, repo_id, importer_id)))


@router.put("/{importer_id}/", responses=QUEUED)
def update_importer(repo_id: str, importer_id: str, body: ImporterChanges, services: Provided) -> JSONResponse:
    """Change the configuration key by key; null removes a key; done at once, without a task."""
    with services.database.write() as tx:
        change_importer(tx, repo_id, importer_id, body.importer_config, services)
        return _done(importer_document(repositories.importer(tx.connection, repo_id, importer_id)))


@router.delete("/{importer_id}/", responses=QUEUED)
def delete_importer(repo_id: str, importer_id: str, services: Provided) -> JSONResponse:
    """Detach the importer; done at once, without a task."""
    with services.database.write() as tx:
        repositories.importer(tx.connection, repo_id, importer_id)
        repositories.remove_importer(tx, repo_id)
        repository_changed(tx, repo_id, ["importer"], services)
    return _done(None)


def attach_importer(
    tx: Transaction, repo_id: str, importer_type_id: str, config: dict[str, Any], services: Services
) -> None:
    """Attach a checked importer; null in a new configuration counts as absent.

    Raises:
        InvalidValue: the type is unknown or the configuration is invalid.
    """
    checked = _checked(importer_type_id, {}, config, services)
    repositories.add_importer(tx, repo_id, importer_type_id, checked, now=services.clock())


def change_importer(
    tx: Transaction, repo_id: str, importer_id: str | None, delta: dict[str, Any], services: Services
) -> None:
    """Merge a delta into the importer's configuration and check the result.

    Raises:
        MissingResource: the repository or the importer does not exist.
        InvalidValue: the configuration is invalid.
    """
    found = repositories.importer(tx.connection, repo_id, importer_id)
    config = _checked(found.importer_type_id, found.config, delta, services)
    repositories.change_importer(tx, repo_id, config=config, last_updated=services.clock())
    repository_changed(tx, repo_id, ["importer"], services)


def _checked(type_id: str, old: dict[str, Any], delta: dict[str, Any], services: Services) -> dict[str, Any]:
    config = without_credentials(merged(old, delta, SECRET_KEYS, property_name=_CONFIG))
    services.plugins.check_importer_config(type_id, config)
    return config


def _done(result: dict[str, Any] | None) -> JSONResponse:
    """Return a call report without tasks: Pulp 2 responds with 202 here, and its client then has nothing to follow."""
    return JSONResponse(accepted() | {"result": result}, ACCEPTED)


def importer_document(value: Importer) -> dict[str, Any]:
    """An importer with its secrets masked."""
    return {
        "id": value.id,
        "importer_type_id": value.importer_type_id,
        "repo_id": value.repo_id,
        "config": masked(value.config, SECRET_KEYS),
        "last_sync": iso(value.last_sync),
        "last_updated": iso(value.last_updated),
        "last_override_config": {},
        "scratchpad": None,  # internal state of the sync, possibly large
        "_href": f"{V2}/repositories/{value.repo_id}/importers/{value.id}/",
        "_id": {"$oid": value.object_id},
        "_ns": "repo_importers",
    }


def repository_changed(tx: Transaction, repo_id: str, changed: list[str], services: Services) -> None:
    """Fire that a repository was changed; names the keys but not the values, which may be secret."""
    if changed:
        fire(tx, REPO_UPDATE, {"repo_id": repo_id, "changed": sorted(changed)}, clock=services.clock)
