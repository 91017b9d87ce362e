"""The only way into the event log.

`fire()` writes one row, in the transaction that makes the change. It knows no listener, opens no socket and waits for
nothing: once the transaction commits, the event will be delivered; if it rolls back, the event never existed.
"""

from collections.abc import Iterable
from typing import Any

from pulpit.clock import Clock
from pulpit.events import Event, check_event_type, encode_body, own_trace, star_covers
from pulpit.ids import uuid7
from pulpit.store import event_log
from pulpit.store.database import Transaction
from pulpit.store.event_log import Entry


def fire(
    tx: Transaction,
    event_type: str,
    payload: dict[str, Any],
    *,
    clock: Clock,
    call_report: dict[str, Any] | None = None,
    repo_id: str | None = None,
    traceparent: str | None = None,
    event_id: str | None = None,
) -> Event:
    """Append an event to the log as part of `tx`.

    Args:
        tx: the transaction that makes the change which the event reports.
        event_type: a type of `events.EVENT_TYPES`, or another system's type with a first word of its own.
        payload: any JSON object; listeners filter by its `repo_id` and `result`.
        clock: gives the time of the event.
        call_report: the report of the task that fires, null outside a task (Pulp 2's third key).
        repo_id: the repository that the event is about; by default the payload's.
        traceparent: a trace begun elsewhere (W3C Trace Context); by default the task is the trace.
        event_id: the same id for an event that may be fired twice, so that consumers drop the duplicate; by default a
            new one.

    Raises:
        InvalidValue: the type cannot be fired.
        StorageFull: raised by the transaction when the disk is full; nothing was written.
    """
    entry = _entry(event_type, payload, clock, call_report, repo_id, traceparent, event_id)
    return event_log.append(tx, [entry])[0]


def fire_all(
    tx: Transaction,
    events: Iterable[tuple[str, dict[str, Any], str | None]],
    *,
    clock: Clock,
    traceparent: str | None = None,
) -> list[Event]:
    """Append events to the log in their order, as `fire` does one: each has a type, a payload and its repository."""
    entries = [_entry(name, payload, clock, repo_id=repo, traceparent=traceparent) for name, payload, repo in events]
    return event_log.append(tx, entries)


def _entry(  # noqa: PLR0917 - what `fire` is given
    event_type: str,
    payload: dict[str, Any],
    clock: Clock,
    call_report: dict[str, Any] | None = None,
    repo_id: str | None = None,
    traceparent: str | None = None,
    event_id: str | None = None,
) -> Entry:
    check_event_type(event_type)
    event_id = event_id or uuid7()
    return Entry(
        event_id=event_id,
        event_type=event_type,
        repo_id=repo_id or payload.get("repo_id"),
        result=payload.get("result"),
        occurred_at=clock(),
        traceparent=traceparent or own_trace(event_id, call_report),
        body=encode_body(event_type, payload, call_report),
        counted=star_covers(event_type),
    )
