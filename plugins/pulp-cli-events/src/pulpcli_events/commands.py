"""The commands, word for word those of `pulp-admin event …`."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click
from pulp_cli.generic import PulpCLIContext, pass_pulp_context, pulp_group

from pulpcli_events.server import LISTENERS, V1, Pulpit

Decorator = Callable[[Any], Any]
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Span(click.ParamType):
    """A span of time such as 90s, 15m, 12h or 3d, read as seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it."""
        found = re.fullmatch(r"([0-9]{1,9})([smhd])", str(value))
        if not found:
            self.fail(f"{value!r} is no time such as 90s, 15m, 12h or 3d", param, ctx)
        return int(found[1]) * _UNITS[found[2]]


def _with_pulpit(function: Callable[..., None]) -> Any:
    """Hand the server to a command."""

    @pass_pulp_context
    def run(context: PulpCLIContext, /, **options: Any) -> None:
        function(Pulpit(context), **options)

    run.__doc__ = function.__doc__
    run.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    return run


def _with(*options: Decorator) -> Decorator:
    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _event_type(*, required: bool) -> Decorator:
    return click.option(
        "--event-type",
        "event_types",
        multiple=True,
        required=required,
        help="repo.sync.start, repo.sync.finish, repo.publish.start, repo.publish.finish, * (all of these), "
        "repo.version.create, or a pattern such as repo.*.finish; # is everything. May be repeated.",
    )


_ID: Final = click.option("--listener-id", required=True, help="The listener's id, as `list` shows it.")
_FILTERS: Final = (
    click.option("--repo-id", "repo_ids", multiple=True, metavar="PATTERN", help="Only of such repositories."),
    click.option("--result", "results", multiple=True, help="Only with this result, such as error."),
    click.option("--give-up-after", type=Span(), help="A dead letter after so long, such as 12h; 3d otherwise."),
)
_AMQP: Final = (
    click.option("--exchange", help="Topic exchange; without it the server's own choice."),
    click.option("--routing-key", metavar="TEMPLATE", help="Subject, such as pulp.server.{event_type}.{repo_id}."),
    click.option("--require-route", type=bool, help="Try again what no queue takes (true or false)."),
    click.option("--format", type=click.Choice(["pulp", "cloudevents"]), help="Headers over AMQP 0-9-1."),
)
_HTTP: Final = (
    click.option("--username", help="User for the receiver's Basic authentication."),
    click.option("--password-file", type=click.Path(path_type=Path), help="File with the password."),
    click.option("--header", "headers", multiple=True, metavar="NAME=VALUE", help="A further header."),
    click.option("--secret-file", type=click.Path(path_type=Path), help="File with the secret that signs requests."),
    click.option("--timeout", type=int, help="Seconds for one request, 1 to 60; 15 otherwise."),
)


@pulp_group(name="event", help="Events, and who is told of them.")
def event() -> None:
    """The command that pulp-cli gets."""


@event.group("listener", help="Manage event listeners.")
def listener() -> None:
    """The commands about listeners."""


@listener.command("list")
@_with_pulpit
def list_listeners(pulpit: Pulpit) -> None:
    """List the event listeners, with filters and the state of delivery."""
    pulpit.show(pulpit.call("GET", LISTENERS))


@listener.command("show")
@_ID
@_with_pulpit
def show(pulpit: Pulpit, *, listener_id: str) -> None:
    """Show one listener."""
    pulpit.show(pulpit.call("GET", _path(listener_id)))


@listener.command("delete")
@_ID
@_with_pulpit
def delete(pulpit: Pulpit, *, listener_id: str) -> None:
    """Delete a listener with its dead letters."""
    pulpit.call("DELETE", _path(listener_id))


@listener.command("pause")
@_ID
@click.option("--reason", help="Why, for others who look at it.")
@_with_pulpit
def pause(pulpit: Pulpit, *, listener_id: str, reason: str | None) -> None:
    """Hold a listener's events back until it is resumed; none is lost."""
    pulpit.show(pulpit.call("POST", _path(listener_id, "pause"), {"reason": reason} if reason else None))


@listener.command("resume")
@_ID
@_with_pulpit
def resume(pulpit: Pulpit, *, listener_id: str) -> None:
    """Go on where a listener was paused."""
    pulpit.show(pulpit.call("POST", _path(listener_id, "resume")))


@listener.command("test")
@_ID
@_with_pulpit
def test(pulpit: Pulpit, *, listener_id: str) -> None:
    """Send an event of type event.test by the listener's real way."""
    report = pulpit.call("POST", _path(listener_id, "test"))
    pulpit.show(report)
    if report.get("outcome") != "delivered":
        raise click.ClickException(f"The test event was not delivered: {report.get('reason') or report.get('outcome')}")


@listener.command("replay")
@_ID
@click.option("--from-number", type=click.IntRange(min=1), metavar="N", help="Begin with event N of the log.")
@click.option("--from-time", metavar="TIME", help="Begin with the first event at or after this ISO 8601 time.")
@_with_pulpit
def replay(pulpit: Pulpit, *, listener_id: str, from_number: int | None, from_time: str | None) -> None:
    """Deliver events of the past once more, then go on."""
    if (from_number is None) == (from_time is None):
        raise click.UsageError("Give either --from-number or --from-time.")
    body = {"time": from_time} if from_number is None else {"number": from_number}
    pulpit.show(pulpit.call("POST", _path(listener_id, "replay"), body))


@listener.group("amqp", help="Listeners that publish to an AMQP broker.")
def amqp() -> None:
    """The commands about one kind of listeners."""


