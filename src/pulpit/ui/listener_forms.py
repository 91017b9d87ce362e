"""The forms of listeners, generated from each kind's options, and the equivalent command of `pulp-admin`.

Only the API validates values; a form only converts texts into the API's JSON.
"""

import shlex
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from pulpit import intervals
from pulpit.api.redaction import masked
from pulpit.errors import InvalidValue
from pulpit.listener_options import ListenerKind, Option, OptionType
from pulpit.store.listeners import GIVE_UP_AFTER, Listener
from pulpit.ui.visits import Form

CLEAR: Final = "clear."
"""Prefix of the checkbox that removes a stored secret."""


class Kind(Enum):
    TEXT = "text"
    NUMBER = "number"
    FLAG = "flag"
    LINES = "lines"
    """Several values, one per line, each an option of its own."""
    LIST = "list"
    """Several values, one per line, joined by commas in one option."""
    SECRET = "secret"  # noqa: S105 - a kind of field
    PAIRS = "pairs"
    """`NAME=VALUE`, one per line."""
    CHOICE = "choice"
    DOCUMENT = "document"
    """A text of several lines, which the command reads from a file."""

    @property
    def is_long(self) -> bool:
        return self in (Kind.LINES, Kind.LIST, Kind.PAIRS, Kind.DOCUMENT)


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
    choices: tuple[str, ...] = ()
    is_secret: bool = False


WANTS: Final = (
    Field(
        name="event_types",
        label="Event types",
        option="--event-type",
        kind=Kind.LINES,
        required=True,
        default="*",
        hint="One per line: a type, a pattern such as repo.*.finish, * for Pulp 2's types and those of others, "
        "# for everything.",
    ),
    Field(
        name="repo_ids",
        label="Repositories",
        option="--repo-id",
        kind=Kind.LINES,
        placeholder="fedora-*",
        hint="Patterns, one per line; without any, all.",
    ),
    Field(
        name="results",
        label="Results",
        option="--result",
        kind=Kind.LINES,
        placeholder="failed",
        hint="Words, one per line; without any, all.",
    ),
    Field(
        name="packages",
        label="Packages",
        option="--package",
        kind=Kind.LINES,
        placeholder="openssl*",
        hint="Patterns, one per line: only what has changed such a package.",
    ),
    Field(
        name="give_up_after",
        label="Give up after",
        option="--give-up-after",
        placeholder=intervals.span_text(GIVE_UP_AFTER),
        hint="Then an event becomes a dead letter: 90s, 15m, 12h, 3d.",
    ),
)
"""The fields of all kinds: filters, and how long an event is tried."""


def fields_of(kind: ListenerKind) -> tuple[Field, ...]:
    """Return the fields of a kind's configuration, from its options."""
    return tuple(map(_field, kind.options))


def _field(option: Option) -> Field:
    return Field(
        name=option.name,
        label=option.label or option.name.replace("_", " ").capitalize(),
        option=option.option_of_file if option.is_from_file else option.option,
        kind=Kind.CHOICE if option.choices else _KINDS[option.is_from_file, option.type],
        hint=option.help,
        placeholder=option.placeholder,
        required=option.required,
        default=option.default,
        wide=option.required and option.type is OptionType.TEXT,
        choices=option.choices,
        is_secret=option.secret,
    )


_KINDS: Final = {
    (True, OptionType.TEXT): Kind.SECRET,
    (False, OptionType.TEXT): Kind.TEXT,
    (False, OptionType.NUMBER): Kind.NUMBER,
    (False, OptionType.FLAG): Kind.FLAG,
    (False, OptionType.LIST): Kind.LIST,
    (False, OptionType.PAIRS): Kind.PAIRS,
    (False, OptionType.DOCUMENT): Kind.DOCUMENT,
}
"""By whether it is a secret that the command reads from a file, and by type."""


def texts_of(listener: Listener, secret: Collection[str]) -> dict[str, str]:
    """Return the values of a listener's form; secrets are never shown again."""
    shown = masked({key: value for key, value in listener.notifier_config.items() if key not in secret}, ())
    texts = {key: _text(value) for key, value in shown.items()}
    return texts | {
        "event_types": "\n".join(listener.event_types),
        "repo_ids": "\n".join(listener.repo_ids or ()),
        "results": "\n".join(listener.results or ()),
        "packages": "\n".join(listener.packages or ()),
        "give_up_after": intervals.span_text(listener.give_up_after),
    }


def wants(form: Form) -> dict[str, Any]:
    """Parse event types and filters for the API; an empty field removes a filter.

    Raises:
        InvalidValue: the time to give up after is invalid.
    """
    text = form.text("give_up_after")
    seconds = intervals.span_seconds(text) if text else None
    if text and seconds is None:
        raise InvalidValue("give_up_after", f"{text!r} is no time such as 90s, 15m, 12h or 3d.")
    lists = {name: form.lines(name) for name in ("event_types", "repo_ids", "results", "packages")}
    return {**lists, "give_up_after": seconds}


def config(kind: ListenerKind, form: Form) -> dict[str, Any]:
    """Parse the configuration for the API: null removes a value, and an empty secret is unchanged."""
    values: dict[str, Any] = {}
    for field in fields_of(kind):
        value = _value(field, form)
        if value is None and field.is_secret and not form.text(CLEAR + field.name):
            continue
        values[field.name] = value
    return values


def command(kind: str, listener_id: str = "") -> str:
    """Return the command without the options for the form's fields."""
    if listener_id:
        return f"pulp-admin event listener {kind} update --listener-id {shlex.quote(listener_id)}"
    return f"pulp-admin event listener {kind} create"


def _value(field: Field, form: Form) -> Any:
    """Return the value of a field; `None` if it is empty."""
    match field.kind:
        case Kind.FLAG:
            return True if form.text(field.name) else None
        case Kind.LINES | Kind.LIST:
            return form.lines(field.name) or None
        case Kind.PAIRS:
            return _pairs(field.name, form.lines(field.name)) or None
        case Kind.NUMBER:
            text = form.text(field.name)
            return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text or None  # noqa: PLR2004 - digits
        case Kind.SECRET | Kind.DOCUMENT:
            return form.verbatim(field.name) or None
    return form.text(field.name) or None


def _pairs(field_name: str, lines: list[str]) -> dict[str, str]:
    pairs = {}
    for line in lines:
        name, equals, value = line.partition("=")
        if not name.strip() or not equals:
            raise InvalidValue(field_name, "each line must look like NAME=VALUE.")
        pairs[name.strip()] = value.strip()
    return pairs


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(map(str, value))
    if isinstance(value, dict):
        return "\n".join(f"{name}={text}" for name, text in value.items())
    return "" if value is None or value is False else str(value)
