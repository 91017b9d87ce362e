"""The way to a broker outside, from `[messaging]`: its addresses with their secrets, and whom to trust there."""

import ssl
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, quote, urlsplit

from pulpit.amqp.amqp10.address import Address, parse
from pulpit.errors import ConfigurationError
from pulpit.net.addresses import is_loopback
from pulpit.net.cleartext import check_password_is_safe
from pulpit.net.config_files import Watched, first_line, read_secret
from pulpit.net.tls import CertificateFiles, trust_authorities
from pulpit.settings import Messaging, check_broker_urls

_ENCRYPTED: Final = ("amqps", "amqps+10", "ssl")
_TRANSPORTS: Final = {"amqp091": "amqp091", "rabbitmq": "amqp091", "amqp10": "amqp10", "qpid": "amqp10"}
"""What `[messaging] transport` may say; the second and the last are Pulp 2's words."""
_ONLY_10: Final = ("amqp+10", "amqps+10", "qpid")
_PULP: Final = {"tcp": "amqp", "ssl": "amqps"}
"""Pulp 2's schemes as AMQP 0-9-1 has them; they mean AMQP 1.0 unless `transport` says otherwise."""
_URL: Final = "[messaging] url"
_URL_FILE: Final = "[messaging] url_file"
_PASSWORD_FILE: Final = "[messaging] password_file"  # noqa: S105 - the name of a key


def broker_urls(section: Messaging) -> list[str]:
    """The brokers in the order in which they are tried, each with user and password, wherever those are kept.

    Raises:
        ConfigurationError: an address or a file cannot be used, or a password would travel unencrypted to another
            machine.
    """
    source, text = _addresses(section)
    password = first_line(read_secret(Path(section.password_file), _PASSWORD_FILE)) if section.password_file else None
    urls = [_with_login(_parsed(one.strip(), source), section, password) for one in text.split(",") if one.strip()]
    is_10 = speaks_10(section)
    for url in urls:
        if url.username is not None or not is_10:  # AMQP 0-9-1 has no anonymous log-in: it sends guest's password
            _check_password(url, source, section)
    return [(url if is_10 else url._replace(scheme=_PULP.get(url.scheme, url.scheme))).geturl() for url in urls]


def speaks_10(section: Messaging) -> bool:
    """Whether the brokers are spoken to by AMQP 1.0: by `transport`, else by the URLs.

    Raises:
        ConfigurationError: the URLs contradict one another or `transport`.
    """
    source, text = _addresses(section)
    schemes = {one.strip().partition("://")[0].lower() for one in text.split(",") if one.strip()}
    named = _TRANSPORTS.get(section.transport)
    if named == "amqp091" and schemes & set(_ONLY_10):
        raise ConfigurationError(source, f"it means AMQP 1.0, and [messaging] transport says {section.transport}.")
    by_scheme = {scheme in _ONLY_10 or scheme in _PULP for scheme in schemes}
    if named is None and len(by_scheme) > 1:
        raise ConfigurationError(source, "some of the URLs mean AMQP 0-9-1 and some AMQP 1.0; name one for all.")
    return named == "amqp10" if named else by_scheme == {True}


def address_10(url: str) -> Address:
    """One of `broker_urls` for AMQP 1.0."""
    return parse(url, _URL, schemes={"amqp": False, "amqps": True})


def may_send_password(address: Address, section: Messaging) -> bool:
    """Whether a password may go to an address as it is (decision 13)."""
    return address.tls or section.allow_plain_without_tls or is_loopback(address.host)


def is_encrypted(url: str) -> bool:
    """Whether a URL asks for TLS."""
    return urlsplit(url).scheme in _ENCRYPTED


def by_certificate(url: str, section: Messaging) -> bool:
    """Whether the log-in is by client certificate (SASL EXTERNAL): there is one, and the URL names no user."""
    return bool(section.clientcert) and is_encrypted(url) and urlsplit(url).username is None


def trust(section: Messaging) -> ssl.SSLContext | None:
    """How brokers are checked, by authority and host name, and the certificate that is shown; None without TLS.

    Raises:
        ConfigurationError: a file that the section names cannot be used.
    """
    if not any(map(is_encrypted, broker_urls(section))):
        return None
    context = ssl.create_default_context() if not section.cacert else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if section.cacert:
        trust_authorities(Path(section.cacert), "[messaging] cacert", context)
    if section.clientcert:
        _client_certificate(section).load(context)
    return context


def watched(section: Messaging, context: ssl.SSLContext) -> list[Watched]:
    """The files of `trust` that are read again when they change; an authority is added, and none is taken away."""
    found = []
    if section.cacert:
        path = Path(section.cacert)
        found.append(Watched("cacert", [path], lambda: trust_authorities(path, "[messaging] cacert", context)))
    if section.clientcert:
        pair = _client_certificate(section)
        found.append(Watched("clientcert", [pair.certificate], lambda: pair.renew(context)))
    return found


def _client_certificate(section: Messaging) -> CertificateFiles:
    path = Path(section.clientcert)
    return CertificateFiles(certificate=path, key=path, source="[messaging] clientcert")


def _addresses(section: Messaging) -> tuple[str, str]:
    """The key that the addresses come from, and the addresses."""
    if not section.url_file:
        return _URL, section.url or ""
    text = first_line(read_secret(Path(section.url_file), _URL_FILE))
    check_broker_urls(_URL_FILE, text)
    return _URL_FILE, text


def _parsed(url: str, source: str) -> SplitResult:
    """Cut a URL into its parts; what is wrong is told without it, because it may hold a password."""
    try:
        parts = urlsplit(url)
        usable = parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        reason = "an address cannot be read; in a user or password write / as %2F, : as %3A, @ as %40 and , as %2C."
        raise ConfigurationError(source, reason)
    return parts


def _with_login(url: SplitResult, section: Messaging, password: str | None) -> SplitResult:
    """Put the user and the password of their own keys where the URL says nothing."""
    user, _, host = url.netloc.rpartition("@")
    if not user and section.username:
        user = quote(section.username, safe="")
    if user and ":" not in user and password is not None:
        user = f"{user}:{quote(password, safe='')}"
    return url._replace(netloc=f"{user}@{host}") if user else url


def _check_password(url: SplitResult, source: str, section: Messaging) -> None:
    check_password_is_safe(
        source,
        url.hostname or "localhost",
        tls=url.scheme in _ENCRYPTED,
        allowed=section.allow_plain_without_tls,
        permission="[messaging] allow_plain_without_tls",
    )
