"""`event listener amqp|email|http create` and `update`: what each kind of listener can be told."""

from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from pulpit.admin.grammar import BOOLEAN, CLEAR, COUNT, NOTHING_TO_CHANGE, TEXT, Clearable, Group, given, secret
from pulpit.admin.listener import LISTENER_ID
from pulpit.admin.session import Session, with_session
from pulpit.client.failures import WrongData
from pulpit.client.options import Decorator, Duration, with_options
from pulpit.client.server import path_of
from pulpit.events import EVENT_TYPES, PULP_TYPES, TEST

EVENT_TYPE_CHOICES: Final = (*sorted(PULP_TYPES), "*", *sorted(EVENT_TYPES - PULP_TYPES - {TEST}), "#")
"""What can be asked for by name: Pulp 2's types and its word for all of them, then Pulpit's own."""


def _event_type(*, required: bool) -> Decorator:
    return click.option(
        "--event-type",
        "event_types",
        multiple=True,
        required=required,
        shell_complete=lambda _context, _parameter, begun: [
            CompletionItem(name) for name in EVENT_TYPE_CHOICES if name.startswith(begun)
        ],
        help=f"One of {', '.join(sorted(PULP_TYPES))}, * (all of these and of other systems), another type, or a "
        "pattern such as repo.*.finish; # is everything. May be repeated.",
    )


_FILTERS: Final = (
    click.option(
        "--repo-id", "repo_ids", multiple=True, metavar="PATTERN", help="Only of such repositories; may be repeated."
    ),
    click.option("--result", "results", multiple=True, help="Only with this result, such as failed; may be repeated."),
    click.option(
        "--package",
        "packages",
        multiple=True,
        metavar="PATTERN",
        help="Only what has changed such a package, such as 'openssl*'; may be repeated.",
    ),
    click.option(
        "--give-up-after",
        type=Clearable(Duration()),
        help="Put an event aside as a dead letter when it was tried for so long, such as 12h; 3d otherwise.",
    ),
)
_AMQP: Final = (
    click.option("--exchange", help='Topic exchange; without it, or with "", the server\'s own choice.'),
    click.option(
        "--routing-key",
        metavar="TEMPLATE",
        help="Subject of the messages, such as pulp.server.{event_type}.{repo_id}; {result} can be filled in too.",
    ),
    click.option("--require-route", type=BOOLEAN, help="Try again what no queue takes (true or false)."),
    click.option(
        "--format",
        type=Clearable(click.Choice(["pulp", "cloudevents"])),
        help="Headers over AMQP 0-9-1: as Pulp 2 had them, or those of CloudEvents too; pulp otherwise.",
    ),
)
_DIGEST: Final = click.option("--digest", type=TEXT, metavar="DURATION", help="Gather events for so long, 1m to 1d.")
_LANES: Final = click.option(
    "--lanes", type=COUNT, help="Repositories served at a time; events of one stay in order. 1 keeps all in order."
)
_HTTP: Final = (
    click.option("--username", help="User for the receiver's Basic authentication."),
    click.option("--password", help="Its password, visible to others on this machine; better --password-file."),
    click.option("--password-file", type=TEXT, metavar="PATH", help="File (mode 0600, or - ) with that password."),
    click.option("--ca-path", help="Authorities to trust for https, a path on the server."),
    click.option("--header", "headers", multiple=True, metavar="NAME=VALUE", help="A further header; may be repeated."),
    click.option("--secret", type=TEXT, help="Signs the requests, visible to others here; better --secret-file."),
    click.option("--secret-file", type=TEXT, metavar="PATH", help="File (mode 0600, or - ) with that secret."),
    click.option(
        "--old-secret-file", type=TEXT, metavar="PATH", help="File with the last secret, which then signs too."
    ),
    click.option("--timeout", type=COUNT, help="Seconds for one request, 1 to 60; 15 otherwise."),
    click.option("--concurrency", type=COUNT, help="Requests at a time, 1 to 64; above 1 gives up order."),
    _LANES,
    click.option("--proxy", type=TEXT, metavar="URL", help="Proxy to go through; none goes past the server's own."),
    click.option("--proxy-username", type=TEXT, help="User for the proxy."),
    click.option("--proxy-password-file", type=TEXT, metavar="PATH", help="File (mode 0600, or - ) with its password."),
    click.option("--redirects", type=BOOLEAN, help="Follow redirections (true or false)."),
    click.option(
        "--format",
        type=Clearable(click.Choice(["pulp", "thin", "slack", "mattermost", "discord", "teams", "text"])),
        help="What is posted: Pulp's message, which event it is, or a sentence for a chat; pulp otherwise.",
    ),
    click.option(
        "--plain-signature",
        type=BOOLEAN,
        help="Also sign by X-Hub-Signature-256 and X-Signature, with the whole secret as key (true or false).",
    ),
)


def _subject(*, required: bool) -> Decorator:
    text = "Subject of the messages, with {event_type}, {repo_id} and {result} if you like."
    return click.option("--subject", required=required, help=text)


def _addresses(*, required: bool) -> Decorator:
    return click.option("--addresses", required=required, help="Recipients, separated by commas.")


def _url(*, required: bool) -> Decorator:
    return click.option("--url", required=required, help="Where to POST the events to.")


@click.group("amqp", cls=Group)
def amqp() -> None:
    """Listeners that publish to an AMQP broker."""


@click.group("email", cls=Group)
def email() -> None:
    """Listeners that send e-mail."""


