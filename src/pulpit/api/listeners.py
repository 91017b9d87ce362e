"""What both APIs show of listeners: the state of their delivery, and their filters."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import Query
from sqlalchemy import Connection

from pulpit.api.auth.rights import Rights, Verb
from pulpit.api.endpoints import Document
from pulpit.api.services import Services
from pulpit.api.v2.models import ListenerFilterChanges
from pulpit.errors import InvalidValue
from pulpit.listener_options import (
    LARGEST_NUMBER,
    LONGEST_DOCUMENT,
    LONGEST_TEXT,
    MOST_VALUES,
    ListenerKind,
    Option,
    OptionType,
)
from pulpit.store import dead_letters, event_log
from pulpit.store.event_log import times_after
from pulpit.store.listeners import GIVE_UP_AFTER, Listener
from pulpit.store.users import User

ACTIVE: Final = "active"
RETRYING: Final = "retrying"
PAUSED: Final = "paused"
STATES: Final = (ACTIVE, RETRYING, PAUSED)


PageSize = Annotated[int | None, Query(ge=1, le=10_000, description="Most listeners; without it, all.")]
PageStart = Annotated[
    str, Query(max_length=24, description="Listeners behind this id, the last one of the page before.")
]


MOST_FAILING: Final = 20
"""Repositories that a state lists."""


class FailingRepository(Document):
    """A repository that is retried separately, at a listener with lanes."""

    repo_id: str | None
    next_event: int
    """The number of its first unsettled event."""
    attempts: int
    failing_since: datetime


class DeliveryState(Document):
    """The current state of one listener's delivery."""

    state: str
    pause_reason: str | None
    position: int
    replay_from: int | None
    """Where a requested replay will begin; null once it has begun."""
    lag_events: int
    lag_seconds: float
    attempts: int
    failing_since: datetime | None
    last_error: str | None
    last_error_at: datetime | None
    dead_letters: int
    failing_repositories: list[FailingRepository]
    """Those with the most attempts, the worst first; empty for a listener without lanes."""


class ListenerFilters(Document):
    """A listener's filters besides event types, and how long an event is tried."""

    repo_ids: list[str] | None
    results: list[str] | None
    packages: list[str] | None
    give_up_after: int


def delivery_states(connection: Connection, found: Sequence[Listener], services: Services) -> dict[str, DeliveryState]:
    """Return the state of each listener's delivery, by the listener's id."""
    head, letters, now = event_log.head(connection), dead_letters.counts(connection), services.clock()
    positions = {listener.id: services.position_of(listener) for listener in found}
    behind = times_after(connection, {position for position in positions.values() if position < head})

    def state_of(listener: Listener) -> DeliveryState:
        position = positions[listener.id]
        waiting_since = behind.get(position)
        lag = max(0.0, (now - waiting_since).total_seconds()) if waiting_since else 0.0
        if listener.paused:
            state = PAUSED
        elif listener.failing_since is None:
            state = ACTIVE
        else:
            state = RETRYING
        return DeliveryState(
            state=state,
            pause_reason=listener.pause_reason,
            position=position,
            replay_from=listener.replay_from,
            lag_events=max(0, head - position),
            lag_seconds=round(lag, 3),
            attempts=listener.attempts,
            failing_since=listener.failing_since,
            last_error=listener.last_error,
            last_error_at=listener.last_error_at,
            dead_letters=letters.get(listener.id, 0),
            failing_repositories=_failing(listener, position),
        )

    return {listener.id: state_of(listener) for listener in found}


def _failing(listener: Listener, position: int) -> list[FailingRepository]:
    """Return failing repositories; the stored ones are older than the position, and events up to there are settled."""
    ahead = listener.settled_ahead
    if ahead is None:
        return []
    found = [
        FailingRepository(
            repo_id=repo_id or None, next_event=ahead.held[repo_id], attempts=attempts, failing_since=since
        )
        for repo_id, (attempts, since) in ahead.failing.items()
        if ahead.held.get(repo_id, 0) > position
    ]
    return sorted(found, key=lambda failing: failing.attempts, reverse=True)[:MOST_FAILING]


