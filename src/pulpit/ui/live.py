"""What open pages follow: new events, thinned, and the panels beside them; read once, however many pages look.

    wakeup ─▶ pulse, at most one a second ─▶ outlines of what is new ─▶ each filter: newest few ─▶ rows as HTML ─▶ pages

A flood costs the database one look a second at four small columns, and the bodies of what is really shown. Pages that
show the same are told the same words, which are made once; and the longer a look takes, the more seldom one is taken.
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

PULSE_S: Final = 1.0
"""Between two looks at the log."""
PANELS_S: Final = 3.0
LEAST_REST: Final = 30
"""Times as long as a look, panels or a sample took, nothing of their kind is done: who is busy does less for pages."""
LONGEST_REST_S: Final = 3.0
"""Between two looks at the log."""
HEARTBEAT_S: Final = 15.0
SHOWN_AT_ONCE: Final = 25
"""Most rows of one page and pulse."""
TEXTS_AT_ONCE: Final = 300
"""Most events of one pulse in whose bodies a text is looked for."""
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
class Wish:
    """What a page wants to see: the filter of the API's feed, and a text that the event must hold."""

    event_filter: EventFilter
    text: str = ""

    @property
    def key(self) -> Hashable:
        """Equal for pages that show the same."""
        wanted = self.event_filter
        kinds = (tuple(wanted.event_types), tuple(wanted.repo_ids), tuple(wanted.results))
        return (*kinds, wanted.rights, self.text)

    def wants_body(self, event: Event) -> bool:
        return self.text.casefold() in event.body.casefold()


@dataclass(frozen=True, kw_only=True, slots=True)
class News:
    """What a pulse has for pages of one filter: up to which event, and the message, if there is one."""

    head: int
    message: str


@dataclass(slots=True)
class Lag:
    """The lag of one listener over the last minutes, oldest first."""

    events: deque[int] = field(default_factory=lambda: deque(maxlen=SAMPLES))
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=SAMPLES))


