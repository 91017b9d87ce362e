"""Events for tests that need no log, and a check of any event against its schema."""

import json
from datetime import UTC, datetime
from typing import Any

import jsonschema

from pulpit import catalogue
from pulpit.events import EVENT_TYPES, Event, encode_body
from pulpit.ids import uuid7

NOON = datetime(2026, 5, 4, 12, 0, 0, 250000, tzinfo=UTC)


def event(
    number: int = 1,
    event_type: str = "repo.sync.finish",
    repo_id: str | None = "zoo",
    occurred_at: datetime = NOON,
    **payload: Any,
) -> Event:
    """Make an event as the log would return it."""
    known = {"repo_id": repo_id, **payload} if repo_id is not None else payload
    return Event(
        number=number,
        id=uuid7(),
        event_type=event_type,
        repo_id=repo_id,
        repo_number=None if repo_id is None else number,
        result=payload.get("result"),
        occurred_at=occurred_at,
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        body=encode_body(event_type, known, None),
    )


def check(event: Event) -> None:
    """Fail unless an event's body is what its schema says."""
    check_body(json.loads(event.body))


def check_body(body: dict[str, Any]) -> None:
    """Fail unless a body is what the schema of its type says; other systems' types have none."""
    if body["event_type"] in EVENT_TYPES:
        jsonschema.validate(body, catalogue.schema(body["event_type"]), jsonschema.Draft202012Validator)
