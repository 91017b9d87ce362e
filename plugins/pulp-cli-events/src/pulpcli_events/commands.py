"""The commands, word for word those of `pulp-admin event …`."""

from collections.abc import Callable
from typing import Any, Final

import click
from pulp_cli.generic import PulpCLIContext, pass_pulp_context, pulp_group

from pulpcli_events.kinds import ID, ListenerGroup
from pulpcli_events.server import LISTENERS, V1, Pulpit, path_of

_NUMBER: Final = click.option(
    "--number", type=click.IntRange(min=1), required=True, metavar="N", help="The event's number in the log."
)


def _with_pulpit(function: Callable[..., None]) -> Any:
    """Hand the server to a command."""

    @pass_pulp_context
    def run(context: PulpCLIContext, /, **options: Any) -> None:
        function(Pulpit(context), **options)

    run.__doc__ = function.__doc__
    run.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    return run


@pulp_group(name="event")
def event() -> None:
    """Events, and who is told of them.

    Hooks, consumers, and the log as it grows (`tail`) are commands of pulp-admin alone.
    """


@event.group("listener", cls=ListenerGroup)
def listener() -> None:
    """Manage event listeners; which kinds there are, the server says."""


@listener.command("kinds")
@_with_pulpit
def list_kinds(pulpit: Pulpit) -> None:
    """List the kinds of listeners that the server has, with those of its plug-ins, and what each can be told."""
    pulpit.show(pulpit.call("GET", f"{V1}/notifiers")["notifiers"])


@listener.command("list")
@_with_pulpit
def list_listeners(pulpit: Pulpit) -> None:
    """List the event listeners, with filters and the state of delivery."""
    pulpit.show(pulpit.call("GET", LISTENERS))


@listener.command("show")
@ID
@_with_pulpit
def show(pulpit: Pulpit, *, listener_id: str) -> None:
    """Show one listener."""
    pulpit.show(pulpit.call("GET", path_of(listener_id)))


@listener.command("delete")
@ID
@_with_pulpit
def delete(pulpit: Pulpit, *, listener_id: str) -> None:
    """Delete a listener with its dead letters."""
    pulpit.call("DELETE", path_of(listener_id))


@listener.command("pause")
@ID
@click.option("--reason", help="Why, for others who look at it.")
@_with_pulpit
def pause(pulpit: Pulpit, *, listener_id: str, reason: str | None) -> None:
    """Hold a listener's events back until it is resumed; none is lost."""
    pulpit.show(pulpit.call("POST", path_of(listener_id, "pause"), {"reason": reason} if reason else None))


@listener.command("resume")
@ID
@_with_pulpit
def resume(pulpit: Pulpit, *, listener_id: str) -> None:
    """Go on where a listener was paused."""
    pulpit.show(pulpit.call("POST", path_of(listener_id, "resume")))


@listener.command("test")
@ID
@_with_pulpit
def test(pulpit: Pulpit, *, listener_id: str) -> None:
    """Send an event of type event.test by the listener's real way."""
    report = pulpit.call("POST", path_of(listener_id, "test"))
    pulpit.show(report)
    if report.get("outcome") != "delivered":
        raise click.ClickException(f"The test event was not delivered: {report.get('reason') or report.get('outcome')}")


@listener.command("preview")
@ID
@click.option("--number", "--event", type=click.IntRange(min=1), metavar="N", help="The event's number in the log.")
@click.option("--last", type=click.IntRange(1, 1000), metavar="N", help="Instead: all it wants of the last N events.")
@_with_pulpit
def preview(pulpit: Pulpit, *, listener_id: str, number: int | None, last: int | None) -> None:
    """Show what would be sent for an event of the log, or for those at its end; nothing is sent."""
    if (number is None) == (last is None):
        raise click.UsageError("Give either --number or --last.")
    verb, body = ("preview", {"number": number}) if last is None else ("dry-run", {"last": last})
    pulpit.show(pulpit.ask(path_of(listener_id, verb), body))


@listener.command("replay")
@ID
@click.option("--from-number", type=click.IntRange(min=1), metavar="N", help="Begin with event N of the log.")
@click.option("--from-time", metavar="TIME", help="Begin with the first event at or after this ISO 8601 time.")
@click.option("--event-type", "event_types", multiple=True, help="Only this type or pattern; may be repeated.")
@_with_pulpit
def replay(
    pulpit: Pulpit, *, listener_id: str, from_number: int | None, from_time: str | None, event_types: tuple[str, ...]
) -> None:
    """Deliver events of the past again, then go on."""
    if (from_number is None) == (from_time is None):
        raise click.UsageError("Give either --from-number or --from-time.")
    body: dict[str, Any] = {"time": from_time} if from_number is None else {"number": from_number}
    if event_types:
        body["event_types"] = list(event_types)
    pulpit.show(pulpit.call("POST", path_of(listener_id, "replay"), body))


