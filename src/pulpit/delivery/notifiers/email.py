"""The email notifier: one message per event to all addresses of a listener, or a digest of the events of some minutes.

    events ──▶ due? ──▶ group (one event, or all of a digest) ──▶ letter ──▶ mail server ──▶ each address: taken,
               Later                                              letter.py   mail_line.py   put off or refused

A group is done when every address has taken or refused it. Addresses that the server puts off are tried again alone.
A digest needs no memory: the events stay in the log until it is sent, and its time counts from the first of them.
"""

import asyncio
import logging
import ssl
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import aiosmtplib

from pulpit.clock import Clock
from pulpit.delivery.notifiers import email_config, email_message
from pulpit.delivery.notifiers.email_config import Mailing
from pulpit.delivery.notifiers.email_session import MailServer, MailSession, Reply, mail_server
from pulpit.delivery.notifiers.port import (
    Delivered,
    Discarding,
    Later,
    Misconfigured,
    Notifier,
    Outcome,
    Pace,
    Refused,
    Retry,
)
from pulpit.errors import InvalidValue
from pulpit.events import Event
from pulpit.settings import Email as EmailSettings
from pulpit.text import one_line, system_reason

MOST_SESSIONS: Final = 8
"""Connections to the mail server at one time."""
MOST_MESSAGES: Final = 5
"""Messages of one call: so many people at most get a message twice when the process dies in between."""
MAILBOX_TOO_SMALL: Final = 552
_PERMANENT: Final = 500
_ABOUT_US: Final = frozenset({503, 530, 534, 535, 538})
"""Refusals that complain about this server's login, not about the address (RFC 4954 section 6)."""

_log = logging.getLogger(__name__)


class Email:
    """Sends messages through one mail server."""

    pace: Final = Pace(batch=200, overlap=1, first_retry=timedelta(seconds=10), longest_retry=timedelta(minutes=15))
    secret_keys: Final = frozenset[str]()

    def __init__(self, settings: EmailSettings, clock: Clock) -> None:
        """Check the settings.

        Raises:
            ConfigurationError: a key of `[email]`.
        """
        self.server: Final[MailServer] = mail_server(settings)
        self.clock: Final = clock
        self.sessions: Final = asyncio.Semaphore(MOST_SESSIONS)

    def check_config(self, config: Mapping[str, Any]) -> None:
        """Accept `subject`, `addresses` and `digest`.

        Raises:
            InvalidValue: `notifier_config`.
        """
        email_config.read(config)

    def open(self, config: Mapping[str, Any]) -> Notifier:
        """Send to the listener's addresses."""
        try:
            return _Mailer(email_config.read(config), self)
        except InvalidValue as error:
            return Misconfigured(error)

    async def close(self) -> None:
        """Have nothing to close: sessions end with the calls that began them."""


