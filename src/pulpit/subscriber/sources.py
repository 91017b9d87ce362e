"""The right source for each address."""

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pika

from pulpit.amqp10 import address as address10
from pulpit.amqp10 import proton
from pulpit.amqp10.client import Manner
from pulpit.errors import ConfigurationError
from pulpit.subscriber.address import Address
from pulpit.subscriber.amqp091 import Amqp091Source
from pulpit.subscriber.amqp10 import Amqp10Source
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
        ConfigurationError: `ca_path` holds no certificates, or AMQP 1.0 is asked for and the extra is not installed.
    """
    if any(address.speaks_10 for address in addresses):
        proton.load()
    context = trust(ca_path) if any(address.tls for address in addresses) else None
    return [_source(address, context, name) for address in addresses]


def _source(address: Address, context: ssl.SSLContext | None, name: str) -> Source:
    over_091 = Amqp091Source(parameters(address, context, name), str(address))
    if not address.speaks_10:
        return over_091
    manner = Manner(name=name, tls=context, allow_plain=lambda _: True)  # what is not allowed has been refused before
    return Amqp10Source(_named_by_10(address), manner, str(address), over_091)


def _named_by_10(address: Address) -> address10.Address:
    return address10.Address(
        host=address.host,
        port=address.port,
        tls=address.tls,
        user=address.user or None,
        password=address.password,
        virtual_host=None if address.virtual_host == "/" else address.virtual_host,
    )


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
