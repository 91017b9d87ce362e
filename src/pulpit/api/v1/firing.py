"""Events of other systems: parsed from a request, checked, and fired all or none."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from anyio import to_thread
from fastapi import Header, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from pulpit.api.auth.rights import Rights, Verb
from pulpit.api.endpoints import Endpoints
from pulpit.api.middleware import strict_json, whole_body
from pulpit.api.services import CREATED, Allowed, Asking, Provided, Services, returns
from pulpit.api.v1.models import NewEvent, NumbersOfEvents
from pulpit.errors import ConflictingOperation, InvalidValue, MalformedRequest, PermissionDenied, RequestTooLarge
from pulpit.events import OWN_ROOTS, PULP_TYPES, check_event_type
from pulpit.fire import fire_all
from pulpit.store import event_log
from pulpit.store.database import database_time
from pulpit.store.event_log import LONGEST_KEY

MOST_AT_ONCE: Final = 10_000
LONGEST_BODY: Final = 16 * 2**20
LONGEST_PAYLOAD: Final = 2**20
"""Bytes of one event's payload."""
LONGEST_REPOSITORY: Final = 255
LONGEST_RESULT: Final = 20
_TRACE: Final = re.compile(r"00-(?P<trace>[0-9a-f]{32})-(?P<parent>[0-9a-f]{16})-[0-9a-f]{2}\Z")
LINES: Final = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})


router: Final = Endpoints(prefix="/events", tags=["event log"])

_NEW_EVENT: Final = NewEvent.model_json_schema()
_BATCH: Final = {"type": "array", "minItems": 1, "maxItems": MOST_AT_ONCE, "items": _NEW_EVENT}
_BODY: Final[dict[str, Any]] = {
    "required": True,
    "content": {
        "application/json": {"schema": {"anyOf": [_NEW_EVENT, _BATCH]}},
        "application/x-ndjson": {"schema": {"type": "string"}},
    },
}


@router.post(
    "",
    operation_id="fire_events",
    response_model=NumbersOfEvents,
    responses=returns(CREATED, NumbersOfEvents, 400, 409, 413, 507),
    openapi_extra={"requestBody": _BODY},
)
async def fire_from_elsewhere(
    request: Request,
    services: Provided,
    user: Asking,
    rights: Allowed,
    *,
    idempotency_key: Annotated[str | None, Header()] = None,
    traceparent: Annotated[str | None, Header()] = None,
) -> Response:
    """Fire one event, a list of them, or one per line; all are fired, in order, or none."""
    if idempotency_key is not None and not (0 < len(idempotency_key) <= LONGEST_KEY and idempotency_key.isprintable()):
        raise InvalidValue("Idempotency-Key", f"it must be 1 to {LONGEST_KEY} printable characters.")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await whole_body(request.receive, LONGEST_BODY)
    async with services.firing:
        events = await to_thread.run_sync(read_events, body, media_type)
        check_may_fire(rights, events)
        digest = await to_thread.run_sync(digest_of, body, media_type, user.login) if idempotency_key else ""
        trace = read_trace(traceparent)
        fired = await to_thread.run_sync(fire_events, services, events, idempotency_key, digest, trace)
    headers = {"Idempotency-Replayed": "true"} if fired.before else None
    return JSONResponse({"count": len(fired.numbers), "numbers": list(fired.numbers)}, CREATED, headers)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fired:
    """The events' numbers, new or from an earlier identical request."""

    numbers: Sequence[int]
    before: bool


def read_events(body: bytes, media_type: str) -> list[NewEvent]:
    """Parse one event, a list, or lines of events, and check each.

    Raises:
        MalformedRequest: the body, or a line of it, is not JSON.
        InvalidValue: an event cannot be fired; the text says which.
        RequestTooLarge: there are too many.
    """
    if media_type in LINES:
        values = _lines(body)
    else:
        value = strict_json(body)
        values = value if isinstance(value, list) else [value]
    if len(values) > MOST_AT_ONCE:
        raise RequestTooLarge(f"There are {len(values)} events; send at most {MOST_AT_ONCE} at once.")
    if not values:
        raise InvalidValue("body", "there is no event in it.")
    return [_event(number, value) for number, value in enumerate(values, 1)]


