"""An event as an AMQP 1.0 message, with the binding of CloudEvents for AMQP in binary mode."""

from typing import Any

from pulpit.amqp.amqp10.message import Message
from pulpit.delivery.cloud_events import attributes
from pulpit.events import Event

_MILLISECONDS = 1000


def message(event: Event, source: str, *, subject: str, to: str | None) -> Message:
    """The message of an event; the same on every attempt."""
    return Message(
        durable=True,
        message_id=event.id,
        correlation_id=task_id(event),
        to=to,
        subject=subject,
        content_type="application/json",
        creation_time=round(event.occurred_at.timestamp() * _MILLISECONDS),
        application_properties=application_properties(event, source),
        body=event.body.encode(),
    )


def application_properties(event: Event, source: str) -> dict[str, Any]:
    """What the headers of 0-9-1 say, under the same names; `datacontenttype` is the content type (section 3.1)."""
    said: dict[str, Any] = {"pulpit-number": event.number, "traceparent": event.traceparent}
    if event.repo_id is not None:
        said["pulpit-repo-id"] = event.repo_id
    if event.repo_number is not None:
        said["pulpit-repo-number"] = event.repo_number
    return said | {f"cloudEvents:{name}": text for name, text in attributes(event, source).items()}


def task_id(event: Event) -> str | None:
    """The task that fired an event, which is its trace; an event outside a task is a trace of its own."""
    trace = event.traceparent[3:35]
    if trace == event.id.replace("-", ""):
        return None
    return f"{trace[:8]}-{trace[8:12]}-{trace[12:16]}-{trace[16:20]}-{trace[20:]}"
