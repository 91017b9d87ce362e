"""Repositories: create, show, find, change and delete them."""

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, Query
from fastapi.responses import JSONResponse
from sqlalchemy import Connection

from pulpit.api import criteria
from pulpit.api.auth.rights import Verb
from pulpit.api.criteria import Criteria
from pulpit.api.endpoints import Endpoints
from pulpit.api.services import CREATED, OK, QUEUED, Allowed, Asking, Provided, QueriedCriteria, queued, returns
from pulpit.api.v2.distributors import attach_distributor, distributor_document, queue_distributor_update
from pulpit.api.v2.importers import attach_importer, change_importer, importer_document, repository_changed
from pulpit.api.v2.models import (
    V2,
    DistributorChanges,
    NewRepository,
    RepositoryChanges,
    RepositoryDelta,
    RepositoryDocument,
    RepositorySearchBody,
)
from pulpit.clock import iso
from pulpit.errors import InvalidValue, MissingResource
from pulpit.events import REPO_CREATE
from pulpit.fire import fire
from pulpit.store import repositories
from pulpit.store.repositories import Repository
from pulpit.tasks import queue
from pulpit.tasks.reports import accepted

router: Final = Endpoints(prefix="/repositories", tags=["repositories"])

_ID: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*\Z")
_LONGEST_ID: Final = 255
_ALWAYS: Final = ("id", "_id", "_href")

