# SPDX-License-Identifier: Apache-2.0
"""The server's event log: read page by page, searched from its end, or followed as it grows."""

import contextlib
import itertools
import json
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import click

from pulpit.backoff import delay
from pulpit.client.failures import Busy, LogGap, NoConnection, ServerTrouble
from pulpit.client.options import with_options
from pulpit.client.server import Query, Server, v1_path
from pulpit.client.streams import ending_with_reader, write_line
from pulpit.text import clean

LARGEST_PAGE: Final = 1000
"""Events in one page, by the server's limit."""
FROM_NOW_ON: Final = -1
"""`after` this number are only future events."""

_PATIENCE_SECONDS: Final = 30
"""Seconds that one request waits at the server for an event."""
_FIRST_PAUSE: Final = timedelta(seconds=0.2)
_LONGEST_PAUSE: Final = timedelta(seconds=5)

Event = Mapping[str, Any]
Tell = Callable[[str], None]
Sleep = Callable[[float], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """One page: some events, where to continue, and the log's last number."""

    events: list[Event]
    next: int
    head: int


def read(server: Server, after: int, narrowed: Query, *, limit: int = LARGEST_PAGE, wait: int = 0) -> Page:
    """Request the events after a number; with `wait` an empty page only comes after so many seconds.

    Raises:
        Failure: it is rejected, or nobody responds.
    """
    bounds = {"after": after, "limit": min(limit, LARGEST_PAGE), **({"wait": wait} if wait else {})}
    answer = server.get(v1_path("events"), {**bounds, **narrowed})
    match answer:
        case {"events": list() as events, "next": int() as following, "head": int() as head}:
            return Page(events=events, next=following, head=head)
    raise ServerTrouble("The server's answer is not a part of its log.")


def first(server: Server, after: int, narrowed: Query, *, limit: int) -> list[Event]:
    """Return the first matching events after a number."""
    found: list[Event] = []
    while len(found) < limit:
        page = read(server, after, narrowed, limit=limit - len(found))
        found += page.events
        if page.next <= after or page.next >= page.head:
            break
        after = page.next
    return found


def last(server: Server, narrowed: Query, *, limit: int) -> list[Event]:
    """Return the last matching events, searched from the end in growing steps, so that a long log need not be read."""
    end = read(server, FROM_NOW_ON, {}, limit=1).next
    found: deque[Event] = deque(maxlen=limit)
    step = limit
    while end > 0 and len(found) < limit:
        start = max(end - step, 0)
        earlier = deque(_between(server, start, end, narrowed), maxlen=limit - len(found))
        found.extendleft(reversed(earlier))
        end, step = start, step * 2
    return list(found)


def _between(server: Server, start: int, end: int, narrowed: Query) -> Iterator[Event]:
    while start < end:
        page = read(server, start, narrowed)
        yield from (event for event in page.events if event["number"] <= end)
        if page.next <= start:
            return
        start = page.next


def follow(server: Server, after: int, narrowed: Query, tell: Tell, sleep: Sleep = time.sleep) -> Iterator[Event]:
    """Yield events as they are fired, forever.

    A server that is down is waited for, and gaps in its log are reported.
    """
    position = after
    if after == FROM_NOW_ON:
        position = _patiently(server, after, narrowed, tell, sleep, wait=0).next
    tell(f"following the log after event {position}")
    for page in pages(server, position, narrowed, tell, sleep):
        yield from page.events


def pages(
    server: Server, after: int, narrowed: Query, tell: Tell, sleep: Sleep = time.sleep, *, wait: bool = True
) -> Iterator[Page]:
    """Yield pages of the log as they come, forever, including empty ones; otherwise like `follow`.

    Without `wait` an empty page comes at once.
    """
    position = after
    while True:
        try:
            page = _patiently(server, position, narrowed, tell, sleep, wait=_PATIENCE_SECONDS if wait else 0)
        except LogGap as gap:
            tell(f"There is a gap: {gap}")
            position = gap.last if position > gap.last else gap.first - 1
            continue
        yield page
        position = max(position, page.next)


def _patiently(server: Server, after: int, narrowed: Query, tell: Tell, sleep: Sleep, *, wait: int) -> Page:
    failures = 0
    while True:
        try:
            return read(server, after, narrowed, wait=wait)
        except (NoConnection, Busy) as failure:
            failures += 1
            if failures == 1:
                tell(f"{failure} Retrying until it does.")
        pause = delay(failures, first=_FIRST_PAUSE, longest=_LONGEST_PAUSE, random=random.random())  # noqa: S311 - no secret
        sleep(pause.total_seconds())


def text_line(event: Event) -> str:
    """Format an event on one line for people: number, time, type, repository, result."""
    parts = [f"{event.get('number'):>7}", event.get("occurred_at"), event.get("event_type")]
    parts += [event.get("repo_id") or "-", event.get("result") or ""]
    return clean("  ".join(str(part) for part in parts)).rstrip()


def json_line(event: Event) -> str:
    """Format an event on one line for programs, in plain ASCII."""
    return json.dumps(event, separators=(",", ":"))


narrowing_options: Final = with_options(
    click.option("--event-type", "event_type", multiple=True, help="Only this type or pattern; may be repeated."),
    click.option("--repo-id", "repo_id", multiple=True, help="Only this repository or shell pattern; may be repeated."),
    click.option("--result", multiple=True, help="Only this result, such as failed; may be repeated."),
)
tail_options: Final = with_options(
    click.option(
        "--after",
        type=click.IntRange(min=0),
        metavar="N",
        help="Begin behind event N of the log, 0 for all of it.  [default: only what is fired from now on]",
    ),
    click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after N events."),
    narrowing_options,
)


def narrowed(**filters: tuple[str, ...]) -> Query:
    """Return the given filters as a query."""
    return {key: list(values) for key, values in filters.items() if values}


def follow_log(
    server: Server, *, after: int | None, count: int | None, as_json: bool, **filters: tuple[str, ...]
) -> None:
    """Print events until Ctrl-C, which is the normal end, or until there were `count`.

    Raises:
        Failure: the server rejects the request. A server that is down is waited for.
        OutputGone: the reader of the output has left.
    """
    written = json_line if as_json else text_line
    start = FROM_NOW_ON if after is None else after
    events = follow(server, start, narrowed(**filters), lambda sentence: click.echo(clean(sentence), err=True))
    with ending_with_reader(), contextlib.suppress(KeyboardInterrupt):
        for event in itertools.islice(events, count):
            write_line(written(event))