@amqp.command("create")
@_with(_event_type(required=True), *_AMQP, *_FILTERS)
@_with_pulpit
def create_amqp(pulpit: Pulpit, **options: Any) -> None:
    """Create an AMQP listener."""
    _create(pulpit, "amqp", _taken(options, "exchange", "routing_key", "require_route", "format"), **options)


@amqp.command("update")
@_with(_ID, _event_type(required=False), *_AMQP, *_FILTERS)
@_with_pulpit
def update_amqp(pulpit: Pulpit, **options: Any) -> None:
    """Change an AMQP listener."""
    _update(pulpit, _taken(options, "exchange", "routing_key", "require_route", "format"), **options)


@listener.group("email", help="Listeners that send e-mail.")
def email() -> None:
    """The commands about one kind of listeners."""


@email.command("create")
@_with(
    _event_type(required=True),
    click.option("--subject", required=True, help="Subject of the messages."),
    click.option("--addresses", required=True, help="Recipients, separated by commas."),
    *_FILTERS,
)
@_with_pulpit
def create_email(pulpit: Pulpit, *, subject: str, addresses: str, **options: Any) -> None:
    """Create an e-mail listener."""
    _create(pulpit, "email", {"subject": subject, "addresses": _listed(addresses)}, **options)


@email.command("update")
@_with(
    _ID,
    _event_type(required=False),
    click.option("--subject", help="Subject of the messages."),
    click.option("--addresses", help="Recipients, separated by commas."),
    *_FILTERS,
)
@_with_pulpit
def update_email(pulpit: Pulpit, *, addresses: str | None, **options: Any) -> None:
    """Change an e-mail listener."""
    config = _taken(options, "subject") | ({"addresses": _listed(addresses)} if addresses is not None else {})
    _update(pulpit, config, **options)


@listener.group("http", help="Listeners that call a URL.")
def http() -> None:
    """The commands about one kind of listeners."""


@http.command("create")
@_with(
    _event_type(required=True),
    click.option("--url", required=True, help="Where to POST the events to."),
    *_HTTP,
    *_FILTERS,
)
@_with_pulpit
def create_http(pulpit: Pulpit, **options: Any) -> None:
    """Create an HTTP listener."""
    _create(pulpit, "http", _receiver(options), **options)


@http.command("update")
@_with(_ID, _event_type(required=False), click.option("--url", help="Where to POST to."), *_HTTP, *_FILTERS)
@_with_pulpit
def update_http(pulpit: Pulpit, **options: Any) -> None:
    """Change an HTTP listener; --header replaces all further headers."""
    _update(pulpit, _receiver(options), **options)


@event.group("log", help="All events that were fired, as far as the server keeps them.")
def log() -> None:
    """The commands about the log."""


@log.command("list")
@click.option("--after", type=click.IntRange(min=0), default=0, metavar="N", help="Only those behind event N.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="At most so many.")
@click.option("--event-type", multiple=True, help="Only this type or pattern; may be repeated.")
@click.option("--repo-id", multiple=True, metavar="PATTERN", help="Only of such repositories; may be repeated.")
@_with_pulpit
def list_events(pulpit: Pulpit, **query: Any) -> None:
    """List events, the oldest first."""
    given = {key: list(value) if isinstance(value, tuple) else value for key, value in query.items()}
    pulpit.show(pulpit.call("GET", f"{V1}/events", **given)["events"])


def _path(listener_id: str, verb: str = "") -> str:
    name = quote(listener_id, safe="")
    return f"{V1}/listeners/{name}/{verb}" if verb else f"{LISTENERS}{name}/"


def _taken(options: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Take the options of a listener's configuration out of all of them; those that were not given are left out."""
    taken = {key: options.pop(key) for key in keys}
    return {key: value for key, value in taken.items() if value is not None}


def _receiver(options: dict[str, Any]) -> dict[str, Any]:
    config = _taken(options, "url", "username", "timeout")
    for key in ("password", "secret"):
        path = options.pop(f"{key}_file")
        if path is not None:
            config[key] = _first_line(path)
    headers = dict(_header(pair) for pair in options.pop("headers"))
    return config | ({"headers": headers} if headers else {})


def _header(pair: str) -> tuple[str, str]:
    name, equals, value = pair.partition("=")
    if not name or not equals:
        raise click.UsageError("--header must look like NAME=VALUE.")
    return name, value


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").partition("\n")[0]
    except OSError as error:
        raise click.ClickException(f"{path} cannot be read ({error.strerror}).") from None


def _listed(text: str) -> list[str]:
    found = [part.strip() for part in text.split(",") if part.strip()]
    if not found:
        raise click.UsageError("--addresses must name at least one recipient.")
    return found


def _filters(event_types: tuple[str, ...], filters: dict[str, Any]) -> dict[str, Any]:
    given = {"event_types": event_types, **filters}
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in given.items()
        if value not in (None, ())
    }


def _create(pulpit: Pulpit, kind: str, config: dict[str, Any], event_types: tuple[str, ...], **filters: Any) -> None:
    body = {"notifier_type_id": kind, "notifier_config": config, **_filters(event_types, filters)}
    pulpit.show(pulpit.call("POST", LISTENERS, body))


def _update(
    pulpit: Pulpit, config: dict[str, Any], listener_id: str, event_types: tuple[str, ...], **filters: Any
) -> None:
    body = _filters(event_types, filters) | ({"notifier_config": config} if config else {})
    if not body:
        raise click.UsageError("Name what to change.")
    pulpit.show(pulpit.call("PUT", _path(listener_id), body))
