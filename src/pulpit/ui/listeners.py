"""Listeners: the state of each, and every operation on them, by the functions of the REST API."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.responses import Response

from pulpit.api.listeners import STATES, delivery_states, worst_first
from pulpit.api.redaction import masked
from pulpit.api.v1 import listeners as v1
from pulpit.api.v1.models import LettersOrder, PauseOrder, ReplayOrder, SendOrder
from pulpit.api.v2 import listeners as v2
from pulpit.api.v2.models import ListenerChanges, NewListener
from pulpit.delivery.notifiers.kinds import OURS
from pulpit.errors import InvalidValue, MissingResource, MissingValue, PulpitError
from pulpit.listener_options import ListenerKind
from pulpit.store import dead_letters, event_log, listeners
from pulpit.store.dead_letters import DeadLetter
from pulpit.store.listeners import Listener
from pulpit.ui import charts, listener_forms
from pulpit.ui.listener_forms import WANTS
from pulpit.ui.live import SAMPLES
from pulpit.ui.now import described
from pulpit.ui.visits import Visit, done

PAGE: Final = 50
DELIVERIES: Final = 25
LETTERS: Final = 100

Order = TypeVar("Order", bound=BaseModel)


def show_all(visit: Visit) -> Response:
    """Show a page of listeners, those that need attention first."""
    kind, state, kinds = visit.asked("kind"), visit.asked("state"), visit.services.listener_types
    page = visit.page_number
    with visit.services.database.read() as connection:
        found = {listener.id: listener for listener in listeners.every(connection)}
        states = delivery_states(connection, list(found.values()), visit.services)
    chosen = [
        listener_id
        for listener_id in worst_first(states)
        if kind in ("", found[listener_id].notifier_type_id) and state in ("", states[listener_id].state)
    ]
    shown = chosen[(page - 1) * PAGE : page * PAGE]
    return visit.page(
        "listeners.html",
        title="Listeners",
        items=[described(found[listener_id], states[listener_id], visit.site.live, kinds) for listener_id in shown],
        total=len(chosen),
        asked={"kind": kind, "state": state},
        kinds=[registered.kind.id for registered in kinds.registered],
        usable=[registered.kind.id for registered in kinds.registered if not registered.problem],
        problems=[
            f"{registered.kind.id}: {registered.problem}"
            for registered in kinds.registered
            if registered.problem and registered.brought_by != OURS
        ],
        states=STATES,
        first=(page - 1) * PAGE + 1,
        **visit.neighbours(page, {"kind": kind, "state": state}, is_last=len(chosen) <= page * PAGE),
    )


def show(visit: Visit) -> Response:
    return _page(visit)


def show_new(visit: Visit) -> Response:
    """Show an empty form, or one filled in with an example."""
    kind = _kind(visit, visit.asked("kind") or "amqp")
    texts = {field.name: field.default for field in (*WANTS, *listener_forms.fields_of(kind))}
    return _form(visit, kind, texts)


def create(visit: Visit) -> Response:
    kind = _kind(visit, visit.form.text("kind"))
    try:
        given = {key: value for key, value in listener_forms.config(kind, visit.form).items() if value is not None}
        body = NewListener(notifier_type_id=kind.id, notifier_config=given, **listener_forms.wants(visit.form))
        made = json.loads(bytes(v2.create_listener(body, visit.services, visit.asking, visit.rights).body))
    except PulpitError as error:
        return _form(visit, kind, visit.form.as_dict(), complaint=error)
    return done(f"/listeners/{made['id']}", "created")


def show_edit(visit: Visit) -> Response:
    listener = _listener(visit)
    kind = _kind(visit, listener.notifier_type_id)
    return _form(visit, kind, listener_forms.texts_of(listener, _secrets(visit, listener)), listener=listener)


def edit(visit: Visit) -> Response:
    listener = _listener(visit)
    kind = _kind(visit, listener.notifier_type_id)
    try:
        body = ListenerChanges(
            notifier_config=listener_forms.config(kind, visit.form), **listener_forms.wants(visit.form)
        )
        v2.update_listener(listener.id, body, visit.services)
    except PulpitError as error:
        return _form(visit, kind, visit.form.as_dict(), listener=listener, complaint=error)
    return done(f"/listeners/{listener.id}", "changed")


def pause(visit: Visit) -> Response:
    reason = visit.form.text("reason")
    v1.pause_listener(visit.path("id"), visit.services, order(PauseOrder, reason=reason) if reason else None)
    return done(f"/listeners/{visit.path('id')}", "paused")


def resume(visit: Visit) -> Response:
    v1.resume_listener(visit.path("id"), visit.services)
    return done(f"/listeners/{visit.path('id')}", "resumed")


def replay(visit: Visit) -> Response:
    """Move back to an event's number, or to a time."""
    number, time = visit.form.text("number"), visit.form.text("time")
    if not number and not time:
        raise MissingValue("number")
    event_types = visit.form.lines("event_types") or None
    body = order(ReplayOrder, number=whole("number", number), time=_moment(time), event_types=event_types)
    v1.replay_listener(visit.path("id"), body, visit.services)
    return done(f"/listeners/{visit.path('id')}", "replayed")


