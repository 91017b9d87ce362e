"""`event consumer`: named positions in the log, stored by the server for pulling clients."""

from typing import Any, Final

import click

from pulpit.admin.grammar import TABLE, Group
from pulpit.admin.session import Session, with_session
from pulpit.client.server import v1_path

_SHOWN: Final = ("name", "user", "position", "lag_events", "lag_seconds", "acknowledged_at")
_NAME: Final = click.option("--name", required=True, help="The consumer's name.")


@click.group("consumer", cls=Group)
def consumer() -> None:
    """Named positions in the log of clients that pull it."""


@consumer.command("list")
@TABLE
@with_session
def list_consumers(session: Session, /) -> None:
    """List your consumers with their lag, or as an administrator all."""
    found = session.server.get(v1_path("consumers"))["consumers"]
    shown = ({key: item.get(key) for key in _SHOWN} for item in found)
    session.screen.show(found, shown, nothing="There are no consumers.")


@consumer.command("create")
@_NAME
@click.option(
    "--after",
    type=click.IntRange(min=-1),
    metavar="N",
    help="Begin after event N; 0 is the beginning of the log.  [default: its end]",
)
@with_session
def create(session: Session, /, *, name: str, after: int | None) -> None:
    """Create a consumer; an existing one keeps its position."""
    body: dict[str, Any] = {} if after is None else {"after": after}
    answer = session.server.put(v1_path("consumers", name), body)
    session.screen.succeeded(f"Consumer {name} stands behind event {answer['position']}.", answer)


@consumer.command("move")
@_NAME
@click.option(
    "--after",
    type=click.IntRange(min=-1),
    required=True,
    metavar="N",
    help="After event N; 0 is the beginning of the log, -1 its end.",
)
@with_session
def move(session: Session, /, *, name: str, after: int) -> None:
    """Set a consumer's position in the log, back or forward."""
    answer = session.server.post(v1_path("consumers", name, "move"), {"after": after})
    session.screen.succeeded(f"Consumer {name} stands behind event {answer['position']}.", answer)


@consumer.command("acknowledge")
@_NAME
@click.option("--number", type=click.IntRange(min=0), required=True, metavar="N", help="Everything up to this event.")
@with_session
def acknowledge(session: Session, /, *, name: str, number: int) -> None:
    """Acknowledge events, so that the consumer does not get them again."""
    answer = session.server.post(v1_path("consumers", name, "acknowledge"), {"number": number})
    session.screen.succeeded(f"Consumer {name} stands behind event {answer['position']}.", answer)


@consumer.command("delete")
@_NAME
@click.option("--login", help="The user who owns it.  [default: who asks]")
@with_session
def delete(session: Session, /, *, name: str, login: str | None) -> None:
    """Delete a consumer; the log is unchanged."""
    answer = session.server.delete(v1_path("consumers", name), {"user": login} if login else None)
    session.screen.succeeded(f"Consumer {name} deleted.", answer)
