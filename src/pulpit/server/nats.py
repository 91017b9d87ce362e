"""Connection settings for the NATS servers of `[nats]`: addresses, TLS, and the login."""

from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from pulpit.errors import ConfigurationError, InvalidValue
from pulpit.net.addresses import is_loopback
from pulpit.net.config_files import read_secret, section_password
from pulpit.net.tls import section_context
from pulpit.settings import NatsSettings

if TYPE_CHECKING:
    from pulpit.delivery.notifiers.nats_connection import NatsServers

_SERVERS: Final = "[nats] servers"
_CREDENTIALS_FILE: Final = "[nats] credentials_file"
_CREDENTIALS: Final = ("BEGIN NATS USER JWT", "BEGIN USER NKEY SEED")
"""Markers that a credentials file must contain."""
_DEFAULT_PORT: Final = 4222


def nats_servers(section: NatsSettings) -> "NatsServers":
    """Read the section, and the files that it names.

    Raises:
        ConfigurationError: an address or a file is invalid, the library is missing, or a password would be sent
            unencrypted to another machine.
    """
    try:
        from pulpit.delivery.notifiers.nats_connection import NatsServers  # noqa: PLC0415 - an extra
        from pulpit.delivery.notifiers.nats_jetstream import check_stream  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        raise ConfigurationError(_SERVERS, "nats-py is not there; pip install 'pulpit[nats]'.") from None
    urls = tuple(_url(text.strip()) for text in section.servers.split(",") if text.strip())
    try:
        check_stream(section.stream)
    except InvalidValue as error:
        raise ConfigurationError("[nats] stream", error.reason.removeprefix("stream ")) from None
    password = section_password("nats", section.username, section.password_file)
    if section.credentials_file:
        text = read_secret(Path(section.credentials_file), _CREDENTIALS_FILE)
        if not all(mark in text for mark in _CREDENTIALS):
            raise ConfigurationError(_CREDENTIALS_FILE, f"{section.credentials_file} holds no JWT with its key.")
        if password:
            raise ConfigurationError(_CREDENTIALS_FILE, "there is a username too; keep one of them.")
    for url in urls:
        if password and not url.startswith("tls:") and not section.allow_plain_without_tls:
            _check_near(url)
    wants_tls = any(url.startswith("tls:") for url in urls)
    return NatsServers(
        urls=urls,
        tls=section_context("nats", section.cacert, section.clientcert) if wants_tls else None,
        username=section.username,
        password=password,
        credentials=section.credentials_file,
    )


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        port = parts.port or _DEFAULT_PORT
    except ValueError:
        raise ConfigurationError(_SERVERS, "one of them is no URL such as nats://host:4222.") from None
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(_SERVERS, "one of them holds a user; use username and password_file.")
    if parts.scheme not in ("nats", "tls") or not parts.hostname or parts.path or parts.query or parts.fragment:
        raise ConfigurationError(_SERVERS, "one of them is not nats://host:4222 or tls://host:4222.")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}"


def _check_near(url: str) -> None:
    if not is_loopback(urlsplit(url).hostname or ""):
        reason = f"the password would travel unencrypted to {url}; use tls://, or set allow_plain_without_tls."
        raise ConfigurationError(_SERVERS, reason)