Flag = Annotated[str, Query(description="`true` in any case of letters", max_length=10)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """What to include with a repository."""

    importers: bool = False
    distributors: bool = False


NOTHING_MORE: Final = Parts()


def _asked_parts(importers: Flag = "", distributors: Flag = "", details: Flag = "") -> Parts:
    everything = _is_true(details)
    return Parts(importers=everything or _is_true(importers), distributors=everything or _is_true(distributors))


Asked = Annotated[Parts, Depends(_asked_parts)]


@router.post("/", responses=returns(CREATED, RepositoryDocument, 400, 409))
def create_repository(body: NewRepository, services: Provided) -> JSONResponse:
    """Create a repository, with its importer and distributors if given; all or nothing."""
    check_repository_id(body.id)
    display_name = body.display_name if body.display_name is not None else body.id
    notes = merged_notes({}, body.notes or {})
    with services.database.write() as tx:
        texts = {"display_name": display_name, "description": body.description}
        repositories.add(tx, body.id, **texts, notes=notes, now=services.clock())
        if body.importer_type_id is not None:
            attach_importer(tx, body.id, body.importer_type_id, body.importer_config or {}, services)
        for new in body.distributors or []:
            attach_distributor(tx, body.id, new, services)
        payload = {"repo_id": body.id, "display_name": display_name, "notes": notes}
        fire(tx, REPO_CREATE, payload, clock=services.clock)
        [document] = show(tx.connection, repo_id=body.id)
    return JSONResponse(document, CREATED, {"Location": document["_href"]})


@router.get("/", responses=returns(OK, list[RepositoryDocument], 400))
def list_repositories(services: Provided, parts: Asked, rights: Allowed) -> JSONResponse:
    """List the repositories that the user may read, by id."""
    with services.database.read() as connection:
        found = show(connection, parts=parts)
    return JSONResponse([document for document in found if rights.may(Verb.READ, document["id"])])


@router.get("/search/", responses=returns(OK, list[dict[str, Any]], 400))
def query_repositories(queried: QueriedCriteria, parts: Asked, services: Provided, rights: Allowed) -> JSONResponse:
    """Find repositories by criteria in the query."""
    body = RepositorySearchBody(criteria=queried, importers=parts.importers, distributors=parts.distributors)
    return search_repositories(body, services, rights)


@router.post("/search/", responses=returns(OK, list[RepositoryDocument], 400))
def search_repositories(body: RepositorySearchBody, services: Provided, rights: Allowed) -> JSONResponse:
    """Find repositories by Pulp 2's criteria."""
    wanted = criteria.parse(body.criteria)
    parts = Parts(importers=body.details or body.importers, distributors=body.details or body.distributors)
    with services.database.read() as connection:
        found = searched(connection, wanted, body.criteria, parts, lambda repo_id: rights.may(Verb.READ, repo_id))
    always = [*_ALWAYS, *(name for name in ("importers", "distributors") if getattr(parts, name))]
    return JSONResponse([wanted.trimmed(document, always) for document in found])


@router.get("/{repo_id}/", responses=returns(OK, RepositoryDocument, 400, 404))
def read_repository(repo_id: str, services: Provided, parts: Asked, details: Flag = "") -> JSONResponse:
    """Show one repository; as in Pulp 2 `details` also count its units, all of which are stored here."""
    with services.database.read() as connection:
        [document] = show(connection, repo_id=repo_id, parts=parts)
    if _is_true(details):
        document["total_repository_units"] = sum(document["content_unit_counts"].values())
        document["locally_stored_units"] = document["total_repository_units"]
    return JSONResponse(document)


@router.put("/{repo_id}/", responses=returns(OK, RepositoryDocument, 400, 404) | QUEUED)
def update_repository(repo_id: str, body: RepositoryChanges, services: Provided, user: Asking) -> JSONResponse:
    """Change a repository and its importer at once, its distributors by one task each."""
    with services.database.write() as tx:
        found = repositories.get(tx.connection, repo_id)
        changes = _changes(found, body.delta or RepositoryDelta())
        repositories.change(tx, repo_id, **changes)
        repository_changed(tx, repo_id, list(changes), services)
        if body.importer_config:
            change_importer(tx, repo_id, None, body.importer_config, services)
        spawned = [
            queue_distributor_update(
                tx, repo_id, distributor_id, DistributorChanges(distributor_config=config), services=services, user=user
            )
            for distributor_id, config in (body.distributor_configs or {}).items()
        ]
        [document] = show(tx.connection, repo_id=repo_id)
    return queued(*spawned) if spawned else JSONResponse(accepted() | {"result": document})


@router.delete("/{repo_id}/", responses=QUEUED)
def delete_repository(repo_id: str, services: Provided, user: Asking) -> JSONResponse:
    """Queue the deletion of a repository and of what it published."""
    with services.database.write() as tx:
        return queued(queue.delete_repository(tx, repo_id, login=user.login, clock=services.clock))


def check_repository_id(repo_id: str) -> None:
    """Reject an invalid repository id, which is also a folder name of the published tree.

    Raises:
        InvalidValue: `id`.
    """
    if len(repo_id) > _LONGEST_ID:
        raise InvalidValue("id", f"it has {len(repo_id)} characters; {_LONGEST_ID} are the most.")
    if not _ID.match(repo_id):
        raise InvalidValue("id", "it must be letters, digits, '.', '-' and '_', and not begin with '.'.")


def show(connection: Connection, *, repo_id: str | None = None, parts: Parts = NOTHING_MORE) -> list[dict[str, Any]]:
    """Return the documents of all repositories, or of one.

    Raises:
        MissingResource: it does not exist.
    """
    found = repositories.every(connection) if repo_id is None else [repositories.get(connection, repo_id)]
    counts = repositories.unit_counts(connection, repo_id)
    shown = {repository.id: _document(repository, counts.get(repository.id, {})) for repository in found}
    for name, wanted in (("importers", parts.importers), ("distributors", parts.distributors)):
        for document in shown.values() if wanted else ():
            document[name] = []
    for importer in repositories.importers_of(connection, repo_id) if parts.importers else ():
        shown[importer.repo_id]["importers"].append(importer_document(importer))
    for distributor in repositories.distributors_of(connection, repo_id) if parts.distributors else ():
        shown[distributor.repo_id]["distributors"].append(distributor_document(distributor))
    return list(shown.values())


def searched(
    connection: Connection,
    wanted: Criteria,
    body: dict[str, Any],
    parts: Parts,
    may_read: Callable[[str], bool] = lambda _: True,
) -> list[criteria.Document]:
    """Return the repositories that match the criteria and may be read, with the given parts.

    Criteria may call the id `repo_id`, as Pulp 2's database did.
    """
    filters = body.get("filters")
    ids = criteria.words(filters.get("id"), "$in") if isinstance(filters, dict) else None
    if ids is None:
        found = [document for document in show(connection, parts=parts) if may_read(document["id"])]
    else:
        found = []
        for repo_id in sorted(filter(may_read, set(ids))):
            with contextlib.suppress(MissingResource):
                found += show(connection, repo_id=repo_id, parts=parts)
    selected = wanted.select({**document, "repo_id": document["id"]} for document in found)
    return [{key: value for key, value in document.items() if key != "repo_id"} for document in selected]


def _changes(found: Repository, delta: RepositoryDelta) -> dict[str, Any]:
    """Return the columns that a delta changes; a null name or description becomes null."""
    columns = delta.model_dump(exclude_unset=True, include={"display_name", "description"})
    if delta.notes is not None:
        columns["notes"] = merged_notes(found.notes, delta.notes)
    return columns


def merged_notes(old: dict[str, Any], delta: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in {**old, **delta}.items() if value is not None}


def _is_true(flag: str) -> bool:
    return flag.lower() == "true"


def _document(value: Repository, unit_counts: dict[str, int]) -> dict[str, Any]:
    """Return a repository without its importers and distributors."""
    return {
        "id": value.id,
        "display_name": value.display_name,
        "description": value.description,
        "notes": value.notes,
        "scratchpad": value.scratchpad,
        "content_unit_counts": unit_counts,
        "last_unit_added": iso(value.last_unit_added),
        "last_unit_removed": iso(value.last_unit_removed),
        "_href": f"{V2}/repositories/{value.id}/",
        "_id": {"$oid": value.object_id},
        "_ns": "repos",
    }
