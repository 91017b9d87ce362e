"""The stream of an open page, without the page."""

import asyncio
import contextlib
from pathlib import Path

from pulpit.api.services import Services
from pulpit.api.v1.events import EventFilter
from pulpit.clock import system_clock
from pulpit.fire import fire
from pulpit.ui.live import Live, PageFilter
from support.api import services


def test_a_page_opened_after_the_last_was_closed_waits_for_events_without_holding_up_the_server(tmp_path: Path) -> None:
    with services(tmp_path) as provided:
        asyncio.run(_second_page(provided))


async def _second_page(provided: Services) -> None:
    asked: list[bool] = []

    def may_continue() -> bool:
        """Be asked at each heartbeat, which a page that never waits would reach before its first event."""
        asked.append(True)
        return True

    live = Live(provided, lambda _: "")
    every = PageFilter(event_filter=EventFilter())
    async with contextlib.aclosing(live.follow(every, 0, may_continue)) as first:
        assert await anext(first) == ": Pulpit's page\n\n"
        assert "panels" in await anext(first)
    ticking = live._ticker
    assert ticking
    provided.announcements.ring()
    await asyncio.wait({ticking})  # the log is only read while a page is open
    async with contextlib.aclosing(live.follow(every, 0, may_continue)) as second:
        assert await anext(second) == ": Pulpit's page\n\n"
        assert "panels" in await anext(second)
        with provided.database.write() as tx:
            fire(tx, "ci.fired", {}, clock=system_clock)
        provided.announcements.ring()
        assert "rows" in await anext(second)
    provided.announcements.end()
    assert not asked
