# SPDX-License-Identifier: Apache-2.0
"""The options of each kind of listener, declared once.

These declarations produce the options of `pulp-admin event listener KIND create`, the forms of the page, what the
REST API says about a kind, and the list of secrets. Pulpit's own kinds are declared here because the commands import
nothing else of the server; a plug-in declares its own in the same way.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from pulpit.errors import InvalidValue
from pulpit.text import shown

LONGEST_TEXT: Final = 4096
"""Characters of one value of an option."""
LONGEST_DOCUMENT: Final = 64 * 1024
MOST_VALUES: Final = 100
"""Values of an option that takes several."""
LARGEST_NUMBER: Final = 1_000_000_000
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}\Z")
_KIND: Final = re.compile(r"[a-z][a-z0-9-]{0,19}\Z")


class OptionType(StrEnum):
    """The type of a value in `notifier_config`, and its form on the command line."""

    TEXT = "text"
    NUMBER = "number"
    """A whole number from 1."""
    FLAG = "flag"
    """True or false."""
    LIST = "list"
    """Texts, separated by commas on the command line."""
    DOCUMENT = "document"
    """A text of several lines, which the command reads from a file."""
    PAIRS = "pairs"
    """An object of texts; on the command line a repeated `NAME=VALUE`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """One key of a listener's `notifier_config`."""

    name: str
    """Small letters, digits and `_`; the command's option is this with `-`, unless `flag` says otherwise."""
    help: str
    """A sentence that says what it does, and what applies without it."""
    type: OptionType = OptionType.TEXT
    required: bool = False
    secret: bool = False
    """Never shown again: masked with asterisks everywhere, and read from a file by the command."""
    choices: tuple[str, ...] = ()
    """The only allowed texts, if they are few."""
    label: str = ""
    """Label on the page; by default the name."""
    placeholder: str = ""
    """Placeholder of the page's empty field: an example, or what applies without it."""
    default: str = ""
    """What the page fills in for a new listener."""
    metavar: str = ""
    flag: str = ""
    """The command's option without dashes, if it is not the name."""
    given_openly: bool = False
    """Whether a secret may also be given on the command line, where other users see it, as in Pulp 2."""

    @property
    def option(self) -> str:
        """The command's option."""
        return f"--{self.flag or self.name.replace('_', '-')}"

    @property
    def option_of_file(self) -> str:
        """The option that names a file with the secret."""
        return f"{self.option}-file"

    @property
    def is_from_file(self) -> bool:
        """Whether the command reads it from a file; pairs are given one by one even when they are secret."""
        return self.secret and self.type is OptionType.TEXT

    def complaint(self, value: Any) -> str | None:
        """Say what is wrong with a value, as the end of a sentence that begins with the name; never quote a secret."""
        wrong: tuple[bool, str]
        match self.type:
            case OptionType.NUMBER:
                fits = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LARGEST_NUMBER
                wrong = not fits, f"a whole number from 1 to {LARGEST_NUMBER}"
            case OptionType.FLAG:
                wrong = not isinstance(value, bool), "true or false"
            case OptionType.LIST:
                wrong = not _are_texts(value), f"a list of 1 to {MOST_VALUES} texts"
            case OptionType.PAIRS:
                fits = isinstance(value, Mapping) and _are_texts([*value, *value.values()])
                wrong = not fits, f"an object of at most {MOST_VALUES // 2} names and texts"
            case OptionType.DOCUMENT:
                fits = isinstance(value, str) and len(value) <= LONGEST_DOCUMENT
                wrong = not fits, f"a text of at most {LONGEST_DOCUMENT // 1024} KiB"
            case OptionType.TEXT if self.choices:
                wrong = value not in self.choices, f"one of {', '.join(self.choices)}"
            case OptionType.TEXT:
                wrong = not _is_text(value), f"at most {LONGEST_TEXT} printable characters"
        return f"must be {wrong[1]}" if wrong[0] else None


