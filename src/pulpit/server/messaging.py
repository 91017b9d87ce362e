"""The connection to a broker, from `[messaging]`: addresses with credentials, TLS, and the publisher."""

import secrets
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pulpit.amqp.address import BrokerAddress, parse_all
from pulpit.amqp.amqp091.publisher import Publisher
from pulpit.errors import ConfigurationError
from pulpit.net.config_files import first_line, read_secret
from pulpit.net.renewal import Watched
from pulpit.net.tls import client_certificate, section_context, trust_authorities
from pulpit.settings import MESSAGING_URL, MessagingSettings

if TYPE_CHECKING:
    from pulpit.amqp.amqp10.publisher import Publisher as Publisher10

    AmqpPublisher = Publisher | Publisher10
_URL_FILE: Final = "[messaging] url_file"
_PASSWORD_FILE: Final = "[messaging] password_file"  # noqa: S105 - the name of a key
_CACERT: Final = "[messaging] cacert"


def broker_addresses(section: MessagingSettings) -> tuple[BrokerAddress, ...]:
    """Return the brokers in the order in which they are tried, each with user and password, wherever configured.

    Raises:
        ConfigurationError: an address or a file is invalid, a password would be sent unencrypted to another
            machine, or the addresses mix AMQP 0-9-1 and 1.0.
    """
    source, text = MESSAGING_URL, section.url or ""
    if section.url_file:
        source, text = _URL_FILE, first_line(read_secret(Path(section.url_file), _URL_FILE))
    password = first_line(read_secret(Path(section.password_file), _PASSWORD_FILE)) if section.password_file else None
    urls = [url for url in text.split(",") if url.strip()]
    if not urls:
        return ()
    found = parse_all(urls, source, transport=section.transport, user=section.username, password=password)
    if len({address.speaks_10 for address in found}) > 1:
        raise ConfigurationError(source, "some of the URLs mean AMQP 0-9-1 and some AMQP 1.0; name one for all.")
    for address in found:
        address.check_password_is_safe(
            source, allowed=section.allow_plain_without_tls, permission="[messaging] allow_plain_without_tls"
        )
    return found


def trust(section: MessagingSettings) -> ssl.SSLContext | None:
    """Return the TLS context for brokers, with CAs, host name check and client certificate; None without TLS.

    Raises:
        ConfigurationError: a file that the section names cannot be used.
    """
    if not any(address.tls for address in broker_addresses(section)):
        return None
    return section_context("messaging", section.cacert, section.clientcert)


def publisher(
    section: MessagingSettings, addresses: Sequence[BrokerAddress], tls: ssl.SSLContext | None, *, by_certificate: bool
) -> "AmqpPublisher":
    """Return a publisher for brokers that speak the same version of AMQP; it connects later.

    Raises:
        ConfigurationError: they speak AMQP 1.0, for which a library is missing.
    """
    if not addresses[0].speaks_10:
        return Publisher(addresses, tls, by_certificate=by_certificate)
    from pulpit.amqp.amqp10 import proton  # noqa: PLC0415 - only needed for AMQP 1.0
    from pulpit.amqp.amqp10.client import ClientSettings  # noqa: PLC0415 - as above
    from pulpit.amqp.amqp10.publisher import Publisher as Publisher10  # noqa: PLC0415 - as above

    proton.load()  # reports a missing library at the start, not at the first event
    settings = ClientSettings(name=f"pulpit-events-{secrets.token_hex(4)}", context=tls, by_certificate=by_certificate)
    return Publisher10(addresses, settings, profile=section.profile, template=section.address)


def watched(section: MessagingSettings, context: ssl.SSLContext) -> list[Watched]:
    """Return the files of `trust` that are reloaded when they change; CAs are added, never removed."""
    found = []
    if section.cacert:
        path = Path(section.cacert)
        found.append(Watched("cacert", [path], lambda: trust_authorities(path, _CACERT, context)))
    if section.clientcert:
        pair = client_certificate("messaging", section.clientcert)
        found.append(Watched("clientcert", [pair.certificate], lambda: pair.renew(context)))
    return found
