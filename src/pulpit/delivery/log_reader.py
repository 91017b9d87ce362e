"""Reads on in the event log through a listener's filter: near its end from memory, before that from the database."""

import asyncio
import contextlib
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import islice
from typing import Final

from pulpit.delivery.changed_names import ChangedNames
from pulpit.events import Event, star_covers
from pulpit.store import event_log
from pulpit.store.database import Database, when_available
from pulpit.store.listeners import Listener
from pulpit.topics import ANY_WORD, ANY_WORDS, TopicTrie

Filter = Callable[[Event], bool]
"""Whether an event matches a listener."""

MOST_EVENTS: Final = 2_000
MOST_CHARACTERS: Final = 16 * 1024 * 1024
"""Characters of the log's end kept in memory, for all listeners together."""
REMEMBERED: Final = 1_000
"""Distinct texts whose result is cached; foreign event types may be many, memory stays bounded."""
READ_AT_ONCE: Final = 500
"""Rows read by one query."""

READERS_AT_ONCE: Final = 10
"""Listeners that start a round of deliveries in one turn of the loop."""
SHORT_TURN: Final = 0.002
"""Seconds; after a longer turn of the loop the next listeners wait until other tasks had as much time."""
LONGEST_REST: Final = 0.1
"""Seconds that other tasks get at most."""

KEPT: Final = 8
"""Query results kept for listeners that reach the same position."""
BATCH_CHARACTERS: Final = 2 * 1024 * 1024
"""Characters of bodies in one batch, unless a single event has more."""


class RecentEvents:
    """The newest events, shared so that a thousand listeners do not read the same rows.

    A window on the end of the log: every event after `start`, up to `head`, without a gap.
    """

    def __init__(self, head: int) -> None:
        self.start = head
        self.head = head
        self._events: deque[Event] = deque()
        self._characters = 0

    def extend(self, events: Sequence[Event]) -> None:
        """Add the next events of the log and drop the oldest when there are too many."""
        for event in events:
            self._events.append(event)
            self._characters += len(event.body)
            self.head = event.number
        while self._events and (len(self._events) > MOST_EVENTS or self._characters > MOST_CHARACTERS):
            oldest = self._events.popleft()
            self._characters -= len(oldest.body)
            self.start = oldest.number

    def covers(self, position: int) -> bool:
        """Whether everything after a position is here."""
        return position >= self.start

    def after(self, position: int, limit: int) -> list[Event]:
        """Return the next events after a position that is covered."""
        first = bisect_right(self._events, position, key=lambda event: event.number)
        return list(islice(self._events, first, first + limit))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Look:
    """The result of one query for the events after a position."""

    position: int
    events: Sequence[Event]

    @property
    def end(self) -> int:
        return self.events[-1].number if self.events else self.position

    def after(self, position: int) -> Sequence[Event]:
        if position == self.position:
            return self.events
        return self.events[bisect_right(self.events, position, key=lambda event: event.number) :]


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Matching events, and the position up to which the log has been searched for them."""

    events: Sequence[Event]
    scanned_to: int


class Turns:
    """Lets a few tasks continue in each turn of the loop, in order of arrival, and for half of the time.

    When the pauses of thousands of failing listeners end together, other users of the loop, such as the REST API, would
    otherwise wait for all of them at every step. After a long turn the loop is left to the others for as long again.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once: Final = at_once
        self._left = at_once
        self._planned = False
        self._waiting: Final[deque[asyncio.Future[None]]] = deque()

    async def next(self) -> None:
        """Wait for a turn; immediate while few are waiting."""
        loop = asyncio.get_running_loop()
        if not self._planned:
            self._planned = True
            loop.call_soon(self._plan, loop, loop.time())
        if self._left:
            self._left -= 1
            return
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _plan(self, loop: asyncio.AbstractEventLoop, before: float) -> None:
        """Schedule the next turn: at once if the last one was short, else when others have had as much time."""
        took = loop.time() - before
        if took < SHORT_TURN or not self._waiting:
            self._begin(loop)
        else:
            loop.call_later(min(took, LONGEST_REST), self._begin, loop)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._left = self._at_once
        while self._waiting and self._left:
            turn = self._waiting.popleft()
            if not turn.done():  # a cursor that was stopped meanwhile has cancelled it
                turn.set_result(None)
                self._left -= 1
        self._planned = self._left < self._at_once
        if self._planned:
            loop.call_soon(self._plan, loop, loop.time())


