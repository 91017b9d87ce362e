"""The log for consumers that pull: pages, pages that wait, and a stream that never ends by itself.

Nobody polls the database: whoever waits takes a ticket, looks, and looks again when the dispatcher has seen new events.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from anyio import to_thread

from pulpit.api.failures import Unavailable
from pulpit.api.services import Services
from pulpit.api.v1.shapes import EventsShape, event_shape
from pulpit.events import Event, as_topic, star_covers
from pulpit.store import event_log
from pulpit.store.event_log import Outline, Page, Wanted, page
from pulpit.topics import ANY_WORD, matches

HEARTBEAT: Final = 15.0
"""Seconds between comments in a stream without events, so that proxies and clients see that it lives."""
STREAM_PAGE: Final = 200
LOOK_AGAIN: Final = 30.0
"""Seconds after which a waiting request looks though no news came."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Narrowing:
    """What a consumer wants to see."""

    event_types: Sequence[str] = ()
    repo_ids: Sequence[str] = ()
    results: Sequence[str] = ()

    def filter(self) -> Wanted | None:
        """The test of each event, or none if everything is wanted."""
        return self._wants if self.event_types or self.repo_ids or self.results else None

    def _wants(self, event: Outline) -> bool:
        return (
            (not self.event_types or any(_of_type(each, event.event_type) for each in self.event_types))
            and (not self.repo_ids or any(fnmatchcase(event.repo_id or "", each) for each in self.repo_ids))
            and (not self.results or event.result in self.results)
        )


async def read_feed(services: Services, after: int, narrowing: Narrowing, *, limit: int, wait: float) -> EventsShape:
    """A page behind a number; if it would be empty, wait for an event that is wanted.

    Raises:
        Unavailable: too many wait already.
    """
    wanted = narrowing.filter()
    end = asyncio.get_running_loop().time() + wait
    ticket = services.news.ticket()
    found, head = await to_thread.run_sync(_read, services, after, wanted, limit)
    if not found.events and wait > 0:
        async with _place(services):
            while not found.events and not services.news.over:
                remaining = end - asyncio.get_running_loop().time()
                if remaining <= 0:
                    break
                if found.through >= head:
                    await services.news.wait(ticket, min(remaining, LOOK_AGAIN))
                ticket = services.news.ticket()
                found, head = await to_thread.run_sync(_read, services, found.through, wanted, limit)
    return EventsShape(events=[event_shape(event) for event in found.events], next=found.through, head=head)


async def stream(services: Services, after: int, narrowing: Narrowing) -> AsyncIterator[str]:
    """Server-Sent Events from behind a number, until the client goes or the server stops."""
    wanted = narrowing.filter()
    through = after
    yield ": Pulpit's events\n\n"
    async with _place(services):
        while not services.news.over:
            ticket = services.news.ticket()
            found, head = await to_thread.run_sync(_read, services, through, wanted, STREAM_PAGE)
            through = found.through
            for event in found.events:
                yield _message(event)
            if not found.events and through >= head and not await services.news.wait(ticket, HEARTBEAT):
                yield ": still here\n\n"


def check_place(services: Services) -> None:
    """Refuse to let one more wait, while the answer can still say so.

    Raises:
        Unavailable: too many wait already.
    """
    if services.waiting.locked():
        raise Unavailable("Too many wait for events already; try again later.")


@asynccontextmanager
async def _place(services: Services) -> AsyncIterator[None]:
    check_place(services)
    async with services.waiting:
        yield


def _read(services: Services, after: int, wanted: Wanted | None, limit: int) -> tuple[Page, int]:
    with services.database.read() as connection:
        head = event_log.head(connection)
        return page(connection, head if after < 0 else after, wanted, limit=limit), head


def _message(event: Event) -> str:
    """One event of the stream; its JSON has no line breaks."""
    return f"id: {event.number}\nevent: {event.event_type}\ndata: {event_shape(event).model_dump_json()}\n\n"


def _of_type(pattern: str, event_type: str) -> bool:
    return star_covers(event_type) if pattern == ANY_WORD else matches(as_topic(pattern), event_type)
