"""The event log for pulling clients: pages, long polling, an endless stream, and the schemas.

Nobody polls the database: a waiting request takes a ticket, looks, and looks again when the dispatcher has announced
new events.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Annotated, Any, Final

from anyio import to_thread
from fastapi import Depends, Header, Path, Query, Request
from fastapi.responses import StreamingResponse

from pulpit import __version__, catalogue
from pulpit.api.auth.login import Authenticator
from pulpit.api.auth.rights import ALL_RIGHTS, Rights
from pulpit.api.endpoints import Endpoints
from pulpit.api.failures import Unavailable
from pulpit.api.services import OK, Allowed, Asking, Provided, Services, returns
from pulpit.api.v1.models import EventDocument, EventsPage, event_document
from pulpit.delivery.changed_names import Names
from pulpit.errors import AuthenticationFailed, InvalidValue, MissingResource, PulpitError
from pulpit.events import EVENT_TYPES, TELLING_CHANGES, Event, as_topic, check_event_types, star_covers
from pulpit.store import changes, consumers, event_log
from pulpit.store.event_log import Outline, Page, Wanted, page
from pulpit.topics import ANY_WORD, matches

LONGEST_WAIT: Final = 60
MOST_EVENTS: Final = 1000
MOST_FILTERS: Final = 100
HIGHEST: Final = 2**63 - 1
LONGEST_NUMBER: Final = 18
EVENT_STREAM: Final = "text/event-stream"
HEARTBEAT: Final = 15.0
"""Seconds between comments in an idle stream, which keep proxies and clients from timing out."""
STREAM_PAGE: Final = 200
LOOK_AGAIN: Final = 30.0
"""Seconds after which a waiting request looks without an announcement."""

_events: Final = Endpoints(prefix="/events", tags=["event log"])
_schemas: Final = Endpoints(prefix="/schemas", tags=["schemas"])

Texts = Annotated[list[str] | None, Query(max_length=MOST_FILTERS)]
_FEED: Final = returns(OK, EventsPage, 400, 410, 503)
_FEED[OK]["content"] = {EVENT_STREAM: {"schema": {"type": "string"}}}


@dataclass(frozen=True, kw_only=True, slots=True)
class Gap:
    """The log does not continue from the requested number; `first` and `last` are the numbers that it has."""

    after: int
    first: int
    last: int

    def __str__(self) -> str:
        if self.after > self.last:
            return (
                f"There is no event {self.after}: the log ends with {self.last}. It was restored, or the number is "
                f"from another server; go on with after={self.last}."
            )
        return (
            f"The events between {self.after} and {self.first} are not kept any more; "
            f"go on with after={self.first - 1}."
        )


class LogGap(PulpitError):
    """The events after a number were deleted, or never existed."""

    status = 410

    def __init__(self, gap: Gap) -> None:
        super().__init__(str(gap))
        self.data = {"first": gap.first, "last": gap.last}


@dataclass(frozen=True, kw_only=True, slots=True)
class EventFilter:
    event_types: Sequence[str] = ()
    repo_ids: Sequence[str] = ()
    packages: Sequence[str] = ()
    """Shell patterns of units; an event matches if it changed one of them.

    Checked against the database, not by `test`.
    """
    results: Sequence[str] = ()
    rights: Rights = ALL_RIGHTS
    """The client's rights: events that it may not see are skipped."""

    def test(self) -> Wanted | None:
        """Return the test of each event, or none if everything matches."""
        sees_all = self.rights.sees(None)
        return None if sees_all and not (self.event_types or self.repo_ids or self.results) else self._wants

    def _wants(self, event: Outline) -> bool:
        if self.event_types and not any(
            star_covers(event.event_type) if pattern == ANY_WORD else matches(as_topic(pattern), event.event_type)
            for pattern in self.event_types
        ):
            return False
        if self.repo_ids and not any(fnmatchcase(event.repo_id or "", pattern) for pattern in self.repo_ids):
            return False
        return (not self.results or event.result in self.results) and self.rights.sees(event.repo_id)


