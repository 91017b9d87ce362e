"""Where brokers are and who asks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from pulpit.errors import ConfigurationError
from pulpit.subscriber.message import neutral

DEFAULT_HOST: Final = "localhost"
PORTS: Final = {"amqp": 5672, "amqps": 5671}


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """A broker, as an AMQP URL names it; the password stays out of every text made from it."""

    host: str = DEFAULT_HOST
    port: int = PORTS["amqp"]
    tls: bool = False
    virtual_host: str = "/"
    user: str = "guest"
    password: str = field(default="guest", repr=False)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return neutral(f"{'amqps' if self.tls else 'amqp'}://{host}:{self.port}")


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
    """Read `amqp[s]://[user[:password]@]host[:port][/virtual host]`.

    Raises:
        ConfigurationError: the URL is none of that; `source` is named, the URL itself (it may hold a password) is not.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(source, f"is no URL ({error})") from None
    if parts.scheme not in PORTS:
        raise ConfigurationError(source, "must begin with amqp:// or amqps://")
    return Address(
        host=parts.hostname or DEFAULT_HOST,
        port=PORTS[parts.scheme] if port is None else port,
        tls=parts.scheme == "amqps",
        virtual_host=unquote(parts.path[1:]) or "/",
        **_credentials(parts),
    )


def _credentials(parts: SplitResult) -> dict[str, str]:
    given = {"user": parts.username, "password": parts.password}
    return {name: unquote(value) for name, value in given.items() if value is not None}
