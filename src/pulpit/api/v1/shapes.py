"""The bodies of API v1 as types: what is read, what is answered, and what the OpenAPI document shows."""

import json
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, SkipValidation, StrictBool, StrictInt, StrictStr

from pulpit.api.delivery_state import DeliveryState, ListenerFilters
from pulpit.events import MAX_TYPE_LENGTH, Event

_TYPE: Final = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+$"
"""The form of types for the description; `check_event_type` judges them, with a sentence of its own."""


class Shape(BaseModel):
    """What all answers are: made from the values of the store by their fields."""

    model_config = ConfigDict(from_attributes=True)


class Order(BaseModel):
    """What all requests are: a name that nobody knows is a slip of the pen."""

    model_config = ConfigDict(extra="forbid")


class ListenerShape(Shape):
    """A listener and how its delivery goes; its configuration is in API v2."""

    id: str
    notifier_type_id: str
    event_types: list[str]
    filters: ListenerFilters
    delivery: DeliveryState


class ListenersShape(Shape):
    """All listeners, oldest first."""

    listeners: list[ListenerShape]


class PauseOrder(Order):
    """Why a listener is paused, for others to read."""

    reason: StrictStr | None = Field(default=None, max_length=1000)


class ReplayOrder(Order):
    """Where to go back to: before an event's number, or before the first event at or after a time."""

    number: StrictInt | None = Field(default=None, ge=1, lt=2**63)
    time: datetime | None = None
    event_types: Annotated[list[str] | None, SkipValidation] = None


class TrialShape(Shape):
    """What a test sent, and what came of it."""

    request: dict[str, Any]
    outcome: str
    answer: str | None
    reason: str | None
    refused: dict[str, str]
    duration_ms: int


class DeliveryShape(Shape):
    """One attempt, or several successes summed up."""

    at: datetime
    duration_ms: int
    outcome: str
    first_event: int
    last_event: int
    event_count: int
    answer: str


class DeliveriesShape(Shape):
    """Recent attempts, newest first."""

    deliveries: list[DeliveryShape]


class EventShape(Shape):
    """An event of the log."""

    number: int
    id: str
    event_type: str
    repo_id: str | None
    repo_number: int | None
    result: str | None
    occurred_at: datetime
    traceparent: str
    payload: dict[str, Any]
    call_report: dict[str, Any] | None


class EventsShape(Shape):
    """Events in order, what to ask with as `after` next time, and the last number of the log."""

    events: list[EventShape]
    next: int
    head: int


class NumbersShape(Shape):
    """The numbers that events got."""

    count: int
    numbers: list[int]


class NewEventShape(Order):
    """An event from elsewhere."""

    event_type: StrictStr = Field(json_schema_extra={"pattern": _TYPE, "maxLength": MAX_TYPE_LENGTH})
    repo_id: StrictStr | None = Field(default=None, min_length=1, max_length=255)
    payload: dict[str, Any] = Field(default_factory=dict)


class DeadLetterShape(Shape):
    """An event that a listener did not get."""

    id: str
    listener_id: str
    event_number: int
    recipient: str | None
    refused_at: datetime
    attempts: int
    reason: str
    send_again: bool


class FullDeadLetterShape(DeadLetterShape):
    """The same with the event, unless the log has it no more."""

    event: EventShape | None


class DeadLettersShape(Shape):
    """Dead letters by the number of their events."""

    dead_letters: list[DeadLetterShape]
    total: int


class LettersOrder(Order):
    """Some dead letters, or all."""

    ids: list[StrictStr] | None = Field(default=None, min_length=1, max_length=1000)
    all: StrictBool = False


class CountShape(Shape):
    """Of how many something was done."""

    count: int


def event_shape(event: Event) -> EventShape:
    """An event with its body taken apart."""
    return EventShape(
        number=event.number,
        id=event.id,
        event_type=event.event_type,
        repo_id=event.repo_id,
        repo_number=event.repo_number,
        result=event.result,
        occurred_at=event.occurred_at,
        traceparent=event.traceparent,
        **parts(event),
    )


def parts(event: Event) -> dict[str, Any]:
    """Payload and call report of an event's body."""
    body = json.loads(event.body)
    return {"payload": body["payload"], "call_report": body["call_report"]}
