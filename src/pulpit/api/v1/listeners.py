"""An operator's verbs on listeners: see, pause, resume, replay, test, and what was tried lately."""

from datetime import UTC
from typing import Annotated, Final

from anyio import to_thread
from fastapi import APIRouter, Query
from sqlalchemy import Connection

from pulpit.api.delivery_state import delivery_states, filters_of
from pulpit.api.endpoints import OK, Provided, answers
from pulpit.api.services import Services
from pulpit.api.v1.shapes import (
    DeliveriesShape,
    DeliveryShape,
    ListenerShape,
    ListenersShape,
    PauseOrder,
    ReplayOrder,
    TrialShape,
)
from pulpit.delivery.single import try_out
from pulpit.errors import ConflictingOperation, InvalidValue, MissingValue
from pulpit.events import check_event_types
from pulpit.store import event_log, listeners
from pulpit.store.event_log import first_since
from pulpit.store.listeners import Listener

router: Final = APIRouter(prefix="/listeners", tags=["listeners"])

CHANGED: Final = answers(OK, ListenerShape, 400, 404)
ATTEMPTS: Final = answers(OK, DeliveriesShape, 400, 404)

Limit = Annotated[int, Query(ge=1, le=listeners.DELIVERIES_KEPT)]


@router.get("", operation_id="list_deliveries_of_listeners", responses=answers(OK, ListenersShape))
def list_listeners(services: Provided) -> ListenersShape:
    """List all listeners with the state of their delivery, oldest first."""
    with services.database.read() as connection:
        return ListenersShape(listeners=_shapes(connection, listeners.every(connection), services))


@router.get("/{listener_id}", operation_id="read_delivery_of_listener", responses=answers(OK, ListenerShape, 404))
def read_listener(listener_id: str, services: Provided) -> ListenerShape:
    """Show one listener with the state of its delivery."""
    with services.database.read() as connection:
        return _shape(connection, listeners.get(connection, listener_id), services)


@router.post("/{listener_id}/pause", operation_id="pause_listener", responses=CHANGED)
def pause(listener_id: str, services: Provided, body: PauseOrder | None = None) -> ListenerShape:
    """Keep a listener where it is; what it misses meanwhile waits in the log."""
    with services.database.write() as tx:
        return _shape(tx.connection, listeners.pause(tx, listener_id, body.reason if body else None), services)


@router.post("/{listener_id}/resume", operation_id="resume_listener", responses=CHANGED)
def resume(listener_id: str, services: Provided) -> ListenerShape:
    """Let a paused listener go on from where it is."""
    with services.database.write() as tx:
        return _shape(tx.connection, listeners.resume(tx, listener_id), services)


@router.post("/{listener_id}/replay", operation_id="replay_listener", responses=CHANGED)
def replay(listener_id: str, body: ReplayOrder, services: Provided) -> ListenerShape:
    """Send a listener back, so that it gets again what followed then, or only the types given."""
    if (body.number is None) == (body.time is None):
        raise MissingValue(["number"]) if body.number is None else InvalidValue("time", "give a number or a time.")
    event_types = None if body.event_types is None else check_event_types(body.event_types)
    with services.database.write() as tx:
        number = body.number or _number_at(tx.connection, body)
        return _shape(tx.connection, listeners.replay(tx, listener_id, number, event_types), services)


@router.post("/{listener_id}/test", operation_id="test_listener", responses=answers(OK, TrialShape, 404, 409))
async def test(listener_id: str, services: Provided) -> TrialShape:
    """Send a test event by the listener's real way and tell what was sent and answered."""
    listener = await to_thread.run_sync(_listener, listener_id, services)
    if listener.notifier_type_id not in services.listener_types:
        raise ConflictingOperation(f"This server has no notifier of type {listener.notifier_type_id}.")
    async with services.trials:
        trial = await try_out(listener, services.listener_types, services.clock)
    return TrialShape.model_validate(trial)


@router.get(
    "/{listener_id}/deliveries", operation_id="list_deliveries", responses=answers(OK, DeliveriesShape, 400, 404)
)
def list_deliveries(listener_id: str, services: Provided, limit: Limit = 50) -> DeliveriesShape:
    """List what was tried lately, newest first."""
    with services.database.read() as connection:
        listeners.get(connection, listener_id)
        found = listeners.recent_deliveries(connection, listener_id, limit=limit)
    return DeliveriesShape(deliveries=[DeliveryShape.model_validate(attempt) for attempt in found])


def _listener(listener_id: str, services: Services) -> Listener:
    with services.database.read() as connection:
        return listeners.get(connection, listener_id)


def _number_at(connection: Connection, order: ReplayOrder) -> int:
    """The number of the first event at or after the time, or the next one that there will be."""
    if order.time is None or order.time.tzinfo is None:
        raise InvalidValue("time", "it needs a time zone, such as the Z in 2026-11-24T03:00:00Z.")
    try:
        moment = order.time.astimezone(UTC)
    except OverflowError:
        raise InvalidValue("time", "there was never such a time.") from None
    return first_since(connection, moment) or event_log.head(connection) + 1


def _shape(connection: Connection, listener: Listener, services: Services) -> ListenerShape:
    [shape] = _shapes(connection, [listener], services)
    return shape


def _shapes(connection: Connection, found: list[Listener], services: Services) -> list[ListenerShape]:
    states = delivery_states(connection, found, services)
    return [
        ListenerShape(
            id=listener.id,
            notifier_type_id=listener.notifier_type_id,
            event_types=listener.event_types,
            filters=filters_of(listener),
            delivery=states[listener.id],
        )
        for listener in found
    ]
