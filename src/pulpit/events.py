# SPDX-License-Identifier: Apache-2.0
"""What happened, as a value: the event, its types and its body (Pulp 2's `Event`, with a number and an id)."""

import json
import re
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

from pulpit.errors import InvalidValue
from pulpit.text import shown
from pulpit.topics import ANY_WORD, ANY_WORDS, matches, words

SYNC_START: Final = "repo.sync.start"
SYNC_FINISH: Final = "repo.sync.finish"
PUBLISH_START: Final = "repo.publish.start"
PUBLISH_FINISH: Final = "repo.publish.finish"

REPO_CREATE: Final = "repo.create"
REPO_UPDATE: Final = "repo.update"
REPO_DELETE: Final = "repo.delete"
REPO_VERSION_CREATE: Final = "repo.version.create"
CONTENT_UPDATE: Final = "repo.content.update"
UNIT_WITHDRAWN: Final = "unit.withdrawn"
TASK_STATES: Final = ("waiting", "running", "finished", "error", "canceled")
LISTENER_FAILING: Final = "listener.failing"
LISTENER_RECOVERED: Final = "listener.recovered"
SCHEDULE_DISABLED: Final = "schedule.disabled"
TEST: Final = "event.test"

PULP_TYPES: Final = frozenset({SYNC_START, SYNC_FINISH, PUBLISH_START, PUBLISH_FINISH})
"""The types that Pulp 2 has."""

EVENT_TYPES: Final = (
    PULP_TYPES
    | {
        REPO_CREATE,
        REPO_UPDATE,
        REPO_DELETE,
        REPO_VERSION_CREATE,
        CONTENT_UPDATE,
        UNIT_WITHDRAWN,
        LISTENER_FAILING,
        LISTENER_RECOVERED,
        SCHEDULE_DISABLED,
        TEST,
    }
    | {f"tasks.{state}" for state in TASK_STATES}
)
"""Every type that Pulpit itself fires."""

TELLING_CHANGES: Final = frozenset({SYNC_FINISH, PUBLISH_FINISH, CONTENT_UPDATE, UNIT_WITHDRAWN})
"""The types whose payload lists units: added, removed and replaced, or withdrawn by the upstream."""

HOPS: Final = "hops"
"""Payload key, also the header `pulpit-hops`: how many hooks led to the event by firing it or starting its task."""
MOST_CHANGES: Final = 100
"""Units that one message lists by default; `[events] changes` overrides it."""

OWN_ROOTS: Final = frozenset({"repo", "unit", "tasks", "listener", "schedule", "event"})
"""First words reserved for Pulpit: below them only the types of `EVENT_TYPES` exist."""

SUBJECT_PREFIX: Final = "pulp.server."
"""Prefix of the type in the AMQP subject, as in Pulp 2."""

MAX_TYPE_LENGTH: Final = 200
"""Characters; with the prefix below the 255 bytes of an AMQP short string."""

MOST_PATTERNS: Final = 1000
"""Patterns that one listener may have."""

_encode: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_KNOWN: Final = ", ".join(sorted(EVENT_TYPES))
_WILDCARDS: Final = frozenset({ANY_WORD, ANY_WORDS})
_WORD: Final = re.compile(r"[A-Za-z0-9_-]+\Z")


class Event(NamedTuple):
    """One entry of the event log; identical on every attempt, for every listener, over every transport.

    A named tuple, because the log is read by hundreds of thousands: making one takes a quarter of a dataclass's time.
    """

    number: int
    """Position in the log, from 1, growing, unique."""
    id: str
    """UUIDv7: the message id by which a consumer drops duplicates."""
    event_type: str
    repo_id: str | None
    repo_number: int | None
    """Counts those events of a repository that a listener's `*` matches, from 1 without gaps; null for others."""
    result: str | None
    """`payload["result"]` of a finish event, to filter by."""
    occurred_at: datetime
    traceparent: str
    """W3C Trace Context: the trace is the task's, or the event's own outside a task."""
    body: str
    """The three keys of Pulp 2's message as compact JSON: `event_type`, `payload`, `call_report`."""

    @property
    def subject(self) -> str:
        """The AMQP routing key, for example `pulp.server.repo.sync.finish`."""
        return SUBJECT_PREFIX + self.event_type

    @property
    def payload(self) -> dict[str, Any]:
        """Parse the payload from the body."""
        payload: dict[str, Any] = json.loads(self.body)["payload"]
        return payload


