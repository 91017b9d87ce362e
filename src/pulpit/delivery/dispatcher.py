"""Announces new events to the listeners that match them, and keeps one cursor running for every listener.

The dispatcher reads every new event once and looks up the matching listeners in one trie. Listeners that do not match
are not touched, so a listener without matching events costs nothing.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Final

from pulpit.clock import Clock
from pulpit.delivery.cursor import Cursor, ListenerCursor, Shared
from pulpit.delivery.lanes import LaneCursor, in_lanes
from pulpit.delivery.leases import Leases, since_boot
from pulpit.delivery.log_reader import READ_AT_ONCE, Announcements, LogReader, RecentEvents
from pulpit.delivery.notifiers.kinds import NotifierTypes
from pulpit.delivery.position_writer import PositionWriter
from pulpit.delivery.redrive import Redriver
from pulpit.errors import DatabaseUnavailable, StorageFull
from pulpit.events import Event, as_topic
from pulpit.store import event_log, listeners
from pulpit.store.database import Database, when_available
from pulpit.store.listeners import Listener, Move
from pulpit.store.servers import Instance
from pulpit.store.wakeups import Wakeup
from pulpit.topics import TopicTrie

POLL: Final = 1.0
"""Seconds between looks at the log when no wakeup arrives."""
IDLE_NOTE: Final = 30.0
"""Seconds between writing the positions of listeners that no event matches."""
LAST_WORDS: Final = 2.0
"""Seconds that a stopping server waits for the database to store the last positions."""
LEAVING: Final = 1.0
"""Seconds that it waits at least for its leases to be released; else they expire."""
READ_ALONE: Final = 100
"""Up to this many changed listeners are read by their ids; beyond, all are read."""
WOKEN_AT_ONCE: Final = 50
"""Cursors that are woken in one turn of the loop."""
MOST_HANDED: Final = 1_000
"""Transactions whose events may wait in memory to be announced; beyond, the log is read."""
RESTART_PAUSE: Final = 1.0
"""Seconds before a cursor that failed through a bug is restarted."""

_ALONE: Final = Instance()

_log = logging.getLogger(__name__)


class Dispatcher:
    """The running delivery engine."""

    def __init__(
        self,
        database: Database,
        types: NotifierTypes,
        clock: Clock,
        *,
        me: Instance = _ALONE,
        monotonic: Callable[[], float] = time.monotonic,
        since_boot: Callable[[], float] = since_boot,
    ) -> None:
        """Prepare the engine; `me` is this server's name where several share the database."""
        self._database: Final = database
        self._types: Final = types
        self._clock: Final = clock
        self._monotonic: Final = monotonic
        self._writer: Final = PositionWriter(database, clock)
        self._cursors: Final[dict[str, tuple[Listener, ListenerCursor, asyncio.Task[None]]]] = {}
        self._known: dict[str, int] = {}
        self._wanted_by: Final[TopicTrie[str]] = TopicTrie()
        self._events_fired: Final = asyncio.Event()
        self._handed: Final[deque[Sequence[Event]]] = deque(maxlen=MOST_HANDED)
        self._look = False
        """Whether the log may hold more than what was handed over."""
        self._resting = False
        """Whether everything that is known has been announced."""
        self._listeners_rang: Final = asyncio.Event()
        self._leases: Final = Leases(database, me, self._listeners_rang.set, now=since_boot)
        self._redriver: Final = Redriver(database, types, clock, mine=self._leases.has)
        self.announcements: Final = Announcements()
        """Rung when events have been announced."""

    @property
    def wakeup_handlers(self) -> dict[Wakeup, Callable[[], None]]:
        """The handler of each wakeup."""
        return {Wakeup.EVENTS: self._events_rang, Wakeup.LISTENERS: self._listeners_changed}

    def position(self, listener: Listener) -> int:
        """Return a listener's current position; the stored position follows a little later."""
        running = self._cursors.get(listener.id)
        return self._recent.head if running and running[1].parked else listener.position

    def _events_rang(self) -> None:
        self._look = True
        self._events_fired.set()

    def _take(self, events: Sequence[Event]) -> None:
        """Announce events that this process committed: at once, unless older ones or too many listeners wait."""
        self._handed.append(events)
        if self._resting and len(self._cursors) <= WOKEN_AT_ONCE:
            for cursor in self._announce(self._handed_over()).values():
                cursor.wake()
        if self._handed or self._look:
            self._events_fired.set()

    def _listeners_changed(self) -> None:
        self._listeners_rang.set()
        self._redriver.ring()

    async def run(self) -> None:
        """Deliver until cancelled; on return every settled position has been written."""
        self._recent = RecentEvents(await when_available(self._head))
        self._reader = LogReader(self._database, self._recent)
        self._shared = Shared(
            reader=self._reader,
            writer=self._writer,
            clock=self._clock,
            monotonic=self._monotonic,
            held=self._leases.held,
        )
        writing = asyncio.create_task(self._writer.run())
        self._database.on_events = partial(_in_loop, asyncio.get_running_loop(), self._take)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._route())
                group.create_task(self._follow_listeners())
                group.create_task(self._note_idle())
                group.create_task(self._redriver.run())
                group.create_task(self._leases.run())
        finally:
            self._database.on_events = None
            clock = asyncio.get_running_loop().time
            deadline = clock() + LAST_WORDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await self._write_idle()
            await asyncio.gather(*(self._stop(listener_id) for listener_id in list(self._cursors)))
            await self._reader.close()
            writing.cancel()
            last_words = asyncio.wait({writing}, timeout=max(deadline - clock(), 0))
            await asyncio.gather(last_words, self._types.close())
            with contextlib.suppress(StorageFull, DatabaseUnavailable, TimeoutError):
                async with asyncio.timeout(max(deadline - clock(), LEAVING)):
                    await asyncio.to_thread(self._leases.leave)

    async def _route(self) -> None:
        while True:
            self._events_fired.clear()
            handed = self._handed_over()
            await self._tell(handed)
            if self._look or not handed:
                self._look = False
                read = await when_available(self._read_new)
                await self._tell(read)
                self._look = len(read) == READ_AT_ONCE
            if not self._look:
                self._resting = True
                await _set_or_due(self._events_fired)
                self._resting = False

    def _handed_over(self) -> list[Event]:
        """Take the events that transactions of this process committed, as far as they follow the head without a gap."""
        events: list[Event] = []
        head = self._recent.head
        while self._handed:
            following = [event for event in self._handed.popleft() if event.number > head]
            numbers = [event.number for event in following]
            if numbers != list(range(head + 1, head + 1 + len(numbers))):
                self._look = True  # others fired too, or a rollback left a gap
                self._handed.clear()
                break
            events += following
            head += len(following)
        return events

    async def _tell(self, events: Sequence[Event]) -> None:
        # A few at a time: waking ten thousand at once would block the loop for everything else.
        for number, cursor in enumerate(self._announce(events).values(), 1):
            cursor.wake()
            if number % WOKEN_AT_ONCE == 0:
                await asyncio.sleep(0)

    def _announce(self, events: Sequence[Event]) -> dict[str, ListenerCursor]:
        """Announce the events to all matching listeners at once, and return the cursors to wake."""
        self._recent.extend(events)
        woken: dict[str, ListenerCursor] = {}
        first_of: dict[str, int] = {}
        for event in events:
            first_of.setdefault(event.event_type, event.number)
        # Of each type only the first is offered: a cursor that has one finds those after it by itself.
        for event_type, number in first_of.items():
            for listener_id in self._wanted_by.match(event_type):
                woken[listener_id] = self._cursors[listener_id][1]
                woken[listener_id].offer(number)
        if events:
            self.announcements.ring()
        return woken

    async def _follow_listeners(self) -> None:
        while True:
            self._listeners_rang.clear()
            known = await when_available(self._revisions)
            if self._leases.lapsed:
                await self._start_again()
            if known != self._known:
                await self._take_over(known)
            await _set_or_due(self._listeners_rang)

    async def _start_again(self) -> None:
        """Stop every cursor after a lapse: what others have settled meanwhile is in the database alone."""
        await asyncio.gather(*(self._stop(listener_id) for listener_id in list(self._cursors)))
        await self._writer.flush()
        self._known = {}
        self._leases.restarted()

    async def _take_over(self, revisions: dict[str, int]) -> None:
        """Stop the cursors of changed and deleted listeners, start those of new and changed ones."""
        changed = {listener_id for listener_id, number in revisions.items() if self._known.get(listener_id) != number}
        stale = [
            listener_id
            for listener_id, (listener, _, _) in self._cursors.items()
            if listener.revision != revisions.get(listener_id)
        ]
        await asyncio.gather(*(self._stop(listener_id) for listener_id in stale))
        if stale:
            await self._writer.flush()
        current = await when_available(lambda: self._read_listeners(changed))
        # A replay may be requested at any moment; that of a listener whose cursor runs is another change.
        while replayed := [
            listener for listener in current if listener.replay_from is not None and listener.id not in self._cursors
        ]:
            await self._writer.go_back(replayed)
            current = await when_available(lambda: self._read_listeners(changed))
        for number, listener in enumerate(current, 1):
            if listener.id not in self._cursors and not listener.paused:
                self._start(listener)
            if number % WOKEN_AT_ONCE == 0:
                await asyncio.sleep(0)
        self._known = revisions

    def _start(self, listener: Listener) -> None:
        if listener.notifier_type_id not in self._types:  # its events fail with the reason
            extra = {"action": "notifier_unknown", "listener": listener.id}
            _log.error("no notifier of type %s here", listener.notifier_type_id, extra=extra)
        notifier_type = self._types[listener.notifier_type_id]
        notifier = notifier_type.open(listener.notifier_config)
        pace = self._types.pace(listener.notifier_type_id, listener.notifier_config)
        cursor = (LaneCursor if in_lanes(listener, pace) else Cursor)(listener, notifier, pace, self._shared)
        task = asyncio.create_task(self._keep_going(listener, cursor))
        self._cursors[listener.id] = (listener, cursor, task)
        for pattern in listener.event_types:
            self._wanted_by.add(as_topic(pattern), listener.id)

    async def _keep_going(self, listener: Listener, cursor: ListenerCursor) -> None:
        """Run a cursor, and restart it when it ends.

        A bug in one listener's delivery is logged and its cursor restarted; other listeners are not affected.
        """
        try:
            await cursor.run()
        except Exception:  # noqa: BLE001 - whatever it was, it must not reach the other listeners
            _log.exception("a delivery failed", extra={"action": "cursor_bug", "listener": listener.id})
            await asyncio.sleep(RESTART_PAUSE)
        await self._writer.flush()
        self._forget(listener.id)
        self._known.pop(listener.id, None)
        self._listeners_rang.set()

    async def _stop(self, listener_id: str) -> None:
        task = self._forget(listener_id)
        task.cancel()
        await asyncio.wait({task})  # unlike `await task`, this cannot confuse the task's cancellation with our own

    def _forget(self, listener_id: str) -> asyncio.Task[None]:
        listener, _, task = self._cursors.pop(listener_id)
        for pattern in listener.event_types:
            self._wanted_by.remove(as_topic(pattern), listener_id)
        return task

    async def _note_idle(self) -> None:
        while True:
            await asyncio.sleep(IDLE_NOTE)
            await self._write_idle()

    async def _write_idle(self) -> None:
        head = self._recent.head
        idle = [
            Move(listener_id=listener.id, epoch=listener.epoch, position=head)
            for listener, cursor, _ in self._cursors.values()
            if cursor.parked
        ]
        await self._writer.idle(idle)

    def _head(self) -> int:
        with self._database.read() as connection:
            return event_log.head(connection)

    def _read_new(self) -> Sequence[Event]:
        with self._database.read() as connection:
            return event_log.read_after(connection, self._recent.head, limit=READ_AT_ONCE)

    def _revisions(self) -> dict[str, int]:
        with self._database.read() as connection:
            known = listeners.revisions(connection)
        return {listener_id: revision for listener_id, revision in known.items() if self._leases.has(listener_id)}

    def _read_listeners(self, wanted: Collection[str]) -> list[Listener]:
        with self._database.read() as connection:
            if len(wanted) <= READ_ALONE:
                return listeners.those(connection, wanted)
            return [listener for listener in listeners.every(connection) if listener.id in wanted]


def _in_loop(loop: asyncio.AbstractEventLoop, take: Callable[[Sequence[Event]], None], events: Sequence[Event]) -> None:
    """Pass events to the loop's thread; a loop that has ended meanwhile needs none."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(take, events)


async def _set_or_due(event: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(POLL):
            await event.wait()
