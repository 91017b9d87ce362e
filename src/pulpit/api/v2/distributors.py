"""Distributors: how a repository's content is published."""

import re
import uuid
from typing import Any, Final

from fastapi.responses import JSONResponse
from sqlalchemy import Connection

from pulpit.api import criteria
from pulpit.api.endpoints import Endpoints
from pulpit.api.redaction import SECRET_KEYS, masked, merged
from pulpit.api.services import CREATED, OK, QUEUED, Asking, Provided, QueriedCriteria, Services, queued, returns
from pulpit.api.v2.importers import repository_changed
from pulpit.api.v2.models import V2, DistributorChanges, NewDistributor, SearchBody
from pulpit.clock import iso
from pulpit.content import access
from pulpit.errors import InvalidValue
from pulpit.net.passwords import MAX_LENGTH, hash_password
from pulpit.repositories.publish import check_place
from pulpit.store import repositories
from pulpit.store.database import Transaction
from pulpit.store.repositories import Distributor
from pulpit.store.tasks import Task
from pulpit.store.users import User
from pulpit.tasks import queue
from pulpit.text import MASK

router: Final = Endpoints(tags=["distributors"])

_OF_REPOSITORY: Final = "/repositories/{repo_id}/distributors"
_ALWAYS: Final = ("id", "repo_id", "_id", "_href")

_ID: Final = re.compile(r"[A-Za-z0-9._-]+\Z")
_LONGEST_ID: Final = 255
_CONFIG: Final = "distributor_config"
_RELATIVE_URL: Final = "relative_url"


@router.get(_OF_REPOSITORY + "/", responses=returns(OK, list[dict[str, Any]], 404))
def list_distributors(repo_id: str, services: Provided) -> JSONResponse:
    """List the distributors by id."""
    with services.database.read() as connection:
        repositories.get(connection, repo_id)
        found = repositories.distributors_of(connection, repo_id)
    return JSONResponse([distributor_document(distributor) for distributor in found])


@router.post(_OF_REPOSITORY + "/", responses=returns(CREATED, dict[str, Any], 400, 404, 409))
def create_distributor(repo_id: str, body: NewDistributor, services: Provided) -> JSONResponse:
    """Add a distributor to the repository."""
    with services.database.write() as tx:
        repositories.get(tx.connection, repo_id)
        distributor_id = attach_distributor(tx, repo_id, body, services)
        repository_changed(tx, repo_id, [f"distributors.{distributor_id}"], services)
        document = distributor_document(repositories.distributor(tx.connection, repo_id, distributor_id))
    return JSONResponse(document, CREATED, {"Location": document["_href"]})


@router.get(_OF_REPOSITORY + "/{distributor_id}/", responses=returns(OK, dict[str, Any], 404))
def read_distributor(repo_id: str, distributor_id: str, services: Provided) -> JSONResponse:
    """Show one distributor."""
    with services.database.read() as connection:
        return JSONResponse(distributor_document(repositories.distributor(connection, repo_id, distributor_id)))


@router.put(_OF_REPOSITORY + "/{distributor_id}/", responses=QUEUED)
def update_distributor(
    repo_id: str, distributor_id: str, body: DistributorChanges, services: Provided, user: Asking
) -> JSONResponse:
    """Queue a change: the configuration key by key, null removes a key."""
    with services.database.write() as tx:
        return queued(queue_distributor_update(tx, repo_id, distributor_id, body, services=services, user=user))


@router.delete(_OF_REPOSITORY + "/{distributor_id}/", responses=QUEUED)
def delete_distributor(repo_id: str, distributor_id: str, services: Provided, user: Asking) -> JSONResponse:
    """Queue the removal of a distributor and of what it published."""
    with services.database.write() as tx:
        task = queue.remove_distributor(tx, repo_id, distributor_id, login=user.login, clock=services.clock)
    return queued(task)


