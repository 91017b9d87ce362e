"""A session with the mail server: it connects for the first message, and returns the result for each address."""

import contextlib
import re
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.headerregistry import Address
from email.utils import parseaddr
from pathlib import Path
from typing import Final

import aiosmtplib

from pulpit.delivery.notifiers.email_config import is_address
from pulpit.errors import ConfigurationError
from pulpit.net.addresses import is_host, is_loopback
from pulpit.net.config_files import first_line, read_secret
from pulpit.net.tls import client_context
from pulpit.settings import EmailSettings
from pulpit.text import host_and_port

GOODBYE_TIMEOUT: Final = 2.0
PERMANENT: Final = 500
"""The first code of permanent failures (RFC 5321 section 4.2.1)."""
TOO_MANY_ADDRESSES: Final = frozenset({452, 552})
MESSAGE_TOO_LARGE: Final = 552
"""The same code in reply to another command."""
_ABOUT_US: Final = frozenset({503, 530, 534, 535, 538})
"""Codes that are about this server's login, not about the address (RFC 4954 section 6)."""
_MAYBE_ABOUT_US: Final = re.compile(
    r"5\.(1\.[78]|[57]\.\d{1,3})\b|(?!5\.\d).*\b(sender|relay)", re.IGNORECASE | re.DOTALL
)
"""Status codes of the sender, the protocol and policies (RFC 3463 section 3), or the words of servers without codes.

Postfix and Exim say only at the first address that they refuse the name in EHLO, the client, the sender or relaying.
"""
_HOSTNAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?\Z")


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """The mail server's reply about an address that it did not accept, or about the message."""

    code: int
    text: str
    about_message: bool = False

    @property
    def is_final(self) -> bool:
        """Whether the failure is permanent; for an address 552 means 452 (RFC 5321 section 4.5.3.1.10)."""
        if self.code in _ABOUT_US or (self.code in TOO_MANY_ADDRESSES and not self.about_message):
            return False
        return self.code >= PERMANENT

    @property
    def may_be_about_us(self) -> bool:
        """Whether it is no failure of the address if every other address is refused so too."""
        return not self.about_message and _MAYBE_ABOUT_US.match(self.text) is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class MailServer:
    settings: EmailSettings
    sender: Address
    password: str
    trust: ssl.SSLContext | None
    hostname: str

    @property
    def place(self) -> str:
        """The server's name for use in sentences."""
        return f"The mail server {host_and_port(self.settings.host, self.settings.port)}"


def mail_server(settings: EmailSettings) -> MailServer:
    """Validate the configuration, and read the files that it names.

    Raises:
        ConfigurationError: a key of `[email]`.
    """
    if not is_host(settings.host):
        sentence = f"{settings.host!r} is no name or address of a host; its port has a key of its own, port."
        raise ConfigurationError("[email] host", sentence)
    if settings.username and settings.tls == "none" and not is_loopback(settings.host):
        sentence = "a password would go over the network in the clear; set tls to starttls or tls."
        raise ConfigurationError("[email] username", sentence)
    name, address = parseaddr(settings.sender)
    if not is_address(address) or not settings.sender.isprintable():
        raise ConfigurationError("[email] from", f"{settings.sender!r} is no mail address such as pulp@example.com.")
    own = socket.gethostname()
    return MailServer(
        settings=settings,
        sender=Address(display_name=name, addr_spec=address),
        password=_password(settings),
        trust=_trust(settings),
        hostname=own if "." in own and _HOSTNAME.match(own) else "[127.0.0.1]",  # RFC 5321 section 4.1.1.1
    )


class MailSession:
    def __init__(self, server: MailServer) -> None:
        self._server: Final = server
        self._smtp: aiosmtplib.SMTP | None = None
        self.used = False
        """Whether the mail server has taken a message in this session."""

    async def send(self, message: bytes, addresses: Sequence[str]) -> Mapping[str, Reply]:
        """Send a message and return the addresses that were not accepted; all others have received it.

        Raises:
            aiosmtplib.SMTPException: no address received it.
            OSError: no address received it, or the reply was lost.
        """
        if self._smtp is None:
            self._smtp = await self._connected()
        try:
            refused, _ = await self._smtp.sendmail(self._server.sender.addr_spec, addresses, message)
        except aiosmtplib.SMTPRecipientsRefused as error:
            return {refusal.recipient: Reply(code=refusal.code, text=refusal.message) for refusal in error.recipients}
        self.used = True
        return {address: Reply(code=reply.code, text=reply.message) for address, reply in refused.items()}

    async def close(self) -> None:
        """Send QUIT if there is a connection; never raises."""
        if self._smtp is None:
            return
        with contextlib.suppress(aiosmtplib.SMTPException, OSError):
            if self._smtp.is_connected:
                await self._smtp.quit(timeout=GOODBYE_TIMEOUT)
        self.abandon()

    def abandon(self) -> None:
        self.used = False
        if self._smtp is not None:
            self._smtp.close()
            self._smtp = None

    async def _connected(self) -> aiosmtplib.SMTP:
        server, settings = self._server, self._server.settings
        smtp = aiosmtplib.SMTP(
            hostname=settings.host,
            port=settings.port,
            local_hostname=server.hostname,
            timeout=settings.timeout,
            use_tls=settings.tls == "tls",
            start_tls=settings.tls == "starttls",
            tls_context=server.trust,
            username=settings.username or None,
            password=server.password if settings.username else None,
        )
        try:
            await smtp.connect()
        except BaseException:
            smtp.close()
            raise
        return smtp


def _password(settings: EmailSettings) -> str:
    if not settings.password_file:
        return settings.password
    if settings.password:
        raise ConfigurationError("[email] password_file", "give either password or password_file.")
    return first_line(read_secret(Path(settings.password_file), "[email] password_file"))


def _trust(settings: EmailSettings) -> ssl.SSLContext | None:
    if settings.tls == "none":
        return None
    try:
        return client_context(settings.ca)
    except OSError as error:
        raise ConfigurationError("[email] ca", f"it cannot be used ({error.strerror}).") from None