def _event_filter(
    rights: Allowed, event_type: Texts = None, repo_id: Texts = None, result: Texts = None, package: Texts = None
) -> EventFilter:
    patterns = check_event_types(event_type) if event_type else ()
    return EventFilter(
        event_types=patterns, repo_ids=repo_id or (), results=result or (), packages=package or (), rights=rights
    )


@_events.get("", response_model=EventsPage, responses=_FEED)
async def read_events(
    request: Request,
    services: Provided,
    user: Asking,
    *,
    event_filter: Annotated[EventFilter, Depends(_event_filter)],
    consumer: Annotated[str, Query(max_length=100)] = "",
    after: Annotated[int, Query(ge=-1, le=HIGHEST)] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST_EVENTS)] = 100,
    wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT)] = 0,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Any:
    """Read the events after a number, wait for the next ones, or with `Accept: text/event-stream` follow them.

    A page is a 410 with the first and the last existing number when the log does not continue from `after`: the next
    events were deleted, or the log was restored from an older state. A stream reports this by an event `gap` and
    continues. With `consumer` both begin after the position that the server stores under that name, whatever `after`
    and
    `Last-Event-ID` say.
    """
    if consumer:
        after = await to_thread.run_sync(_position, services, user.login, consumer)
    if EVENT_STREAM in request.headers.get("accept", ""):
        _check_place(services)
        begin = after if consumer else _resumed(last_event_id, after)
        body = stream(services, begin, event_filter, partial(_is_known, request))
        return StreamingResponse(body, media_type=EVENT_STREAM, headers={"Cache-Control": "no-store"})
    return await _read_feed(services, after, event_filter, limit=limit, wait=wait)


def _position(services: Services, login: str, name: str) -> int:
    """Return a consumer's position.

    Raises:
        MissingResource: there is no such consumer.
    """
    with services.database.read() as connection:
        return consumers.get(connection, login, name).position


@_events.get("/{number}", responses=returns(OK, EventDocument, 400, 404))
def read_event(number: Annotated[int, Path(ge=0, le=HIGHEST)], services: Provided, rights: Allowed) -> EventDocument:
    """Show one event."""
    with services.database.read() as connection:
        event = event_log.get(connection, number)
    if event is None or not rights.sees(event.repo_id):
        raise MissingResource(event=str(number))
    return event_document(event)


@_schemas.get("", responses=returns(OK, dict[str, Any]))
def list_schemas() -> dict[str, Any]:
    """Show the JSON Schema of every type's body, by type."""
    return {event_type: catalogue.schema(event_type) for event_type in sorted(EVENT_TYPES)}


@_schemas.get("/asyncapi", responses=returns(OK, dict[str, Any]))
def read_asyncapi() -> dict[str, Any]:
    """Show the AMQP side as an AsyncAPI 3 document."""
    return catalogue.asyncapi(__version__)


@_schemas.get("/{event_type}", responses=returns(OK, dict[str, Any], 404))
def read_schema(event_type: str) -> dict[str, Any]:
    """Show the JSON Schema of one type's body."""
    if event_type not in EVENT_TYPES:
        raise MissingResource(event_type=event_type)
    return catalogue.schema(event_type)


async def _read_feed(
    services: Services, after: int, event_filter: EventFilter, *, limit: int, wait: float
) -> EventsPage:
    """Return a page after a number; if it would be empty, wait for a matching event."""
    end = asyncio.get_running_loop().time() + wait
    ticket = services.announcements.ticket()
    gap = await to_thread.run_sync(_gap, services, after)
    if gap:
        raise LogGap(gap)
    found, head = await to_thread.run_sync(_read, services, after, event_filter, limit)
    if not found.events and wait > 0:
        async with _place(services):
            while not found.events and not services.announcements.over:
                remaining = end - asyncio.get_running_loop().time()
                if remaining <= 0:
                    break
                if found.through >= head:
                    await services.announcements.wait(ticket, min(remaining, LOOK_AGAIN))
                ticket = services.announcements.ticket()
                found, head = await to_thread.run_sync(_read, services, found.through, event_filter, limit)
    return await to_thread.run_sync(_documented, found, head)


