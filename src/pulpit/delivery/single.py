"""One event by itself, out of turn, by a listener's real way: for tests, and for dead letters that are sent again."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pulpit.clock import Clock
from pulpit.delivery.notifiers.port import Delivered, Notifier, NotifierTypes, Outcome, Retry
from pulpit.delivery.outcome_words import described
from pulpit.events import TEST, Event, encode_body, own_trace
from pulpit.ids import uuid7
from pulpit.store.listeners import Listener

TEST_PATIENCE: Final = 20.0
"""Seconds that a test may take."""
TIMEOUT: Final = "timeout"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """What a test sent, and what came of it."""

    request: Mapping[str, Any]
    outcome: str
    answer: str | None = None
    reason: str | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    duration_ms: int


def config_for_one(config: Mapping[str, Any], recipient: str | None) -> dict[str, Any]:
    """A configuration that sends one event at once, and only to one of several addresses if one is named."""
    narrowed = {key: value for key, value in config.items() if key != "digest"}
    return narrowed if recipient is None else {**narrowed, "addresses": [recipient]}


def test_event(listener: Listener, clock: Clock) -> Event:
    """An event that is in no log; its number is 0."""
    event_id = uuid7()
    return Event(
        number=0,
        id=event_id,
        event_type=TEST,
        repo_id=None,
        repo_number=None,
        result=None,
        occurred_at=clock(),
        traceparent=own_trace(event_id, None),
        body=encode_body(TEST, {"listener_id": listener.id}, None),
    )


async def try_out(listener: Listener, kinds: NotifierTypes, clock: Clock, *, patience: float = TEST_PATIENCE) -> Trial:
    """Send a test event by a listener's way and tell everything about it."""
    notifier = kinds[listener.notifier_type_id].open(config_for_one(listener.notifier_config, None))
    event = test_event(listener, clock)
    begun = asyncio.get_running_loop().time()
    try:
        request = notifier.describe(event)
        outcome = await _bounded(notifier, event, patience)
    finally:
        await notifier.close()
    duration_ms = round((asyncio.get_running_loop().time() - begun) * 1000)
    if outcome is None:
        reason = f"Nothing was answered within {patience:g} seconds."
        return Trial(request=request, outcome=TIMEOUT, reason=reason, duration_ms=duration_ms)
    word, said = described(outcome)
    if isinstance(outcome, Delivered):
        return Trial(request=request, outcome=word, answer=said, refused=outcome.refused, duration_ms=duration_ms)
    return Trial(request=request, outcome=word, reason=said, duration_ms=duration_ms)


async def deliver_one(notifier: Notifier, event: Event, *, patience: float) -> Outcome:
    """Deliver one event within a time; whatever else goes wrong is a reason to try again."""
    outcome = await _bounded(notifier, event, patience)
    return outcome or Retry(reason=f"Nothing was answered within {patience:g} seconds.")


async def _bounded(notifier: Notifier, event: Event, patience: float) -> Outcome | None:
    outcomes: Sequence[Outcome] = ()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience):
            try:
                outcomes = await notifier.deliver([event])
            except Exception as error:
                if isinstance(error, TimeoutError):
                    raise
                _log.exception("a notifier failed", extra={"action": "notifier_bug"})
                return Retry(reason=f"Internal error: {type(error).__name__}.")
            return outcomes[0] if outcomes else Retry(reason="It was not tried.")
    return None
