# SPDX-License-Identifier: Apache-2.0
"""Broker addresses and credentials: the only parser of broker URLs, for both versions of AMQP.

The parsed values are passed on and never assembled into a URL again, so nothing parses it differently. A URL may
contain a password, so no error message quotes any part of one.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from pulpit.errors import ConfigurationError
from pulpit.net.addresses import is_loopback
from pulpit.text import host_and_port

DEFAULT_HOST: Final = "localhost"
PLAIN_PORT, TLS_PORT = 5672, 5671
SCHEMES: Final[Mapping[str, bool]] = {
    "amqp": False,
    "amqps": True,
    "amqp+10": False,
    "amqps+10": True,
    "tcp": False,
    "ssl": True,
    "qpid": False,
}
"""Whether a scheme means TLS."""
TRANSPORTS: Final[Mapping[str, bool]] = {"amqp091": False, "rabbitmq": False, "amqp10": True, "qpid": True}
"""Names of the versions of AMQP, and whether they mean 1.0; `rabbitmq` and `qpid` are Pulp 2's."""

_ONLY_091: Final = frozenset({"amqp", "amqps"})
"""Unless a transport says otherwise."""
_ONLY_10: Final = frozenset({"amqp+10", "amqps+10", "qpid"})
_ESCAPES: Final = "in a user or password write / as %2F, : as %3A, @ as %40, ? as %3F, # as %23, % as %25 and , as %2C"
_LONGEST_HEARTBEAT: Final = 65_535
"""Seconds, a short integer (AMQP 0-9-1, `connection.tune`)."""
_LONGEST_TIMEOUT: Final = 600_000
_OF_PIKA: Final = frozenset(
    {
        "backpressure_detection",
        "blocked_connection_timeout",
        "channel_max",
        "client_properties",
        "connection_attempts",
        "frame_max",
        "locale",
        "retry_delay",
        "socket_timeout",
        "stack_timeout",
        "tcp_options",
    }
)
"""Query parameters for other clients, which Pulpit ignores because it decides them itself."""
_OF_TLS: Final = frozenset(
    {"cacertfile", "certfile", "keyfile", "password", "server_name_indication", "ssl_options", "verify"}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokerAddress:
    """A broker; no text made from it contains the password."""

    host: str = DEFAULT_HOST
    port: int = PLAIN_PORT
    tls: bool = False
    speaks_10: bool = False
    """Whether AMQP 1.0 is spoken there, instead of 0-9-1."""
    virtual_host: str = "/"
    user: str | None = None
    """Null is the client certificate's name, if there is one; else `guest` over AMQP 0-9-1, and anonymous over 1.0."""
    password: str = field(default="", repr=False)
    heartbeat: int | None = None
    """Seconds; null is the connection's default."""
    connect_timeout: float | None = None
    """Seconds; null is the connection's default."""

    @property
    def place(self) -> str:
        """Host and port, for messages."""
        return host_and_port(self.host, self.port)

    def __str__(self) -> str:
        return f"{'amqps' if self.tls else 'amqp'}{'+10' if self.speaks_10 else ''}://{self.place}"

    def check_password_is_safe(self, source: str, *, allowed: bool, permission: str) -> None:
        """Allow a password only over TLS, to this machine, or with the operator's explicit permission.

        PLAIN sends it in clear. Over AMQP 1.0 there may be no password; over 0-9-1 the default user is guest.

        Args:
            source: the key or option that names the broker.
            allowed: the value of `permission`.
            permission: the key or option that permits it anyway.

        Raises:
            ConfigurationError: it would be sent unencrypted to another machine.
        """
        anonymous = self.speaks_10 and self.user is None
        if anonymous or self.tls or allowed or is_loopback(self.host):
            return
        way = f"use TLS (amqps://), or set {permission} to allow it"
        raise ConfigurationError(source, f"the password would travel to {self.host} unencrypted; {way}.")


def parse_all(
    urls: str | Sequence[str], source: str, *, transport: str = "", user: str = "", password: str | None = None
) -> tuple[BrokerAddress, ...]:
    """Parse several URLs, separated by commas in one text, or as a sequence; the arguments are those of `parse`.

    Raises:
        ConfigurationError: one of them is invalid, or there is none.
    """
    texts = urls.split(",") if isinstance(urls, str) else urls
    if not texts:
        raise ConfigurationError(source, "it must name a broker.")
    found = []
    for number, text in enumerate(texts, 1):
        try:
            found.append(parse(text, source, transport=transport, user=user, password=password))
        except ConfigurationError as error:
            place = f"address {number} of {len(texts)}: " if len(texts) > 1 else ""
            raise ConfigurationError(source, place + error.reason) from None
    return tuple(found)


def parse(url: str, source: str, *, transport: str = "", user: str = "", password: str | None = None) -> BrokerAddress:
    """Parse `amqp[s]://[user:password@]host[:port][/virtual host]`, or `amqp[s]+10://…` for AMQP 1.0.

    Pulp 2's `tcp://`, `ssl://` and `qpid://` mean AMQP 1.0 too, unless a transport says otherwise.

    Args:
        url: the URL; an absent host is this machine, an absent or empty path is the virtual host `/`.
        source: the key or option that it came from, for messages.
        transport: one of `TRANSPORTS`, or empty to decide by the scheme.
        user: for a URL without one.
        password: for a user without one.

    Raises:
        ConfigurationError: the URL is invalid; no part of it is quoted.
    """
    parts, port = _split(url.strip(), source)
    login, at, _ = parts.netloc.rpartition("@")
    named, colon, own = login.partition(":")
    if at and not parts.hostname:
        raise ConfigurationError(source, f"there is a user and no host behind the @; {_ESCAPES}.")
    if colon and not named:
        raise ConfigurationError(source, "there is a password and no user before it.")
    who = _decoded(named, source) or user or None
    secret = _decoded(own, source) if colon else password
    if who is not None and secret is None:
        raise ConfigurationError(source, "there is a user without a password; write user:password@host.")
    tls = SCHEMES[parts.scheme]
    speaks_10 = TRANSPORTS[transport] if transport else parts.scheme not in _ONLY_091
    if parts.scheme in _ONLY_10 and not speaks_10:
        raise ConfigurationError(source, f"it means AMQP 1.0, and the transport is {transport}.")
    return replace(
        _tuned(parts.query, source),
        host=_host(parts, source),
        port=port or (TLS_PORT if tls else PLAIN_PORT),
        tls=tls,
        speaks_10=speaks_10,
        virtual_host=_decoded(parts.path[1:], source) or "/",
        user=who,
        password=(secret or "") if who is not None else "",
    )


def _split(url: str, source: str) -> tuple[SplitResult, int | None]:
    """Split a URL into its parts, and parse its port."""
    if url.partition("://")[0].lower() not in SCHEMES or "://" not in url:
        raise ConfigurationError(source, f"it must begin with {' or '.join(f'{name}://' for name in SCHEMES)}.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = SplitResult("", "", "", "", ""), 0
    misplaced = "@" in parts.path or "@" in parts.query or "#" in url  # probably the rest of a password
    if port == 0 or misplaced or re.search(r"[\x00-\x1f\x7f]", url):
        raise ConfigurationError(source, f"it cannot be read as a URL; {_ESCAPES}.")
    return parts, port


def _host(parts: SplitResult, source: str) -> str:
    host = _decoded(parts.hostname or DEFAULT_HOST, source)
    try:
        usable = ":" in host or bool(host.encode("idna"))
    except UnicodeError:
        usable = False
    if not usable or not host.isprintable() or set(host) & set(" /\\?#@<>\"'"):
        raise ConfigurationError(source, "its host is neither a name nor an address.")
    return host


def _tuned(query: str, source: str) -> BrokerAddress:
    """Return an address with RabbitMQ's query parameters (https://www.rabbitmq.com/docs/uri-query-parameters)."""
    found = BrokerAddress()
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name == "heartbeat":
            found = replace(found, heartbeat=_whole(name, text, 0, _LONGEST_HEARTBEAT, source))
        elif name == "connection_timeout":
            found = replace(found, connect_timeout=_whole(name, text, 1, _LONGEST_TIMEOUT, source) / 1000)
        elif name in _OF_TLS:
            raise ConfigurationError(source, f"the parameter {name} is not for a URL; name files in keys of their own.")
        elif name not in _OF_PIKA:
            sentence = "behind the ? stands a parameter that is unknown here; there are heartbeat (seconds) and "
            raise ConfigurationError(source, f"{sentence}connection_timeout (milliseconds); {_ESCAPES}.")
    return found


def _whole(name: str, text: str, least: int, most: int, source: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text) or not least <= int(text) <= most:
        raise ConfigurationError(source, f"the parameter {name} must be a whole number from {least} to {most}.")
    return int(text)


def _decoded(text: str, source: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ConfigurationError(source, f"its percent-encoding is not that of UTF-8; {_ESCAPES}.") from None