def attach_distributor(tx: Transaction, repo_id: str, new: NewDistributor, services: Services) -> str:
    """Add a checked distributor and return its id, which is generated if none is given.

    Raises:
        InvalidValue: the id, the type or the configuration is invalid.
        DuplicateResource: the repository has one with that id.
    """
    distributor_id = new.distributor_id if new.distributor_id is not None else str(uuid.uuid4())
    if len(distributor_id) > _LONGEST_ID:
        raise InvalidValue("distributor_id", f"it has {len(distributor_id)} characters; {_LONGEST_ID} are the most.")
    if not _ID.match(distributor_id):
        raise InvalidValue("distributor_id", "it must be letters, digits, '.', '-' and '_'.")
    type_id, delta = new.distributor_type_id, _prepared(new.distributor_config or {})
    config = _checked(tx.connection, (repo_id, distributor_id, type_id), {}, delta, services)
    repositories.add_distributor(
        tx, repo_id, distributor_id, type_id, config, auto_publish=new.auto_publish, now=services.clock()
    )
    return distributor_id


def queue_distributor_update(
    tx: Transaction,
    repo_id: str,
    distributor_id: str,
    changes: DistributorChanges,
    *,
    services: Services,
    user: User,
) -> Task:
    """Queue the change of a distributor after checking the resulting configuration; `auto_publish` changes at once.

    Raises:
        MissingResource: the repository or the distributor does not exist.
        InvalidValue: the configuration is invalid.
    """
    found = repositories.distributor(tx.connection, repo_id, distributor_id)
    delta = _prepared(changes.distributor_config)
    _checked(tx.connection, (repo_id, distributor_id, found.distributor_type_id), found.config, delta, services)
    if changes.delta is not None and changes.delta.auto_publish is not None:
        repositories.change_distributor(tx, repo_id, distributor_id, auto_publish=changes.delta.auto_publish)
    kept = {key: value for key, value in delta.items() if not (key in SECRET_KEYS and value == MASK)}
    return queue.update_distributor(tx, repo_id, distributor_id, kept, login=user.login, clock=services.clock)


@router.get("/distributors/search/", responses=returns(OK, list[dict[str, Any]], 400))
def query_distributors(queried: QueriedCriteria, services: Provided) -> JSONResponse:
    """Find distributors of all repositories by criteria in the query."""
    return search_distributors(SearchBody(criteria=queried), services)


@router.post("/distributors/search/", responses=returns(OK, list[dict[str, Any]], 400))
def search_distributors(body: SearchBody, services: Provided) -> JSONResponse:
    """Find distributors of all repositories by Pulp 2's criteria."""
    wanted = criteria.parse(body.criteria)
    with services.database.read() as connection:
        everyone = repositories.distributors_of(connection)
    documented = (distributor_document(distributor) for distributor in everyone)
    return JSONResponse([wanted.trimmed(document, _ALWAYS) for document in wanted.select(documented)])


def _checked(
    connection: Connection, named: tuple[str, str, str], old: dict[str, Any], delta: dict[str, Any], services: Services
) -> dict[str, Any]:
    """Return the configuration of a distributor (repository, id, type) after a change, if it is valid."""
    repo_id, distributor_id, type_id = named
    config = merged(old, delta, SECRET_KEYS, property_name=_CONFIG)
    services.plugins.check_distributor_config(type_id, config)
    check_place(connection, services.content_types[type_id], repo_id, (type_id, distributor_id), config)
    return config


def _prepared(config: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration as stored: with the password hashed, and the relative URL normalised.

    The original client sends `/zoo` for a feed without a path.

    Raises:
        InvalidValue: the password is too long ever to match.
    """
    url, password = config.get(_RELATIVE_URL), config.get(access.PASSWORD)
    if isinstance(url, str):
        config = {**config, _RELATIVE_URL: url.lstrip("/")}
    if isinstance(password, str) and len(password) > MAX_LENGTH:
        raise InvalidValue(access.PASSWORD, f"it must have at most {MAX_LENGTH} characters.")
    if isinstance(password, str) and password not in {"", MASK}:
        config = {**config, access.PASSWORD: hash_password(password)}
    return config


def distributor_document(value: Distributor) -> dict[str, Any]:
    """A distributor with its secrets masked."""
    return {
        "id": value.id,
        "distributor_type_id": value.distributor_type_id,
        "repo_id": value.repo_id,
        "auto_publish": value.auto_publish,
        "config": masked(value.config, SECRET_KEYS),
        "last_publish": iso(value.last_publish),
        "last_updated": iso(value.last_updated),
        "last_override_config": {},
        "scratchpad": value.scratchpad,
        "_href": f"{V2}/repositories/{value.repo_id}/distributors/{value.id}/",
        "_id": {"$oid": value.object_id},
        "_ns": "repo_distributors",
    }