def check_may_fire(rights: Rights, events: Sequence[NewEvent]) -> None:
    """Reject types that the token does not allow.

    Raises:
        PermissionDenied: the text says which.
    """
    for event_type in {event.event_type for event in events}:
        if not rights.may(Verb.FIRE, event_type):
            raise PermissionDenied(f"The token {rights.token} may not fire {event_type}; its scopes say what it may.")


def read_trace(header: str | None) -> str | None:
    """Parse the request's `traceparent`; an invalid header is ignored (W3C Trace Context, section 2.2)."""
    found = _TRACE.match(header or "")
    return header if found and found["trace"].strip("0") and found["parent"].strip("0") else None


def fire_events(
    services: Services, events: Sequence[NewEvent], key: str | None, digest: str, trace: str | None
) -> Fired:
    """Fire all events in one transaction, once for each idempotency key.

    Raises:
        ConflictingOperation: the key was used for another request.
        StorageFull: the disk is full; nothing was fired.
    """
    with services.database.write(is_one_statement=len(events) == 1 and not key) as tx:
        before = event_log.take_key(tx, key, digest, now=database_time(tx.connection)) if key else None
        if before:
            if before.request_digest != digest:
                raise ConflictingOperation("This Idempotency-Key was used for another request.")
            return Fired(numbers=before.answer, before=True)
        told = [(event.event_type, event.payload, event.repo_id) for event in events]
        numbers = [event.number for event in fire_all(tx, told, clock=services.clock, traceparent=trace)]
        if key:
            event_log.note_answer(tx, key, numbers)
    return Fired(numbers=numbers, before=False)


def digest_of(body: bytes, media_type: str, login: str) -> str:
    """Return a digest by which requests with the same key are compared."""
    return hashlib.sha256(json.dumps([login, media_type in LINES]).encode() + body).hexdigest()


def _lines(body: bytes) -> list[Any]:
    lines = [line for line in body.split(b"\n") if line.strip()]
    if len(lines) > MOST_AT_ONCE:
        raise RequestTooLarge(f"There are {len(lines)} events; send at most {MOST_AT_ONCE} at once.")
    values: list[Any] = []
    for number, line in enumerate(lines, 1):
        try:
            values.append(strict_json(line))
        except MalformedRequest as error:
            raise MalformedRequest(f"Event {number}: {str(error).replace('The body', 'the line')}") from None
    return values


def _event(number: int, value: Any) -> NewEvent:
    try:
        event = NewEvent.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "body"
        raise InvalidValue(name, f"event {number}: {first['msg'].rstrip('.').lower()}.") from None
    complaint = _complaint(event)
    if complaint:
        raise InvalidValue(complaint[0], f"event {number}: {complaint[1]}")
    return event


def _complaint(event: NewEvent) -> tuple[str, str] | None:
    """Return the invalid property, and the reason."""
    try:
        check_event_type(event.event_type)
    except InvalidValue as error:
        return "event_type", str(error).partition(": ")[2]
    if event.event_type not in PULP_TYPES and event.event_type.partition(".")[0] in OWN_ROOTS:
        return "event_type", f"{event.event_type} is fired by Pulpit alone."
    if len(json.dumps(event.payload, ensure_ascii=False).encode()) > LONGEST_PAYLOAD:
        return "payload", f"it has more than {LONGEST_PAYLOAD} bytes."
    for name, longest in (("repo_id", LONGEST_REPOSITORY), ("result", LONGEST_RESULT)):
        text = event.payload.get(name)
        if text is not None and not (isinstance(text, str) and len(text) <= longest):
            return "payload", f"its {name}, by which listeners filter, must be text of at most {longest} characters."
    return None
