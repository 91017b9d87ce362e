"""`event listener pause|resume|test|replay|deliveries`: what an operator does with a listener."""

from collections.abc import Mapping
from typing import Any, Final

import click

from pulpit.admin.commands.listener import LISTENER_ID
from pulpit.admin.grammar import TABLE, Command
from pulpit.admin.session import Session, with_session
from pulpit.client.failures import WorkNotDone, WrongUse
from pulpit.client.server import v1_path


@click.command("pause", cls=Command)
@LISTENER_ID
@click.option("--reason", help="Why, for others who look at it.")
@with_session
def pause(session: Session, /, *, listener_id: str, reason: str | None) -> None:
    """Hold a listener's events back until it is resumed; none is lost."""
    answer = session.server.post(v1_path("listeners", listener_id, "pause"), {"reason": reason} if reason else None)
    session.screen.succeeded("Event listener paused.", answer)


@click.command("resume", cls=Command)
@LISTENER_ID
@with_session
def resume(session: Session, /, *, listener_id: str) -> None:
    """Go on where a listener was paused."""
    answer = session.server.post(v1_path("listeners", listener_id, "resume"))
    session.screen.succeeded("Event listener resumed.", answer)


@click.command("test", cls=Command)
@LISTENER_ID
@with_session
def test(session: Session, /, *, listener_id: str) -> None:
    """Send an event of type event.test by the listener's real way and show what was said on both sides."""
    report = session.server.post(v1_path("listeners", listener_id, "test"))
    if session.screen.as_json:
        session.screen.data(report)
    else:
        session.screen.documents([_without_nothing(report)])
    if report.get("outcome") != "delivered":
        raise WorkNotDone(f"The test event was not delivered: {report.get('reason') or report.get('outcome')}")


@click.command("replay", cls=Command)
@LISTENER_ID
@click.option("--from-number", type=click.IntRange(min=1), metavar="N", help="Begin with event N of the log.")
@click.option("--from-time", metavar="TIME", help="Begin with the first event at or after this ISO 8601 time.")
@click.option("--event-type", "event_types", multiple=True, help="Only this type or pattern; may be repeated.")
@with_session
def replay(
    session: Session,
    /,
    *,
    listener_id: str,
    from_number: int | None,
    from_time: str | None,
    event_types: tuple[str, ...],
) -> None:
    """Deliver events of the past once more, then go on."""
    if (from_number is None) == (from_time is None):
        raise WrongUse("Give either --from-number or --from-time.")
    body: dict[str, Any] = {"time": from_time} if from_number is None else {"number": from_number}
    if event_types:
        body["event_types"] = list(event_types)
    answer = session.server.post(v1_path("listeners", listener_id, "replay"), body)
    session.screen.succeeded("The replay begins.", answer)


@click.command("deliveries", cls=Command)
@LISTENER_ID
@click.option("--limit", type=click.IntRange(min=1), default=10, show_default=True, help="At most so many.")
@TABLE
@with_session
def deliveries(session: Session, /, *, listener_id: str, limit: int) -> None:
    """Show the latest attempts at delivery, the newest first."""
    found = session.server.get(v1_path("listeners", listener_id, "deliveries"), {"limit": limit})
    if session.screen.as_json:
        session.screen.data(found)
        return
    session.screen.documents(_attempt(attempt) for attempt in found["deliveries"])
    if not found["deliveries"]:
        session.screen.say("Nothing was sent yet.")


VERBS: Final = (pause, resume, test, replay, deliveries)


def _attempt(attempt: Mapping[str, Any]) -> dict[str, Any]:
    first, last, count = (attempt.get(key) for key in ("first_event", "last_event", "event_count"))
    return {
        "at": attempt.get("at"),
        "took": f"{attempt.get('duration_ms')} ms",
        "events": str(first) if first == last else f"{first} to {last} ({count})",
        "outcome": attempt.get("outcome"),
        "answer": attempt.get("answer"),
    }


def _without_nothing(report: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in report.items() if value not in (None, {}, "")}
