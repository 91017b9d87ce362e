"""Operations on listeners (pause, resume, replay, test, …) and on their dead letters."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC
from time import monotonic
from typing import Annotated, Final

from anyio import to_thread
from fastapi import Query
from sqlalchemy import Connection

from pulpit.api.auth.rights import Rights
from pulpit.api.endpoints import Endpoints
from pulpit.api.listeners import ListenerFilters, PageSize, PageStart, delivery_states, owner_seen
from pulpit.api.services import ACCEPTED, OK, Allowed, Asking, Provided, Services, returns
from pulpit.api.v1.models import (
    Count,
    DeadLettersPage,
    DeadLetterWithEvent,
    DeliveriesPage,
    DryRunDocument,
    DryRunEvent,
    DryRunOrder,
    LettersOrder,
    ListenerDocument,
    ListenersPage,
    NotifierDocument,
    NotifiersPage,
    OptionDocument,
    PauseOrder,
    PreviewDocument,
    ReplayOrder,
    SendOrder,
    event_document,
)
from pulpit.delivery.changed_names import Names
from pulpit.delivery.log_reader import filter_of
from pulpit.delivery.redrive import Trial, config_for_one, try_out
from pulpit.errors import ConflictingOperation, InvalidValue, MissingResource, MissingValue
from pulpit.events import TELLING_CHANGES, Event, check_event_types
from pulpit.store import changes, dead_letters, event_log, listeners
from pulpit.store.dead_letters import NewDeadLetter
from pulpit.store.event_log import first_since
from pulpit.store.listeners import Listener

_listeners: Final = Endpoints(prefix="/listeners", tags=["listeners"])

MOST_DESCRIBED: Final = 50
"""Events of a dry run that are shown as they would be sent."""
LONGEST_DRY_RUN: Final = 10.0
"""Seconds after which no further one is started."""

CHANGED: Final = returns(OK, ListenerDocument, 400, 404)
ATTEMPTS: Final = returns(OK, DeliveriesPage, 400, 404)

Limit = Annotated[int, Query(ge=1, le=listeners.DELIVERIES_KEPT)]


@_listeners.get("", operation_id="list_deliveries_of_listeners", responses=returns(OK, ListenersPage, 400))
def list_listeners(
    services: Provided, user: Asking, rights: Allowed, limit: PageSize = None, after: PageStart = ""
) -> ListenersPage:
    """List the listeners with the state of their delivery, oldest first.

    Users who may not read everything see their own.
    """
    with services.database.read() as connection:
        found = listeners.every(connection, after=after, limit=limit, owner=owner_seen(user, rights))
        return ListenersPage(listeners=_documents(connection, found, services))


@_listeners.get(
    "/{listener_id}", operation_id="read_delivery_of_listener", responses=returns(OK, ListenerDocument, 404)
)
def read_listener(listener_id: str, services: Provided) -> ListenerDocument:
    """Show one listener with the state of its delivery."""
    with services.database.read() as connection:
        return _document(connection, listeners.get(connection, listener_id), services)


@_listeners.post("/{listener_id}/pause", responses=CHANGED)
def pause_listener(listener_id: str, services: Provided, body: PauseOrder | None = None) -> ListenerDocument:
    """Pause a listener at its position; its events wait in the log."""
    with services.database.write() as tx:
        return _document(tx.connection, listeners.pause(tx, listener_id, body.reason if body else None), services)


@_listeners.post("/{listener_id}/resume", responses=CHANGED)
def resume_listener(listener_id: str, services: Provided) -> ListenerDocument:
    """Let a paused listener continue from its position."""
    with services.database.write() as tx:
        return _document(tx.connection, listeners.resume(tx, listener_id), services)


@_listeners.post("/{listener_id}/replay", responses=CHANGED)
def replay_listener(listener_id: str, body: ReplayOrder, services: Provided) -> ListenerDocument:
    """Move a listener back, so that it gets the events from there again, or only those of the given types."""
    if (body.number is None) == (body.time is None):
        raise MissingValue(["number"]) if body.number is None else InvalidValue("time", "give a number or a time.")
    event_types = None if body.event_types is None else check_event_types(body.event_types)
    with services.database.write() as tx:
        number = body.number or _number_at(tx.connection, body)
        return _document(tx.connection, listeners.replay(tx, listener_id, number, event_types), services)


@_listeners.post("/{listener_id}/test", responses=returns(OK, Trial, 404, 409))
async def test_listener(listener_id: str, services: Provided) -> Trial:
    """Send a test event through the listener's notifier and show the request and the response."""

    def read() -> Listener:
        with services.database.read() as connection:
            return listeners.get(connection, listener_id)

    listener = await to_thread.run_sync(read)
    if listener.notifier_type_id not in services.listener_types:
        raise ConflictingOperation(f"This server has no notifier of type {listener.notifier_type_id}.")
    async with services.trials:
        return await try_out(listener, services.listener_types, services.clock)


