"""`event listener list` and `delete`; the other commands of the section have modules of their own."""

from collections.abc import Mapping
from typing import Any, Final

import click

from pulpit.admin.grammar import TABLE, Group
from pulpit.admin.session import Session, with_session
from pulpit.client.durations import spelled
from pulpit.client.server import path_of

SHOWN: Final = ("id", "event_types", "notifier_config", "notifier_type_id")

LISTENER_ID: Final = click.option("--listener-id", required=True, help="The listener's id, as `list` shows it.")


@click.group("listener", cls=Group)
def listener() -> None:
    """Manage event listeners."""


@listener.command("list")
@click.option("--details", is_flag=True, help="Also show filters, state, lag, last error and dead letters of each.")
@TABLE
@with_session
def list_listeners(session: Session, /, *, details: bool) -> None:
    """List the event listeners."""
    found = session.server.get(path_of("events"))
    if session.screen.as_json:
        session.screen.data(found)
    elif details:
        session.screen.documents(detailed(item, item.get("_filters"), item.get("_delivery")) for item in found)
    else:
        session.screen.documents({key: item[key] for key in SHOWN if key in item} for item in found)


@listener.command("delete")
@LISTENER_ID
@with_session
def delete(session: Session, /, *, listener_id: str) -> None:
    """Delete a listener with its dead letters."""
    answer = session.server.delete(path_of("events", listener_id))
    session.screen.succeeded("Event listener deleted.", answer)


def detailed(item: Mapping[str, Any], filters: Any, delivery: Any) -> dict[str, Any]:
    """A listener with its filters and the state of its delivery in words."""
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
        "give_up_after": spelled(seconds) if isinstance(seconds, int) else seconds,
    }


def _delivery(delivery: Mapping[str, Any]) -> dict[str, Any]:
    seconds = delivery.get("lag_seconds")
    lag = f"{delivery.get('lag_events')} events, {seconds if isinstance(seconds, int | float) else 0:.0f} seconds"
    shown = {"state": _state(delivery), "lag": lag, "position": delivery.get("position")}
    if delivery.get("last_error"):
        shown["last_error"] = f"{delivery['last_error']} ({delivery.get('last_error_at')})"
    return {**shown, "dead_letters": delivery.get("dead_letters")}


def _state(delivery: Mapping[str, Any]) -> str:
    state = str(delivery.get("state"))
    if state == "retrying":
        return f"retrying since {delivery.get('failing_since')}, {delivery.get('attempts')} attempts"
    return f"{state}: {delivery['pause_reason']}" if delivery.get("pause_reason") else state
