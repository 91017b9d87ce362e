"""Units: searched in a repository or by type, copied, removed; and orphans, which no repository holds."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, Final

from fastapi import Body, Query
from fastapi.responses import JSONResponse
from sqlalchemy import Connection

from pulpit.api import criteria
from pulpit.api.criteria import Criteria
from pulpit.api.endpoints import Endpoints
from pulpit.api.services import OK, QUEUED, Asking, Provided, QueriedCriteria, Services, queued, returns
from pulpit.api.v2.models import (
    V2,
    ContentSearchBody,
    CopyOrder,
    Counted,
    Orphan,
    SearchBody,
    Selection,
    UnitDocument,
)
from pulpit.clock import iso
from pulpit.errors import InvalidValue, MissingResource, UnsupportedValue
from pulpit.store import orphans, repositories, units
from pulpit.store.units import Held, Unit
from pulpit.tasks import queue

Document = dict[str, Any]
TypeIds = Annotated[list[str] | None, Query()]

_of_repository: Final = Endpoints(prefix="/repositories/{repo_id}", tags=["units"])


@_of_repository.get("/search/units/", responses=returns(OK, list[Document], 400, 404))
def query_units(repo_id: str, queried: QueriedCriteria, services: Provided, type_ids: TypeIds = None) -> JSONResponse:
    """Find units by criteria in the query; filters have the keys `unit` and `association`."""
    return search_units(repo_id, SearchBody(criteria=queried | {"type_ids": type_ids}), services)


@_of_repository.post("/search/units/", responses=returns(OK, list[UnitDocument], 400, 404))
def search_units(repo_id: str, body: SearchBody, services: Provided) -> JSONResponse:
    """Find units by Pulp 2's criteria, which are applied to the unit and its association separately."""
    wanted = parse(body.criteria)
    with services.database.read() as connection:
        repositories.get(connection, repo_id)
        return JSONResponse(find(connection, repo_id, wanted))


@_of_repository.post("/actions/associate/", responses=QUEUED)
def copy_units(repo_id: str, body: CopyOrder, services: Provided, user: Asking) -> JSONResponse:
    """Queue the copying of units from another repository; they are selected now."""
    wanted = parse(body.criteria)
    source = body.source_repo_id
    with services.database.read() as connection:
        repositories.get(connection, repo_id)
        try:
            repositories.get(connection, source)
        except MissingResource:
            raise InvalidValue("source_repo_id", f"there is no repository {source}.") from None
        importer = repositories.importer(connection, repo_id)
        services.plugins.check_copy_config(importer.importer_type_id, body.override_config or {})
        chosen = find_ids(connection, source, wanted)
    with services.database.write() as tx:
        task = queue.copy_units(
            tx, repo_id, source, chosen, body.override_config, login=user.login, clock=services.clock
        )
    return queued(task)


@_of_repository.post("/actions/unassociate/", responses=QUEUED)
def remove_units(repo_id: str, body: Selection, services: Provided, user: Asking) -> JSONResponse:
    """Queue the removal of units; they are selected now."""
    wanted = parse(body.criteria)
    with services.database.read() as connection:
        repositories.get(connection, repo_id)
        chosen = find_ids(connection, repo_id, wanted)
    with services.database.write() as tx:
        task = queue.remove_units(tx, repo_id, chosen, login=user.login, clock=services.clock)
    return queued(task)


_of_type: Final = Endpoints(prefix="/content/units/{type_id}", tags=["units"])

_ALWAYS_OF_TYPE: Final = ("_id", "_content_type_id", "_href", "repository_memberships")


@_of_type.get("/", responses=returns(OK, list[Document], 404))
def list_content_units(type_id: str, services: Provided) -> JSONResponse:
    """List the units of a type by id."""
    _check_type(type_id, services)
    with services.database.read() as connection:
        return JSONResponse(_with_repositories(connection, _documents(connection, type_id, services)))


