"""The right source for each address."""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pika
from pika.credentials import ExternalCredentials

from pulpit.amqp.amqp10 import address as address10
from pulpit.amqp.amqp10 import proton
from pulpit.amqp.amqp10.client import Manner
from pulpit.errors import ConfigurationError
from pulpit.net.tls import CertificateFiles, client_context
from pulpit.subscriber.address import Address
from pulpit.subscriber.amqp091 import Amqp091Source
from pulpit.subscriber.amqp10 import Amqp10Source
from pulpit.subscriber.manners10 import Recognize, recognize
from pulpit.subscriber.source import Source

CONNECT_SECONDS: Final = 10.0
HEARTBEAT_SECONDS: Final = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Papers:
    """What is checked of brokers, and shown to them."""

    ca_path: Path | None = None
    """Authorities to trust, a file or a folder; null is the system's."""
    client_cert: Path | None = None
    """Certificate and key of one's own, in one file; without a user it is the log-in, too (EXTERNAL)."""
    name: str
    """Of the connection, for the broker's operators."""


def sources(addresses: Sequence[Address], papers: Papers, recognize: Recognize = recognize) -> list[Source]:
    """One for each broker; over AMQP 1.0 `recognize` says how it wants to be asked.

    Raises:
        ConfigurationError: a file cannot be used, or AMQP 1.0 is asked for and the extra is not installed.
    """
    if any(address.speaks_10 for address in addresses):
        proton.load()
    context = trust(papers) if any(address.tls for address in addresses) else None
    return [_source(address, context, papers, recognize) for address in addresses]


def _source(address: Address, context: ssl.SSLContext | None, papers: Papers, recognize: Recognize) -> Source:
    over_091 = Amqp091Source(parameters(address, context, papers), str(address))
    if not address.speaks_10:
        return over_091
    manner = Manner(
        name=papers.name,
        tls=context,
        external=_by_certificate(address, papers),
        allow_plain=lambda _: True,  # what is not allowed has been refused before
    )
    return Amqp10Source(_named_by_10(address), manner, str(address), over_091, recognize)


def _named_by_10(address: Address) -> address10.Address:
    return address10.Address(
        host=address.host,
        port=address.port,
        tls=address.tls,
        user=address.user,
        password=address.password,
        virtual_host=None if address.virtual_host == "/" else address.virtual_host,
    )


def _by_certificate(address: Address, papers: Papers) -> bool:
    return address.tls and papers.client_cert is not None and address.user is None


def parameters(address: Address, context: ssl.SSLContext | None, papers: Papers) -> pika.ConnectionParameters:
    """What pika wants to know."""
    by_name = pika.PlainCredentials(address.user or "guest", address.password)
    return pika.ConnectionParameters(
        host=address.host,
        port=address.port,
        virtual_host=address.virtual_host,
        credentials=ExternalCredentials() if _by_certificate(address, papers) else by_name,
        ssl_options=pika.SSLOptions(context, address.host) if address.tls and context else None,
        heartbeat=HEARTBEAT_SECONDS,
        socket_timeout=CONNECT_SECONDS,
        stack_timeout=2 * CONNECT_SECONDS,
        blocked_connection_timeout=None,
        client_properties={"product": "Pulpit", "connection_name": papers.name},
    )


def trust(papers: Papers) -> ssl.SSLContext:
    """Whom to trust, and what to show.

    Raises:
        ConfigurationError: a file cannot be used.
    """
    try:
        context = client_context(papers.ca_path)
    except OSError as error:
        raise ConfigurationError("ca_path", f"{papers.ca_path} holds no certificates ({error})") from None
    if papers.client_cert is not None:
        files = CertificateFiles(certificate=papers.client_cert, key=papers.client_cert, source="client_cert")
        files.load(context)
    return context