@click.group("http", cls=Group)
def http() -> None:
    """Listeners that call a URL."""


@amqp.command("create")
@with_options(_event_type(required=True), *_AMQP, *_FILTERS)
@with_session
def create_amqp(session: Session, /, *, exchange: str | None, **options: Any) -> None:
    """Create an AMQP listener."""
    _create(session, "amqp", given(exchange=exchange or None, **_routing(options)), **options)


@amqp.command("update")
@with_options(LISTENER_ID, _event_type(required=False), *_AMQP, *_FILTERS)
@with_session
def update_amqp(session: Session, /, *, listener_id: str, exchange: str | None, **options: Any) -> None:
    """Change an AMQP listener."""
    _update(session, listener_id, given(exchange=exchange, **_routing(options)), **options)


@email.command("create")
@with_options(
    _event_type(required=True), _subject(required=True), _addresses(required=True), _DIGEST, _LANES, *_FILTERS
)
@with_session
def create_email(session: Session, /, *, subject: str, addresses: str, **options: Any) -> None:
    """Create an e-mail listener."""
    config = given(subject=subject, addresses=_recipients(addresses), **_gathering(options))
    _create(session, "email", config, **options)


@email.command("update")
@with_options(
    LISTENER_ID,
    _event_type(required=False),
    _subject(required=False),
    _addresses(required=False),
    _DIGEST,
    _LANES,
    *_FILTERS,
)
@with_session
def update_email(
    session: Session, /, *, listener_id: str, subject: str | None, addresses: str | None, **options: Any
) -> None:
    """Change an e-mail listener."""
    config = given(subject=subject, addresses=_recipients(addresses), **_gathering(options))
    _update(session, listener_id, config, **options)


@http.command("create")
@with_options(_event_type(required=True), _url(required=True), *_HTTP, *_FILTERS)
@with_session
def create_http(session: Session, /, **options: Any) -> None:
    """Create an HTTP listener."""
    _create(session, "http", _http_config(options), **options)


@http.command("update")
@with_options(LISTENER_ID, _event_type(required=False), _url(required=False), *_HTTP, *_FILTERS)
@with_session
def update_http(session: Session, /, *, listener_id: str, **options: Any) -> None:
    """Change an HTTP listener; --header replaces all further headers."""
    _update(session, listener_id, _http_config(options), **options)


def _routing(options: dict[str, Any]) -> dict[str, Any]:
    """Take the options out that say how messages are routed."""
    return {key: options.pop(key) for key in ("routing_key", "require_route", "format")}


def _gathering(options: dict[str, Any]) -> dict[str, Any]:
    """Take the options out that say what is sent together and what beside each other."""
    return {key: options.pop(key) for key in ("digest", "lanes")}


def _http_config(options: dict[str, Any]) -> dict[str, Any]:
    """Take the receiver's options out and give its configuration."""
    plain = ("url", "username", "ca_path", "timeout", "concurrency", "lanes", "redirects", "proxy", "proxy_username")
    bodies = ("format", "plain_signature")
    config = {key: options.pop(key) for key in (*plain, *bodies)}
    for key in ("password", "secret"):
        config[key] = _secret(options.pop(key), options.pop(f"{key}_file"))
    for key in ("old_secret", "proxy_password"):
        config[key] = _secret(None, options.pop(f"{key}_file"))
    return given(**config, headers=_headers(options.pop("headers")))


def _secret(value: Any, path: Any) -> Any:
    return secret(value, path) if path is not CLEAR else CLEAR


def _headers(pairs: tuple[str, ...]) -> Any:
    """Read `NAME=VALUE` options; a lone "" takes all headers away."""
    if pairs == ("",):
        return CLEAR
    headers = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise WrongData("--header must look like NAME=VALUE.")
        headers[name] = value
    return headers or None


def _recipients(text: str | None) -> list[str] | None:
    if text is None:
        return None
    found = [part.strip() for part in text.split(",") if part.strip()]
    if not found:
        raise WrongData("--addresses must name at least one recipient.")
    return found


def _chosen_filters(
    repo_ids: tuple[str, ...], results: tuple[str, ...], packages: tuple[str, ...], give_up_after: Any
) -> dict[str, Any]:
    """The filters that were given; those given as "" are taken away."""
    lists = {"repo_ids": repo_ids, "results": results, "packages": packages}
    named = {key: [value for value in values if value] for key, values in lists.items() if values}
    return {**named, **given(give_up_after=give_up_after)}


def _create(session: Session, kind: str, config: dict[str, Any], event_types: tuple[str, ...], **filters: Any) -> None:
    body = {"notifier_type_id": kind, "notifier_config": config, "event_types": list(event_types)}
    body |= _chosen_filters(**filters)
    answer = session.server.post(path_of("events"), body)
    name = answer.get("id") if isinstance(answer, dict) else None
    session.screen.succeeded(f"Event listener created: {name}" if name else "Event listener created.", answer)


def _update(
    session: Session, listener_id: str, config: dict[str, Any], event_types: tuple[str, ...], **filters: Any
) -> None:
    """Send what was given; with nothing given Pulp 2 said so and ended with 0, and so does this."""
    body = _chosen_filters(**filters)
    if config:
        body["notifier_config"] = config
    if event_types:
        body["event_types"] = list(event_types)
    if not body:
        session.screen.warn(NOTHING_TO_CHANGE)
        return
    answer = session.server.put(path_of("events", listener_id), body)
    session.screen.succeeded("Event listener updated.", answer)
