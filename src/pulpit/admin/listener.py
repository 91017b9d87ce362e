"""`event listener`: list and delete, pause, resume, test, replay, deliveries."""

from collections.abc import Mapping
from typing import Any, Final

import click

from pulpit.admin.grammar import TABLE
from pulpit.admin.listener_kinds import GROUPS, LISTENER_ID, ListenerGroup, kinds_of
from pulpit.admin.session import Session, with_session
from pulpit.client.failures import WorkNotDone, WrongUse
from pulpit.client.server import path_of, v1_path
from pulpit.intervals import span_text

SHOWN: Final = ("id", "event_types", "notifier_config", "notifier_type_id")


@click.group("listener", cls=ListenerGroup)
def listener() -> None:
    """Manage event listeners.

    Kinds of the server's plug-ins are not listed here: `kinds` shows them, KIND create --help their options.
    """


@listener.command("kinds")
@TABLE
@with_session
def list_kinds(session: Session, /) -> None:
    """List the kinds of listeners of the server, including those of its plug-ins."""
    found = kinds_of(session)
    shown = (
        {
            "kind": kind.id,
            "summary": kind.summary,
            "brought_by": document.get("brought_by"),
            "options": [option.option_of_file if option.is_from_file else option.option for option in kind.options],
            **({"problem": document["problem"]} if document.get("problem") else {}),
        }
        for kind, document in found
    )
    session.screen.show([document for _, document in found], shown)


@listener.command("list")
@click.option("--details", is_flag=True, help="Also show filters, state, lag, last error and dead letters of each.")
@TABLE
@with_session
def list_listeners(session: Session, /, *, details: bool) -> None:
    """List the event listeners."""
    found = session.server.get(path_of("events"))
    if details:
        shown = (detailed(item, item.get("_filters"), item.get("_delivery")) for item in found)
    else:
        shown = ({key: item[key] for key in SHOWN if key in item} for item in found)
    session.screen.show(found, shown)


@listener.command("delete")
@LISTENER_ID
@with_session
def delete(session: Session, /, *, listener_id: str) -> None:
    """Delete a listener with its dead letters."""
    answer = session.server.delete(path_of("events", listener_id))
    session.screen.succeeded("Event listener deleted.", answer)


def detailed(item: Mapping[str, Any], filters: Any, delivery: Any) -> dict[str, Any]:
    """Return a listener with its filters and the state of its delivery in words."""
    shown = dict(item)
    if isinstance(filters, Mapping):
        shown["filters"] = _filters(filters)
    if isinstance(delivery, Mapping):
        shown["delivery"] = _delivery(delivery)
    return shown


def _filters(filters: Mapping[str, Any]) -> dict[str, Any]:
    seconds = filters.get("give_up_after")
    return {
        "repo_ids": filters.get("repo_ids") or "all",
        "results": filters.get("results") or "all",
        "packages": filters.get("packages") or "all",
        "give_up_after": span_text(seconds) if isinstance(seconds, int) else seconds,
    }


def _delivery(delivery: Mapping[str, Any]) -> dict[str, Any]:
    state = str(delivery.get("state"))
    if state == "retrying":
        state = f"retrying since {delivery.get('failing_since')}, {delivery.get('attempts')} attempts"
    elif delivery.get("pause_reason"):
        state = f"{state}: {delivery['pause_reason']}"
    seconds = delivery.get("lag_seconds")
    lag = f"{delivery.get('lag_events')} events, {seconds if isinstance(seconds, int | float) else 0:.0f} seconds"
    shown = {"state": state, "lag": lag, "position": delivery.get("position")}
    if delivery.get("last_error"):
        shown["last_error"] = f"{delivery['last_error']} ({delivery.get('last_error_at')})"
    if failing := delivery.get("failing_repositories"):
        shown["failing_repositories"] = [
            f"{repository['repo_id'] or 'none'}: event {repository['next_event']}, {repository['attempts']} attempts "
            f"since {repository['failing_since']}"
            for repository in failing
        ]
    return {**shown, "dead_letters": delivery.get("dead_letters")}


@listener.command("pause")
@LISTENER_ID
@click.option("--reason", help="The reason, for other users.")
@with_session
def pause(session: Session, /, *, listener_id: str, reason: str | None) -> None:
    """Pause a listener until it is resumed; its events wait in the log."""
    answer = session.server.post(v1_path("listeners", listener_id, "pause"), {"reason": reason} if reason else None)
    session.screen.succeeded("Event listener paused.", answer)


