"""The live updates of open pages: new events, rate-limited, and the panels beside them; read once for all pages.

    wakeup ─▶ tick, at most one a second ─▶ outlines of new events ─▶ each filter: newest few ─▶ rows as HTML ─▶ pages

A flood of events costs the database one query a second for four small columns, and the bodies of the events that are
shown. Pages with the same filter get the same message, which is rendered once; and the longer a query takes, the longer
the pause before the next one.
"""

import asyncio
import contextlib
import json
import logging
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable, Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from pulpit.api.listeners import delivery_states
from pulpit.api.services import Services
from pulpit.api.v1.events import EventFilter
from pulpit.errors import PulpitError
from pulpit.events import Event
from pulpit.store import event_log, listeners
from pulpit.store.event_log import Outline
from pulpit.ui.event_rows import draw

TICK_S: Final = 1.0
"""Between two looks at the log."""
PANELS_S: Final = 3.0
LEAST_REST: Final = 30
"""The pause after a look, panels or a sample, as a multiple of its duration: a busy server does less for pages."""
LONGEST_REST_S: Final = 3.0
"""Between two looks at the log."""
HEARTBEAT_S: Final = 15.0
SHOWN_AT_ONCE: Final = 25
"""Most rows of one page per tick."""
TEXTS_AT_ONCE: Final = 300
"""Most events per tick whose bodies are searched for a text."""
OUTLINES_AT_ONCE: Final = 10_000
ROWS_KEPT: Final = 1_000
MOST_PAGES: Final = 64
SAMPLE_S: Final = 10.0
SAMPLES: Final = 60
"""Of each listener's lag: ten minutes."""
MOST_SAMPLED: Final = 2_000
"""Listeners whose lag is sampled."""
MINUTES: Final = 60
_MINUTE: Final = timedelta(minutes=1)

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class PageFilter:
    """The events that a page shows: the filter of the API's feed, and a text that the event must contain."""

    event_filter: EventFilter
    text: str = ""

    @property
    def key(self) -> Hashable:
        """Equal for pages that show the same events."""
        wanted = self.event_filter
        kinds = (tuple(wanted.event_types), tuple(wanted.repo_ids), tuple(wanted.results))
        return (*kinds, wanted.rights, self.text)

    def wants_body(self, event: Event) -> bool:
        return self.text.casefold() in event.body.casefold()


@dataclass(frozen=True, kw_only=True, slots=True)
class Update:
    """The update of a tick for pages with one filter: up to which event, and the message, if there is one."""

    head: int
    message: str


@dataclass(slots=True)
class Lag:
    """The lag of one listener over the last minutes, oldest first."""

    events: deque[int] = field(default_factory=lambda: deque(maxlen=SAMPLES))
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=SAMPLES))


