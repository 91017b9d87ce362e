"""Groups of repositories: a name for several repositories, which are added and removed by Pulp 2's criteria.

Pulp 2's group distributors (exports) are not part of Pulpit: there is no type of them, so a group has none.
"""

from typing import Any, Final

from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, StrictStr
from sqlalchemy import Connection

from pulpit.api import criteria
from pulpit.api.endpoints import Document, Endpoints
from pulpit.api.services import CREATED, OK, Provided, QueriedCriteria, returns
from pulpit.api.v2.models import V2, Config, ObjectId, PublishOrder, SearchBody, Selection
from pulpit.api.v2.repositories import Parts, check_repository_id, merged_notes, searched
from pulpit.errors import InvalidValue, MissingResource
from pulpit.store import repository_groups
from pulpit.store.repository_groups import Group

router: Final = Endpoints(prefix="/repo_groups", tags=["repository groups"])

_ALWAYS: Final = ("id", "_id", "_href")
_NO_DISTRIBUTORS: Final = "groups have no distributors here; publish each repository by its own."


class NewGroup(BaseModel):
    """A new group of repositories; other keys are rejected, as in Pulp 2."""

    model_config = ConfigDict(extra="forbid")
    id: StrictStr
    display_name: StrictStr | None = None
    description: StrictStr | None = None
    repo_ids: list[StrictStr] | None = None
    notes: dict[str, Any] | None = None
    distributors: list[dict[str, Any]] | None = None


class GroupChanges(BaseModel):
    """A change of a group; an absent key is unchanged, a null note is deleted."""

    model_config = ConfigDict(extra="forbid")
    display_name: StrictStr | None = None
    description: StrictStr | None = None
    notes: dict[str, Any] | None = None


class NewGroupDistributor(BaseModel):
    """A distributor of a group, which Pulpit does not support."""

    distributor_type_id: StrictStr
    distributor_id: StrictStr | None = None
    distributor_config: Config | None = None


class RepositoryGroupDocument(Document):
    """A group of repositories."""

    id: str
    display_name: str | None
    description: str | None
    repo_ids: list[str]
    notes: dict[str, Any]
    href: str = Field(alias="_href")
    object_id: ObjectId = Field(alias="_id")


@router.post("/", responses=returns(CREATED, RepositoryGroupDocument, 400, 404, 409))
def create_repository_group(body: NewGroup, services: Provided) -> JSONResponse:
    """Create a group, with or without repositories."""
    check_repository_id(body.id)
    if body.distributors:
        raise InvalidValue("distributors", _NO_DISTRIBUTORS)
    with services.database.write() as tx:
        group = repository_groups.add(
            tx,
            body.id,
            display_name=body.display_name if body.display_name is not None else body.id,
            description=body.description,
            notes=merged_notes({}, body.notes or {}),
            repo_ids=body.repo_ids or (),
        )
    document = _document(group) | {"distributors": []}
    return JSONResponse(document, CREATED, {"Location": document["_href"]})


@router.get("/", responses=returns(OK, list[RepositoryGroupDocument]))
def list_repository_groups(services: Provided) -> JSONResponse:
    """List all groups by id."""
    with services.database.read() as connection:
        return JSONResponse([_document(group) for group in repository_groups.every(connection)])


@router.get("/search/", responses=returns(OK, list[dict[str, Any]], 400))
def query_repository_groups(queried: QueriedCriteria, services: Provided) -> JSONResponse:
    """Find groups by criteria in the query."""
    return search_repository_groups(SearchBody(criteria=queried), services)


@router.post("/search/", responses=returns(OK, list[dict[str, Any]], 400))
def search_repository_groups(body: SearchBody, services: Provided) -> JSONResponse:
    """Find groups by Pulp 2's criteria."""
    wanted = criteria.parse(body.criteria)
    with services.database.read() as connection:
        found = wanted.select(_document(group) for group in repository_groups.every(connection))
    return JSONResponse([wanted.trimmed(document, _ALWAYS) for document in found])


@router.get("/{group_id}/", responses=returns(OK, RepositoryGroupDocument, 404))
def read_repository_group(group_id: str, services: Provided) -> JSONResponse:
    """Show one group."""
    with services.database.read() as connection:
        return JSONResponse(_document(repository_groups.get(connection, group_id)))


