"""Sets the embedded broker up from the configuration, inside the server or alone (`pulpit broker`)."""

import asyncio
import secrets
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Final

import uvloop

from pulpit import datafolder, logs
from pulpit.broker.config import MEBIBYTE, BrokerConfig, User
from pulpit.broker.main import run
from pulpit.broker.passwords import Password
from pulpit.broker.roster import Roster
from pulpit.errors import ConfigurationError
from pulpit.settings import Settings

OWN_LOGIN: Final = "pulpit"
"""The user by which the server itself publishes; its password lives and dies with the process."""


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
        users=roster(settings).read(),
        virtual_hosts=_virtual_hosts(settings),
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


def roster(settings: Settings) -> Roster:
    """The files that say who may log in and what they may do."""
    section = settings.broker
    return Roster(
        users_file=Path(section.users_file) if section.users_file else None,
        permissions_file=Path(section.permissions_file) if section.permissions_file else None,
        virtual_hosts=_virtual_hosts(settings),
    )


def _virtual_hosts(settings: Settings) -> tuple[str, ...]:
    return tuple(name.strip() for name in settings.broker.virtual_hosts.split(","))


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