async def _is_known(request: Request) -> bool:
    """Whether the login or token of an open stream is still valid; a certificate is only checked at the start."""
    authorization = request.headers.get("authorization", "")
    if not authorization:
        return True
    authenticator: Authenticator = request.app.state.authenticator
    try:
        await authenticator.by_header(authorization, request.client.host if request.client else "")
    except AuthenticationFailed:
        return False
    except PulpitError:  # cannot be checked now
        return True
    return True


async def _always() -> bool:
    return True


async def stream(
    services: Services, after: int, event_filter: EventFilter, is_known: Callable[[], Awaitable[bool]] = _always
) -> AsyncGenerator[str, None]:
    """Yield Server-Sent Events after a number, until the client disconnects, loses access, or the server stops."""
    through = after
    clock = asyncio.get_running_loop().time
    known_until = clock() + HEARTBEAT
    yield ": Pulpit's events\n\n"
    async with _place(services):
        gap = await to_thread.run_sync(_gap, services, after)
        if gap:
            through = min(after, gap.last)
            yield f"event: gap\ndata: {json.dumps({'first': gap.first, 'last': gap.last, 'reason': str(gap)})}\n\n"
        while not services.announcements.over:
            if clock() >= known_until:
                if not await is_known():
                    return
                known_until = clock() + HEARTBEAT
            ticket = services.announcements.ticket()
            found, head = await to_thread.run_sync(_read, services, through, event_filter, STREAM_PAGE)
            through = found.through
            if found.events:
                for message in await to_thread.run_sync(_messages, found.events):
                    yield message
                continue
            if through < head:
                continue
            if not await services.announcements.wait(ticket, HEARTBEAT) and not services.announcements.over:
                yield ": still here\n\n"


def _check_place(services: Services) -> None:
    """Reject a further waiting request while the response status can still be set."""
    if services.waiting.locked():
        raise Unavailable("Too many wait for events already; try again later.")


@asynccontextmanager
async def _place(services: Services) -> AsyncIterator[None]:
    _check_place(services)
    async with services.waiting:
        yield


def _gap(services: Services, after: int) -> Gap | None:
    """Return the gap between a number and the log; 0 is the oldest event, and -1 the end."""
    if after <= 0:
        return None
    with services.database.read() as connection:
        first, last = event_log.oldest(connection), event_log.head(connection)
    return Gap(after=after, first=first, last=last) if after > last or after < first - 1 else None


def _read(services: Services, after: int, event_filter: EventFilter, limit: int) -> tuple[Page, int]:
    with services.database.read() as connection:
        head = event_log.head(connection)
        found = page(connection, head if after < 0 else after, event_filter.test(), limit=limit)
        if not event_filter.packages:
            return found, head
        telling = [event for event in found.events if event.event_type in TELLING_CHANGES]
        names = changes.names(connection, [event.number for event in telling])
    having = [event for event in telling if Names(names.get(event.number, ())).any_like(event_filter.packages)]
    return Page(events=having, through=found.through), head


def _documented(found: Page, head: int) -> EventsPage:
    return EventsPage(events=[event_document(event) for event in found.events], next=found.through, head=head)


def _messages(found: Sequence[Event]) -> list[str]:
    """Write events for a stream; their JSON contains no line breaks."""
    return [
        f"id: {event.number}\nevent: {event.event_type}\ndata: {event_document(event).model_dump_json()}\n\n"
        for event in found
    ]


def _resumed(last_event_id: str | None, after: int) -> int:
    """Return where a stream begins: after the last event that the client has seen, which overrides `after`."""
    last_event_id = (last_event_id or "").strip()  # blanks around a header's value are no part of it
    if not last_event_id:
        return after
    if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) <= LONGEST_NUMBER):
        raise InvalidValue("Last-Event-ID", "it must be the number of an event.")
    return int(last_event_id)


router: Final = Endpoints.of(_events, _schemas)