@listener.command("send")
@ID
@_NUMBER
@_with_pulpit
def send(pulpit: Pulpit, *, listener_id: str, number: int) -> None:
    """Deliver one event of the log out of turn; until it is delivered it stands among the dead letters."""
    pulpit.show(pulpit.call("POST", path_of(listener_id, "send"), {"number": number}))


@listener.command("deliveries")
@ID
@click.option("--limit", type=click.IntRange(min=1), default=10, show_default=True, help="At most so many.")
@_with_pulpit
def deliveries(pulpit: Pulpit, *, listener_id: str, limit: int) -> None:
    """Show the latest attempts at delivery, the newest first."""
    pulpit.show(pulpit.call("GET", path_of(listener_id, "deliveries"), limit=limit)["deliveries"])


@event.group("deadletters")
def dead_letters() -> None:
    """Events that a listener refused, or that could not be delivered in time."""


_LETTERS: Final = click.option("--id", "ids", multiple=True, help="A dead letter's id, as `list` shows it.")
_ALL: Final = click.option("--all", "everything", is_flag=True, help="All dead letters of the listener.")


@dead_letters.command("list")
@ID
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most so many.")
@_with_pulpit
def list_letters(pulpit: Pulpit, *, listener_id: str, limit: int) -> None:
    """List the dead letters of a listener in the order of their events."""
    pulpit.show(pulpit.call("GET", path_of(listener_id, "dead-letters"), limit=limit)["dead_letters"])


@dead_letters.command("show")
@ID
@click.option("--id", "letter_id", required=True, help="The dead letter's id, as `list` shows it.")
@_with_pulpit
def show_letter(pulpit: Pulpit, *, listener_id: str, letter_id: str) -> None:
    """Show one dead letter with its event."""
    pulpit.show(pulpit.call("GET", path_of(listener_id, "dead-letters", letter_id)))


@dead_letters.command("send-again")
@ID
@_LETTERS
@_ALL
@_with_pulpit
def send_again(pulpit: Pulpit, *, listener_id: str, ids: tuple[str, ...], everything: bool) -> None:
    """Try dead letters again; those that are delivered are gone."""
    _one_choice(ids, everything=everything)
    body: dict[str, Any] = {"all": True} if everything else {"ids": list(ids)}
    pulpit.show(pulpit.call("POST", path_of(listener_id, "dead-letters", "send-again"), body))


@dead_letters.command("drop")
@ID
@_LETTERS
@_ALL
@_with_pulpit
def drop(pulpit: Pulpit, *, listener_id: str, ids: tuple[str, ...], everything: bool) -> None:
    """Throw dead letters away; the events stay in the log."""
    _one_choice(ids, everything=everything)
    query: dict[str, Any] = {"all": "true"} if everything else {"id": list(ids)}
    pulpit.show(pulpit.call("DELETE", path_of(listener_id, "dead-letters"), **query))


def _one_choice(ids: tuple[str, ...], *, everything: bool) -> None:
    if bool(ids) == everything:
        raise click.UsageError("Give either --id or --all.")


@event.group("log")
def log() -> None:
    """All events that were fired, as far as the server keeps them."""


@log.command("list")
@click.option("--after", type=click.IntRange(min=0), default=0, metavar="N", help="Only those behind event N.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="At most so many.")
@click.option("--event-type", multiple=True, help="Only this type or pattern; may be repeated.")
@click.option("--repo-id", multiple=True, metavar="PATTERN", help="Only of such repositories; may be repeated.")
@click.option("--result", multiple=True, help="Only with this result, such as error; may be repeated.")
@_with_pulpit
def list_events(pulpit: Pulpit, **query: Any) -> None:
    """List events, the oldest first."""
    given = {key: list(value) if isinstance(value, tuple) else value for key, value in query.items()}
    pulpit.show(pulpit.call("GET", f"{V1}/events", **given)["events"])


@log.command("show")
@_NUMBER
@_with_pulpit
def show_event(pulpit: Pulpit, *, number: int) -> None:
    """Show everything of one event."""
    pulpit.show(pulpit.call("GET", f"{V1}/events/{number}"))
