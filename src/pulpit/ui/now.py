"""The start page: events as they come, with the state of listeners, tasks, broker and disk."""

import shutil
from typing import Any, Final

from starlette.responses import Response, StreamingResponse

from pulpit.admin import progress
from pulpit.api.listeners import STATES, DeliveryState, delivery_states, worst_first
from pulpit.api.monitoring import database_is_up
from pulpit.api.services import Services
from pulpit.api.v1.events import EVENT_STREAM, LONGEST_NUMBER, EventFilter
from pulpit.delivery.notifiers.kinds import NotifierTypes
from pulpit.errors import InvalidValue
from pulpit.events import check_event_types
from pulpit.store import event_log, listeners, tasks
from pulpit.store.listeners import Listener
from pulpit.store.tasks import Task
from pulpit.text import masked_url
from pulpit.ui import charts
from pulpit.ui.live import SAMPLES, Live, PageFilter
from pulpit.ui.rendering import query, render
from pulpit.ui.visits import COOKIE, Visit, visitor

ROWS: Final = 50
"""Events per page."""
LISTENERS: Final = 12
TASKS: Final = 8
QUEUES: Final = 8
CHART_WIDTH: Final = 480.0
LONGEST_FILTER: Final = 255
FILTERS: Final = ("type", "repo", "result", "text")


def show(visit: Visit) -> Response:
    """Show the page, with the newest events that match the filter, or with older ones."""
    asked = {name: visit.asked(name) for name in FILTERS}
    complaint = ""
    try:
        page_filter = _page_filter(asked)
    except InvalidValue as error:
        page_filter, complaint = PageFilter(event_filter=EventFilter()), str(error)
    until = _whole(visit.asked("before"))
    with visit.services.database.read() as connection:
        found = event_log.page_before(
            connection, until, page_filter.event_filter.test(), text_in_body=page_filter.text, limit=ROWS
        )
        first, head = event_log.oldest(connection), event_log.head(connection)
    return visit.page(
        "now.html",
        title="Now" if until is None else "Earlier events",
        rows=visit.site.live.rows(found.events),
        panels=panels(visit.site.live, visit.services),
        asked=asked,
        complaint=complaint,
        is_live=until is None and not complaint,
        stream=query({**asked, "after": str(head)}),
        older=query({**asked, "before": str(found.through)}) if found.through > first else "",
    )


async def stream(visit: Visit) -> Response:
    """Serve the page's event stream."""
    live = visit.site.live
    after = _whole(visit.request.headers.get("last-event-id") or visit.asked("after")) or 0
    if live.full:
        return visit.error(503, "Too many pages are open already; close some, or reload this one later.")
    token, site = visit.request.cookies.get(COOKIE, ""), visit.site
    page_filter = _page_filter({name: visit.asked(name) for name in FILTERS})
    following = live.follow(page_filter, after, lambda: visitor(site, token)[1] is not None)
    return StreamingResponse(following, media_type=EVENT_STREAM, headers={"X-Accel-Buffering": "no"})


def panels(live: Live, services: Services) -> str:
    """Render the panels beside the events, which are the same for all users."""
    with services.database.read() as connection:
        found = {listener.id: listener for listener in listeners.every(connection)}
        states = delivery_states(connection, list(found.values()), services)
        counts = tasks.counts(connection)
        running = tasks.search(connection, states=[tasks.RUNNING])
        head = event_log.head(connection)
    rates = live.rates()
    broker = services.broker_status() if services.broker_status else None
    disk = shutil.disk_usage(services.data_dir)
    return render(
        "panels.html",
        head=head,
        bars=charts.bars(
            [count for _, count in rates],
            [f"{minute:%H:%M} UTC: {count}" for minute, count in rates],
            width=CHART_WIDTH,
        ),
        per_hour=sum(count for _, count in rates),
        highest=max(count for _, count in rates),
        listeners=[
            described(found[listener_id], states[listener_id], live, services.listener_types)
            for listener_id in worst_first(states)[:LISTENERS]
        ],
        listener_counts=[(word, sum(state.state == word for state in states.values())) for word in STATES],
        listener_total=len(found),
        tasks=[(task, bar(task)) for task in running[:TASKS]],
        task_counts=counts,
        queues=sorted(broker["queues"], key=lambda queue: -int(queue["messages_ready"]))[:QUEUES] if broker else None,
        broker=broker,
        disk=disk,
        disk_share=disk.used / disk.total if disk.total else 0.0,
        database=database_is_up(services),
        delivering=services.delivering(),
        connected=services.messaging_connected(),
        workers=len(services.workers()),
    )


def described(listener: Listener, state: DeliveryState, live: Live, kinds: NotifierTypes) -> dict[str, Any]:
    """Return a listener as lists show it."""
    lag = live.lags.get(listener.id)
    return {
        "listener": listener,
        "state": state,
        "target": target(listener, kinds),
        "line": charts.sparkline([*lag.events, state.lag_events], room=SAMPLES + 1) if lag else "",
        "most_behind": max(lag.events, default=0) if lag else 0,
    }


def target(listener: Listener, kinds: NotifierTypes) -> str:
    """Return where a listener's events go, without secrets."""
    text = masked_url(kinds.target(listener.notifier_type_id, listener.notifier_config))
    if listener.notifier_type_id == "amqp":
        return f"exchange {text or 'of the server'}"
    return text


def bar(task: Task) -> dict[str, Any]:
    """Return the progress of a task: the running step, or the last one."""
    steps = progress.steps(task.progress_report)
    running = [step for step in steps if step.stage is progress.Stage.RUNNING] or steps[-1:]
    if not running:
        return {"title": "", "done": 0, "total": 0, "in_bytes": False}
    step = running[-1]
    return {"title": step.title, "done": step.done, "total": step.total, "in_bytes": step.in_bytes}


def _whole(text: str) -> int | None:
    """Parse the number of an event; anything else counts as absent."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER else None


def _page_filter(asked: dict[str, str]) -> PageFilter:
    """The filters.

    Raises:
        InvalidValue: a pattern cannot match anything, or a filter is too long.
    """
    for name, value in asked.items():
        if len(value) > LONGEST_FILTER:
            raise InvalidValue(name, f"it has more than {LONGEST_FILTER} characters.")
    patterns = asked["type"].replace(",", " ").split()
    return PageFilter(
        event_filter=EventFilter(
            event_types=check_event_types(patterns) if patterns else (),
            repo_ids=[asked["repo"]] if asked["repo"] else (),
            results=[asked["result"]] if asked["result"] else (),
        ),
        text=asked["text"],
    )
