# SPDX-License-Identifier: Apache-2.0
"""A message as received, and the event parsed from it: no message, however malformed, makes that fail."""

import contextlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from typing import Any, Final

NUMBER: Final = "pulpit-number"
REPO_ID: Final = "pulpit-repo-id"
REPO_NUMBER: Final = "pulpit-repo-number"
TIME: Final = "cloudEvents:time"


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """A received message, unchecked."""

    subject: str
    """The routing key of AMQP 0-9-1, the property `subject` of AMQP 1.0."""
    exchange: str
    properties: Mapping[str, Any]
    """Those that are set, by their names in AMQP 0-9-1 with `_` for `-`: `message_id`, `content_type`, …"""
    headers: Mapping[str, Any]
    """The headers of AMQP 0-9-1, the application properties of AMQP 1.0."""
    body: bytes
    redelivered: bool = False
    """Whether the broker has delivered it before, to any consumer; false proves nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Event(Message):
    """One event.

    A message of another system on the same exchange is one too, as far as it can be parsed: its `event_type` is the
    property `type` or empty, its payload empty, and its body unchanged.
    """

    event_type: str
    """For example `repo.sync.finish`."""
    payload: Mapping[str, Any]
    call_report: Mapping[str, Any] | None
    """The report of the task that fired it; null outside a task."""
    id: str
    """The same on every attempt and for every listener; empty if the sender gave none."""
    number: int | None
    """Position in the log; 0 for a test event."""
    repo_id: str | None
    repo_number: int | None
    """Counts those events of the repository that a listener's `*` matches, without gaps."""
    occurred_at: datetime | None
    """When it happened, UTC."""


def read(message: Message) -> Event:
    parsed = parse_body(message.body)
    body = parsed if isinstance(parsed, dict) and isinstance(parsed.get("event_type"), str) else {}
    headers = message.headers
    return Event(
        **{field.name: getattr(message, field.name) for field in fields(Message)},
        event_type=body.get("event_type") or _text(message.properties.get("type")) or "",
        payload=_object(body.get("payload")) or {},
        call_report=_object(body.get("call_report")),
        id=_text(message.properties.get("message_id")) or "",
        number=_count(headers.get(NUMBER)),
        repo_id=_text(headers.get(REPO_ID)),
        repo_number=_count(headers.get(REPO_NUMBER)),
        occurred_at=_moment(headers.get(TIME), message.properties.get("timestamp")),
    )


def parse_body(body: bytes) -> Any:
    """Return the body as JSON, else as text, else as bytes."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        return json.loads(body, parse_constant=refuse)
    except (ValueError, RecursionError):
        pass
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return body


def plain(value: Any) -> Any:
    """Convert a value of an AMQP table to JSON (AMQP 0-9-1 section 4.2.5.5, AMQP 1.0 part 1).

    Infinity and NaN become null.
    """
    match value:
        case Mapping():
            return {str(name): plain(item) for name, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case bytes() | bytearray():
            return bytes(value).decode("utf-8", "backslashreplace")
        case str() | int() | None:
            return value
        case float():
            return value if math.isfinite(value) else None
    return value.isoformat() if isinstance(value, date) else str(value)


def _text(value: Any) -> str | None:
    return None if value is None or isinstance(value, bytes) else str(value)


def _object(value: Any) -> Mapping[str, Any] | None:
    return value if isinstance(value, dict) else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _moment(time: Any, timestamp: Any) -> datetime | None:
    """Return the time of CloudEvents, which has an offset by RFC 3339, else the timestamp of AMQP."""
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        moment = datetime.fromisoformat(time)
        if moment.tzinfo:
            return moment.astimezone(UTC)
    try:
        if isinstance(timestamp, datetime):
            return timestamp.astimezone(UTC)
        return datetime.fromtimestamp(timestamp, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None
