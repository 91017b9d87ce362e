"""The history of syncs and publishes, newest first."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse

from pulpit.api.endpoints import OK, Provided, answers
from pulpit.errors import InvalidValue
from pulpit.store import history, repositories
from pulpit.store.history import Record
from pulpit.tasks.reports import history_report

router: Final = APIRouter(prefix="/repositories/{repo_id}/history", tags=["history"])

_DIRECTIONS: Final = {"ascending": True, "descending": False}
_MOST: Final = 2**31
_WANTED: Final = (
    "limit is a whole number from 1, sort is ascending or descending, dates look like 2031-05-04T10:00:00Z."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Bounds:
    """Which entries are wanted, in which order."""

    limit: int | None
    ascending: bool
    since: datetime | None
    until: datetime | None


def _bounds(
    *,
    limit: Annotated[str | None, Query(description="a whole number from 1")] = None,
    sort: Annotated[str, Query(description="`ascending` or `descending`, by time")] = "descending",
    start_date: Annotated[str | None, Query(description="ISO 8601; entries that started from then on")] = None,
    end_date: Annotated[str | None, Query(description="ISO 8601; entries that started up to then")] = None,
) -> _Bounds:
    """Read the query, and name everything in it that is wrong."""
    given = {"limit": limit, "sort": sort, "start_date": start_date, "end_date": end_date}
    readers: dict[str, Callable[[str], Any]] = {
        "limit": _count,
        "sort": _DIRECTIONS.__getitem__,
        "start_date": _moment,
        "end_date": _moment,
    }
    read: dict[str, Any] = {}
    wrong = []
    for name, text in given.items():
        try:
            read[name] = None if text is None else readers[name](text)
        except (KeyError, ValueError, OverflowError):
            wrong.append(name)
    if wrong:
        raise InvalidValue(wrong, _WANTED)
    return _Bounds(limit=read["limit"], ascending=read["sort"], since=read["start_date"], until=read["end_date"])


Wanted = Annotated[_Bounds, Depends(_bounds)]


@router.get("/sync/", operation_id="list_syncs", responses=answers(OK, list[dict[str, Any]], 400, 404))
def list_syncs(repo_id: str, services: Provided, wanted: Wanted) -> JSONResponse:
    """List the syncs of a repository."""
    with services.database.read() as connection:
        repositories.get(connection, repo_id)
        found = history.of_repository(connection, repo_id, history.SYNC, **asdict(wanted))
    return JSONResponse([_entry(record) for record in found])


@router.get(
    "/publish/{distributor_id}/", operation_id="list_publishes", responses=answers(OK, list[dict[str, Any]], 400, 404)
)
def list_publishes(repo_id: str, distributor_id: str, services: Provided, wanted: Wanted) -> JSONResponse:
    """List the publishes of a repository by one distributor."""
    with services.database.read() as connection:
        repositories.distributor(connection, repo_id, distributor_id)
        found = history.of_repository(connection, repo_id, history.PUBLISH, plugin_id=distributor_id, **asdict(wanted))
    return JSONResponse([_entry(record) for record in found])


def _entry(record: Record) -> dict[str, Any]:
    return history_report(record) | {"_id": {"$oid": record.id}}


def _count(text: str) -> int:
    count = int(text)
    if not 0 < count < _MOST:
        raise ValueError(text)
    return count


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text.replace(" ", "+"))  # a plus sign in a query arrives as a blank
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