@dataclass(frozen=True, kw_only=True, slots=True)
class ListenerKind:
    """A kind of listener and all its options."""

    id: str
    """At most 20 small letters, digits and `-`: the `notifier_type_id` of its listeners, and the name of the command.
    """
    summary: str
    """A sentence: `Listeners that publish to an AMQP broker.`"""
    options: tuple[Option, ...]
    shown: tuple[str, ...] = ()
    """The non-secret options that say where a listener's events go; by default the first option."""

    @property
    def names(self) -> tuple[str, ...]:
        """The keys that a configuration may have."""
        return tuple(option.name for option in self.options)

    @property
    def secrets(self) -> frozenset[str]:
        """The keys that are never shown again."""
        return frozenset(option.name for option in self.options if option.secret)

    def flaw(self) -> str | None:
        """Say what is wrong with the declaration itself, if anything."""
        if not _KIND.match(str(self.id)):
            return "its id is not 1 to 20 lowercase letters, digits and '-'"
        if not all(_NAME.match(str(option.name)) for option in self.options):
            return "an option's name is not lowercase letters, digits and '_'"
        flags = [name for option in self.options for name in (option.option, option.option_of_file)]
        if len(set(flags)) < len(flags) or set(flags) & TAKEN:
            return "two options have the same name, or one has a name that every listener has already"
        if any(option.secret and option.type not in (OptionType.TEXT, OptionType.PAIRS) for option in self.options):
            return "a secret is neither text nor pairs"
        if not {*self.shown} <= {*self.names} - self.secrets:
            return "`shown` names a secret or an unknown option"
        return None

    def check(self, config: Mapping[str, Any]) -> None:
        """Reject unknown keys, values of the wrong type, and missing required options.

        Raises:
            InvalidValue: `notifier_config`.
        """
        self.refuse_strangers(config)
        for option in self.options:
            value = config.get(option.name)
            if value is None or value == "":
                if option.required:
                    raise InvalidValue("notifier_config", f"{option.name} is missing.")
            elif complaint := option.complaint(value):
                raise InvalidValue("notifier_config", f"{option.name} {complaint}.")

    def refuse_strangers(self, config: Mapping[str, Any]) -> None:
        """Reject unknown keys.

        Raises:
            InvalidValue: `notifier_config`.
        """
        strangers = ", ".join(shown(str(name), 40) for name in sorted(config.keys() - set(self.names))[:10])
        if strangers:
            article = "an" if self.id[0] in "aeiou" or self.id == "http" else "a"
            reason = f"{article} {self.id} listener has no {strangers}; it has {', '.join(self.names) or 'no options'}."
            raise InvalidValue("notifier_config", reason)

    def target(self, config: Mapping[str, Any]) -> str:
        """Say where a listener's events go, for lists."""
        names = self.shown or tuple(name for name in self.names[:1] if name not in self.secrets)
        values = [config[name] for name in names if config.get(name)]
        return " ".join(", ".join(map(str, value)) if isinstance(value, list) else str(value) for value in values)


TAKEN: Final = frozenset(
    {
        "--event-type",
        "--give-up-after",
        "--help",
        "--json",
        "--listener-id",
        "--package",
        "--repo-id",
        "--result",
    }
)
"""Options that every listener has beside those of its kind."""


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_TEXT and value.isprintable()


def _are_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and 1 <= len(value) <= MOST_VALUES and all(map(_is_text, value))


_LANES: Final = Option(
    name="lanes",
    type=OptionType.NUMBER,
    help="Repositories served at a time; events of one stay in order. 1 keeps all in order.",
    label="Repositories at a time",
    placeholder="1",
)

AMQP: Final = ListenerKind(
    id="amqp",
    summary="Listeners that publish to an AMQP broker.",
    options=(
        Option(
            name="exchange",
            help='Topic exchange; without it, or with "", the server\'s own choice.',
            placeholder="the server's own choice",
        ),
        Option(
            name="routing_key",
            help="Subject of the messages, such as pulp.server.{event_type}.{repo_id}; {result} can be filled in too.",
            metavar="TEMPLATE",
            placeholder="pulp.server.{event_type}",
        ),
        Option(
            name="require_route",
            type=OptionType.FLAG,
            help="Try again what no queue takes (true or false).",
            label="Try again what no queue takes",
        ),
        Option(
            name="format",
            choices=("pulp", "cloudevents"),
            help="Headers over AMQP 0-9-1: as Pulp 2 had them, or those of CloudEvents too; pulp otherwise.",
            placeholder="pulp",
        ),
    ),
)

EMAIL: Final = ListenerKind(
    id="email",
    summary="Listeners that send e-mail.",
    shown=("addresses",),
    options=(
        Option(
            name="subject",
            required=True,
            help="Subject of the messages, with {event_type}, {repo_id} and {result} if you like.",
            default="[pulp] {event_type} {repo_id} {result}",
        ),
        Option(
            name="addresses",
            type=OptionType.LIST,
            required=True,
            help="Recipients, separated by commas.",
            label="Recipients",
            placeholder="releases@example.org",
        ),
        Option(name="digest", help="Gather events for so long, 1m to 1d.", metavar="DURATION", placeholder="15m"),
        _LANES,
    ),
)

