"""The bodies of API v1 as types; values of the store and the delivery are shown unchanged."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, SkipValidation, StrictBool, StrictInt, StrictStr
from sqlalchemy import Connection

from pulpit.api.endpoints import Document
from pulpit.api.listeners import DeliveryState, ListenerFilters
from pulpit.errors import MissingResource
from pulpit.events import MAX_TYPE_LENGTH, Event
from pulpit.listener_options import OptionType
from pulpit.store import publications
from pulpit.store.dead_letters import DeadLetter
from pulpit.store.listeners import Delivery
from pulpit.store.publications import Place, Publication

_TYPE: Final = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+$"
"""The form of types, for the description; `check_event_type` validates them with its own message."""


class Order(BaseModel):
    """The base of all requests: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid")


class ListenerDocument(Document):
    """A listener and the state of its delivery; its configuration is in API v2."""

    id: str
    notifier_type_id: str
    event_types: list[str]
    filters: ListenerFilters
    delivery: DeliveryState


class ListenersPage(Document):
    """Listeners, oldest first."""

    listeners: list[ListenerDocument]


class OptionDocument(Document):
    """One key of the `notifier_config` of a kind of listener."""

    name: str
    type: OptionType
    help: str
    required: bool
    secret: bool
    """Whether its stored value is masked."""
    choices: list[str]
    default: str
    placeholder: str
    metavar: str
    flag: str
    """The option of `pulp-admin` without dashes, if it is not the name."""
    given_openly: bool


class NotifierDocument(Document):
    """A kind of listener, and all its options."""

    id: str
    """The `notifier_type_id` of its listeners."""
    summary: str
    brought_by: str
    """The distribution that provides it."""
    problem: str | None
    """Why no listener of the kind can be served here."""
    options: list[OptionDocument]


class NotifiersPage(Document):
    """Every kind, by its id."""

    notifiers: list[NotifierDocument]


class PreviewDocument(Document):
    """What would be sent, in the notifier's form, and whether the listener's filters match."""

    wanted: bool
    request: dict[str, Any]


class DryRunOrder(Order):
    """How many of the last events to examine."""

    last: StrictInt = Field(default=100, ge=1, le=1000)


class DryRunEvent(Document):
    """A matching event, and what would be sent for it."""

    number: int
    event_type: str
    repo_id: str | None
    request: dict[str, Any]


class DryRunDocument(Document):
    """What a listener would send for the last events of the log; nothing was sent."""

    looked_at: int
    """Events of the log that were examined."""
    wanted: int
    """Those of them that match."""
    events: list[DryRunEvent]
    """The last of these, in order, as many as could be prepared in time."""


class PauseOrder(Order):
    """Why a listener is paused, shown to other users."""

    reason: StrictStr | None = Field(default=None, max_length=1000)


class ReplayOrder(Order):
    """Where to move back to: before an event's number, or before the first event at or after a time."""

    number: StrictInt | None = Field(default=None, ge=1, lt=2**63)
    time: datetime | None = None
    event_types: Annotated[list[str] | None, SkipValidation] = None


class SendOrder(Order):
    """Which event to send."""

    number: StrictInt = Field(ge=1, lt=2**63)


class DeliveriesPage(Document):
    """Recent attempts, newest first."""

    deliveries: list[Delivery]


class EventDocument(Document):
    """An event of the log, its body parsed."""

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
    return EventDocument(**event._asdict(), payload=body["payload"], call_report=body["call_report"])


class EventsPage(Document):
    """Events in order, the `after` of the next page, and the last number of the log."""

    events: list[EventDocument]
    next: int
    head: int


class NumbersOfEvents(BaseModel):
    """The numbers of new events."""

    count: int
    numbers: list[int]


