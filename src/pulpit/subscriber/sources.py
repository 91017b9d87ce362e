"""The right source for each address."""

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pika

from pulpit.errors import ConfigurationError
from pulpit.subscriber.address import Address
from pulpit.subscriber.amqp091 import Amqp091Source
from pulpit.subscriber.source import Source

CONNECT_SECONDS: Final = 10.0
HEARTBEAT_SECONDS: Final = 30


def sources(addresses: Sequence[Address], ca_path: Path | None, name: str) -> list[Source]:
    """One for each broker; certificates are checked against `ca_path`, or else the system's authorities.

    Args:
        addresses: the brokers.
        ca_path: a file or a folder.
        name: what the broker shows to its operators as the name of the connection.

    Raises:
        ConfigurationError: `ca_path` holds no certificates.
    """
    context = trust(ca_path) if any(address.tls for address in addresses) else None
    return [Amqp091Source(parameters(address, context, name), str(address)) for address in addresses]


def parameters(address: Address, context: ssl.SSLContext | None, name: str) -> pika.ConnectionParameters:
    """What pika wants to know."""
    return pika.ConnectionParameters(
        host=address.host,
        port=address.port,
        virtual_host=address.virtual_host,
        credentials=pika.PlainCredentials(address.user, address.password),
        ssl_options=pika.SSLOptions(context, address.host) if address.tls and context else None,
        heartbeat=HEARTBEAT_SECONDS,
        socket_timeout=CONNECT_SECONDS,
        stack_timeout=2 * CONNECT_SECONDS,
        blocked_connection_timeout=None,
        client_properties={"product": "Pulpit", "connection_name": name},
    )


def trust(ca_path: Path | None) -> ssl.SSLContext:
    """Whom to trust: a file or folder of authorities, or else the system's.

    Raises:
        ConfigurationError: it holds no certificates.
    """
    try:
        if ca_path is not None and ca_path.is_dir():
            return ssl.create_default_context(capath=ca_path)
        return ssl.create_default_context(cafile=ca_path)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError("ca_path", f"{ca_path} holds no certificates ({error})") from None
