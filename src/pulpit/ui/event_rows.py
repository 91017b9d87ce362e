"""An event as one table row with a short summary."""

from collections.abc import Mapping
from typing import Any, Final

from pulpit.events import UNIT_WITHDRAWN, Event
from pulpit.ui.rendering import render

LONGEST_SUMMARY: Final = 160
FEW: Final = 4
"""Names of changed units that are shown."""
_COUNTS: Final = (("added_count", "+"), ("updated_count", "~"), ("removed_count", "-"))
_SIGNS: Final = (("added", "+"), ("replaced", "~"), ("removed", "-"))
_TELLING: Final = {
    "error_message": "",
    "reason": "",
    "last_error": "",
    "changed": "changed: ",
    "distributor_id": "by ",
    "importer_id": "by ",
    "listener_id": "listener ",
}
"""The most informative keys of payloads, in order of preference, and the prefixes of their values."""
_SAID: Final = frozenset({"repo_id", "result", "event_type"})
"""Keys that other columns show."""


def draw(event: Event) -> str:
    said = withdrawn(event.payload) if event.event_type == UNIT_WITHDRAWN else summary(event.payload)
    return render("event_row.html", event=event, summary=said, tone=tone(event))


def tone(event: Event) -> str:
    """Return the colour class of an event, by result or type."""
    if event.result:
        return {"success": "good", "failed": "bad", "error": "bad"}.get(event.result, "odd")
    return {
        "listener.failing": "bad",
        "listener.recovered": "good",
        "schedule.disabled": "bad",
        "unit.withdrawn": "bad",
        "tasks.error": "bad",
        "tasks.canceled": "odd",
    }.get(event.event_type, "")


def summary(payload: Mapping[str, Any]) -> str:
    """Summarise a payload in one line."""
    if "task_type" in payload:
        return f"{str(payload['task_type']).rpartition('.')[2]} {payload.get('state', '')}"
    changes = payload.get("changes")
    if isinstance(changes, Mapping) and "action" in payload:  # an upload, a copy or a removal
        return f"{payload['action']} {_named(changes)}".strip()
    if isinstance(changes, Mapping) and isinstance(changes.get("publications"), Mapping):  # a publish
        counts = [f"{sign}{changes[key]}" for key, sign in _SIGNS if isinstance(changes.get(key), int) and changes[key]]
        return " ".join([*counts, _named(changes)]).strip() or "no other content"
    counts = [f"{sign}{payload[key]}" for key, sign in _COUNTS if isinstance(payload.get(key), int)]
    if counts and not payload.get("error_message"):
        return " ".join([*counts, _named(changes)]).strip() if isinstance(changes, Mapping) else " ".join(counts)
    for key, before in _TELLING.items():
        value = payload.get(key)
        if value:
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            return (before + text.partition("\n")[0])[: LONGEST_SUMMARY + 1]
    plain = (f"{key}={value}" for key, value in payload.items() if key not in _SAID and isinstance(value, str | int))
    return ", ".join(plain)[:LONGEST_SUMMARY]


def withdrawn(payload: Mapping[str, Any]) -> str:
    """Summarise withdrawn units in one line."""
    said = f"{payload.get('name')} {payload.get('how')}" + (f": {payload['reason']}" if payload.get("reason") else "")
    return said.partition("\n")[0][: LONGEST_SUMMARY + 1]


def _named(changes: Mapping[str, Any]) -> str:
    """Return the first of the changed units."""
    units = changes.get("units")
    named = [unit for unit in units if isinstance(unit, Mapping)] if isinstance(units, list) else []
    names = [str(unit["name"]) for unit in named if unit.get("name")]
    return ", ".join(names[:FEW]) + (", …" if len(names) > FEW else "")