def encode_body(event_type: str, payload: dict[str, Any], call_report: dict[str, Any] | None) -> str:
    """Write the body that every notifier sends; the call report is null outside a task."""
    report = "null" if call_report is None else _encode(call_report)
    return f'{{"event_type":{_encode(event_type)},"payload":{_encode(payload)},"call_report":{report}}}'


def own_trace(event_id: str, call_report: dict[str, Any] | None) -> str:
    """Return a `traceparent` (W3C Trace Context): the task is the trace, shared by all its events.

    The event is the span.
    """
    digits = event_id.replace("-", "")
    trace = str(call_report["task_id"]).replace("-", "") if call_report else digits
    return f"00-{trace}-{digits[-16:]}-01"


def check_event_type(event_type: str) -> None:
    """Reject text that cannot be an event type.

    Raises:
        InvalidValue: the text is not dotted words of letters, digits, `_` and `-`, or is an unknown type below one of
            Pulpit's own words.
    """
    complaint = _too_long(event_type) if len(event_type) > MAX_TYPE_LENGTH else _complaint(event_type)
    if complaint:
        raise InvalidValue("event_type", complaint)


def check_event_types(patterns: object) -> list[str]:
    """Validate a listener's patterns and return them: known types, `*` for all, or AMQP patterns over types.

    A pattern whose first word is Pulpit's own must match at least one existing type, so that a typo is rejected at once
    instead of never matching (Pulp 2 checked its four types and `*` the same way).

    Raises:
        InvalidValue: `event_types`, with the invalid entry.
    """
    if not isinstance(patterns, list | tuple) or not patterns:
        raise InvalidValue("event_types", "it must be a list with at least one event type, or '*'.")
    if len(patterns) > MOST_PATTERNS:
        raise InvalidValue("event_types", f"there are {len(patterns)} of them; {MOST_PATTERNS} are the most.")
    for pattern in patterns:
        complaint = _pattern_complaint(pattern) if isinstance(pattern, str) else f"{pattern!r} is not text."
        if complaint:
            raise InvalidValue("event_types", complaint)
    return list(patterns)


def star_covers(event_type: str) -> bool:
    """Return whether a listener's lone `*` matches a type: Pulp 2's types do, and those of other systems."""
    return event_type in PULP_TYPES or event_type.partition(".")[0] not in OWN_ROOTS


def as_topic(pattern: str) -> str:
    """Return an AMQP pattern that matches at least what a listener's entry matches."""
    return ANY_WORDS if pattern == ANY_WORD else pattern


def _pattern_complaint(pattern: str) -> str | None:
    parts = words(pattern)
    if len(pattern) > MAX_TYPE_LENGTH:
        return _too_long(pattern)
    if not _WILDCARDS & set(parts):
        return _complaint(pattern)
    if pattern != ANY_WORD and not _well_formed([part for part in parts if part not in _WILDCARDS]):
        return _ill_formed(pattern)
    if parts[0] in OWN_ROOTS and not any(matches(pattern, known) for known in EVENT_TYPES):
        return f"{pattern!r} matches none of {_KNOWN}."
    return None


@lru_cache(maxsize=1024)
def _complaint(event_type: str) -> str | None:
    """Say why a text of bounded length is not a type; cached, because servers fire the same few again and again."""
    parts = event_type.split(".")
    if not _well_formed(parts):
        return _ill_formed(event_type)
    if len(parts) == 1 and event_type not in OWN_ROOTS:
        return f"{event_type!r} is one word; types of your own have two or more, such as {event_type}.finish."
    if event_type not in EVENT_TYPES and parts[0] in OWN_ROOTS:
        return f"{event_type!r} is unknown; the types are {_KNOWN}, and your own under another first word."
    return None


def _well_formed(parts: list[str]) -> bool:
    return all(_WORD.match(part) for part in parts)


def _too_long(text: str) -> str:
    return f"{shown(text, 60)!r} is longer than {MAX_TYPE_LENGTH} characters."


def _ill_formed(text: str) -> str:
    return f"{text!r} is not words of letters, digits, '-' and '_' with dots between."
