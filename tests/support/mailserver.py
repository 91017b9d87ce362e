"""A mail server on loopback that accepts, defers, refuses or hangs as a test says."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


@dataclass(kw_only=True)
class Mail:
    """One message as it was taken."""

    sender: str
    recipients: list[str]
    content: bytes
    tls: bool
    user: bytes | None

    @property
    def message(self) -> EmailMessage:
        message = message_from_bytes(self.content, policy=SMTP_POLICY)
        assert isinstance(message, EmailMessage)
        return message


@dataclass(kw_only=True)
class MailServer:
    """The server; hooks answer a reply line, or `None` for "yes"."""

    port: int = 0
    mails: list[Mail] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    on_rcpt: Callable[[str], str | None] = lambda _: None
    on_mail: Callable[[], str | None] = lambda: None
    on_data: Callable[[], Awaitable[str | None] | str | None] = lambda: None
    sessions: int = 0

    # The names that aiosmtpd calls.

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        del server, session
        refusal = self.on_mail()
        if refusal is None:
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return refusal or "250 OK"

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        del server, session, options
        self.asked.append(address)
        refusal = self.on_rcpt(address)
        if refusal is None:
            envelope.rcpt_tos.append(address)
        return refusal or "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - the same
        del server
        refusal = self.on_data()
        if isinstance(refusal, Awaitable):
            refusal = await refusal
        if refusal is not None:
            return refusal
        content: object = envelope.content
        assert isinstance(content, bytes)
        login: object = session.auth_data
        user = login.login if isinstance(login, LoginPassword) else None
        self.mails.append(
            Mail(
                sender=str(envelope.mail_from),
                recipients=list(envelope.rcpt_tos),
                content=content,
                tls=session.ssl is not None,
                user=user,
            )
        )
        return "250 OK"


@contextlib.asynccontextmanager
async def mailserver(
    *,
    starttls: ssl.SSLContext | None = None,
    tls: ssl.SSLContext | None = None,
    login: tuple[bytes, bytes] | None = None,
) -> AsyncIterator[MailServer]:
    """Run a mail server on a free port."""
    far = MailServer()

    def authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        del server, session, envelope, mechanism
        known = isinstance(data, LoginPassword) and (data.login, data.password) == login
        return AuthResult(success=known, handled=False, auth_data=data)

    protocols: list[SMTP] = []

    def protocol() -> SMTP:
        far.sessions += 1
        made = SMTP(
            far,
            hostname="mail.test",
            ident="test",
            tls_context=starttls,
            require_starttls=starttls is not None,
            auth_required=login is not None,
            authenticator=authenticate if login else None,
            loop=asyncio.get_running_loop(),
        )
        protocols.append(made)
        return made

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, ssl=tls)
    far.port = server.sockets[0].getsockname()[1]
    try:
        yield far
    finally:
        server.close()
        for session in protocols:
            if isinstance(session.transport, asyncio.Transport):
                session.transport.abort()
        await asyncio.sleep(0)
