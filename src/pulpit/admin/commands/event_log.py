"""`event log` and `event tail`: what happened, and what is happening."""

from typing import Any, Final

import click

from pulpit.admin.grammar import TABLE, Command, Group
from pulpit.admin.session import Session, with_session
from pulpit.client.log import first, last
from pulpit.client.server import v1_path
from pulpit.client.tailing import follow_log, narrowed, narrowing_options, tail_options

_SHOWN: Final = ("number", "event_type", "repo_id", "result", "occurred_at")


@click.group("log", cls=Group)
def log() -> None:
    """All events that were fired, as far as the server keeps them."""


@log.command("list")
@click.option(
    "--after",
    type=click.IntRange(min=0),
    metavar="N",
    help="Show the first ones behind event N of the log.  [default: show the last ones]",
)
@click.option("--limit", type=click.IntRange(1, 100_000), default=20, show_default=True, help="At most so many.")
@narrowing_options
@TABLE
@with_session
def list_events(session: Session, /, *, after: int | None, limit: int, **filters: tuple[str, ...]) -> None:
    """List events, the oldest first."""
    query = narrowed(**filters)
    found = (
        last(session.server, query, limit=limit) if after is None else first(session.server, after, query, limit=limit)
    )
    if session.screen.as_json:
        session.screen.data(found)
        return
    session.screen.documents({key: item[key] for key in _SHOWN if item.get(key) is not None} for item in found)
    if not found:
        session.screen.say("There are no such events.")


@log.command("show")
@click.option("--number", type=click.IntRange(min=1), required=True, metavar="N", help="The event's number.")
@with_session
def show(session: Session, /, *, number: int) -> None:
    """Show everything of one event."""
    found = session.server.get(v1_path("events", str(number)))
    if session.screen.as_json:
        session.screen.data(found)
    else:
        session.screen.documents([found])


@click.command("tail", cls=Command)
@tail_options
@with_session
def tail(session: Session, /, **options: Any) -> None:
    """Show events as they are fired, one line each, until Ctrl-C."""
    follow_log(session.server, as_json=session.screen.as_json, **options)
