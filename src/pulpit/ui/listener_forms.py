"""The forms of listeners: one for each kind of notifier, and the command of `pulp-admin` that does the same.

Which values can work is judged by the API alone; a form only turns texts into the JSON that the API takes.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from pulpit import intervals
from pulpit.api.redaction import masked
from pulpit.errors import InvalidValue
from pulpit.store.listeners import GIVE_UP_AFTER, Listener
from pulpit.ui.visits import Form

CLEAR: Final = "clear."
"""Begins the name of the box that takes a kept secret away."""


class Kind(Enum):
    TEXT = "text"
    NUMBER = "number"
    FLAG = "flag"
    LINES = "lines"
    """Several values, one a line, each an option of its own."""
    LIST = "list"
    """Several values, one a line, joined by commas in one option."""
    SECRET = "secret"  # noqa: S105 - a kind of field
    HEADERS = "headers"
    """`NAME=VALUE`, one a line; kept like a secret."""

    @property
    def is_secret(self) -> bool:
        return self in (Kind.SECRET, Kind.HEADERS)

    @property
    def is_long(self) -> bool:
        return self in (Kind.LINES, Kind.LIST, Kind.HEADERS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    name: str
    label: str
    option: str
    kind: Kind = Kind.TEXT
    hint: str = ""
    placeholder: str = ""
    required: bool = False
    default: str = ""
    wide: bool = False


WANTS: Final = (
    Field(
        name="event_types",
        label="Event types",
        option="--event-type",
        kind=Kind.LINES,
        required=True,
        default="*",
        hint="One a line: a type, a pattern such as repo.*.finish, * for Pulp 2's types and those of others, "
        "# for everything.",
    ),
    Field(
        name="repo_ids",
        label="Repositories",
        option="--repo-id",
        kind=Kind.LINES,
        placeholder="fedora-*",
        hint="Patterns, one a line; without any, all.",
    ),
    Field(
        name="results",
        label="Results",
        option="--result",
        kind=Kind.LINES,
        placeholder="failed",
        hint="Words, one a line; without any, all.",
    ),
    Field(
        name="packages",
        label="Packages",
        option="--package",
        kind=Kind.LINES,
        placeholder="openssl*",
        hint="Patterns, one a line: only what has changed such a package.",
    ),
    Field(
        name="give_up_after",
        label="Give up after",
        option="--give-up-after",
        placeholder=intervals.span_text(GIVE_UP_AFTER),
        hint="Then an event becomes a dead letter: 90s, 15m, 12h, 3d.",
    ),
)
"""What all kinds have: which events are wanted, and for how long they are tried."""

CONFIGS: Final[Mapping[str, tuple[Field, ...]]] = {
    "amqp": (
        Field(name="exchange", label="Exchange", option="--exchange", placeholder="the server's own choice"),
        Field(
            name="routing_key",
            label="Routing key",
            option="--routing-key",
            placeholder="pulp.server.{event_type}",
            hint="May hold {event_type}, {repo_id} and {result}.",
        ),
        Field(
            name="require_route",
            label="Try again what no queue takes",
            option="--require-route",
            kind=Kind.FLAG,
        ),
        Field(
            name="format",
            label="Format",
            option="--format",
            placeholder="pulp",
            hint="cloudevents adds the headers of CloudEvents over AMQP 0-9-1.",
        ),
    ),
    "http": (
        Field(
            name="url",
            label="URL",
            option="--url",
            required=True,
            wide=True,
            placeholder="https://ci.example.org/hooks/pulpit",
        ),
        Field(
            name="secret",
            label="Signing secret",
            option="--secret-file",
            kind=Kind.SECRET,
            hint="Signs each request by the Standard Webhooks specification: whsec_…",
        ),
        Field(name="username", label="User", option="--username", hint="For Basic authentication."),
        Field(name="password", label="Password", option="--password-file", kind=Kind.SECRET),
        Field(
            name="headers",
            label="Further headers",
            option="--header",
            kind=Kind.HEADERS,
            placeholder="X-Token=…",
            hint="NAME=VALUE, one a line.",
        ),
        Field(name="timeout", label="Timeout", option="--timeout", kind=Kind.NUMBER, placeholder="15", hint="Seconds."),
        Field(
            name="concurrency",
            label="Requests at a time",
            option="--concurrency",
            kind=Kind.NUMBER,
            placeholder="1",
            hint="Above 1 gives up order.",
        ),
        Field(
            name="lanes",
            label="Repositories at a time",
            option="--lanes",
            kind=Kind.NUMBER,
            placeholder="1",
            hint="Above 1, one that fails delays itself alone.",
        ),
        Field(name="redirects", label="Follow redirections", option="--redirects", kind=Kind.FLAG),
        Field(
            name="format",
            label="Format",
            option="--format",
            placeholder="pulp",
            hint="thin, slack, mattermost, discord, teams or text post something else.",
        ),
        Field(
            name="plain_signature",
            label="Sign for GitHub's and Flux's receivers too",
            option="--plain-signature",
            kind=Kind.FLAG,
        ),
        Field(name="ca_path", label="Authorities to trust", option="--ca-path", hint="A path on the server."),
        Field(
            name="proxy",
            label="Proxy",
            option="--proxy",
            placeholder="http://proxy.example.org:3128",
            hint="none goes past the server's own.",
        ),
        Field(name="proxy_username", label="Proxy user", option="--proxy-username"),
        Field(name="proxy_password", label="Proxy password", option="--proxy-password-file", kind=Kind.SECRET),
        Field(
            name="old_secret",
            label="Last signing secret",
            option="--old-secret-file",
            kind=Kind.SECRET,
            hint="Signs too, while receivers change to the new one.",
        ),
    ),
    "email": (
        Field(
            name="subject",
            label="Subject",
            option="--subject",
            required=True,
            default="[pulp] {event_type} {repo_id} {result}",
            wide=True,
            hint="May hold {event_type}, {repo_id} and {result}.",
        ),
        Field(
            name="addresses",
            label="Recipients",
            option="--addresses",
            kind=Kind.LIST,
            required=True,
            placeholder="releases@example.org",
            hint="One a line.",
        ),
        Field(name="digest", label="Digest", option="--digest", placeholder="15m", hint="Gathers events for so long."),
        Field(
            name="lanes",
            label="Repositories at a time",
            option="--lanes",
            kind=Kind.NUMBER,
            placeholder="1",
            hint="Above 1, one that fails delays itself alone.",
        ),
    ),
}
"""The configuration of each kind of notifier."""


def texts_of(listener: Listener) -> dict[str, str]:
    """A listener as the texts of its form; secrets are never shown again."""
    secret = {field.name for field in CONFIGS.get(listener.notifier_type_id, ()) if field.kind.is_secret}
    shown = masked({key: value for key, value in listener.notifier_config.items() if key not in secret}, ())
    texts = {key: _text(value) for key, value in shown.items()}
    return texts | {
        "event_types": "\n".join(listener.event_types),
        "repo_ids": "\n".join(listener.repo_ids or ()),
        "results": "\n".join(listener.results or ()),
        "packages": "\n".join(listener.packages or ()),
        "give_up_after": intervals.span_text(listener.give_up_after),
    }


def kept_secrets(listener: Listener) -> set[str]:
    """The names of those fields whose values are kept and not shown."""
    fields = CONFIGS.get(listener.notifier_type_id, ())
    return {field.name for field in fields if field.kind.is_secret and listener.notifier_config.get(field.name)}


def wants(form: Form) -> dict[str, Any]:
    """Event types and filters as the API takes them; what is empty takes a filter away.

    Raises:
        InvalidValue: the time to give up after is none.
    """
    text = form.text("give_up_after")
    seconds = intervals.span_seconds(text) if text else None
    if text and seconds is None:
        raise InvalidValue("give_up_after", f"{text!r} is no time such as 90s, 15m, 12h or 3d.")
    lists = {name: form.lines(name) for name in ("event_types", "repo_ids", "results", "packages")}
    return {**lists, "give_up_after": seconds}


def config(kind: str, form: Form) -> dict[str, Any]:
    """The configuration as the API takes it: null takes a value away, and a secret that is not given stays."""
    values: dict[str, Any] = {}
    for field in CONFIGS[kind]:
        value = _value(field, form)
        if value is None and field.kind.is_secret and not form.text(CLEAR + field.name):
            continue
        values[field.name] = value
    return values


def command(kind: str, listener_id: str = "") -> str:
    """The command without the options that the form's fields stand for."""
    if listener_id:
        return f"pulp-admin event listener {kind} update --listener-id {shlex.quote(listener_id)}"
    return f"pulp-admin event listener {kind} create"


def _value(field: Field, form: Form) -> Any:
    """What a field says; `None` if it is empty."""
    match field.kind:
        case Kind.FLAG:
            return True if form.text(field.name) else None
        case Kind.LINES | Kind.LIST:
            return form.lines(field.name) or None
        case Kind.HEADERS:
            return _headers(form.lines(field.name)) or None
        case Kind.NUMBER:
            text = form.text(field.name)
            return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text or None  # noqa: PLR2004 - digits
        case Kind.SECRET:
            return form.verbatim(field.name) or None
    return form.text(field.name) or None


def _headers(lines: list[str]) -> dict[str, str]:
    headers = {}
    for line in lines:
        name, equals, value = line.partition("=")
        if not name.strip() or not equals:
            raise InvalidValue("headers", "each line must look like NAME=VALUE.")
        headers[name.strip()] = value.strip()
    return headers


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(map(str, value))
    return "" if value is None or value is False else str(value)