class Live:
    """The live updates of one server."""

    def __init__(self, services: Services, panels: Callable[["Live"], str]) -> None:
        self._services: Final = services
        self._draw_panels: Final = panels
        self._pages = 0
        self._outlines: Final[deque[Outline]] = deque(maxlen=OUTLINES_AT_ONCE)
        self._head = -1
        """The log has been read up to here; -1 before the first page."""
        self._lost = 0
        """Events up to this number were skipped unread, because there were too many."""
        self._tick = asyncio.Event()
        self._ticker: asyncio.Task[None] | None = None
        self._rows: Final[OrderedDict[int, str]] = OrderedDict()
        self._panels = ""
        """The message with the rendered panels."""
        self._updates_of_tick: Final[dict[Hashable, asyncio.Task[Update]]] = {}
        self._starts: Final[dict[datetime, int]] = {}
        self.lags: Final[dict[str, Lag]] = {}

    async def run(self) -> None:
        """Sample the lag of every listener until cancelled, so that a page also shows the time before it was opened."""
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            with _logging_failures("page_sampling_failed"):
                await asyncio.to_thread(self._sample)
            await asyncio.sleep(max(SAMPLE_S, LEAST_REST * (loop.time() - begun)))

    @property
    def full(self) -> bool:
        """Whether the limit of open pages is reached."""
        return self._pages >= MOST_PAGES

    async def follow(
        self, page_filter: PageFilter, after: int, may_continue: Callable[[], bool]
    ) -> AsyncGenerator[str, None]:
        """Yield Server-Sent Events for one page until it is closed.

        Args:
            page_filter: the page's filter.
            after: the number of the last event that it has.
            may_continue: whether the user still has access; called at intervals.
        """
        self._pages += 1
        if self._head < 0:
            self._head = after
        try:
            if self._ticker is None or self._ticker.done():
                self._ticker = asyncio.create_task(self._beat())
            yield ": Pulpit's page\n\n"
            through, panels, wanted = after, "", _cached(page_filter.event_filter)
            loop = asyncio.get_running_loop()
            asked_at = loop.time()
            while not self._services.announcements.over:
                tick = self._tick
                if loop.time() - asked_at >= HEARTBEAT_S:
                    asked_at = loop.time()
                    if not await asyncio.to_thread(may_continue):
                        yield _message("over", {})
                        return
                if self._panels != panels:
                    panels = self._panels
                    yield panels
                update = await self._shared_update(page_filter, wanted, through)
                through = max(through, update.head)
                if update.message:
                    yield update.message
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(HEARTBEAT_S):
                        await tick.wait()
                    continue
                yield ": still here\n\n"
        finally:
            self._pages -= 1

    def rates(self) -> list[tuple[datetime, int]]:
        """Return the number of events in each of the last minutes, oldest first; the last minute is incomplete.

        Numbers grow with time, so the first of a minute is found by binary search, and cached.
        """
        now = self._services.clock().astimezone(UTC)
        last = now.replace(second=0, microsecond=0)
        minutes = [last - _MINUTE * back for back in range(MINUTES - 1, -1, -1)]
        with self._services.database.read() as connection:
            head = event_log.head(connection)
            for minute in minutes:
                if minute not in self._starts:
                    self._starts[minute] = event_log.number_at(connection, minute)
        for minute in self._starts.keys() - set(minutes):
            del self._starts[minute]
        starts = [*(self._starts[minute] for minute in minutes), head + 1]
        return [(minute, max(0, starts[place + 1] - starts[place])) for place, minute in enumerate(minutes)]

    def rows(self, events: Sequence[Event]) -> list[str]:
        """Render events as rows of a table, newest first."""
        return [draw(event) for event in reversed(events)]

    async def _beat(self) -> None:
        """Read the log while a page is open, and wake the pages."""
        loop = asyncio.get_running_loop()
        panels_at = 0.0
        while self._pages and not self._services.announcements.over:
            begun = loop.time()
            ticket = self._services.announcements.ticket()
            with _logging_failures("page_pulse_failed"):
                self._head, fresh, lost = await asyncio.to_thread(self._look, self._head)
                self._outlines.extend(fresh)
                self._lost = max(self._lost, lost) if self._head >= self._lost else 0
            looked = loop.time()
            if begun >= panels_at:
                with _logging_failures("page_panels_failed"):
                    html = await asyncio.to_thread(self._draw_panels, self)
                    self._panels = _message("panels", {"html": html})
                panels_at = begun + max(PANELS_S, LEAST_REST * (loop.time() - looked))
            self._updates_of_tick.clear()
            self._wake_pages()
            rest = max(TICK_S, min(LEAST_REST * (looked - begun), LONGEST_REST_S))
            if await self._services.announcements.wait(ticket, PANELS_S):
                await asyncio.sleep(max(0.0, begun + rest - loop.time()))
        self._wake_pages()  # if the server stops, they must notice

    def _wake_pages(self) -> None:
        """End this tick, and begin the next: an event that stayed set would let a page run without ever waiting."""
        tick, self._tick = self._tick, asyncio.Event()
        tick.set()

    def _look(self, seen: int) -> tuple[int, list[Outline], int]:
        """Return the last number, the newest outlines after `seen`, and up to which number outlines were skipped."""
        with self._services.database.read() as connection:
            head = event_log.head(connection)
            passed = max(seen, head - OUTLINES_AT_ONCE)
            fresh = event_log.outlines_after(connection, passed, limit=OUTLINES_AT_ONCE)
        return (fresh[-1].number if fresh else head), fresh, (passed if passed > seen else 0)

    async def _shared_update(self, page_filter: PageFilter, wanted: Callable[[Outline], bool], through: int) -> Update:
        """Return the update of a tick, built once for all pages with the same filter.

        A page that closes does not cancel it.
        """
        key = (page_filter.key, through, self._head)
        making = self._updates_of_tick.get(key)
        if making is None:
            making = self._updates_of_tick[key] = asyncio.create_task(self._update(page_filter, wanted, through))
        return await asyncio.shield(making)

    async def _update(self, page_filter: PageFilter, wanted: Callable[[Outline], bool], through: int) -> Update:
        numbers: list[int] = []
        head = self._head
        for outline in reversed(self._outlines):
            if outline.number <= through:
                break
            if wanted(outline):
                numbers.append(outline.number)
        skipped = max(0, self._lost - through)
        most = TEXTS_AT_ONCE if page_filter.text else SHOWN_AT_ONCE
        skipped += len(numbers) - len(numbers[:most])
        rows: list[str] = []
        if numbers:
            with _logging_failures("page_rows_failed"):
                rows, left_out = await asyncio.to_thread(self._rows_of, numbers[:most], page_filter)
                skipped += left_out
        said = {"html": "".join(rows), "skipped": skipped}
        message = f"id: {max(through, head)}\n{_message('rows', said)}" if rows or skipped else ""
        return Update(head=head, message=message)

    def _rows_of(self, numbers: Sequence[int], page_filter: PageFilter) -> tuple[list[str], int]:
        """Return the rows of some events, newest first, and the number of further ones."""
        if not page_filter.text:
            missing = [number for number in numbers if number not in self._rows]
            for event in self._read(missing):
                self._rows[event.number] = draw(event)
            rows = [row for row in map(self._rows.get, numbers) if row]
            while len(self._rows) > ROWS_KEPT:
                self._rows.popitem(last=False)
            return rows, 0
        found = [event for event in self._read(numbers) if page_filter.wants_body(event)]
        return self.rows(found[-SHOWN_AT_ONCE:]), max(0, len(found) - SHOWN_AT_ONCE)

    def _read(self, numbers: Collection[int]) -> Sequence[Event]:
        if not numbers:
            return ()
        with self._services.database.read() as connection:
            return event_log.those(connection, sorted(numbers)).events

    def _sample(self) -> None:
        with self._services.database.read() as connection:
            states = delivery_states(connection, listeners.every(connection, limit=MOST_SAMPLED), self._services)
        for gone in self.lags.keys() - states.keys():
            del self.lags[gone]
        for listener_id, state in states.items():
            lag = self.lags.setdefault(listener_id, Lag())
            lag.events.append(state.lag_events)
            lag.seconds.append(state.lag_seconds)


def _cached(event_filter: EventFilter) -> Callable[[Outline], bool]:
    """Cache the filter's result for each kind of event: in a flood they repeat."""
    test = event_filter.test()
    if test is None:
        return lambda _: True
    known: dict[tuple[str, str | None, str | None], bool] = {}

    def wanted(outline: Outline) -> bool:
        kind = (outline.event_type, outline.repo_id, outline.result)
        if kind not in known:
            if len(known) >= ROWS_KEPT:
                known.clear()
            known[kind] = test(outline)
        return known[kind]

    return wanted


def _message(name: str, value: dict[str, object]) -> str:
    return f"event: {name}\ndata: {json.dumps(value)}\n\n"


@contextlib.contextmanager
def _logging_failures(action: str) -> Iterator[None]:
    """Log a failure of the database and continue without an update."""
    try:
        yield
    except (PulpitError, SQLAlchemyError) as error:
        _log.warning("the page has no update: %s", type(error).__name__, extra={"action": action})