@_of_type.get("/search/", responses=returns(OK, list[Document], 400, 404))
def query_content_units(
    type_id: str, queried: QueriedCriteria, services: Provided, include_repos: str = ""
) -> JSONResponse:
    """Find units of a type by criteria in the query."""
    body = ContentSearchBody(criteria=queried, include_repos=include_repos.lower() == "true")
    return search_content_units(type_id, body, services)


@_of_type.post("/search/", responses=returns(OK, list[Document], 400, 404))
def search_content_units(type_id: str, body: ContentSearchBody, services: Provided) -> JSONResponse:
    """Find units of a type by Pulp 2's criteria."""
    _check_type(type_id, services)
    wanted = criteria.parse(body.criteria)
    with services.database.read() as connection:
        found = [dict(document) for document in wanted.select(_documents(connection, type_id, services))]
        if body.include_repos:
            found = _with_repositories(connection, found)
    return JSONResponse([wanted.trimmed(document, _ALWAYS_OF_TYPE) for document in found])


@_of_type.get("/{unit_id}/", responses=returns(OK, Document, 404))
def read_content_unit(type_id: str, unit_id: str, services: Provided) -> JSONResponse:
    """Show one unit."""
    _check_type(type_id, services)
    with services.database.read() as connection:
        found = units.get(connection, type_id, unit_id)
        return JSONResponse({**_with_repositories(connection, [_content_document(found)])[0], "children": {}})


@_of_type.get("/{unit_id}/pulp_user_metadata/", responses=returns(OK, Document, 404))
def read_user_metadata(type_id: str, unit_id: str, services: Provided) -> JSONResponse:
    """Show a unit's user metadata."""
    with services.database.read() as connection:
        return JSONResponse(units.get(connection, type_id, unit_id).user_metadata or {})


@_of_type.put("/{unit_id}/pulp_user_metadata/", responses=returns(OK, None, 400, 404))
def write_user_metadata(type_id: str, unit_id: str, body: dict[str, Any], services: Provided) -> JSONResponse:
    """Replace a unit's user metadata; the unit itself does not change."""
    with services.database.write() as tx:
        units.note(tx, type_id, unit_id, body or None)
    return JSONResponse(None)


def _check_type(type_id: str, services: Services) -> None:
    if type_id not in services.plugins.unit_types:
        raise MissingResource(content_type_id=type_id)


def _documents(connection: Connection, type_id: str, services: Services) -> Iterator[Document]:
    """Yield the units of a type, without orphans of merged types in whose slot a repository holds a later one.

    Pulp 2 has one erratum of an id, not all texts that it ever had.
    """
    content_type, superseded = services.plugins.merging(type_id), set[str]()
    if content_type is not None:
        slots = {unit_id: content_type.slot(type_id, key) for unit_id, key in orphans.orphan_keys(connection, type_id)}
        held = units.held_slots(connection, type_id, {slot for slot in slots.values() if slot is not None})
        superseded = {unit_id for unit_id, slot in slots.items() if slot in held}
    return (_content_document(unit) for unit in units.of_type(connection, type_id) if unit.id not in superseded)


def _content_document(unit: units.Unit) -> Document:
    return {**unit_document(unit), "_href": f"{V2}/content/units/{unit.type_id}/{unit.id}/"}


def _with_repositories(connection: Connection, found: Iterable[Document]) -> list[Document]:
    listed = list(found)
    holders = units.holders(connection, [document["_id"] for document in listed])
    return [{**document, "repository_memberships": holders.get(document["_id"], [])} for document in listed]


_orphans_router: Final = Endpoints(prefix="/content/orphans", tags=["orphans"])
_orphan_actions: Final = Endpoints(prefix="/content/actions/delete_orphans", tags=["orphans"])

_MOST_ORPHANS: Final = 10_000
"""Per request; they become parameters of one statement."""