@listener.command("resume")
@LISTENER_ID
@with_session
def resume(session: Session, /, *, listener_id: str) -> None:
    """Resume a paused listener from its position."""
    answer = session.server.post(v1_path("listeners", listener_id, "resume"))
    session.screen.succeeded("Event listener resumed.", answer)


@listener.command("test")
@LISTENER_ID
@with_session
def test(session: Session, /, *, listener_id: str) -> None:
    """Send an event of type event.test through the listener's notifier and show the request and the response."""
    report = session.server.post(v1_path("listeners", listener_id, "test"))
    session.screen.show(report, [_filled(report)])
    if report.get("outcome") != "delivered":
        raise WorkNotDone(f"The test event was not delivered: {report.get('reason') or report.get('outcome')}")


@listener.command("preview")
@LISTENER_ID
@click.option("--number", "--event", type=click.IntRange(min=1), metavar="N", help="The event's number in the log.")
@click.option(
    "--last",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="Instead: those of the last N events that match its filters.",
)
@with_session
def preview(session: Session, /, *, listener_id: str, number: int | None, last: int | None) -> None:
    """Show what would be sent for an event of the log, or for its last events; nothing is sent."""
    if (number is None) == (last is None):
        raise WrongUse("Give either --number or --last.")
    if last is not None:
        _dry_run(session, listener_id, last)
        return
    found = session.server.post(v1_path("listeners", listener_id, "preview"), {"number": number})
    session.screen.show(found, [_filled(found["request"])])
    session.screen.say(f"The listener {'wants' if found['wanted'] else 'does not want'} this event.")


def _filled(document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if value not in (None, {}, "")}


def _dry_run(session: Session, listener_id: str, last: int) -> None:
    found = session.server.post(v1_path("listeners", listener_id, "dry-run"), {"last": last})
    shown = (
        {
            **{key: event[key] for key in ("number", "event_type", "repo_id") if event[key] is not None},
            **{key: event["request"][key] for key in ("nothing", "body", "message") if event["request"].get(key)},
        }
        for event in found["events"]
    )
    session.screen.show(found, shown)
    session.screen.say(
        f"The listener wants {found['wanted']} of the last {found['looked_at']} events; nothing was sent."
    )


@listener.command("replay")
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
    """Deliver past events again, then continue."""
    if (from_number is None) == (from_time is None):
        raise WrongUse("Give either --from-number or --from-time.")
    body: dict[str, Any] = {"time": from_time} if from_number is None else {"number": from_number}
    if event_types:
        body["event_types"] = list(event_types)
    answer = session.server.post(v1_path("listeners", listener_id, "replay"), body)
    session.screen.succeeded("The replay begins.", answer)


@listener.command("send")
@LISTENER_ID
@click.option("--number", type=click.IntRange(min=1), required=True, metavar="N", help="The event's number in the log.")
@with_session
def send(session: Session, /, *, listener_id: str, number: int) -> None:
    """Deliver one event of the log out of order; until it is delivered it is a dead letter."""
    answer = session.server.post(v1_path("listeners", listener_id, "send"), {"number": number})
    session.screen.succeeded("The event is being sent.", answer)


@listener.command("deliveries")
@LISTENER_ID
@click.option("--limit", type=click.IntRange(min=1), default=10, show_default=True, help="At most so many.")
@TABLE
@with_session
def deliveries(session: Session, /, *, listener_id: str, limit: int) -> None:
    """Show the latest delivery attempts, the newest first."""
    found = session.server.get(v1_path("listeners", listener_id, "deliveries"), {"limit": limit})
    session.screen.show(found, map(_attempt, found["deliveries"]), nothing="Nothing was sent yet.")


def _attempt(attempt: Mapping[str, Any]) -> dict[str, Any]:
    first, last, count = (attempt.get(key) for key in ("first_event", "last_event", "event_count"))
    return {
        "at": attempt.get("at"),
        "took": f"{attempt.get('duration_ms')} ms",
        "events": str(first) if first == last else f"{first} to {last} ({count})",
        "outcome": attempt.get("outcome"),
        "answer": attempt.get("answer"),
    }


for _group in GROUPS.values():
    listener.add_command(_group)