HTTP: Final = ListenerKind(
    id="http",
    summary="Listeners that call a URL.",
    options=(
        Option(
            name="url",
            required=True,
            help="Where to POST the events to.",
            label="URL",
            placeholder="https://ci.example.org/hooks/pulpit",
        ),
        Option(
            name="secret",
            secret=True,
            given_openly=True,
            help="Signs the requests by the Standard Webhooks specification: whsec_…",
            label="Signing secret",
        ),
        Option(name="username", help="User for the receiver's Basic authentication.", label="User"),
        Option(
            name="password", secret=True, given_openly=True, help="Password for the receiver's Basic authentication."
        ),
        Option(
            name="headers",
            type=OptionType.PAIRS,
            secret=True,
            help="A further header.",
            label="Further headers",
            placeholder="X-Token=…",
            flag="header",
        ),
        Option(
            name="timeout",
            type=OptionType.NUMBER,
            help="Seconds for one request, 1 to 60; 15 otherwise.",
            placeholder="15",
        ),
        Option(
            name="concurrency",
            type=OptionType.NUMBER,
            help="Requests at a time, 1 to 64; above 1 gives up order.",
            label="Requests at a time",
            placeholder="1",
        ),
        _LANES,
        Option(
            name="batch",
            help="Post up to N events in one request, gathered for so long, such as 100/2s; 500 and 1h are the most.",
            metavar="N[/TIME]",
            label="Events in one request",
            placeholder="1",
        ),
        Option(
            name="redirects",
            type=OptionType.FLAG,
            help="Follow redirections (true or false).",
            label="Follow redirections",
        ),
        Option(
            name="format",
            choices=("pulp", "thin", "cloudevents", "cdevents", "slack", "mattermost", "discord", "teams", "text"),
            help="What is posted: Pulp's message, CloudEvents, CDEvents, which event it is, or a sentence for a chat; "
            "pulp otherwise.",
            placeholder="pulp",
        ),
        Option(
            name="template",
            type=OptionType.DOCUMENT,
            help="File with a Jinja2 template of the body, instead of a format.",
            label="Template of the body",
            placeholder='{"text": {{ headline|tojson }}}',
        ),
        Option(
            name="content_type",
            help="What the template makes; application/json otherwise.",
            metavar="TYPE",
            placeholder="application/json",
        ),
        Option(
            name="plain_signature",
            type=OptionType.FLAG,
            help="Also sign by X-Hub-Signature-256 and X-Signature, with the whole secret as key (true or false).",
            label="Sign for GitHub's and Flux's receivers too",
        ),
        Option(
            name="ca_path",
            help="Authorities to trust for https, a path on the server.",
            label="Authorities to trust",
        ),
        Option(
            name="client_cert_path",
            help="Certificate that the receiver asks for, with its key: a path on the server.",
            label="Client certificate",
        ),
        Option(
            name="proxy",
            help="Proxy to go through; none goes past the server's own.",
            metavar="URL",
            placeholder="http://proxy.example.org:3128",
        ),
        Option(name="proxy_username", help="User for the proxy.", label="Proxy user"),
        Option(name="proxy_password", secret=True, help="Password for the proxy."),
        Option(
            name="old_secret",
            secret=True,
            help="The last secret, which then signs too, while receivers change to the new one.",
            label="Last signing secret",
        ),
    ),
)

NATS: Final = ListenerKind(
    id="nats",
    summary="Listeners that publish to a stream of NATS JetStream.",
    options=(
        Option(
            name="stream", help="Stream, made when it is missing; the server's [nats] stream otherwise.", metavar="NAME"
        ),
        Option(
            name="subject",
            help="Subject of the messages, such as pulp.{repo_id}.{event_type}; pulp.server.{event_type} otherwise.",
            metavar="TEMPLATE",
            placeholder="pulp.server.{event_type}",
        ),
    ),
)

KAFKA: Final = ListenerKind(
    id="kafka",
    summary="Listeners that produce to a topic of Kafka.",
    options=(Option(name="topic", help="Topic; the server's [kafka] topic otherwise.", metavar="NAME"),),
)

BUILT_IN: Final[Mapping[str, ListenerKind]] = {kind.id: kind for kind in (AMQP, EMAIL, HTTP, KAFKA, NATS)}
"""The kinds that Pulpit itself brings."""
