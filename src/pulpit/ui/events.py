"""One event: its content, the matching listeners, each delivery attempt, and a form to send it again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import Response

from pulpit.api.services import Services
from pulpit.api.v1 import events as v1
from pulpit.delivery.changed_names import Names
from pulpit.delivery.log_reader import filter_of
from pulpit.errors import MissingResource
from pulpit.events import TELLING_CHANGES, Event
from pulpit.store import changes, dead_letters, event_log, listeners
from pulpit.store.dead_letters import DeadLetter
from pulpit.store.listeners import Listener
from pulpit.ui.event_rows import tone
from pulpit.ui.listeners import whole
from pulpit.ui.now import target
from pulpit.ui.visits import Visit

LISTENERS: Final = 100
"""Matching listeners that are shown."""
CHOICE: Final = 300
"""Listeners that are offered to send it to."""
ATTEMPTS: Final = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanting:
    """A matching listener, and the state of the event there."""

    listener: Listener
    target: str
    fate: str
    tone: str
    letters: list[DeadLetter]


def show(visit: Visit) -> Response:
    services = visit.services
    number = whole("number", visit.path("number"))
    with services.database.read() as connection:
        event = None if number is None else event_log.get(connection, number)
        if event is None:
            raise MissingResource(event=visit.path("number"))
        every = listeners.every(connection)
        letters = dead_letters.of_event(connection, event.number)
        names = Names(changes.names(connection, [event.number]).get(event.number, ()))
        wanting = [listener for listener in every if _wants(listener, event, names)]
        told = {letter.listener_id for letter in letters}
        wanting += [listener for listener in every if listener.id in told and listener not in wanting]
        shown = wanting[:LISTENERS]
        attempts = listeners.deliveries_of_event(
            connection, event.number, [listener.id for listener in shown], limit=ATTEMPTS
        )
        head, first = event_log.head(connection), event_log.oldest(connection)
    document = v1.read_event(event.number, services, visit.rights)
    return visit.page(
        "event.html",
        title=f"Event {event.number}",
        event=event,
        tone=tone(event),
        document=document,
        changes=changed_units(document.payload),
        wanting=[_wanting(listener, event, services, letters) for listener in shown],
        wanting_total=len(wanting),
        targets={
            listener.id: f"{listener.notifier_type_id} {target(listener, services.listener_types)}"
            for listener in every
        },
        choice=every[:CHOICE],
        attempts=attempts,
        newer=event.number + 1 if event.number < head else None,
        older=event.number - 1 if event.number > first else None,
    )


def _wants(listener: Listener, event: Event, names: Names) -> bool:
    if not filter_of(listener)(event):
        return False
    return listener.packages is None or (event.event_type in TELLING_CHANGES and names.any_like(listener.packages))


def _wanting(listener: Listener, event: Event, services: Services, letters: list[DeadLetter]) -> Wanting:
    mine = [letter for letter in letters if letter.listener_id == listener.id]
    if any(letter.send_again for letter in mine):
        fate, colour = "being sent again", "odd"
    elif mine:
        fate, colour = "dead letter", "bad"
    elif listener.created_at > event.occurred_at:
        fate, colour = "made later", ""
    elif services.position_of(listener) >= event.number:
        fate, colour = "delivered", "good"
    elif listener.paused:
        fate, colour = "waits, paused", "odd"
    else:
        fate, colour = "waits", "bad" if listener.failing_since else ""
    where = target(listener, services.listener_types)
    return Wanting(listener=listener, target=where, fate=fate, tone=colour, letters=mine)


def changed_units(payload: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return what was added, removed, replaced and withdrawn, by name and version, as far as the payload lists it."""
    changes = payload.get("changes")
    units = changes.get("units") if isinstance(changes, Mapping) else payload.get("units")
    how = str(payload.get("how"))
    names: dict[str, list[str]] = {}
    for unit in units if isinstance(units, list) else ():
        if isinstance(unit, Mapping):
            name = " ".join(str(unit[key]) for key in ("name", "version", "arch") if unit.get(key))
            before = unit.get("before")
            if isinstance(before, Mapping) and before.get("version") not in (None, unit.get("version")):
                name += f" (was {before['version']})"
            names.setdefault(str(unit.get("change", how)), []).append(name)
    return names