async def test(visit: Visit) -> Response:
    """Send a test event and show the request and the response."""
    trial = await v1.test_listener(visit.path("id"), visit.services)
    return await asyncio.to_thread(_page, visit, trial={**asdict(trial), "request": dict(trial.request)})


def delete(visit: Visit) -> Response:
    v2.delete_listener(visit.path("id"), visit.services)
    return done("/listeners", "deleted")


def letters(visit: Visit) -> Response:
    """Redeliver or delete dead letters: the selected ones, or all."""
    listener_id, verb = visit.path("id"), visit.form.text("do")
    everything = verb.endswith("-all")
    ids = None if everything else visit.form.all("id")
    if not everything and not ids:
        raise InvalidValue("id", "mark the dead letters that are meant.")
    if verb.startswith("drop"):
        v1.drop_dead_letters(listener_id, visit.services, ids, everything=everything)
        return done(f"/listeners/{listener_id}", "dropped")
    v1.send_dead_letters_again(listener_id, order(LettersOrder, ids=ids, all=everything), visit.services)
    return done(f"/listeners/{listener_id}", "sent")


def send(visit: Visit) -> Response:
    """Send one event to a listener out of order."""
    number = whole("number", visit.path("number"))
    v1.send_event_to_listener(
        visit.form.text("listener"), order(SendOrder, number=number), visit.services, visit.asking, visit.rights
    )
    return done(f"/events/{number}", "sent")


def order(model: type[Order], **values: Any) -> Order:
    """Create a request body for the API.

    Raises:
        InvalidValue: a value is invalid.
    """
    try:
        return model(**values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "form"
        raise InvalidValue(name, f"{first['msg'].rstrip('.').lower()}.") from None


def whole(name: str, text: str) -> int | None:
    """Parse the number in a field, if it is not empty.

    Raises:
        InvalidValue: it is not a number.
    """
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(2**62))):
        raise InvalidValue(name, "it must be a whole number.")
    return int(text)


def _moment(text: str) -> datetime | None:
    """Parse a time as browsers send it, in UTC."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidValue("time", "it must look like 2026-11-24T03:00.") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _listener(visit: Visit) -> Listener:
    with visit.services.database.read() as connection:
        return listeners.get(connection, visit.path("id"))


def _kind(visit: Visit, type_id: str) -> ListenerKind:
    """Return a kind of the server; listeners of an unknown kind can only be viewed and deleted."""
    kind = visit.services.listener_types.kind(type_id)
    if kind is None:
        raise MissingResource(notifier_type_id=type_id)
    return kind


def _secrets(visit: Visit, listener: Listener) -> frozenset[str]:
    return visit.services.listener_types.secret_keys(listener.notifier_type_id, listener.notifier_config)


def _page(visit: Visit, trial: dict[str, Any] | None = None) -> Response:
    services = visit.services
    with services.database.read() as connection:
        listener = listeners.get(connection, visit.path("id"))
        state = delivery_states(connection, [listener], services)[listener.id]
        attempts = listeners.recent_deliveries(connection, listener.id, limit=DELIVERIES)
        letters = dead_letters.of_listener(connection, listener.id, limit=LETTERS)
        head = event_log.head(connection)
    lag = visit.site.live.lags.get(listener.id)
    seconds = [*lag.seconds, state.lag_seconds] if lag else []
    return visit.page(
        "listener.html",
        title=f"Listener {listener.id}",
        **described(listener, state, visit.site.live, services.listener_types),
        config=masked(listener.notifier_config, _secrets(visit, listener)),
        seconds_line=charts.sparkline(seconds, room=SAMPLES + 1),
        longest_lag=max(seconds, default=0.0),
        attempts=attempts,
        letters=_with_types(visit, letters),
        head=head,
        trial=trial,
    )


def _with_types(visit: Visit, letters: Iterable[DeadLetter]) -> list[tuple[DeadLetter, str]]:
    """Pair each dead letter with the type of its event."""
    found = list(letters)
    with visit.services.database.read() as connection:
        page = event_log.those(connection, sorted({letter.event_number for letter in found}))
    types = {event.number: event.event_type for event in page.events}
    return [(letter, types.get(letter.event_number, "")) for letter in found]


def _form(
    visit: Visit,
    kind: ListenerKind,
    texts: dict[str, str],
    *,
    listener: Listener | None = None,
    complaint: PulpitError | None = None,
) -> Response:
    return visit.page(
        "listener_form.html",
        status=complaint.status if complaint else 200,
        title=f"Change listener {listener.id}" if listener else "New listener",
        kind=kind.id,
        kinds=[registered.kind.id for registered in visit.services.listener_types.registered if not registered.problem],
        wants=WANTS,
        fields=listener_forms.fields_of(kind),
        texts=texts,
        listener=listener,
        kept={name for name in _secrets(visit, listener) if listener.notifier_config.get(name)} if listener else set(),
        clear=listener_forms.CLEAR,
        command=listener_forms.command(kind.id, listener.id if listener else ""),
        complaint=str(complaint or ""),
    )
