"""The way to a broker outside, from `[messaging]`: its addresses, and whom to trust there."""

import ssl
from typing import Final
from urllib.parse import urlsplit

from pulpit.cleartext import check_password_is_safe
from pulpit.errors import ConfigurationError
from pulpit.settings import Messaging

_ENCRYPTED: Final = ("amqps",)


def broker_urls(section: Messaging) -> list[str]:
    """The brokers in the order in which they are tried.

    Raises:
        ConfigurationError: a password would travel unencrypted to another machine.
    """
    urls = [url.strip() for url in (section.url or "").split(",") if url.strip()]
    for url in urls:
        check_password_is_safe(
            "[messaging] url",
            urlsplit(url).hostname or "localhost",
            tls=is_encrypted(url),
            allowed=section.allow_plain_without_tls,
            permission="[messaging] allow_plain_without_tls",
        )
    return urls


def is_encrypted(url: str) -> bool:
    """Whether a URL asks for TLS."""
    return urlsplit(url).scheme in _ENCRYPTED


def trust(section: Messaging) -> ssl.SSLContext:
    """How brokers are checked, by authority and host name, and the certificate that is shown to them.

    Raises:
        ConfigurationError: a file that the section names cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=section.cacert or None)
    except OSError as error:
        raise ConfigurationError("[messaging] cacert", f"it cannot be used ({error.strerror}).") from None
    if section.clientcert:
        try:
            context.load_cert_chain(section.clientcert)
        except OSError as error:
            raise ConfigurationError("[messaging] clientcert", f"it cannot be used ({error.strerror}).") from None
    return context
