"""Changes of a repository between two moments: everything that its events report, page by page."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import Query
from pydantic import Field
from sqlalchemy import Connection

from pulpit.api.endpoints import Document, Endpoints
from pulpit.api.services import OK, Provided, returns
from pulpit.clock import iso_micro
from pulpit.errors import InvalidValue
from pulpit.store import changes, event_log, publications, repositories
from pulpit.tasks.reports import change_document

MOST: Final = 1000
"""Changes of one page."""
_NUMBER: Final = re.compile(r"[0-9]{1,18}\Z", re.ASCII)
_PUBLICATION: Final = re.compile(r"publication:([0-9]{1,9})\Z", re.ASCII)
_PLACE: Final = re.compile(r"([0-9]{1,18})\.([0-9]{1,9})\Z", re.ASCII)

router: Final = Endpoints(prefix="/repositories", tags=["changes"])

Moment = Annotated[str | None, Query(max_length=64)]


class ChangesPage(Document):
    """Changes in order; the counts are of all after the event `from` up to `to`, not of this page only."""

    repo_id: str
    first: int = Field(serialization_alias="from")
    last: int = Field(serialization_alias="to")
    complete: bool
    """False if `from` is later than requested, because earlier changes were deleted or never recorded."""
    added: int
    removed: int
    replaced: int
    changes: list[dict[str, Any]]
    next: str | None
    """The `after` of the next page; null on the last one."""


@router.get("/{repo_id}/changes", responses=returns(OK, ChangesPage, 400, 404))
def read_changes(
    repo_id: str,
    services: Provided,
    *,
    first: Annotated[Moment, Query(alias="from")] = None,
    last: Annotated[Moment, Query(alias="to")] = None,
    after: Annotated[str, Query(max_length=30)] = "",
    limit: Annotated[int, Query(ge=1, le=MOST)] = 100,
) -> ChangesPage:
    """List what was added, removed and replaced after one moment up to another.

    A moment is an event's number, a time, or `publication:7` for the content of that publication. Without `from` the
    list begins with the oldest known change, without `to` it ends now. A running task's changes are not included.
    Changes that publishes showed to readers are not listed again.
    """
    begin = _place(after)
    with services.database.read() as connection:
        known_from = repositories.get(connection, repo_id).changes_from
        head, oldest = event_log.head(connection), event_log.oldest(connection)
        asked = known_from if first is None else _event(connection, repo_id, "from", first)
        behind = max(asked, known_from, oldest - 1)
        up_to = head if last is None else _event(connection, repo_id, "to", last)
        counts = changes.count_between(connection, repo_id, behind, up_to)
        found = changes.between(connection, repo_id, behind, up_to, after=begin, limit=limit + 1)
    shown = found[:limit]
    return ChangesPage(
        repo_id=repo_id,
        first=behind,
        last=up_to,
        complete=behind == asked,
        added=counts.added,
        removed=counts.removed,
        replaced=counts.replaced,
        changes=[
            {
                "event_number": told.event_number,
                "event_type": told.event_type,
                "occurred_at": iso_micro(told.occurred_at),
                **change_document(told.change),
            }
            for told in shown
        ],
        next=f"{shown[-1].event_number}.{shown[-1].position}" if len(found) > limit else None,
    )


def _event(connection: Connection, repo_id: str, name: str, text: str) -> int:
    """Return the number of an event: as given, or of the last event up to a time or before a publication."""
    if _NUMBER.match(text):
        return int(text)
    if publication := _PUBLICATION.match(text):
        return publications.get(connection, repo_id, int(publication[1])).last_event
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise InvalidValue(name, "a time needs its zone, such as the Z in 2026-11-24T03:00:00Z.")
        following = event_log.first_since(connection, moment.astimezone(UTC))
    except (ValueError, OverflowError):
        raise InvalidValue(
            name, "it must be the number of an event, an ISO 8601 time, or publication:NUMBER."
        ) from None
    return event_log.head(connection) if following is None else following - 1


def _place(after: str) -> tuple[int, int]:
    if not after:
        return (0, 0)
    place = _PLACE.match(after)
    if not place:
        raise InvalidValue("after", "it must be what a page gave as `next`.")
    return int(place[1]), int(place[2])
