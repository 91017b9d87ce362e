"""`event listener`: who is told of events, and how."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from pulpit.admin.grammar import NOTHING_TO_CHANGE, Group, given, secret
from pulpit.admin.session import Session, with_session
from pulpit.client.failures import WrongData
from pulpit.client.server import path_of

EVENT_TYPES: Final = ("repo.sync.start", "repo.sync.finish", "repo.publish.start", "repo.publish.finish", "*")
SHOWN: Final = ("id", "event_types", "notifier_config", "notifier_type_id")


def _complete_event_type(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in EVENT_TYPES if name.startswith(begun)]


def _event_type(*, required: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(
        "--event-type",
        "event_types",
        multiple=True,
        required=required,
        shell_complete=_complete_event_type,
        help=f"One of {', '.join(EVENT_TYPES)} (all), or a pattern such as repo.*.finish. May be repeated.",
    )


_LISTENER_ID: Final = click.option("--listener-id", required=True, help="The listener's id, as `list` shows it.")
_EXCHANGE: Final = click.option("--exchange", help="Topic exchange; without it the server's own choice.")
_URL: Final = "Where to POST the events to."
_USERNAME: Final = click.option("--username", help="User for the receiver's Basic authentication.")
_PASSWORD: Final = click.option(
    "--password", help="Its password, visible to others on this machine; better --password-file."
)
_PASSWORD_FILE: Final = click.option(
    "--password-file", type=click.Path(path_type=Path), help="File (mode 0600, or - ) with that password."
)
_CA_PATH: Final = click.option("--ca-path", help="Authorities to trust for https, a path on the server.")


@click.group("event", cls=Group)
def event() -> None:
    """Events and who is told of them."""


@event.group("listener")
def listener() -> None:
    """Manage event listeners."""


@listener.command("list")
@click.option("--details", is_flag=True, help="Show everything the server tells of each listener.")
@with_session
def list_listeners(session: Session, /, *, details: bool) -> None:
    """List the event listeners."""
    found = session.server.get(path_of("events"))
    if session.screen.as_json:
        session.screen.data(found)
    elif details:
        session.screen.documents(found)
    else:
        session.screen.documents({key: item[key] for key in SHOWN if key in item} for item in found)


@listener.command("delete")
@_LISTENER_ID
@with_session
def delete(session: Session, /, *, listener_id: str) -> None:
    """Delete a listener."""
    answer = session.server.delete(path_of("events", listener_id))
    session.screen.succeeded("Event listener deleted.", answer)


@listener.group("amqp")
def amqp() -> None:
    """Listeners that publish to an AMQP broker."""


@listener.group("email")
def email() -> None:
    """Listeners that send e-mail."""


@listener.group("http")
def http() -> None:
    """Listeners that call a URL."""


@amqp.command("create")
@_event_type(required=True)
@_EXCHANGE
@with_session
def create_amqp(session: Session, /, *, event_types: tuple[str, ...], exchange: str | None) -> None:
    """Create an AMQP listener."""
    _create(session, "amqp", event_types, given(exchange=exchange or None))


@amqp.command("update")
@_LISTENER_ID
@_event_type(required=False)
@click.option("--exchange", help='Topic exchange; "" returns to the server\'s own choice.')
@with_session
def update_amqp(session: Session, /, *, listener_id: str, event_types: tuple[str, ...], exchange: str | None) -> None:
    """Change an AMQP listener."""
    _update(session, listener_id, event_types, given(exchange=exchange))


@email.command("create")
@_event_type(required=True)
@click.option("--subject", required=True, help="Subject of the messages.")
@click.option("--addresses", required=True, help="Recipients, separated by commas.")
@with_session
def create_email(session: Session, /, *, event_types: tuple[str, ...], subject: str, addresses: str) -> None:
    """Create an e-mail listener."""
    _create(session, "email", event_types, given(subject=subject, addresses=_recipients(addresses)))


@email.command("update")
@_LISTENER_ID
@_event_type(required=False)
@click.option("--subject", help="Subject of the messages.")
@click.option("--addresses", help="Recipients, separated by commas.")
@with_session
def update_email(
    session: Session, /, *, listener_id: str, event_types: tuple[str, ...], subject: str | None, addresses: str | None
) -> None:
    """Change an e-mail listener."""
    _update(session, listener_id, event_types, given(subject=subject, addresses=_recipients(addresses)))


@http.command("create")
@_event_type(required=True)
@click.option("--url", required=True, help=_URL)
@_USERNAME
@_PASSWORD
@_PASSWORD_FILE
@_CA_PATH
@with_session
def create_http(session: Session, /, *, event_types: tuple[str, ...], **options: Any) -> None:
    """Create an HTTP listener."""
    _create(session, "http", event_types, _http_config(**options))


@http.command("update")
@_LISTENER_ID
@_event_type(required=False)
@click.option("--url", help=_URL)
@_USERNAME
@_PASSWORD
@_PASSWORD_FILE
@_CA_PATH
@with_session
def update_http(session: Session, /, *, listener_id: str, event_types: tuple[str, ...], **options: Any) -> None:
    """Change an HTTP listener."""
    _update(session, listener_id, event_types, _http_config(**options))


def _http_config(*, password: str | None, password_file: Path | None, **options: str | None) -> dict[str, Any]:
    return given(password=secret(password, password_file), **options)


def _recipients(text: str | None) -> list[str] | None:
    if text is None:
        return None
    found = [part.strip() for part in text.split(",") if part.strip()]
    if not found:
        raise WrongData("--addresses must name at least one recipient.")
    return found


def _create(session: Session, kind: str, event_types: tuple[str, ...], config: dict[str, Any]) -> None:
    body = {"notifier_type_id": kind, "notifier_config": config, "event_types": list(event_types)}
    answer = session.server.post(path_of("events"), body)
    name = answer.get("id") if isinstance(answer, dict) else None
    session.screen.succeeded(f"Event listener created: {name}" if name else "Event listener created.", answer)


def _update(session: Session, listener_id: str, event_types: tuple[str, ...], config: dict[str, Any]) -> None:
    """Send what was given; with nothing given Pulp 2 said so and ended with 0, and so does this."""
    body: dict[str, Any] = {}
    if config:
        body["notifier_config"] = config
    if event_types:
        body["event_types"] = list(event_types)
    if not body:
        session.screen.warn(NOTHING_TO_CHANGE)
        return
    answer = session.server.put(path_of("events", listener_id), body)
    session.screen.succeeded("Event listener updated.", answer)
