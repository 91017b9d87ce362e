"""Configures the embedded broker, inside the server or standalone (`pulpit broker`)."""

import asyncio
import secrets
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Final

import uvloop

from pulpit.broker.config import MEBIBYTE, BrokerConfig, BrokerUser
from pulpit.broker.server import Broker, run
from pulpit.broker.users import USERS_KEY, UserFiles
from pulpit.errors import ConfigurationError
from pulpit.net.passwords import Password
from pulpit.net.renewal import Watched
from pulpit.net.tls import CertificateFiles, trust_authorities
from pulpit.server import data_folder, process
from pulpit.settings import Settings

OWN_LOGIN: Final = "pulpit"
"""The user with which the server itself publishes; its password exists only in this process."""


def broker_config(settings: Settings) -> BrokerConfig:
    """Return the configured broker.

    Raises:
        ConfigurationError: a configured file cannot be used.
    """
    section = settings.broker
    return BrokerConfig(
        host=section.host,
        port=section.port,
        data_dir=settings.data_dir / "broker",
        users=user_files(settings).read(),
        virtual_hosts=_virtual_hosts(settings),
        ssl_context=_tls(settings) if section.ssl_certificate else None,
        memory_limit=section.memory_limit * MEBIBYTE,
        disk_free_limit=section.disk_free_limit * MEBIBYTE,
        max_message_size=section.max_message_size * MEBIBYTE,
        max_connections=section.max_connections,
        max_queues=section.max_queues,
    )


def with_own_user(config: BrokerConfig) -> tuple[BrokerConfig, str]:
    """Add the server's own user and return its password, which is known to nobody else.

    Raises:
        ConfigurationError: the name is taken.
    """
    if OWN_LOGIN in config.users:
        raise ConfigurationError(USERS_KEY, f"the name {OWN_LOGIN} is the server's own; choose another.")
    password = secrets.token_urlsafe(24)
    own = BrokerUser(password=Password(password), by_certificate=False)
    return replace(config, users={**config.users, OWN_LOGIN: own}), password


def own_trust(settings: Settings) -> ssl.SSLContext | None:
    """Return the TLS context with which the server verifies its own broker: it trusts the configured certificate."""
    if not settings.broker.ssl_certificate:
        return None
    context = ssl.create_default_context(cafile=settings.broker.ssl_certificate)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.check_hostname = False  # it connects to a local address, whatever the certificate's name
    return context


def watched(settings: Settings, broker: Broker, own: ssl.SSLContext | None = None) -> list[Watched]:
    """Return the files that the broker reloads when they change: users, permissions, certificate and key.

    `own` verifies the server's own broker, and is updated with the certificate.
    """
    files, found = user_files(settings), []
    if files.files:

        def admit() -> None:
            servers_own = {login: user for login, user in broker.config.users.items() if login == OWN_LOGIN}
            broker.admit({**files.read(), **servers_own})

        found.append(Watched("broker users", files.files, admit))
    if broker.config.ssl_context is not None:
        pair, context = _certificate(settings), broker.config.ssl_context

        def renew() -> None:
            pair.renew(context)
            if own is not None:
                trust_authorities(pair.certificate, pair.source, own)

        found.append(Watched("broker certificate", (pair.certificate, pair.key), renew))
    return found


def run_broker(settings: Settings) -> None:
    """Run the standalone broker until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: it cannot start; the text names the key.
    """
    process.begin(settings)
    data_folder.prepare(settings.data_dir)
    process.raise_open_files()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(broker_config(settings), lambda broker: watched(settings, broker)))


def user_files(settings: Settings) -> UserFiles:
    """Return the files with users and permissions."""
    section = settings.broker
    return UserFiles(
        users_file=Path(section.users_file) if section.users_file else None,
        permissions_file=Path(section.permissions_file) if section.permissions_file else None,
        virtual_hosts=_virtual_hosts(settings),
    )


def _virtual_hosts(settings: Settings) -> tuple[str, ...]:
    return tuple(name.strip() for name in settings.broker.virtual_hosts.split(","))


def _certificate(settings: Settings) -> CertificateFiles:
    section = settings.broker
    source = "[broker] ssl_certificate, ssl_key"
    return CertificateFiles(certificate=Path(section.ssl_certificate), key=Path(section.ssl_key), source=source)


def _tls(settings: Settings) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _certificate(settings).load(context)
    if settings.broker.ssl_ca:
        trust_authorities(Path(settings.broker.ssl_ca), "[broker] ssl_ca", context)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context
