"""Sets the embedded broker up from the configuration, inside the server or alone (`pulpit broker`)."""

import asyncio
import secrets
import ssl
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import uvloop

from pulpit import datafolder, logs
from pulpit.broker.config import MEBIBYTE, BrokerConfig, User, guest
from pulpit.broker.main import run
from pulpit.broker.passwords import Password
from pulpit.errors import ConfigurationError
from pulpit.settings import Settings

OWN_LOGIN: Final = "pulpit"
"""The user by which the server itself publishes; its password lives and dies with the process."""
_OTHERS_MAY_READ: Final = 0o077


def broker_config(settings: Settings) -> BrokerConfig:
    """The broker that the configuration asks for.

    Raises:
        ConfigurationError: a file that it names cannot be used.
    """
    section = settings.broker
    return BrokerConfig(
        host=section.host,
        port=section.port,
        data_dir=settings.data_dir / "broker",
        users=_users(Path(section.users_file)) if section.users_file else guest(),
        virtual_hosts=tuple(name.strip() for name in section.virtual_hosts.split(",")),
        ssl_context=_tls(settings) if section.ssl_certificate else None,
        memory_limit=section.memory_limit * MEBIBYTE,
        disk_free_limit=section.disk_free_limit * MEBIBYTE,
        max_message_size=section.max_message_size * MEBIBYTE,
        max_connections=section.max_connections,
        max_queues=section.max_queues,
    )


def with_own_user(config: BrokerConfig) -> tuple[BrokerConfig, str]:
    """Add the server's own user and answer its password, which nobody else ever sees."""
    password = secrets.token_urlsafe(24)
    own = User(password=Password(password))
    return replace(config, users={**config.users, OWN_LOGIN: own}), password


def own_trust(settings: Settings) -> ssl.SSLContext | None:
    """How the server itself checks its broker: by the very certificate that it is configured with."""
    if not settings.broker.ssl_certificate:
        return None
    context = ssl.create_default_context(cafile=settings.broker.ssl_certificate)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.check_hostname = False  # it is reached by the address of this machine, whatever its name
    return context


def run_broker(settings: Settings) -> None:
    """Run the broker alone until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: it cannot start; the text names the key.
    """
    logs.configure(settings.server.log_level, settings.server.log_format)
    datafolder.prepare(settings.data_dir)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(broker_config(settings)))


def _users(path: Path) -> Mapping[str, User]:
    key = "[broker] users_file"
    try:
        if path.stat().st_mode & _OTHERS_MAY_READ:
            raise ConfigurationError(key, f"others can read {path}; say chmod 600.")
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigurationError(key, f"{path} cannot be read ({error.strerror}).") from None
    users: dict[str, User] = {}
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#"):
            login, colon, password = line.strip().partition(":")
            if not login or not colon or not password:
                raise ConfigurationError(key, f"line {number} of {path} is not login:password.")
            users[login] = User(password=Password(password))
    if not users:
        raise ConfigurationError(key, f"there is no user in {path}.")
    return users


def _tls(settings: Settings) -> ssl.SSLContext:
    section = settings.broker
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(section.ssl_certificate, section.ssl_key)
        if section.ssl_ca:
            context.load_verify_locations(section.ssl_ca)
            context.verify_mode = ssl.CERT_OPTIONAL
    except OSError as error:
        sentence = f"the files cannot be used ({error.strerror or error})."
        raise ConfigurationError("[broker] ssl_certificate, ssl_key, ssl_ca", sentence) from None
    return context