@_listeners.post("/{listener_id}/send", responses=returns(ACCEPTED, Count, 400, 404))
def send_event_to_listener(
    listener_id: str, body: SendOrder, services: Provided, user: Asking, rights: Allowed
) -> Count:
    """Send one event of the log out of order, whatever the listener's filters.

    Until it is delivered it is among the dead letters.
    """
    with services.database.write() as tx:
        listeners.get(tx.connection, listener_id)
        event = event_log.get(tx.connection, body.number)
        if event is None or not rights.sees(event.repo_id):
            raise MissingResource(event=str(body.number))
        letter = NewDeadLetter(event_number=body.number, reason=f"{user.login} has asked for it to be sent.")
        dead_letters.add(tx, listener_id, [letter], attempts=0, now=services.clock(), send_again=True)
    return Count(count=1)


@_listeners.post("/{listener_id}/preview", responses=returns(OK, PreviewDocument, 400, 404))
async def preview_listener(listener_id: str, body: SendOrder, services: Provided, rights: Allowed) -> PreviewDocument:
    """Show what a listener would send for an event of the log, and whether its filters match; nothing is sent."""
    listener, event, names = await to_thread.run_sync(_previewed, services, listener_id, body.number, rights)
    notifier = services.listener_types[listener.notifier_type_id].open(config_for_one(listener.notifier_config, None))
    try:
        request = await to_thread.run_sync(notifier.describe, event)  # a plug-in may take its time
    finally:
        await notifier.close()
    tells = event.event_type in TELLING_CHANGES
    has_package = listener.packages is None or (tells and names.any_like(listener.packages))
    return PreviewDocument(wanted=filter_of(listener)(event) and has_package, request=dict(request))


@_listeners.post("/{listener_id}/dry-run", responses=returns(OK, DryRunDocument, 400, 404))
async def dry_run_listener(listener_id: str, body: DryRunOrder, services: Provided, rights: Allowed) -> DryRunDocument:
    """Show which of the last events of the log match a listener, and what it would send for them; nothing is sent."""
    listener, seen, wanted = await to_thread.run_sync(_wanted_of_last, services, listener_id, body.last, rights)
    notifier = services.listener_types[listener.notifier_type_id].open(config_for_one(listener.notifier_config, None))
    described: list[DryRunEvent] = []
    end = monotonic() + LONGEST_DRY_RUN
    try:
        for event in wanted[: -MOST_DESCRIBED - 1 : -1]:
            if monotonic() > end:
                break
            request = await to_thread.run_sync(notifier.describe, event)
            shown = DryRunEvent(
                number=event.number, event_type=event.event_type, repo_id=event.repo_id, request=dict(request)
            )
            described.append(shown)
    finally:
        await notifier.close()
    return DryRunDocument(looked_at=seen, wanted=len(wanted), events=described[::-1])


def _wanted_of_last(
    services: Services, listener_id: str, last: int, rights: Rights
) -> tuple[Listener, int, list[Event]]:
    """Return a listener, the number of events examined, and those that match."""
    with services.database.read() as connection:
        listener = listeners.get(connection, listener_id)
        after = max(0, event_log.head(connection) - last)
        seen = [event for event in event_log.read_after(connection, after, limit=last) if rights.sees(event.repo_id)]
        is_wanted = filter_of(listener)
        wanted = [event for event in seen if is_wanted(event)]
        if listener.packages is not None:
            wanted = [event for event in wanted if event.event_type in TELLING_CHANGES]
            named = changes.names(connection, [event.number for event in wanted])
            patterns = listener.packages
            wanted = [event for event in wanted if Names(named.get(event.number, ())).any_like(patterns)]
    if listener.notifier_type_id not in services.listener_types:
        raise MissingResource(notifier_type_id=listener.notifier_type_id)
    return listener, len(seen), wanted


def _previewed(services: Services, listener_id: str, number: int, rights: Rights) -> tuple[Listener, Event, Names]:
    with services.database.read() as connection:
        listener = listeners.get(connection, listener_id)
        event = event_log.get(connection, number)
        names = Names(changes.names(connection, [number]).get(number, ()))
    if event is None or not rights.sees(event.repo_id):
        raise MissingResource(event=str(number))
    if listener.notifier_type_id not in services.listener_types:
        raise MissingResource(notifier_type_id=listener.notifier_type_id)
    return listener, event, names


@_listeners.get("/{listener_id}/deliveries", responses=returns(OK, DeliveriesPage, 400, 404))
def list_deliveries(listener_id: str, services: Provided, limit: Limit = 50) -> DeliveriesPage:
    """List recent attempts, newest first."""
    with services.database.read() as connection:
        listeners.get(connection, listener_id)
        found = listeners.recent_deliveries(connection, listener_id, limit=limit)
    return DeliveriesPage(deliveries=found)


