"""Where brokers are and who asks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

from pulpit.amqp.amqp10 import address as address10
from pulpit.errors import ConfigurationError
from pulpit.net.cleartext import check_password_is_safe
from pulpit.subscriber.message import neutral

DEFAULT_HOST: Final = "localhost"
PORTS: Final = {"amqp": 5672, "amqps": 5671}
SCHEMES: Final = (*PORTS, *address10.SCHEMES)


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """A broker, as an AMQP URL names it; the password stays out of every text made from it."""

    host: str = DEFAULT_HOST
    port: int = PORTS["amqp"]
    tls: bool = False
    virtual_host: str = "/"
    user: str | None = None
    """Null is whom the certificate names, if one is shown; else `guest` over AMQP 0-9-1, and nobody over 1.0."""
    password: str = field(default="guest", repr=False)
    speaks_10: bool = False
    """Whether AMQP 1.0 is spoken there, and not 0-9-1."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        scheme = ("amqps" if self.tls else "amqp") + ("+10" if self.speaks_10 else "")
        return neutral(f"{scheme}://{host}:{self.port}")


def check_safe(address: Address, source: str, *, allowed: bool, permission: str) -> None:
    """Let a password go only where nobody else reads it (`cleartext`); over AMQP 1.0 there may be none to send.

    Raises:
        ConfigurationError: it would travel unencrypted to another machine.
    """
    if address.user is not None or not address.speaks_10:
        check_password_is_safe(source, address.host, tls=address.tls, allowed=allowed, permission=permission)


def parse_all(urls: str | Sequence[str], source: str) -> tuple[Address, ...]:
    """Read several, given as one text with commas between, or one by one.

    Raises:
        ConfigurationError: one of them is no URL, or there is none.
    """
    texts = urls.split(",") if isinstance(urls, str) else urls
    if not texts:
        raise ConfigurationError(source, "must name a broker")
    return tuple(parse(text.strip(), source) for text in texts)


def parse(url: str, source: str) -> Address:
    """Read `amqp[s]://[user[:password]@]host[:port][/virtual host]`, or `amqp[s]+10://…` for AMQP 1.0.

    Pulp 2's `tcp://`, `ssl://` and `qpid://` mean AMQP 1.0 too.

    Raises:
        ConfigurationError: the URL is none of that; `source` is named, the URL itself (it may hold a password) is not.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(source, f"is no URL ({error})") from None
    if parts.scheme in address10.SCHEMES:
        return _of_10(address10.parse(url, source))
    if parts.scheme not in PORTS:
        raise ConfigurationError(source, f"must begin with {', '.join(f'{scheme}://' for scheme in SCHEMES)}")
    return Address(
        host=parts.hostname or DEFAULT_HOST,
        port=PORTS[parts.scheme] if port is None else port,
        tls=parts.scheme == "amqps",
        virtual_host=unquote(parts.path[1:]) or "/",
        **_credentials(parts),
    )


def _of_10(named: address10.Address) -> Address:
    return Address(
        host=named.host,
        port=named.port,
        tls=named.tls,
        virtual_host=named.virtual_host or "/",
        user=named.user,
        password=named.password,
        speaks_10=True,
    )


def _credentials(parts: SplitResult) -> dict[str, Any]:
    given = {"user": parts.username, "password": parts.password}
    return {name: unquote(value) for name, value in given.items() if value is not None}
