"""Reading on in the event log: from memory near its end, from the database before, through a listener's filter."""

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from pulpit.delivery.changed_names import ChangedNames
from pulpit.events import Event, star_covers
from pulpit.store import event_log
from pulpit.store.database import Database, when_available
from pulpit.store.listeners import Listener
from pulpit.topics import ANY_WORD, ANY_WORDS, TopicTrie

Filter = Callable[[Event], bool]
"""Whether a listener wants an event."""

MOST_EVENTS: Final = 2_000
MOST_CHARACTERS: Final = 16 * 1024 * 1024
"""What is kept in memory of the end of the log, for all listeners together."""
REMEMBERED: Final = 1_000
"""Different texts whose answer is remembered; strangers may make up more, memory stays bounded."""
READ_AT_ONCE: Final = 500
"""Rows in one look at the database."""

KEPT: Final = 8
"""Looks that are kept for others who come to the same position."""


class RecentEvents:
    """The newest events, shared so that a thousand listeners do not read the same rows.

    It is a window on the end of the log: every event after `start`, up to `head`, without a gap.
    """

    def __init__(self, head: int) -> None:
        self.start = head
        self.head = head
        self._events: deque[Event] = deque()
        self._characters = 0

    def extend(self, events: Sequence[Event]) -> None:
        """Take in the next events of the log and let go of the oldest when there are too many."""
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
        """The next events after a position that is covered."""
        found: list[Event] = []
        for event in reversed(self._events):
            if event.number <= position:
                break
            found.append(event)
        found.reverse()
        return found[:limit]


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Wanted events, and the position up to which the log has been looked through for them."""

    events: Sequence[Event]
    scanned_to: int


class LogReader:
    """The log as deliveries see it: up to the head that the dispatcher has announced, never beyond."""

    def __init__(self, database: Database, recent: RecentEvents) -> None:
        self._database: Final = database
        self._recent_events: Final = recent
        self._names: Final = ChangedNames(database)
        self._readings: Final[dict[int, asyncio.Future[Sequence[Event]]]] = {}
        self._recent: Final[OrderedDict[int, Sequence[Event]]] = OrderedDict()

    @property
    def head(self) -> int:
        """The last event that has been announced."""
        return self._recent_events.head

    async def next_batch(
        self, position: int, wanted: Filter, limit: int, packages: Collection[str] | None = None
    ) -> Batch:
        """Look on from a position until something is wanted or the head is reached; `packages` as of the listener."""
        while position < self._recent_events.head:
            if self._recent_events.covers(position):
                seen: Sequence[Event] = self._recent_events.after(position, READ_AT_ONCE)
            else:
                head = self._recent_events.head
                seen = [event for event in await self._shared(position) if event.number <= head]
            events = [event for event in seen if wanted(event)]
            if packages is not None:
                events = await self._names.having(events, packages, limit)
            events = events[:limit]
            if events:
                through = events[-1].number if len(events) == limit else seen[-1].number
                return Batch(events=events, scanned_to=through)
            position = seen[-1].number if seen else self._recent_events.head
        return Batch(events=(), scanned_to=position)

    async def _shared(self, position: int) -> Sequence[Event]:
        """Read once for all who ask at one position: after a restart a thousand listeners may stand at the same one."""
        known = self._recent.get(position)
        if known is not None:
            return known
        reading = self._readings.get(position)
        if reading is None:
            reading = self._readings[position] = asyncio.ensure_future(when_available(lambda: self._read(position)))
            reading.add_done_callback(lambda done: self._keep(position, done))
        return await asyncio.shield(reading)

    def _keep(self, position: int, done: asyncio.Future[Sequence[Event]]) -> None:
        del self._readings[position]
        if not done.cancelled() and not done.exception() and done.result():
            self._recent[position] = done.result()
            while len(self._recent) > KEPT:
                self._recent.popitem(last=False)

    def _read(self, position: int) -> Sequence[Event]:
        with self._database.read() as connection:
            return event_log.read_after(connection, position, limit=READ_AT_ONCE)


class Announcements:
    """Tells those of new events who wait without a cursor: consumers that pull, and streams.

    Whoever takes a ticket before looking can miss nothing.
    """

    def __init__(self) -> None:
        self._next = asyncio.Event()
        self._over = False

    @property
    def over(self) -> bool:
        """Whether nothing will come any more, because the server stops."""
        return self._over

    def ticket(self) -> asyncio.Event:
        """What will be set when the next news comes."""
        return self._next

    def ring(self) -> None:
        """Wake everybody who waits."""
        current, self._next = self._next, asyncio.Event()
        current.set()

    def end(self) -> None:
        """Wake everybody for the last time."""
        self._over = True
        self.ring()

    async def wait(self, ticket: asyncio.Event, seconds: float) -> bool:
        """Wait for news, and answer whether it came in time."""
        if self._over:
            return False
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ticket.wait(), seconds)
        return ticket.is_set()


def filter_of(listener: Listener) -> Filter:
    """Prepare a listener's filter: event types, repositories, results, and what a replay is about.

    Its patterns of packages are for `LogReader.next_batch`, as the names must be read first.
    """
    of_type = _remembering(_matcher(listener.event_types))
    of_replay = _remembering(_matcher(listener.replay_types or [ANY_WORDS]))
    of_repository = _remembering(
        lambda repo_id: any(fnmatchcase(repo_id, pattern) for pattern in listener.repo_ids or ())
    )
    replay_to = listener.replay_to or 0

    def wanted(event: Event) -> bool:
        return (
            of_type(event.event_type)
            and (event.number > replay_to or of_replay(event.event_type))
            and (listener.results is None or event.result in listener.results)
            and (listener.repo_ids is None or (event.repo_id is not None and of_repository(event.repo_id)))
            # a listener cannot be told of its own failing
            and not (event.event_type.startswith("listener.") and event.payload.get("listener_id") == listener.id)
        )

    return wanted


def _matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    trie: TopicTrie[bool] = TopicTrie()
    entries = set(patterns)
    for pattern in entries - {ANY_WORD}:
        trie.add(pattern, True)
    star = ANY_WORD in entries
    return lambda event_type: (star and star_covers(event_type)) or bool(trie.match(event_type))


def _remembering(answer: Callable[[str], bool]) -> Callable[[str], bool]:
    """Texts repeat, so each is asked about once."""
    known: dict[str, bool] = {}

    def remembered(text: str) -> bool:
        found = known.get(text)
        if found is None:
            found = answer(text)
            if len(known) < REMEMBERED:
                known[text] = found
        return found

    return remembered