class LogReader:
    """The log as deliveries see it: up to the head that the dispatcher has announced, never beyond."""

    def __init__(self, database: Database, recent: RecentEvents) -> None:
        self._database: Final = database
        self._recent_events: Final = recent
        self._names: Final = ChangedNames(database)
        self._readings: Final[dict[int, asyncio.Task[_Look]]] = {}
        self._looks: Final[deque[_Look]] = deque(maxlen=KEPT)
        self._turns: Final = Turns(READERS_AT_ONCE)

    @property
    def head(self) -> int:
        """The last event that has been announced."""
        return self._recent_events.head

    async def next_batch(
        self, position: int, wanted: Filter, limit: int, packages: Collection[str] | None = None
    ) -> Batch:
        """Search on from a position until something matches or the head is reached.

        `packages` are the listener's patterns.
        """
        await self._turns.next()
        while position < self._recent_events.head:
            if self._recent_events.covers(position):
                seen: Sequence[Event] = self._recent_events.after(position, READ_AT_ONCE)
            else:
                head = self._recent_events.head
                seen = [event for event in await self._shared(position) if event.number <= head]
            matching = filter(wanted, seen)
            if packages is None:
                events = list(islice(matching, limit))
            else:
                events = (await self._names.having(list(matching), packages, limit))[:limit]
            if events:
                fitting = _fitting(events)
                stopped_early = len(fitting) == limit or len(fitting) < len(events)
                return Batch(events=fitting, scanned_to=(fitting if stopped_early else seen)[-1].number)
            position = seen[-1].number if seen else self._recent_events.head
        return Batch(events=(), scanned_to=position)

    async def close(self) -> None:
        readings = list(self._readings.values())
        for reading in readings:
            reading.cancel()
        if readings:
            await asyncio.wait(readings)

    async def _shared(self, position: int) -> Sequence[Event]:
        """Query once for all listeners at one position: after a restart a thousand may stand at the same one."""
        for known in self._looks:
            if known.position <= position < known.end:
                look = known
                break
        else:
            look = await asyncio.shield(self._readings.get(position) or self._begin(position))
        if not self._readings and look.end < self._recent_events.head and not self._has(look.end):
            self._begin(look.end)  # read ahead while the broker is busy with these events
        return look.after(position)

    def _has(self, position: int) -> bool:
        return self._recent_events.covers(position) or any(
            known.position <= position < known.end for known in self._looks
        )

    def _begin(self, position: int) -> asyncio.Task[_Look]:
        reading = self._readings[position] = asyncio.create_task(when_available(lambda: self._read(position)))
        reading.add_done_callback(lambda done: self._keep(position, done))
        return reading

    def _keep(self, position: int, done: asyncio.Task[_Look]) -> None:
        del self._readings[position]
        if not done.cancelled() and not done.exception() and done.result().events:
            self._looks.append(done.result())

    def _read(self, position: int) -> _Look:
        with self._database.read() as connection:
            return _Look(position=position, events=event_log.read_after(connection, position, limit=READ_AT_ONCE))


class Announcements:
    """Tells readers without a cursor about new events: consumers that pull, and streams.

    A reader that takes a ticket before it looks at the log misses nothing.
    """

    def __init__(self) -> None:
        self._next = asyncio.Event()
        self._over = False

    @property
    def over(self) -> bool:
        """Whether no more events will be announced because the server is stopping."""
        return self._over

    def ticket(self) -> asyncio.Event:
        """Return the event that is set at the next announcement."""
        return self._next

    def ring(self) -> None:
        """Wake every waiting reader."""
        current, self._next = self._next, asyncio.Event()
        current.set()

    def end(self) -> None:
        """Wake every waiting reader for the last time."""
        self._over = True
        self.ring()

    async def wait(self, ticket: asyncio.Event, seconds: float) -> bool:
        """Wait for an announcement; return whether one came in time."""
        if self._over:
            return False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await ticket.wait()
        return ticket.is_set()


def _fitting(events: Sequence[Event]) -> Sequence[Event]:
    """Return the first of some events, as many as may go into one batch."""
    characters = 0
    for count, event in enumerate(events):
        characters += len(event.body)
        if characters > BATCH_CHARACTERS and count:
            return events[:count]
    return events


def filter_of(listener: Listener) -> Filter:
    """Prepare a listener's filter: event types, repositories, results, what its owner may see, the scope of a replay.

    Its package patterns are left to `LogReader.next_batch`, because the names must be read first.
    """
    of_type = _of_types(tuple(listener.event_types))
    of_replay = _of_types(tuple(listener.replay_types or [ANY_WORDS]))
    narrowed = [patterns for patterns in (listener.repo_ids, *(listener.visible or ())) if patterns is not None]
    of_repository = _remembering(
        lambda repo_id: all(any(fnmatchcase(repo_id, pattern) for pattern in patterns) for patterns in narrowed)
    )
    replay_to = listener.replay_to or 0

    def wanted(event: Event) -> bool:
        return (
            of_type(event.event_type)
            and (event.number > replay_to or of_replay(event.event_type))
            and (listener.results is None or event.result in listener.results)
            and (not narrowed or (event.repo_id is not None and of_repository(event.repo_id)))
            # a listener cannot be notified of its own failure
            and not (event.event_type.startswith("listener.") and event.payload.get("listener_id") == listener.id)
        )

    return wanted


@lru_cache(maxsize=256)
def _of_types(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    """Whether a type matches; cached because many listeners have the same patterns."""
    trie: TopicTrie[bool] = TopicTrie()
    entries = set(patterns)
    for pattern in entries - {ANY_WORD}:
        trie.add(pattern, True)
    star = ANY_WORD in entries
    return _remembering(lambda event_type: (star and star_covers(event_type)) or bool(trie.match(event_type)))


def _remembering(answer: Callable[[str], bool]) -> Callable[[str], bool]:
    """Cache the result for each text, because texts repeat."""
    known: dict[str, bool] = {}

    def remembered(text: str) -> bool:
        found = known.get(text)
        if found is None:
            found = answer(text)
            if len(known) < REMEMBERED:
                known[text] = found
        return found

    return remembered