def _number_at(connection: Connection, order: ReplayOrder) -> int:
    """Return the number of the first event at or after the time, or the next number if there is none."""
    if order.time is None or order.time.tzinfo is None:
        raise InvalidValue("time", "it needs a time zone, such as the Z in 2026-11-24T03:00:00Z.")
    try:
        moment = order.time.astimezone(UTC)
    except OverflowError:
        raise InvalidValue("time", "there was never such a time.") from None
    return first_since(connection, moment) or event_log.head(connection) + 1


def _document(connection: Connection, listener: Listener, services: Services) -> ListenerDocument:
    [document] = _documents(connection, [listener], services)
    return document


def _documents(connection: Connection, found: list[Listener], services: Services) -> list[ListenerDocument]:
    states = delivery_states(connection, found, services)
    return [
        ListenerDocument(
            id=listener.id,
            notifier_type_id=listener.notifier_type_id,
            event_types=listener.event_types,
            filters=ListenerFilters.model_validate(listener),
            delivery=states[listener.id],
        )
        for listener in found
    ]


_dead_letters: Final = Endpoints(prefix="/listeners/{listener_id}/dead-letters", tags=["dead letters"])

MOST_IDS: Final = 1000

LetterLimit = Annotated[int, Query(ge=1, le=dead_letters.MOST)]
Ids = Annotated[list[str] | None, Query(alias="id", max_length=MOST_IDS)]


@_dead_letters.get("", responses=returns(OK, DeadLettersPage, 400, 404))
def list_dead_letters(listener_id: str, services: Provided, limit: LetterLimit = 100) -> DeadLettersPage:
    """List the dead letters of a listener by the number of their events."""
    with services.database.read() as connection:
        listeners.get(connection, listener_id)
        found = dead_letters.of_listener(connection, listener_id, limit=limit)
        total = dead_letters.counts(connection).get(listener_id, 0)
    return DeadLettersPage(dead_letters=found, total=total)


@_dead_letters.get("/{letter_id}", responses=returns(OK, DeadLetterWithEvent, 404))
def read_dead_letter(listener_id: str, letter_id: str, services: Provided) -> DeadLetterWithEvent:
    """Show one dead letter with its event."""
    with services.database.read() as connection:
        letter = dead_letters.get(connection, listener_id, letter_id)
        event = event_log.get(connection, letter.event_number)
    return DeadLetterWithEvent(**asdict(letter), event=None if event is None else event_document(event))


@_dead_letters.post("/send-again", responses=returns(ACCEPTED, Count, 400, 404))
def send_dead_letters_again(listener_id: str, body: LettersOrder, services: Provided) -> Count:
    """Redeliver some dead letters, or all; each that is delivered is removed."""
    ids = _chosen_ids(body.ids, everything=body.all)
    with services.database.write() as tx:
        _check_ids(tx.connection, listener_id, ids)
        return Count(count=dead_letters.send_again(tx, listener_id, ids))


@_dead_letters.delete("", responses=returns(OK, Count, 400, 404))
def drop_dead_letters(
    listener_id: str,
    services: Provided,
    ids: Ids = None,
    everything: Annotated[bool, Query(alias="all")] = False,
) -> Count:
    """Delete some dead letters, or all."""
    chosen = _chosen_ids(ids, everything=everything)
    with services.database.write() as tx:
        _check_ids(tx.connection, listener_id, chosen)
        return Count(count=dead_letters.drop(tx, listener_id, chosen))


def _chosen_ids(ids: Sequence[str] | None, *, everything: bool) -> Sequence[str] | None:
    """Return the selected ids, `None` for all."""
    if everything and ids is not None:
        raise InvalidValue("all", "name some dead letters, or say all.")
    if not everything and not ids:
        raise MissingValue("ids")
    return None if everything else ids


def _check_ids(connection: Connection, listener_id: str, ids: Sequence[str] | None) -> None:
    """Reject unknown ids before anything is done.

    Raises:
        MissingResource: `event_listener` or `dead_letter`.
    """
    listeners.get(connection, listener_id)
    for letter_id in ids or ():
        dead_letters.get(connection, listener_id, letter_id)


_notifiers: Final = Endpoints(prefix="/notifiers", tags=["listeners"])


@_notifiers.get("", responses=returns(OK, NotifiersPage))
def list_notifiers(services: Provided) -> NotifiersPage:
    """List the kinds of listeners of this server, including plug-ins, and their options."""
    return NotifiersPage(
        notifiers=[
            NotifierDocument(
                id=registered.kind.id,
                summary=registered.kind.summary,
                brought_by=registered.brought_by,
                problem=registered.problem or None,
                options=[OptionDocument.model_validate(option) for option in registered.kind.options],
            )
            for registered in services.listener_types.registered
        ]
    )


router: Final = Endpoints.of(_listeners, _dead_letters, _notifiers)