def owner_seen(user: User, rights: Rights) -> str | None:
    """Return the owner whose listeners a user sees; `None` is all."""
    return None if rights.may(Verb.READ) else user.login


def worst_first(states: Mapping[str, DeliveryState]) -> list[str]:
    """Return the ids of listeners, those that need attention first."""

    def badness(listener_id: str) -> tuple[int, float, int]:
        state = states[listener_id]
        return state.attempts, state.lag_seconds, state.dead_letters

    return sorted(states, key=badness, reverse=True)


MOST: Final = 100
LONGEST_PATTERN: Final = 255
LONGEST_PATIENCE: Final = 365 * 24 * 3600

LONGEST_RESULT: Final = 20

_RESULT: Final = re.compile(r"[A-Za-z0-9_-]+\Z")


def given_filters(body: ListenerFilterChanges) -> dict[str, Any]:
    """Return the columns of a listener that a request sets; null and the empty list remove a filter.

    Raises:
        InvalidValue: a filter that can never match, or an invalid time.
    """
    checks = {
        "repo_ids": lambda value: _patterns("repo_ids", value),
        "results": _results,
        "packages": lambda value: _patterns("packages", value),
        "give_up_after": _patience,
    }
    return {name: check(getattr(body, name)) for name, check in checks.items() if name in body.model_fields_set}


def _patterns(name: str, value: object) -> list[str] | None:
    patterns = _texts(name, value)
    if any(not 0 < len(pattern) <= LONGEST_PATTERN for pattern in patterns):
        raise InvalidValue(name, f"a pattern has 1 to {LONGEST_PATTERN} characters.")
    return patterns or None


def _results(value: object) -> list[str] | None:
    results = _texts("results", value)
    for result in results:
        if len(result) > LONGEST_RESULT:
            raise InvalidValue("results", f"{result[:40]!r} has more than {LONGEST_RESULT} characters.")
        if not _RESULT.match(result):
            raise InvalidValue("results", f"{result[:40]!r} is no result such as success, failed or canceled.")
    return results or None


def _patience(value: object) -> int:
    if value is None:
        return GIVE_UP_AFTER
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LONGEST_PATIENCE:
        raise InvalidValue("give_up_after", f"it must be a whole number of seconds from 1 to {LONGEST_PATIENCE}.")
    return value


def _texts(name: str, value: object) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise InvalidValue(name, "it must be a list of texts.")
    if len(value) > MOST:
        raise InvalidValue(name, f"there are {len(value)} of them; {MOST} are the most.")
    return value


def config_schema(kind: ListenerKind) -> dict[str, Any]:
    """What `notifier_config` of a kind may be, as JSON schema."""
    return {
        "type": "object",
        "title": f"notifier_config of {kind.id} listeners",
        "description": kind.summary,
        "properties": {option.name: _option_schema(option) for option in kind.options},
        "required": [option.name for option in kind.options if option.required],
        "additionalProperties": False,
    }


def _option_schema(option: Option) -> dict[str, Any]:
    """Null is as if the option were not there."""
    text: dict[str, Any] = {"type": "string", "maxLength": LONGEST_TEXT}
    fits: dict[str, Any] = {"enum": [*option.choices]} if option.choices else text
    match option.type:
        case OptionType.NUMBER:
            fits = {"type": "integer", "minimum": 1, "maximum": LARGEST_NUMBER}
        case OptionType.FLAG:
            fits = {"type": "boolean"}
        case OptionType.LIST:
            fits = {"type": "array", "items": text, "minItems": 1, "maxItems": MOST_VALUES}
        case OptionType.PAIRS:
            fits = {"type": "object", "additionalProperties": text, "maxProperties": MOST_VALUES // 2}
        case OptionType.DOCUMENT:
            fits = {"type": "string", "maxLength": LONGEST_DOCUMENT}
    only_sent = {"writeOnly": True} if option.secret else {}
    return {"anyOf": [fits, {"type": "null"}], "description": option.help, **only_sent}