@router.put("/{group_id}/", responses=returns(OK, RepositoryGroupDocument, 400, 404))
def update_repository_group(group_id: str, body: GroupChanges, services: Provided) -> JSONResponse:
    """Change name, description and notes; notes are merged, and null deletes one."""
    columns = body.model_dump(exclude_unset=True, include={"display_name", "description"})
    with services.database.write() as tx:
        if body.notes is not None:
            columns["notes"] = merged_notes(repository_groups.get(tx.connection, group_id).notes, body.notes)
        return JSONResponse(_document(repository_groups.change(tx, group_id, **columns)))


@router.delete("/{group_id}/", responses=returns(OK, None, 404))
def delete_repository_group(group_id: str, services: Provided) -> JSONResponse:
    """Delete a group; its repositories stay."""
    with services.database.write() as tx:
        repository_groups.remove(tx, group_id)
    return JSONResponse(None)


@router.post("/{group_id}/actions/associate/", responses=returns(OK, list[str], 400, 404))
def add_repositories_to_group(group_id: str, body: Selection, services: Provided) -> JSONResponse:
    """Add the matching repositories to the group, and list its members."""
    wanted = criteria.parse(body.criteria)
    with services.database.write() as tx:
        repository_groups.get(tx.connection, group_id)
        repo_ids = _matching(tx.connection, wanted, body.criteria)
        return JSONResponse(list(repository_groups.add_members(tx, group_id, repo_ids).repo_ids))


@router.post("/{group_id}/actions/unassociate/", responses=returns(OK, list[str], 400, 404))
def remove_repositories_from_group(group_id: str, body: Selection, services: Provided) -> JSONResponse:
    """Remove the matching repositories from the group, and list its remaining members."""
    wanted = criteria.parse(body.criteria)
    with services.database.write() as tx:
        repository_groups.get(tx.connection, group_id)
        repo_ids = _matching(tx.connection, wanted, body.criteria)
        return JSONResponse(list(repository_groups.remove_members(tx, group_id, repo_ids).repo_ids))


@router.get("/{group_id}/distributors/", responses=returns(OK, list[dict[str, Any]], 404))
def list_group_distributors(group_id: str, services: Provided) -> JSONResponse:
    """List the distributors of a group, of which there are none."""
    with services.database.read() as connection:
        repository_groups.get(connection, group_id)
    return JSONResponse([])


@router.post("/{group_id}/distributors/", responses=returns(CREATED, None, 400, 404))
def create_group_distributor(group_id: str, body: NewGroupDistributor, services: Provided) -> JSONResponse:
    """Reject a distributor: no type of them is installed."""
    with services.database.read() as connection:
        repository_groups.get(connection, group_id)
    raise InvalidValue("distributor_type_id", f"there is no {body.distributor_type_id!r}: {_NO_DISTRIBUTORS}")


@router.get(
    "/{group_id}/distributors/{distributor_id}/",
    operation_id="read_group_distributor",
    responses=returns(OK, None, 404),
)
@router.put(
    "/{group_id}/distributors/{distributor_id}/",
    operation_id="update_group_distributor",
    responses=returns(OK, None, 404),
)
@router.delete(
    "/{group_id}/distributors/{distributor_id}/",
    operation_id="delete_group_distributor",
    responses=returns(OK, None, 404),
)
def read_distributor(group_id: str, distributor_id: str, services: Provided) -> JSONResponse:
    """Respond that a group has no such distributor."""
    with services.database.read() as connection:
        repository_groups.get(connection, group_id)
    raise MissingResource(repo_group=group_id, distributor_id=distributor_id)


@router.post("/{group_id}/actions/publish/", responses=returns(OK, None, 400, 404))
def publish_repository_group(group_id: str, body: PublishOrder, services: Provided) -> JSONResponse:
    """Respond that a group has no such distributor."""
    return read_distributor(group_id, body.id, services)


def _matching(connection: Connection, wanted: criteria.Criteria, body: dict[str, Any]) -> list[str]:
    return [document["id"] for document in searched(connection, wanted, body, Parts())]


def _document(group: Group) -> dict[str, Any]:
    return {
        "id": group.id,
        "display_name": group.display_name,
        "description": group.description,
        "repo_ids": list(group.repo_ids),
        "notes": group.notes,
        "scratchpad": None,
        "_href": f"{V2}/repo_groups/{group.id}/",
        "_id": {"$oid": group.object_id},
        "_ns": "repo_groups",
    }
