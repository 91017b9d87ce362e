"""Where an AMQP 1.0 broker is, from a URL."""

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from pulpit.errors import ConfigurationError

SCHEMES: Final = {
    "amqp+10": False,
    "amqps+10": True,
    "tcp": False,
    "ssl": True,
    "qpid": False,
}
"""Whether a scheme means TLS; the last three are Pulp 2's, and meant Qpid."""
PLAIN_PORT, TLS_PORT = 5672, 5671
DEFAULT_HOST: Final = "localhost"


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """A broker; the password stays out of every text made from it."""

    host: str = DEFAULT_HOST
    port: int = PLAIN_PORT
    tls: bool = False
    user: str | None = None
    password: str = field(default="", repr=False)
    virtual_host: str | None = None
    """The URL's path: RabbitMQ's virtual host."""

    def __str__(self) -> str:
        """Host and port, for people."""
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def speaks_10(url: str) -> bool:
    """Whether a URL means AMQP 1.0 by its scheme."""
    return urlsplit(url.strip()).scheme in SCHEMES


def parse(url: str, source: str, *, schemes: dict[str, bool] | None = None) -> Address:
    """Read `amqp[s]+10://[user[:password]@]host[:port][/virtual host]`, or one with a scheme of Pulp 2.

    Args:
        url: the URL.
        source: the key or option that it came from, to be named in a complaint.
        schemes: other schemes, and whether they mean TLS, such as `amqp` where it is known that 1.0 is meant.

    Raises:
        ConfigurationError: it is none of that; the URL itself (it may hold a password) is not shown.
    """
    known = {**SCHEMES, **(schemes or {})}
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(source, f"is no URL ({error}).") from None
    if parts.scheme not in known:
        raise ConfigurationError(source, f"must begin with {', '.join(f'{one}://' for one in known)}.")
    tls = known[parts.scheme]
    return Address(
        host=parts.hostname or DEFAULT_HOST,
        port=port or (TLS_PORT if tls else PLAIN_PORT),
        tls=tls,
        user=None if parts.username is None else unquote(parts.username),
        password=unquote(parts.password or ""),
        virtual_host=unquote(parts.path[1:]) or None,
    )