class NewEvent(Order):
    """An event of another system."""

    event_type: StrictStr = Field(json_schema_extra={"pattern": _TYPE, "maxLength": MAX_TYPE_LENGTH})
    repo_id: StrictStr | None = Field(default=None, min_length=1, max_length=255)
    payload: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetterWithEvent(DeadLetter):
    """A dead letter and its event, unless the log no longer has it."""

    event: EventDocument | None


class DeadLettersPage(Document):
    """Dead letters by the number of their events."""

    dead_letters: list[DeadLetter]
    total: int


class LettersOrder(Order):
    """Some dead letters, or all."""

    ids: list[StrictStr] | None = Field(default=None, min_length=1, max_length=1000)
    all: StrictBool = False


class Count(Document):
    """The number of affected objects."""

    count: int


class PublicationDocument(Document):
    """The state in which a repository was published at one moment."""

    number: int
    repo_id: str
    distributor_id: str
    created_at: datetime
    file_count: int
    byte_count: int
    unit_counts: dict[str, int]
    inventory: str
    """The SHA-256 of the list of its files: the same for identical files."""
    pinned: bool
    places: list[str]
    """Where it is shown now."""
    removed: bool = False


def publication_document(publication: Publication, shown_at: Sequence[Place]) -> PublicationDocument:
    names = PublicationDocument.model_fields.keys() - {"places", "removed"}
    return PublicationDocument(
        **{name: getattr(publication, name) for name in names}, places=[place.path for place in shown_at]
    )


class PublicationsPage(Document):
    """The newest first."""

    publications: list[PublicationDocument]


class FileDocument(Document):
    """A published file."""

    path: str = Field(validation_alias="relative_path")
    sha256: str
    size: int


class FilesPage(Document):
    """Files by path, and the total number of files."""

    files: list[FileDocument]
    total: int


class DifferentFile(Document):
    """A path whose file was added (nothing before), removed (nothing after) or changed."""

    path: str
    before: FileDocument | None
    after: FileDocument | None


class PublicationDifference(Document):
    """The difference between two publications; counts are complete, lists may be `truncated`."""

    from_: int = Field(alias="from")
    to: int
    counts: dict[str, int]
    files: list[DifferentFile]
    units_added: list[dict[str, Any]]
    units_removed: list[dict[str, Any]]
    truncated: bool


class PromotionOrder(Order):
    """The place, such as `prod/zoo`, and whether only promotions may change it from now on."""

    to: StrictStr = Field(min_length=1, max_length=4096)
    protect: StrictBool = False


class ExportOrder(Order):
    """A folder below `[publish] export_dir`, or a tar if it ends with `.tar`.

    `since` omits files of that publication.
    """

    to: StrictStr = Field(min_length=1, max_length=4096)
    since: StrictInt | None = Field(default=None, ge=1, lt=2**31)


class RollbackOrder(Order):
    """Which publication (the previous one without a number), and whether publishes may not replace it."""

    to: StrictInt | None = Field(default=None, ge=1, lt=2**31)
    distributor_id: StrictStr | None = None
    hold: StrictBool = False


class PlaceOrder(Order):
    """Whether only promotions may change what a place shows."""

    only_promoted: StrictBool


class PlaceDocument(Document):
    """A path below `/pulp/` and the publication that it shows."""

    path: str
    repo_id: str
    publication: int
    shown_at: datetime
    promoted: bool
    """Whether the place was created by a promotion; otherwise its distributor publishes there."""
    only_promoted: bool
    former: list[int]
    """The earlier publications that are kept, the latest first."""


def place_document(connection: Connection, place: Place) -> PlaceDocument:
    shown = publications.at(connection, place.path)
    if shown is None:
        raise MissingResource(place=place.path)
    return PlaceDocument(
        path=place.path,
        repo_id=shown.repo_id,
        publication=shown.number,
        shown_at=place.shown_at,
        promoted=place.promoted,
        only_promoted=place.only_promoted,
        former=[publication.number for publication in publications.former(connection, place.path)],
    )


class PlacesPage(Document):
    """By path."""

    places: list[PlaceDocument]
