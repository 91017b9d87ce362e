"""The text of mails about events: first what a person wants to know, then the JSON as an attachment for programs.

Everything from an event that gets into a header or the text is first made printable and short, so that no event,
whoever fired it, can add a header, an address or a second message.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any, Final

from pulpit.clock import iso
from pulpit.delivery.notifiers.email_config import Mailing, filled
from pulpit.delivery.notifiers.email_headers import addresses_field, mailbox_field, text_field
from pulpit.events import CONTENT_UPDATE, PUBLISH_FINISH, PUBLISH_START, SYNC_FINISH, SYNC_START, UNIT_WITHDRAWN, Event
from pulpit.text import one_line

LONGEST_VALUE: Final = 1000
LONGEST_IN_SUBJECT: Final = 100
MOST_ROWS: Final = 30
MOST_PARAGRAPHS: Final = 20
MOST_CHANGES_SHOWN: Final = 50
MOST_CHANGES_IN_DIGEST: Final = 5
LARGEST_ATTACHMENT: Final = 1024 * 1024
"""Bytes; a larger message is only in the event log."""
SEVERAL: Final = "several"

_OPERATIONS: Final = {SYNC_START: "Sync", SYNC_FINISH: "Sync", PUBLISH_START: "Publish", PUBLISH_FINISH: "Publish"}
_BAD: Final = frozenset({"failed", "error"})
_STARTS: Final = frozenset({SYNC_START, PUBLISH_START})
_ENDINGS: Final = {
    "success": "succeeded",
    "failed": "FAILED",
    "error": "FAILED",
    "canceled": "was cancelled",
    "skipped": "was skipped: nothing had changed",
}
_LABELS: Final = {
    "error_message": "Error",
    "exception": "Exception",
    "result": "Result",
    "repo_id": "Repository",
    "importer_id": "Importer",
    "distributor_id": "Distributor",
    "added_count": "Added",
    "updated_count": "Updated",
    "removed_count": "Removed",
    "started": "Started",
    "completed": "Completed",
}
_WITHDRAWN: Final = ("name", "how", "reason")
_LEFT_TO_THE_FILE: Final = frozenset(
    {"_ns", "id", "importer_type_id", "distributor_type_id", "summary", "details", "traceback"}
)
_SIGNS: Final = {"added": "+", "removed": "-", "replaced": "~"}
_COUNTS: Final = frozenset({"added_count", "updated_count", "removed_count"})


def compose(events: Sequence[Event], mailing: Mailing, sender: Address) -> bytes:
    """Write the mail about one event, or the digest of several; the same events give the same mail."""
    # Made from the events' ids, so that a second copy after a lost reply is recognised as the same mail.
    several = f".{len(events)}.{events[-1].number}" if len(events) > 1 else ""
    fields = [
        text_field("Subject", subject(events, mailing.subject)),
        mailbox_field("From", sender.display_name, sender.addr_spec),
        addresses_field("To", mailing.addresses),
        f"Date: {format_datetime(events[-1].occurred_at)}",
        f"Message-ID: <{events[0].id}{several}@{sender.domain}>",
        "Auto-Submitted: auto-generated",  # RFC 3834: vacation programs do not answer
        f"Pulpit-Number: {events[-1].number}",
    ]
    return "".join(f"{field}\r\n" for field in fields).encode("ascii") + bytes(_content(events))


def _content(events: Sequence[Event]) -> EmailMessage:
    """The text and the attachment, with the fields that say which is which."""
    content = EmailMessage(policy=SMTP)
    file = "\n".join(event.body for event in events).encode()
    attached = len(file) <= LARGEST_ATTACHMENT
    content.set_content(text(events, attached=attached), cte="quoted-printable")
    if attached:
        kind, name = ("json", "event.json") if len(events) == 1 else ("x-ndjson", "events.ndjson")
        content.add_attachment(file, "application", kind, filename=name)
        content.set_boundary(f"=_{events[0].id}_{events[-1].number}")  # `=_` is in no quoted-printable and no base64
    return content


def subject(events: Sequence[Event], template: str) -> str:
    """Fill in the subject; a value that differs among the events of a digest is `several`."""
    values = {
        "event_type": _common([event.event_type for event in events]),
        "repo_id": _common([event.repo_id or "" for event in events]),
        "result": _common([event.result or "" for event in events]),
    }
    return one_line(filled(template, values), 2 * LONGEST_VALUE)


def text(events: Sequence[Event], *, attached: bool = True) -> str:
    parts = [_paragraph(events[0])] if len(events) == 1 else _digest(events)
    if not attached:
        parts.append("The event is too large to be attached; the event log of the server has all of it.")
    return "\n\n".join(parts) + "\n"


def headline(event: Event) -> str:
    """Say in one sentence what happened."""
    of = f" of {one_line(event.repo_id, LONGEST_IN_SUBJECT)}" if event.repo_id is not None else ""
    if event.event_type == CONTENT_UPDATE:
        return f"The content{of} has changed."
    if event.event_type == UNIT_WITHDRAWN:
        name, how, reason = (one_line(str(event.payload.get(key) or ""), LONGEST_VALUE) for key in _WITHDRAWN)
        return f"The upstream{of} has {how} {name}" + (f": {reason}" if reason else ".")
    if event.event_type not in _OPERATIONS:
        return f"{event.event_type}{of}" + (f": {one_line(event.result, LONGEST_IN_SUBJECT)}" if event.result else "")
    what = f"{_OPERATIONS[event.event_type]}{of}"
    if event.event_type in _STARTS:
        return f"{what} has started."
    result = event.result or "None"
    return f"{what} {_ENDINGS.get(result, f'ended: {one_line(result, LONGEST_IN_SUBJECT)}')}."


def _digest(events: Sequence[Event]) -> list[str]:
    """A line for each event and its first changes, then what went wrong in full."""
    bad = [event for event in events if event.result in _BAD]
    lines = []
    for event in events:
        lines.append(f"  {iso(event.occurred_at)}  {headline(event)}")
        lines += [f"    {change}" for change in changed_lines(event, MOST_CHANGES_IN_DIGEST)]
    counted = f"{len(events)} events, {len(bad)} of them failed:"
    return ["\n".join([counted, *lines]), *(_paragraph(event) for event in bad[:MOST_PARAGRAPHS])]


def _paragraph(event: Event) -> str:
    rows = list(_rows(event))
    width = max(len(label) for label, _ in rows) + 2
    lines = [headline(event), "", *(f"{label + ':':<{width}}{value}" for label, value in rows)]
    changed = list(changed_lines(event, MOST_CHANGES_SHOWN))
    return "\n".join([*lines, "", "Changed:", *changed] if changed else lines)


def changed_lines(event: Event, most: int) -> Iterator[str]:
    """A line for each unit that the event names, and how many more there are."""
    is_withdrawn = event.event_type == UNIT_WITHDRAWN
    told = event.payload if is_withdrawn else event.payload.get("changes")
    units = told.get("units") if isinstance(told, dict) else None
    if not isinstance(told, dict) or not isinstance(units, list):
        return
    shown = [unit for unit in units[:most] if isinstance(unit, dict)]
    for unit in shown:
        words = [unit.get(key) for key in (("file",) if is_withdrawn else ("name", "version", "arch")) if unit.get(key)]
        advisory = unit.get("advisory")
        severity = advisory.get("severity") if isinstance(advisory, dict) else None
        text = " ".join(map(str, words)) + (f" ({severity})" if severity else "")
        yield f"  {_SIGNS.get(str(unit.get('change')), ' ')} {one_line(text, LONGEST_VALUE)}"
    counts = [told.get(key) for key in ("added", "removed", "replaced", "count")]
    further = sum(count for count in counts if isinstance(count, int)) - len(shown)
    if further > 0:
        yield f"  and {further} more"


def _rows(event: Event) -> Iterator[tuple[str, str]]:
    """Labels and values in the order of interest."""
    payload = event.payload
    for key, label in _LABELS.items():
        value = payload.get(key)
        if value is not None:
            yield label, "unknown" if key in _COUNTS and value == -1 else one_line(str(value), LONGEST_VALUE)
    duration = _duration(payload)
    if duration:
        yield "Duration", duration
    others = [key for key in payload if key not in _LABELS and key not in _LEFT_TO_THE_FILE]
    for key in others[:MOST_ROWS]:
        if isinstance(payload[key], str | int | float):
            yield one_line(key, 40), one_line(str(payload[key]), LONGEST_VALUE)
    yield "Event", event.event_type
    yield "Number", str(event.number)
    yield "Id", event.id
    yield "Time", iso(event.occurred_at) or ""


def _duration(payload: Mapping[str, Any]) -> str:
    try:
        started, completed = (datetime.fromisoformat(payload[key]) for key in ("started", "completed"))
        seconds = int((completed - started).total_seconds())
    except (KeyError, TypeError, ValueError):
        return ""
    hours, minutes = seconds // 3600, seconds // 60 % 60
    return (f"{hours} h " if hours else "") + (f"{minutes} min " if minutes else "") + f"{seconds % 60} s"


def _common(values: Sequence[str]) -> str:
    return one_line(values[0], LONGEST_IN_SUBJECT) if len(set(values)) == 1 else SEVERAL
