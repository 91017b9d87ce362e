"""`event`: the log of events, dead letters, and the listeners of `listener.py`."""

from typing import Any, Final

import click

from pulpit.admin.consumer import consumer
from pulpit.admin.grammar import TABLE, Command, Group
from pulpit.admin.hook import hook
from pulpit.admin.listener import listener
from pulpit.admin.listener_kinds import LISTENER_ID
from pulpit.admin.session import Session, with_session
from pulpit.client.failures import WrongUse
from pulpit.client.log import first, follow_log, last, narrowed, narrowing_options, tail_options
from pulpit.client.server import v1_path

_EVENT_SHOWN: Final = ("number", "event_type", "repo_id", "result", "occurred_at")
_DEAD_LETTER_SHOWN: Final = ("id", "event_number", "recipient", "refused_at", "attempts", "reason", "send_again")


@click.group("event", cls=Group)
def event() -> None:
    """Events and the listeners that they are sent to."""


@click.group("log", cls=Group)
def log() -> None:
    """All fired events that the server still has."""


@log.command("list")
@click.option(
    "--after",
    type=click.IntRange(min=0),
    metavar="N",
    help="Show the first ones after event N of the log.  [default: show the last ones]",
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
    shown = ({key: item[key] for key in _EVENT_SHOWN if item.get(key) is not None} for item in found)
    session.screen.show(found, shown, nothing="There are no such events.")


@log.command("show")
@click.option("--number", type=click.IntRange(min=1), required=True, metavar="N", help="The event's number.")
@with_session
def show_event(session: Session, /, *, number: int) -> None:
    """Show everything of one event."""
    found = session.server.get(v1_path("events", str(number)))
    session.screen.show(found, [found])


@click.command("tail", cls=Command)
@tail_options
@with_session
def tail(session: Session, /, **options: Any) -> None:
    """Show events as they are fired, one line each, until Ctrl-C."""
    follow_log(session.server, as_json=session.screen.as_json, **options)


_ID: Final = click.option("--id", "ids", multiple=True, help="A dead letter's id, as `list` shows it; may be repeated.")
_ALL: Final = click.option("--all", "everything", is_flag=True, help="All dead letters of the listener.")


@click.group("deadletters", cls=Group)
def dead_letters() -> None:
    """Events that a receiver refused, or that could not be delivered in time."""


@dead_letters.command("list")
@LISTENER_ID
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most so many.")
@TABLE
@with_session
def list_letters(session: Session, /, *, listener_id: str, limit: int) -> None:
    """List the dead letters of a listener in the order of their events."""
    found = session.server.get(v1_path("listeners", listener_id, "dead-letters"), {"limit": limit})
    letters = found["dead_letters"]
    shown = ({key: letter.get(key) for key in _DEAD_LETTER_SHOWN if letter.get(key)} for letter in letters)
    session.screen.show(found, shown, nothing="There are no dead letters.")
    if letters and found["total"] > len(letters):
        session.screen.say(f"{found['total'] - len(letters)} more are not shown.")


@dead_letters.command("show")
@LISTENER_ID
@click.option("--id", "letter_id", required=True, help="The dead letter's id, as `list` shows it.")
@with_session
def show_dead_letter(session: Session, /, *, listener_id: str, letter_id: str) -> None:
    """Show one dead letter with its event."""
    letter = session.server.get(v1_path("listeners", listener_id, "dead-letters", letter_id))
    session.screen.show(letter, [letter])


@dead_letters.command("send-again")
@LISTENER_ID
@_ID
@_ALL
@with_session
def send_again(session: Session, /, *, listener_id: str, ids: tuple[str, ...], everything: bool) -> None:
    """Redeliver dead letters; those that are delivered are removed."""
    _one_choice(ids, everything=everything)
    body: dict[str, Any] = {"all": True} if everything else {"ids": list(ids)}
    answer = session.server.post(v1_path("listeners", listener_id, "dead-letters", "send-again"), body)
    session.screen.succeeded(f"Sending {_letters(answer['count'])} again.", answer)


@dead_letters.command("drop")
@LISTENER_ID
@_ID
@_ALL
@with_session
def drop(session: Session, /, *, listener_id: str, ids: tuple[str, ...], everything: bool) -> None:
    """Delete dead letters; the events stay in the log."""
    _one_choice(ids, everything=everything)
    query: dict[str, Any] = {"all": "true"} if everything else {"id": list(ids)}
    answer = session.server.delete(v1_path("listeners", listener_id, "dead-letters"), query)
    session.screen.succeeded(f"{_letters(answer['count'])} dropped.", answer)


def _one_choice(ids: tuple[str, ...], *, everything: bool) -> None:
    if bool(ids) == everything:
        raise WrongUse("Give either --id or --all.")


def _letters(count: int) -> str:
    return f"{count} dead letter{'' if count == 1 else 's'}"


for _section in (listener, dead_letters, log, consumer, hook, tail):
    event.add_command(_section)
