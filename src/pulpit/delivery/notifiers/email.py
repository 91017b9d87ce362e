"""The email notifier: one mail per event to all addresses of a listener, or a digest of the events of some minutes.

    events ──▶ due? ──▶ group (one event, or all of a digest) ──▶ mail ──▶ mail server ──▶ each address: accepted,
               Later                                 email_message.py   email_session.py   deferred or refused

A group is done when every address has accepted or refused it. Deferred addresses are retried alone. A digest needs no
memory: the events stay in the log until it is sent, and its time counts from the first of them.
"""

import asyncio
import ssl
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import aiosmtplib

from pulpit.clock import Clock
from pulpit.delivery.notifiers import email_config, email_message
from pulpit.delivery.notifiers.email_config import Mailing
from pulpit.delivery.notifiers.email_session import (
    MESSAGE_TOO_LARGE,
    PERMANENT,
    TOO_MANY_ADDRESSES,
    MailServer,
    MailSession,
    Reply,
    mail_server,
)
from pulpit.delivery.notifiers.port import (
    Delivered,
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
from pulpit.listener_options import EMAIL
from pulpit.settings import EmailSettings
from pulpit.text import one_line, system_reason

MOST_SESSIONS: Final = 8
"""Connections to the mail server at a time."""
MOST_MESSAGES: Final = 5
"""Messages of one call, and so the most that a person gets twice when the process dies during it."""
MOST_UNFINISHED: Final = 1_000
"""Messages of one listener that only some addresses have received."""
_SERVICE_CLOSES: Final = 421


class Email:
    """Sends messages through one mail server."""

    pace: Final = Pace(batch=200, overlap=1, first_retry=timedelta(seconds=10), longest_retry=timedelta(minutes=15))
    kind: Final = EMAIL

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
        try:
            return _Mailer(email_config.read(config), self)
        except InvalidValue as error:
            return Misconfigured(error)

    async def close(self) -> None:
        """Do nothing: sessions end with the calls that opened them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Group:
    """The events of one message, and what has become of it so far."""

    events: tuple[Event, ...]
    taken: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def touched(self) -> bool:
        return bool(self.taken or self.refused)

    def starts(self, events: Sequence[Event]) -> bool:
        """Whether `events` begins with the events of this group."""
        return [event.id for event in events[: len(self.events)]] == [event.id for event in self.events]

    def waiting(self, addresses: Sequence[str]) -> list[str]:
        """Return the addresses that have neither accepted nor refused it."""
        return [address for address in addresses if address not in self.taken and address not in self.refused]

    def outcome(self) -> Outcome:
        """Return the outcome once every address has accepted or refused it."""
        if self.taken:
            return Delivered(answer=f"Taken for {', '.join(sorted(self.taken))}.", refused=dict(self.refused))
        return Refused(reason=_listed(self.refused.items()))


class _Mailer:
    def __init__(self, mailing: Mailing, kind: Email) -> None:
        self._mailing: Final = mailing
        self._kind: Final = kind
        self._unfinished: Final[dict[str, _Group]] = {}
        """Groups that some addresses have received, by the id of their first event; with lanes there may be several."""

    async def prepare(self) -> None:
        """Have nothing to prepare."""

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Send what is due, in order, until an address must be retried."""
        later = self._later(events)
        if later:
            return [later]
        async with self._kind.sessions:
            session = MailSession(self._kind.server)
            try:
                return await self._send_all(events, session)
            except asyncio.CancelledError:
                session.abandon()  # a cancelled call does not wait for QUIT
                raise
            finally:
                await session.close()

    def describe(self, event: Event) -> dict[str, Any]:
        """Return the message as the mail server gets it, and its recipients."""
        message = email_message.compose([event], self._mailing, self._kind.server.sender)
        return {
            "server": self._kind.server.place,
            "from": self._kind.server.sender.addr_spec,
            "to": list(self._mailing.addresses),
            "subject": email_message.subject([event], self._mailing.subject),
            "message": message.decode("utf-8", "replace"),
        }

    async def close(self) -> None:
        """Have nothing to close."""

    async def _send_all(self, events: Sequence[Event], session: MailSession) -> Sequence[Outcome]:
        outcomes: list[Outcome] = []
        for _ in range(MOST_MESSAGES):
            rest = events[len(outcomes) :]
            if not rest:
                return outcomes
            later = self._later(rest)
            if later:
                return [*outcomes, later]
            group = self._begun(rest) or _Group(events=tuple(rest if self._mailing.digest else rest[:1]))
            self._keep(group)
            outcome = await self._send(group, session)
            if isinstance(outcome, Retry):
                return [*outcomes, outcome]
            outcomes += [outcome] * len(group.events)
        return (
            outcomes if len(outcomes) == len(events) else [*outcomes, Later(reason="More follow.", after=timedelta(0))]
        )

    def _begun(self, events: Sequence[Event]) -> _Group | None:
        group = self._unfinished.get(events[0].id)
        return group if group and group.starts(events) else None

    def _keep(self, group: _Group) -> None:
        self._unfinished[group.events[0].id] = group
        if len(self._unfinished) > MOST_UNFINISHED:  # the oldest has been given up since
            del self._unfinished[next(iter(self._unfinished))]

    def _later(self, events: Sequence[Event]) -> Later | None:
        """Return `Later` while a digest is gathering."""
        if self._mailing.digest is None or self._begun(events):
            return None
        wait = events[0].occurred_at + self._mailing.digest - self._kind.clock()
        return Later(reason="The digest is gathering.", after=wait) if wait > timedelta(0) else None

    async def _send(self, group: _Group, session: MailSession) -> Outcome:
        """Send a group's message, in as many transactions as the mail server asks for."""
        server = self._kind.server
        message = email_message.compose(group.events, self._mailing, server.sender)
        while True:
            waiting = group.waiting(self._mailing.addresses)
            used = session.used
            try:
                async with asyncio.timeout(server.settings.timeout):
                    replies = await session.send(message, waiting)
            except (aiosmtplib.SMTPException, OSError, ValueError) as error:
                session.abandon()
                if used and _is_the_end_of_a_session(error):
                    continue
                return self._failed(error, waiting, group)
            outcome = self._noted(group, waiting, replies)
            codes = {reply.code for reply in replies.values()}
            if not isinstance(outcome, Retry):
                return outcome
            if used and _SERVICE_CLOSES in codes:
                session.abandon()
            elif not (codes & TOO_MANY_ADDRESSES and len(replies) < len(waiting)):
                return outcome

    def _noted(self, group: _Group, waiting: Sequence[str], replies: Mapping[str, Reply]) -> Outcome:
        """Record the result for each address."""
        put_off = {address: reply for address, reply in replies.items() if not reply.is_final}
        if (
            not group.taken
            and len(replies) == len(waiting)
            and all(reply.may_be_about_us for reply in replies.values())
        ):
            put_off = dict(replies)
        group.taken.update(address for address in waiting if address not in replies)
        group.refused.update((address, _said(reply)) for address, reply in replies.items() if address not in put_off)
        if put_off:
            reasons = _listed((address, _said(reply)) for address, reply in put_off.items())
            return Retry(reason=f"{self._kind.server.place} puts off {reasons}")
        self._unfinished.pop(group.events[0].id, None)
        return group.outcome()

    def _failed(self, error: Exception, waiting: Sequence[str], group: _Group) -> Outcome:
        """Return the outcome when no address received the message."""
        about_the_message = isinstance(error, aiosmtplib.SMTPDataError) or (
            isinstance(error, aiosmtplib.SMTPSenderRefused) and error.code == MESSAGE_TOO_LARGE
        )
        if isinstance(error, aiosmtplib.SMTPResponseException) and about_the_message and error.code >= PERMANENT:
            reply = Reply(code=error.code, text=error.message, about_message=True)
            return self._noted(group, waiting, dict.fromkeys(waiting, reply))
        if not group.touched:
            self._unfinished.pop(group.events[0].id, None)
        return Retry(reason=complaint(error, self._kind.server))


def complaint(error: Exception, server: MailServer) -> str:
    """Say in one sentence why nobody got a message."""
    root: BaseException = error
    while root.__cause__ is not None:
        root = root.__cause__
    match root:
        case ssl.SSLCertVerificationError() as cause:
            return f"The certificate of the mail server {server.settings.host} is not trusted: {cause.verify_message}."
        case ssl.SSLError() as cause:
            return f"TLS with the mail server {server.settings.host} failed ({system_reason(cause)})."
    match error:
        case TimeoutError():
            what = f"did not answer within {server.settings.timeout} seconds"
        case aiosmtplib.SMTPAuthenticationError():
            what = f"refused the login: {_said(Reply(code=error.code, text=error.message))}"
        case aiosmtplib.SMTPResponseException() if error.code < 0:
            what = f"does not speak SMTP: {one_line(error.message, 300)}"
        case aiosmtplib.SMTPResponseException():
            what = f"said {_said(Reply(code=error.code, text=error.message))}"
        case _:
            what = f"could not be used: {one_line(str(error), email_message.LONGEST_VALUE // 2)}"
    return f"{server.place} {what}."


def _is_the_end_of_a_session(error: Exception) -> bool:
    """Whether the mail server ended a session in which it had accepted messages; a new session may still succeed."""
    if isinstance(error, aiosmtplib.SMTPSenderRefused):
        return error.code < PERMANENT
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return error.code == _SERVICE_CLOSES
    return isinstance(error, aiosmtplib.SMTPServerDisconnected | ConnectionError)


def _said(reply: Reply) -> str:
    return f"{reply.code} {one_line(reply.text, 300)}".rstrip(" .")


def _listed(reasons: Iterable[tuple[str, str]]) -> str:
    return "; ".join(f"{address}: {reason}" for address, reason in reasons)[: email_message.LONGEST_VALUE] + "."
