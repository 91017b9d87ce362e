"""The event log: read it on, wait for it, stream it, and enter events from elsewhere."""

from typing import Annotated, Any, Final

from anyio import to_thread
from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from pulpit.api.endpoints import CREATED, OK, Asking, Provided, answers
from pulpit.api.middleware import whole_body
from pulpit.api.v1.feed import Narrowing, check_place, read_feed, stream
from pulpit.api.v1.firing import LONGEST_BODY, MOST_AT_ONCE, digest_of, fire_events, read_events, read_trace
from pulpit.api.v1.shapes import EventShape, EventsShape, NewEventShape, NumbersShape, event_shape
from pulpit.errors import InvalidValue, MissingResource
from pulpit.events import check_event_types
from pulpit.store import event_log
from pulpit.store.event_log import LONGEST_KEY

router: Final = APIRouter(prefix="/events", tags=["event log"])

LONGEST_WAIT: Final = 60
MOST_EVENTS: Final = 1000
MOST_FILTERS: Final = 100
HIGHEST: Final = 2**63 - 1
LONGEST_NUMBER: Final = 18
EVENT_STREAM: Final = "text/event-stream"

Texts = Annotated[list[str] | None, Query(max_length=MOST_FILTERS)]
_NEW_EVENT: Final = NewEventShape.model_json_schema()
_BATCH: Final = {"type": "array", "minItems": 1, "maxItems": MOST_AT_ONCE, "items": _NEW_EVENT}
_BODY: Final[dict[str, Any]] = {
    "required": True,
    "content": {
        "application/json": {"schema": {"anyOf": [_NEW_EVENT, _BATCH]}},
        "application/x-ndjson": {"schema": {"type": "string"}},
    },
}
_FEED: Final = answers(OK, EventsShape, 400, 503)
_FEED[OK]["content"] = {EVENT_STREAM: {"schema": {"type": "string"}}}


def _narrowing(event_type: Texts = None, repo_id: Texts = None, result: Texts = None) -> Narrowing:
    patterns = check_event_types(event_type) if event_type else ()
    return Narrowing(event_types=patterns, repo_ids=repo_id or (), results=result or ())


@router.get("", operation_id="read_events", response_model=EventsShape, responses=_FEED)
async def read_events_after(
    request: Request,
    services: Provided,
    *,
    narrowing: Annotated[Narrowing, Depends(_narrowing)],
    after: Annotated[int, Query(ge=-1, le=HIGHEST)] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST_EVENTS)] = 100,
    wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT)] = 0,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Any:
    """Read the events behind a number, wait for the next ones, or with `Accept: text/event-stream` follow them."""
    if EVENT_STREAM in request.headers.get("accept", ""):
        check_place(services)
        body = stream(services, _resumed(last_event_id, after), narrowing)
        return StreamingResponse(body, media_type=EVENT_STREAM, headers={"Cache-Control": "no-store"})
    return await read_feed(services, after, narrowing, limit=limit, wait=wait)


@router.get("/{number}", operation_id="read_event", responses=answers(OK, EventShape, 400, 404))
def read_event(number: Annotated[int, Path(ge=0, le=HIGHEST)], services: Provided) -> EventShape:
    """Show one event."""
    with services.database.read() as connection:
        event = event_log.get(connection, number)
    if event is None:
        raise MissingResource(event=str(number))
    return event_shape(event)


@router.post(
    "",
    operation_id="fire_events",
    status_code=CREATED,
    response_model=NumbersShape,
    responses=answers(CREATED, NumbersShape, 400, 409, 413, 507),
    openapi_extra={"requestBody": _BODY},
)
async def fire_from_elsewhere(
    request: Request,
    services: Provided,
    user: Asking,
    idempotency_key: Annotated[str | None, Header()] = None,
    traceparent: Annotated[str | None, Header()] = None,
) -> Response:
    """Enter one event, a list of them, or one on each line; all are entered, in order, or none."""
    key = _checked_key(idempotency_key)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await whole_body(request.receive, LONGEST_BODY)
    async with services.firing:
        events = await to_thread.run_sync(read_events, body, media_type)
        digest = digest_of(body, media_type, user.login)
        fired = await to_thread.run_sync(fire_events, services, events, key, digest, read_trace(traceparent))
    headers = {"Idempotency-Replayed": "true"} if fired.before else None
    return JSONResponse({"count": len(fired.numbers), "numbers": list(fired.numbers)}, CREATED, headers)


def _checked_key(key: str | None) -> str | None:
    if key is not None and not (0 < len(key) <= LONGEST_KEY and key.isprintable()):
        raise InvalidValue("Idempotency-Key", f"it must be 1 to {LONGEST_KEY} printable characters.")
    return key


def _resumed(last_event_id: str | None, after: int) -> int:
    """Where a stream begins: behind the last event that the client has seen, which counts before `after`."""
    if not last_event_id:
        return after
    if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) <= LONGEST_NUMBER):
        raise InvalidValue("Last-Event-ID", "it must be the number of an event.")
    return int(last_event_id)