class Live:
    """One for a server."""

    def __init__(self, services: Services, panels: Callable[["Live"], str]) -> None:
        self._services: Final = services
        self._draw_panels: Final = panels
        self._pages = 0
        self._outlines: Final[deque[Outline]] = deque(maxlen=OUTLINES_AT_ONCE)
        self._head = -1
        """Up to here the log was looked at; -1 before the first page."""
        self._lost = 0
        """Number up to which events were passed over unseen, because there were too many."""
        self._pulse: asyncio.Event = asyncio.Event()
        self._pulsing: asyncio.Task[None] | None = None
        self._rows: Final[OrderedDict[int, str]] = OrderedDict()
        self._panels = ""
        """The message that has them."""
        self._news_of_pulse: Final[dict[Hashable, asyncio.Task[News]]] = {}
        self._starts: Final[dict[datetime, int]] = {}
        self.lags: Final[dict[str, Lag]] = {}

    async def run(self) -> None:
        """Sample the lag of every listener until cancelled, so that a page shows also what was before it was opened."""
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            with _told("page_sampling_failed"):
                await asyncio.to_thread(self._sample)
            await asyncio.sleep(max(SAMPLE_S, LEAST_REST * (loop.time() - begun)))

    @property
    def full(self) -> bool:
        """Whether as many pages are open as may be."""
        return self._pages >= MOST_PAGES

    async def follow(self, wish: Wish, after: int, still: Callable[[], bool]) -> AsyncGenerator[str, None]:
        """Server-Sent Events for one page until it is closed.

        Args:
            wish: what it wants to see.
            after: the number of the last event that it has.
            still: whether it may go on, asked now and then.
        """
        self._pages += 1
        if self._head < 0:
            self._head = after
        try:
            if self._pulsing is None or self._pulsing.done():
                self._pulsing = asyncio.create_task(self._beat())
            yield ": Pulpit's page\n\n"
            through, panels, wanted = after, "", _remembering(wish.event_filter)
            loop = asyncio.get_running_loop()
            asked_at = loop.time()
            while not self._services.announcements.over:
                if loop.time() - asked_at >= HEARTBEAT_S:
                    asked_at = loop.time()
                    if not await asyncio.to_thread(still):
                        yield _message("over", {})
                        return
                if self._panels != panels:
                    panels = self._panels
                    yield panels
                news = await self._shared_news(wish, wanted, through)
                through = max(through, news.head)
                if news.message:
                    yield news.message
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._pulse.wait(), HEARTBEAT_S)
                    continue
                yield ": still here\n\n"
        finally:
            self._pages -= 1

    def rates(self) -> list[tuple[datetime, int]]:
        """Events of each of the last minutes, oldest first; the last minute is not over.

        Numbers grow with time, so the first of a minute is found by halving, and remembered.
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
        """Events as rows of a table, newest first."""
        return [draw(event) for event in reversed(events)]

    async def _beat(self) -> None:
        """Look at the log while a page is open, and wake the pages."""
        loop = asyncio.get_running_loop()
        panels_at = 0.0
        while self._pages and not self._services.announcements.over:
            begun = loop.time()
            ticket = self._services.announcements.ticket()
            with _told("page_pulse_failed"):
                self._head, fresh, lost = await asyncio.to_thread(self._look, self._head)
                self._outlines.extend(fresh)
                self._lost = max(self._lost, lost) if self._head >= self._lost else 0
            looked = loop.time()
            if begun >= panels_at:
                with _told("page_panels_failed"):
                    html = await asyncio.to_thread(self._draw_panels, self)
                    self._panels = _message("panels", {"html": html})
                panels_at = begun + max(PANELS_S, LEAST_REST * (loop.time() - looked))
            self._news_of_pulse.clear()
            pulse, self._pulse = self._pulse, asyncio.Event()
            pulse.set()
            rest = max(PULSE_S, min(LEAST_REST * (looked - begun), LONGEST_REST_S))
            if await self._services.announcements.wait(ticket, PANELS_S):
                await asyncio.sleep(max(0.0, begun + rest - loop.time()))
        self._pulse.set()  # the server stops: those who wait for the next one are to see it

    def _look(self, seen: int) -> tuple[int, list[Outline], int]:
        """What is new behind a number: up to which one, the newest of it, and up to which one it was passed over."""
        with self._services.database.read() as connection:
            head = event_log.head(connection)
            passed = max(seen, head - OUTLINES_AT_ONCE)
            fresh = event_log.outlines_after(connection, passed, limit=OUTLINES_AT_ONCE)
        return (fresh[-1].number if fresh else head), fresh, (passed if passed > seen else 0)

    async def _shared_news(self, wish: Wish, wanted: Callable[[Outline], bool], through: int) -> News:
        """The news of a pulse, made once for all pages that show the same; a page that closes takes it from nobody."""
        key = (wish.key, through, self._head)
        making = self._news_of_pulse.get(key)
        if making is None:
            making = self._news_of_pulse[key] = asyncio.create_task(self._news(wish, wanted, through))
        return await asyncio.shield(making)

    async def _news(self, wish: Wish, wanted: Callable[[Outline], bool], through: int) -> News:
        numbers: list[int] = []
        head = self._head
        for outline in reversed(self._outlines):
            if outline.number <= through:
                break
            if wanted(outline):
                numbers.append(outline.number)
        skipped = max(0, self._lost - through)
        most = TEXTS_AT_ONCE if wish.text else SHOWN_AT_ONCE
        skipped += len(numbers) - len(numbers[:most])
        rows: list[str] = []
        if numbers:
            with _told("page_rows_failed"):
                rows, left_out = await asyncio.to_thread(self._rows_of, numbers[:most], wish)
                skipped += left_out
        said = {"html": "".join(rows), "skipped": skipped}
        message = f"id: {max(through, head)}\n{_message('rows', said)}" if rows or skipped else ""
        return News(head=head, message=message)

    def _rows_of(self, numbers: Sequence[int], wish: Wish) -> tuple[list[str], int]:
        """The rows of some events, newest first, and how many more there would be."""
        if not wish.text:
            missing = [number for number in numbers if number not in self._rows]
            for event in self._read(missing):
                self._rows[event.number] = draw(event)
            rows = [row for row in map(self._rows.get, numbers) if row]
            while len(self._rows) > ROWS_KEPT:
                self._rows.popitem(last=False)
            return rows, 0
        found = [event for event in self._read(numbers) if wish.wants_body(event)]
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


def _remembering(event_filter: EventFilter) -> Callable[[Outline], bool]:
    """The filter, asked once for each kind of event: in a flood they repeat."""
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
def _told(action: str) -> Iterator[None]:
    """Go on without news when the database has none to give."""
    try:
        yield
    except (PulpitError, SQLAlchemyError) as error:
        _log.warning("the page has no news: %s", type(error).__name__, extra={"action": action})