@_orphans_router.get("/", responses=returns(OK, dict[str, Counted]))
def count_orphans(services: Provided) -> JSONResponse:
    """Count the orphans of every type, including types without any."""
    with services.database.read() as connection:
        counts = orphans.orphan_counts(connection)
    shown = sorted({*services.plugins.unit_types, *counts})
    return JSONResponse({name: {"count": counts.get(name, 0), "_href": _href(name)} for name in shown})


@_orphans_router.get("/{type_id}/", responses=returns(OK, list[dict[str, Any]], 404))
def list_orphans(type_id: str, services: Provided) -> JSONResponse:
    """List the keys of the orphans of one type."""
    _check_type(type_id, services)
    with services.database.read() as connection:
        return JSONResponse([_orphan(type_id, *found) for found in orphans.orphan_keys(connection, type_id)])


@_orphans_router.get("/{type_id}/{unit_id}/", responses=returns(OK, dict[str, Any], 404))
def read_orphan(type_id: str, unit_id: str, services: Provided) -> JSONResponse:
    """Show one orphan."""
    with services.database.read() as connection:
        return JSONResponse(_one_orphan(connection, type_id, unit_id))


@_orphans_router.delete("/", responses=QUEUED)
def remove_orphans(services: Provided, user: Asking) -> JSONResponse:
    """Queue the removal of all orphans."""
    with services.database.write() as tx:
        return queued(queue.remove_orphans(tx, None, None, login=user.login, clock=services.clock))


@_orphans_router.delete("/{type_id}/", responses=QUEUED)
def remove_orphans_of_type(type_id: str, services: Provided, user: Asking) -> JSONResponse:
    """Queue the removal of all orphans of one type."""
    _check_type(type_id, services)
    with services.database.write() as tx:
        return queued(queue.remove_orphans(tx, type_id, None, login=user.login, clock=services.clock))


@_orphans_router.delete("/{type_id}/{unit_id}/", responses=QUEUED)
def remove_orphan(type_id: str, unit_id: str, services: Provided, user: Asking) -> JSONResponse:
    """Queue the removal of one orphan."""
    with services.database.write() as tx:
        _one_orphan(tx.connection, type_id, unit_id)
        return queued(queue.remove_orphans(tx, type_id, [unit_id], login=user.login, clock=services.clock))


@_orphan_actions.post("/", responses=QUEUED)
def remove_chosen_orphans(body: Annotated[list[Orphan], Body()], services: Provided, user: Asking) -> JSONResponse:
    """Queue the removal of the given orphans, by a task for each type; units that a repository holds stay."""
    by_type: dict[str, list[str]] = {}
    for orphan in body:
        by_type.setdefault(orphan.content_type_id, []).append(orphan.unit_id)
    if len(body) > _MOST_ORPHANS:
        raise InvalidValue("unit_id", f"there are more than {_MOST_ORPHANS}.")
    for type_id in by_type:
        _check_type(type_id, services)
    with services.database.write() as tx:
        return queued(
            *(
                queue.remove_orphans(tx, type_id, unit_ids, login=user.login, clock=services.clock)
                for type_id, unit_ids in by_type.items()
            )
        )


def _one_orphan(connection: Connection, type_id: str, unit_id: str) -> Document:
    for found in orphans.orphan_keys(connection, type_id, unit_id=unit_id):
        return _orphan(type_id, *found)
    raise MissingResource(content_type_id=type_id, content_unit_id=unit_id)


def _orphan(type_id: str, unit_id: str, key: dict[str, Any]) -> Document:
    return {**key, "_id": unit_id, "_content_type_id": type_id, "_href": f"{_href(type_id)}{unit_id}/"}


def _href(type_id: str) -> str:
    return f"{V2}/content/orphans/{type_id}/"


_KEYS: Final = frozenset({"type_ids", "filters", "fields", "sort", "limit", "skip", "remove_duplicates"})
_MOST_TYPES: Final = 100
_SIDES: Final = ("unit", "association")
_ALWAYS_UNIT: Final = ("_id", "_content_type_id")
_ALWAYS_ASSOCIATION: Final = ("_id", "repo_id", "unit_id", "unit_type_id")


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitCriteria:
    """A search among the units of a repository."""

    type_ids: list[str] | None
    unit: Criteria
    association: Criteria
    limit: int | None
    skip: int


