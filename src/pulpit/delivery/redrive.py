"""Deliveries outside the cursor: dead letters that an operator marked for redelivery, and tests of a listener.

    marked ──▶ delivered: deleted │ refused: new reason, unmarked │ retry: still marked, after a pause

Listeners do not wait for one another, a failing listener is left alone for a growing time, and a paused one until it
is resumed.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

from pulpit import backoff
from pulpit.clock import Clock
from pulpit.delivery.notifiers.kinds import NotifierTypes
from pulpit.delivery.notifiers.port import Delivered, Notifier, Outcome, Refused, Retry, described
from pulpit.events import TEST, Event, encode_body, own_trace
from pulpit.ids import uuid7
from pulpit.store import dead_letters, event_log, listeners
from pulpit.store.database import Database, when_available
from pulpit.store.dead_letters import DeadLetter, NewDeadLetter
from pulpit.store.listeners import Delivery, Listener

LOOK_EVERY: Final = 30.0
"""Seconds between looks for marked dead letters when no wakeup arrives."""
AT_ONCE: Final = 200
"""Dead letters in one round."""
PATIENCE: Final = 60.0
"""Timeout in seconds for one dead letter."""
SHORTEST_PAUSE: Final = 0.1
"""Seconds between two rounds when the first had nothing left to do."""

TEST_PATIENCE: Final = 20.0
"""Timeout in seconds for a test."""
TIMEOUT: Final = "timeout"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Rest:
    """How long a failing listener is left alone, by the monotonic clock."""

    failures: int
    until: float


class Redriver:
    """Redelivers marked dead letters until cancelled."""

    def __init__(
        self,
        database: Database,
        types: NotifierTypes,
        clock: Clock,
        *,
        mine: Callable[[str], bool] = lambda _: True,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._database: Final = database
        self._types: Final = types
        self._clock: Final = clock
        self._mine: Final = mine
        self._random: Final = random
        self._rang: Final = asyncio.Event()
        self._resting: Final[dict[str, _Rest]] = {}

    def ring(self) -> None:
        """Signal that dead letters were marked or a listener changed."""
        self._rang.set()

    async def run(self) -> None:
        while True:
            self._rang.clear()
            if not await self._round():
                now = asyncio.get_running_loop().time()
                pauses = [max(SHORTEST_PAUSE, rest.until - now) for rest in self._resting.values()]
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min([LOOK_EVERY, *pauses])):
                        await self._rang.wait()

    async def _round(self) -> bool:
        """Send the dead letters that are due; return whether more may be due at once."""
        now = asyncio.get_running_loop().time()
        resting = {listener_id for listener_id, rest in self._resting.items() if rest.until > now}
        portions = await when_available(lambda: self._read(resting))
        async with asyncio.TaskGroup() as group:
            for listener, letters in portions:
                group.create_task(self._serve(listener, letters))
        return sum(len(letters) for _, letters in portions) == AT_ONCE

    async def _serve(self, listener: Listener, letters: Sequence[DeadLetter]) -> None:
        """Send one listener's dead letters, address by address in the order of their events, until one must wait."""
        ordered = sorted(letters, key=lambda letter: (letter.recipient or "", letter.event_number))
        try:
            for recipient, some in groupby(ordered, key=lambda letter: letter.recipient):
                if not await self._send_all(listener, recipient, some):
                    return
        except Exception:  # noqa: BLE001 - whatever it was, it must not reach the other listeners
            _log.exception("a dead letter's way failed", extra={"action": "redrive_bug", "listener": listener.id})
            self._rest(listener)
        else:
            self._resting.pop(listener.id, None)

    async def _send_all(self, listener: Listener, recipient: str | None, letters: Iterable[DeadLetter]) -> bool:
        notifier_type = self._types[listener.notifier_type_id]
        notifier = notifier_type.open(config_for_one(listener.notifier_config, recipient))
        try:
            for letter in letters:
                outcome = await self._send(listener, notifier, letter)
                if isinstance(outcome, Retry):
                    self._rest(listener)
                    return False
        finally:
            await notifier.close()
        return True

    async def _send(self, listener: Listener, notifier: Notifier, letter: DeadLetter) -> Outcome:
        begun_at, begun = self._clock(), asyncio.get_running_loop().time()
        event = await when_available(lambda: self._event(letter.event_number))
        if event is None:
            outcome: Outcome = Refused(reason=f"The log does not hold event {letter.event_number} any more.")
        else:
            outcome = await deliver_one(notifier, event, patience=PATIENCE)
        word, said = described(outcome)
        attempt = Delivery(
            listener_id=listener.id,
            at=begun_at,
            duration_ms=round((asyncio.get_running_loop().time() - begun) * 1000),
            outcome=word,
            first_event=letter.event_number,
            last_event=letter.event_number,
            event_count=1,
            answer=said,
        )
        extra = {"action": "dead_letter_sent_again", "listener": listener.id, "outcome": word}
        _log.info("dead letter sent again: %s", word, extra=extra)
        await when_available(lambda: self._settle(letter, outcome, attempt))
        return outcome

    def _settle(self, letter: DeadLetter, outcome: Outcome, attempt: Delivery) -> None:
        with self._database.write() as tx:
            if letter.listener_id not in listeners.revisions(tx.connection):
                return  # it was deleted meanwhile, with its dead letters
            listeners.add_deliveries(tx, [attempt])
            if isinstance(outcome, Refused):
                dead_letters.refused_again(tx, letter, outcome.reason, now=self._clock())
            elif isinstance(outcome, Delivered):
                dead_letters.drop(tx, letter.listener_id, [letter.id])
                # New dead letters for those of several addresses that refused the event while others accepted it.
                fresh = [
                    NewDeadLetter(event_number=letter.event_number, reason=why, recipient=who)
                    for who, why in outcome.refused.items()
                ]
                dead_letters.add(tx, letter.listener_id, fresh, attempts=letter.attempts + 1, now=self._clock())

    def _rest(self, listener: Listener) -> None:
        pace = self._types[listener.notifier_type_id].pace
        before = self._resting.get(listener.id)
        failures = before.failures + 1 if before else 1
        pause = backoff.delay(failures, first=pace.first_retry, longest=pace.longest_retry, random=self._random())
        until = asyncio.get_running_loop().time() + pause.total_seconds()
        self._resting[listener.id] = _Rest(failures=failures, until=until)

    def _read(self, resting: set[str]) -> list[tuple[Listener, list[DeadLetter]]]:
        """Read the due dead letters by listener, skipping listeners that rest, are paused, or are unknown here."""
        with self._database.read() as connection:
            known = {listener.id: listener for listener in listeners.every(connection)}
            for gone in self._resting.keys() - known.keys():
                del self._resting[gone]
            quiet = {listener.id for listener in known.values() if not self._serves(listener)}
            found = dead_letters.to_send_again(connection, limit=AT_ONCE, besides=quiet | resting)
        found.sort(key=lambda letter: letter.listener_id)
        portions = groupby(found, key=lambda letter: letter.listener_id)
        return [(known[listener_id], list(letters)) for listener_id, letters in portions if listener_id in known]

    def _serves(self, listener: Listener) -> bool:
        """Whether this server may send to a listener now."""
        return not listener.paused and listener.notifier_type_id in self._types and self._mine(listener.id)

    def _event(self, number: int) -> Event | None:
        with self._database.read() as connection:
            return event_log.get(connection, number)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """What a test sent, and its outcome."""

    request: Mapping[str, Any]
    outcome: str
    answer: str | None = None
    reason: str | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    duration_ms: int


def config_for_one(config: Mapping[str, Any], recipient: str | None) -> dict[str, Any]:
    """Return a configuration that sends one event at once, to a single address if one is named."""
    narrowed = {key: value for key, value in config.items() if key != "digest"}
    if narrowed.get("batch"):
        narrowed["batch"] = "1"
    return narrowed if recipient is None else {**narrowed, "addresses": [recipient]}


def test_event(listener: Listener, clock: Clock) -> Event:
    """Make an event that is not in the log; its number is 0."""
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


async def try_out(listener: Listener, types: NotifierTypes, clock: Clock, *, patience: float = TEST_PATIENCE) -> Trial:
    """Send a test event to a listener and return all details."""
    notifier = types[listener.notifier_type_id].open(config_for_one(listener.notifier_config, None))
    event = test_event(listener, clock)
    begun = asyncio.get_running_loop().time()
    try:
        request = await asyncio.to_thread(notifier.describe, event)  # a plug-in may take its time
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
    """Deliver one event within a time limit; any other error is a reason to retry."""
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
