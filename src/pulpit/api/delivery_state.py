"""How a listener's delivery goes: its state, how far it is, how far behind, and what went wrong last."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel
from sqlalchemy import Connection

from pulpit.api.services import Services
from pulpit.store import dead_letters, event_log
from pulpit.store.event_log import time_after
from pulpit.store.listeners import Listener

ACTIVE: Final = "active"
RETRYING: Final = "retrying"
PAUSED: Final = "paused"
STATES: Final = (ACTIVE, RETRYING, PAUSED)


class DeliveryState(BaseModel):
    """The delivery of one listener at this moment."""

    state: str
    pause_reason: str | None
    position: int
    replay_from: int | None
    """Where a replay that was asked for will begin; null once it has."""
    lag_events: int
    lag_seconds: float
    attempts: int
    failing_since: datetime | None
    last_error: str | None
    last_error_at: datetime | None
    dead_letters: int


class ListenerFilters(BaseModel):
    """What a listener wants beyond types, and for how long an event is tried."""

    repo_ids: list[str] | None
    results: list[str] | None
    give_up_after: int


def delivery_states(connection: Connection, found: Sequence[Listener], services: Services) -> dict[str, DeliveryState]:
    """The state of each listener's delivery, by the listener's id."""
    head, letters, now = event_log.head(connection), dead_letters.counts(connection), services.clock()

    def state_of(listener: Listener) -> DeliveryState:
        position = services.position_of(listener)
        waiting_since = time_after(connection, position) if position < head else None
        lag = max(0.0, (now - waiting_since).total_seconds()) if waiting_since else 0.0
        return DeliveryState(
            state=_word(listener),
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
        )

    return {listener.id: state_of(listener) for listener in found}


def filters_of(listener: Listener) -> ListenerFilters:
    """A listener's filters."""
    return ListenerFilters(repo_ids=listener.repo_ids, results=listener.results, give_up_after=listener.give_up_after)


def as_json(model: BaseModel) -> dict[str, Any]:
    """A model as JSON values."""
    return model.model_dump(mode="json")


def _word(listener: Listener) -> str:
    if listener.paused:
        return PAUSED
    return ACTIVE if listener.failing_since is None else RETRYING
