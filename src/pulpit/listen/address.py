"""Where the broker is and who asks, from the option, the environment or a file."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

import pika

from pulpit.cleartext import check_password_is_safe
from pulpit.errors import ConfigurationError
from pulpit.listen.text import neutral

DEFAULT_HOST: Final = "localhost"
PORTS: Final = {"amqp": 5672, "amqps": 5671}
URL_VARIABLE: Final = "PULPIT_AMQP_URL"
ALLOW_PLAIN: Final = "--allow-plain-without-tls"

_MAXIMUM_URL_FILE: Final = 4096
_CONNECT_SECONDS: Final = 10.0
_HEARTBEAT_SECONDS: Final = 30


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


def choose(
    *,
    url: str | None,
    url_file: Path | None,
    host: str | None,
    port: int | None,
    environment: Mapping[str, str],
    allow_plain: bool = False,
) -> Address:
    """Take the URL from the option, else the file, else the environment; host and port given alone change that one.

    Raises:
        ConfigurationError: what was given is no AMQP URL, or the file cannot be read or is open to others, or the
            password would travel unencrypted to another machine and `allow_plain` does not permit it.
    """
    source, address = _named(url, url_file, environment)
    address = replace(address, host=host or address.host, port=port or address.port)
    source = "--address" if host else source
    check_password_is_safe(source, address.host, tls=address.tls, allowed=allow_plain, permission=ALLOW_PLAIN)
    return address


def _named(url: str | None, url_file: Path | None, environment: Mapping[str, str]) -> tuple[str, Address]:
    if url is not None:
        return "--url", parse(url, "--url")
    if url_file is not None:
        return "--url-file", parse(_private_line(url_file), "--url-file")
    if environment.get(URL_VARIABLE):
        return URL_VARIABLE, parse(environment[URL_VARIABLE], URL_VARIABLE)
    return "--address", Address()


def _private_line(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            mode = path.stat().st_mode
            line = file.readline(_MAXIMUM_URL_FILE).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError("--url-file", f"{path} cannot be read ({error})") from None
    if mode & 0o077:
        raise ConfigurationError("--url-file", f"{path} can be read by others; run: chmod 600 {path}")
    return line


def parameters(address: Address, ca_path: Path | None) -> pika.ConnectionParameters:
    """What pika wants to know; certificates are checked against `ca_path`, or else the system's authorities.

    Raises:
        ConfigurationError: `ca_path` holds no certificates.
    """
    return pika.ConnectionParameters(
        host=address.host,
        port=address.port,
        virtual_host=address.virtual_host,
        credentials=pika.PlainCredentials(address.user, address.password),
        ssl_options=pika.SSLOptions(_trust(ca_path), address.host) if address.tls else None,
        heartbeat=_HEARTBEAT_SECONDS,
        socket_timeout=_CONNECT_SECONDS,
        stack_timeout=2 * _CONNECT_SECONDS,
        blocked_connection_timeout=None,
        client_properties={"connection_name": "pulpit listen"},
    )


def _trust(ca_path: Path | None) -> ssl.SSLContext:
    try:
        if ca_path is not None and ca_path.is_dir():
            return ssl.create_default_context(capath=ca_path)
        return ssl.create_default_context(cafile=ca_path)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError("--ca-path", f"{ca_path} holds no certificates ({error})") from None