class EmailDisabled:
    """What `[email] enabled` set to false means: email listeners exist and nothing is sent (Pulp 2's rule)."""

    pace: Final = Email.pace
    secret_keys: Final = Email.secret_keys

    def __init__(self) -> None:
        self._said = False

    def check_config(self, config: Mapping[str, Any]) -> None:
        """Accept what would be accepted.

        Raises:
            InvalidValue: `notifier_config`.
        """
        email_config.read(config)

    def open(self, config: Mapping[str, Any]) -> Notifier:  # noqa: ARG002 - the port's form
        """Take every event and send none."""
        if not self._said:
            _log.debug("[email] enabled is false: nothing is sent", extra={"action": "email_disabled"})
            self._said = True
        return Discarding()

    async def close(self) -> None:
        """Have nothing to close."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Group:
    """Events of one message, and what has become of it so far."""

    events: tuple[Event, ...]
    taken: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def touched(self) -> bool:
        return bool(self.taken or self.refused)

    def starts(self, events: Sequence[Event]) -> bool:
        """Whether the events begin with these."""
        return [event.id for event in events[: len(self.events)]] == [event.id for event in self.events]

    def outcome(self) -> Outcome:
        """What came of it when every address has answered."""
        if self.taken:
            return Delivered(answer=f"Taken for {', '.join(sorted(self.taken))}.", refused=dict(self.refused))
        return Refused(reason=_listed(self.refused.items()))


class _Mailer:
    """Sends the events of one listener."""

    def __init__(self, mailing: Mailing, kind: Email) -> None:
        self._mailing: Final = mailing
        self._kind: Final = kind
        self._unfinished: _Group | None = None

    async def prepare(self) -> None:
        """Have nothing to prepare."""

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Send what is due, in order, until an address must be tried again."""
        later = self._later(events)
        if later:
            return [later]
        async with self._kind.sessions:
            line = MailSession(self._kind.server)
            try:
                return await self._send_all(events, line)
            except asyncio.CancelledError:
                line.abandon()  # whoever cancels does not wait for goodbyes
                raise
            finally:
                await line.close()

    def describe(self, event: Event) -> dict[str, Any]:
        """The message as the mail server gets it, and to whom."""
        message = email_message.compose([event], self._mailing, self._kind.server.sender)
        return {
            "server": self._kind.server.place,
            "from": self._kind.server.sender.addr_spec,
            "to": list(self._mailing.addresses),
            "subject": email_message.subject([event], self._mailing.subject),
            "message": message.as_bytes().decode("utf-8", "replace"),
        }

    async def close(self) -> None:
        """Have nothing to close."""

    async def _send_all(self, events: Sequence[Event], line: MailSession) -> Sequence[Outcome]:
        outcomes: list[Outcome] = []
        for _ in range(MOST_MESSAGES):
            rest = events[len(outcomes) :]
            if not rest:
                return outcomes
            later = self._later(rest)
            if later:
                return [*outcomes, later]
            group = self._group(rest)
            outcome = await self._send(group, line)
            if isinstance(outcome, Retry):
                return [*outcomes, outcome]
            outcomes += [outcome] * len(group.events)
        return (
            outcomes if len(outcomes) == len(events) else [*outcomes, Later(reason="More follow.", after=timedelta(0))]
        )

    def _later(self, events: Sequence[Event]) -> Later | None:
        """The wish to wait, while a digest gathers."""
        if self._mailing.digest is None or (self._unfinished and self._unfinished.starts(events)):
            return None
        wait = events[0].occurred_at + self._mailing.digest - self._kind.clock()
        return Later(reason="The digest is gathering.", after=wait) if wait > timedelta(0) else None

    def _group(self, events: Sequence[Event]) -> _Group:
        """The events of the next message: those of an unfinished one first."""
        if not (self._unfinished and self._unfinished.starts(events)):
            self._unfinished = _Group(events=tuple(events if self._mailing.digest else events[:1]))
        return self._unfinished

    async def _send(self, group: _Group, line: MailSession) -> Outcome:
        server = self._kind.server
        waiting = [one for one in self._mailing.addresses if one not in group.taken and one not in group.refused]
        message = email_message.compose(group.events, self._mailing, server.sender)
        try:
            async with asyncio.timeout(server.settings.timeout):
                replies = await line.send(message, waiting)
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            line.abandon()
            return self._failed(error, waiting, group)
        return self._noted(group, waiting, replies)

    def _noted(self, group: _Group, waiting: Sequence[str], replies: Mapping[str, Reply]) -> Outcome:
        """Write down what became of each address."""
        put_off = {address: reply for address, reply in replies.items() if not _is_final(reply.code)}
        group.taken.update(address for address in waiting if address not in replies)
        group.refused.update((each, _said(reply)) for each, reply in replies.items() if each not in put_off)
        if put_off:
            reasons = _listed((address, _said(reply)) for address, reply in put_off.items())
            return Retry(reason=f"{self._kind.server.place} puts off {reasons}")
        self._unfinished = None
        return group.outcome()

    def _failed(self, error: Exception, waiting: Sequence[str], group: _Group) -> Outcome:
        """What it means when nobody has the message."""
        about_the_message = isinstance(error, aiosmtplib.SMTPDataError) and error.code >= _PERMANENT
        too_big = isinstance(error, aiosmtplib.SMTPSenderRefused) and error.code == MAILBOX_TOO_SMALL
        if isinstance(error, aiosmtplib.SMTPResponseException) and (about_the_message or too_big):
            reply = Reply(code=error.code, text=error.message)
            return self._noted(group, waiting, dict.fromkeys(waiting, reply))
        if not group.touched:
            self._unfinished = None
        return Retry(reason=complaint(error, self._kind.server))


def complaint(error: Exception, server: MailServer) -> str:
    """One sentence about a message that nobody got."""
    cause = _root(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"The certificate of the mail server {server.settings.host} is not trusted: {cause.verify_message}."
    if isinstance(cause, ssl.SSLError):
        return f"TLS with the mail server {server.settings.host} failed ({system_reason(cause)})."
    if isinstance(error, TimeoutError):
        return f"{server.place} did not answer within {server.settings.timeout} seconds."
    if isinstance(error, aiosmtplib.SMTPAuthenticationError):
        return f"{server.place} refused the login: {_said(Reply(code=error.code, text=error.message))}."
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return f"{server.place} said {_said(Reply(code=error.code, text=error.message))}."
    return f"{server.place} could not be used: {one_line(str(error), email_message.LONGEST_VALUE // 2)}."


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _is_final(code: int) -> bool:
    return code >= _PERMANENT and code not in _ABOUT_US


def _said(reply: Reply) -> str:
    return f"{reply.code} {one_line(reply.text, 300)}".rstrip(" .")


def _listed(reasons: Iterable[tuple[str, str]]) -> str:
    return "; ".join(f"{address}: {reason}" for address, reason in reasons)[: email_message.LONGEST_VALUE] + "."
