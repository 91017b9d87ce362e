"""Events as defined by the CDEvents specification 0.4.1: a sync or publish is the run of a task.

    repo.sync.start,  repo.publish.start        dev.cdevents.taskrun.started.0.2.0
    repo.sync.finish, repo.publish.finish       dev.cdevents.taskrun.finished.0.2.0

The specification has no type for the other events: its repositories hold source code, and an artifact event is about
one artifact, while a publish shows many packages. These are in `customData`, with their package URLs.
"""

import json
from typing import Any, Final

from pulpit.clock import iso_micro
from pulpit.events import PUBLISH_FINISH, PUBLISH_START, SYNC_FINISH, SYNC_START, Event

VERSION: Final = "0.4.1"
STARTED: Final = "dev.cdevents.taskrun.started.0.2.0"
FINISHED: Final = "dev.cdevents.taskrun.finished.0.2.0"
TYPES: Final = {SYNC_START: STARTED, PUBLISH_START: STARTED, SYNC_FINISH: FINISHED, PUBLISH_FINISH: FINISHED}

_OUTCOMES: Final = {"success": "success", "skipped": "success", "failed": "failure", "canceled": "cancel"}
"""The specification's outcomes; any other failure is an `error`."""


def missing(event: Event) -> str | None:
    """Say why there is nothing to send for an event; empty if there is."""
    return None if event.event_type in TYPES else f"CDEvents has no type for {event.event_type}."


def document(event: Event, source: str) -> dict[str, Any]:
    """Return a CDEvent, with the whole message as `customData`."""
    kind, payload = TYPES[event.event_type], event.payload
    content: dict[str, Any] = {"taskName": f"{event.event_type.rpartition('.')[0]} {event.repo_id}"}
    if kind == FINISHED:
        content["outcome"] = _OUTCOMES.get(event.result or "", "error")
        if payload.get("error_message"):
            content["errors"] = str(payload["error_message"])
    return {
        "context": {
            "version": VERSION,
            "id": event.id,
            "source": source,
            "type": kind,
            "timestamp": iso_micro(event.occurred_at),
        },
        "subject": {"id": _run(event), "source": source, "type": "taskRun", "content": content},
        "customDataContentType": "application/json",
        "customData": {"event_type": event.event_type, "payload": payload},
    }


def attributes(event: Event, source: str) -> dict[str, str]:
    """The CloudEvents attributes that the specification's binding requires, by name, without a prefix."""
    return {
        "specversion": "1.0",
        "id": event.id,
        "source": source,
        "type": TYPES[event.event_type],
        "time": iso_micro(event.occurred_at),
        "subject": _run(event),
    }


def _run(event: Event) -> str:
    """An id shared by the start and the finish of one run: the task, and its operation where it has several."""
    message = json.loads(event.body)
    task = (message["call_report"] or {}).get("task_id") or event.id
    words = [task, event.event_type.rpartition(".")[0], event.repo_id, message["payload"].get("distributor_id")]
    return "/".join(word for word in words if word)