def parse(body: object) -> UnitCriteria:
    """Parse the criteria of a search for units.

    Raises:
        UnsupportedValue: it has unknown keys.
        InvalidValue: the name of the invalid part.
    """
    if not isinstance(body, dict):
        raise InvalidValue("criteria", "it must be an object.")
    unknown = sorted(set(body) - _KEYS)
    if unknown:
        raise UnsupportedValue(unknown)
    return UnitCriteria(
        type_ids=_type_ids(body.get("type_ids")),
        unit=_side(body, "unit"),
        association=_side(body, "association"),
        limit=criteria.read_count("limit", body.get("limit")),
        skip=criteria.read_count("skip", body.get("skip")) or 0,
    )


def find(connection: Connection, repo_id: str, wanted: UnitCriteria) -> list[Document]:
    """Return the units as the API shows them: the association, with the unit under `metadata`."""
    end = None if wanted.limit is None else wanted.skip + wanted.limit
    documents = (_document(repo_id, held) for held in units.held(connection, repo_id, wanted.type_ids))
    matching = (
        document
        for document in documents
        if wanted.association.matches(document) and wanted.unit.matches(document["metadata"])
    )
    return [
        wanted.association.trimmed(document, _ALWAYS_ASSOCIATION)
        | {"metadata": wanted.unit.trimmed(document["metadata"], _ALWAYS_UNIT)}
        for document in islice(_in_order(matching, wanted), wanted.skip, end)
    ]


def find_ids(connection: Connection, repo_id: str, wanted: UnitCriteria) -> list[str]:
    """Return the ids of the same units."""
    return [document["unit_id"] for document in find(connection, repo_id, wanted)]


def _document(repo_id: str, held: Held) -> Document:
    unit = held.unit
    return {
        "_id": {"$oid": unit.id},
        "repo_id": repo_id,
        "unit_id": unit.id,
        "unit_type_id": unit.type_id,
        "created": iso(held.created),
        "updated": iso(held.updated),
        "metadata": unit_document(unit, repo_id),
    }


def unit_document(unit: Unit, repo_id: str | None = None) -> Document:
    """Return the unit itself: description, key, and identity; some keys contain the requested repository."""
    noted = {"pulp_user_metadata": unit.user_metadata} if unit.user_metadata else {}
    key = unit.key | {"repo_id": repo_id} if "repo_id" in unit.key else unit.key
    return {**unit.metadata, **key, **noted, "_id": unit.id, "_content_type_id": unit.type_id}


def _in_order(found: Iterator[Document], wanted: UnitCriteria) -> Iterator[Document]:
    if not wanted.unit.sort and not wanted.association.sort:
        return found
    everything = list(found)
    criteria.sort(everything, wanted.unit.sort, part="metadata")
    criteria.sort(everything, wanted.association.sort)
    return iter(everything)


def _type_ids(type_ids: object) -> list[str] | None:
    if type_ids is None:
        return None
    names = [type_ids] if isinstance(type_ids, str) else type_ids
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InvalidValue("type_ids", "it must be a list of types.")
    if len(names) > _MOST_TYPES:
        raise InvalidValue("type_ids", f"it has more than {_MOST_TYPES} types.")
    return list(dict.fromkeys(names))


def _side(body: dict[str, Any], side: str) -> Criteria:
    """Return the criteria of one of the two sides."""
    own: dict[str, Any] = {}
    for name in ("filters", "fields", "sort"):
        both = body.get(name)
        if both is None:
            continue
        if not isinstance(both, dict) or set(both) - set(_SIDES):
            raise InvalidValue(name, "it must be an object with the keys `unit` and `association`.")
        own[name] = both.get(side)
    return criteria.parse(own)


router: Final = Endpoints.of(_of_repository, _of_type, _orphans_router, _orphan_actions)
