"""The bodies of API v1 as types; what the store and the delivery keep as values is shown as it is."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, SkipValidation, StrictBool, StrictInt, StrictStr

from pulpit.api.listeners import DeliveryState, ListenerFilters
from pulpit.events import MAX_TYPE_LENGTH, Event
from pulpit.store.dead_letters import DeadLetter
from pulpit.store.listeners import Delivery

_TYPE: Final = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+$"
"""The form of types for the description; `check_event_type` judges them, with a sentence of its own."""


class Order(BaseModel):
    """What all requests are: a key that nobody knows is a typing error."""

    model_config = ConfigDict(extra="forbid")


class ListenerDocument(BaseModel):
    """A listener and how its delivery goes; its configuration is in API v2."""

    id: str
    notifier_type_id: str
    event_types: list[str]
    filters: ListenerFilters
    delivery: DeliveryState


class ListenersPage(BaseModel):
    """Listeners, oldest first."""

    listeners: list[ListenerDocument]


class PauseOrder(Order):
    """Why a listener is paused, for others to read."""

    reason: StrictStr | None = Field(default=None, max_length=1000)


class ReplayOrder(Order):
    """Where to go back to: before an event's number, or before the first event at or after a time."""

    number: StrictInt | None = Field(default=None, ge=1, lt=2**63)
    time: datetime | None = None
    event_types: Annotated[list[str] | None, SkipValidation] = None


class SendOrder(Order):
    """Which event is to be sent."""

    number: StrictInt = Field(ge=1, lt=2**63)


class DeliveriesPage(BaseModel):
    """Recent attempts, newest first."""

    deliveries: list[Delivery]


class EventDocument(BaseModel):
    """An event of the log, its body taken apart."""

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


def event_document(event: Event) -> EventDocument:
    body = json.loads(event.body)
    return EventDocument(**asdict(event), payload=body["payload"], call_report=body["call_report"])


class EventsPage(BaseModel):
    """Events in order, what to ask with as `after` next time, and the last number of the log."""

    events: list[EventDocument]
    next: int
    head: int


class NumbersOfEvents(BaseModel):
    """The numbers that events got."""

    count: int
    numbers: list[int]


class NewEvent(Order):
    """An event from elsewhere."""

    event_type: StrictStr = Field(json_schema_extra={"pattern": _TYPE, "maxLength": MAX_TYPE_LENGTH})
    repo_id: StrictStr | None = Field(default=None, min_length=1, max_length=255)
    payload: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetterWithEvent(DeadLetter):
    """A dead letter and its event, unless the log has it no more."""

    event: EventDocument | None


class DeadLettersPage(BaseModel):
    """Dead letters by the number of their events."""

    dead_letters: list[DeadLetter]
    total: int


class LettersOrder(Order):
    """Some dead letters, or all."""

    ids: list[StrictStr] | None = Field(default=None, min_length=1, max_length=1000)
    all: StrictBool = False


class Count(BaseModel):
    """Of how many something was done."""

    count: int
