"""The email notifier against a real SMTP server on loopback."""

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from pulpit.clock import Clock, system_clock
from pulpit.delivery.notifiers import email_config
from pulpit.delivery.notifiers.email import Email
from pulpit.delivery.notifiers.kinds import SwitchedOff
from pulpit.delivery.notifiers.port import Delivered, Later, Notifier, Outcome, Refused, Retry
from pulpit.listener_options import EMAIL
from pulpit.settings import EmailSettings as Settings
from support.made_events import NOON, event
from support.mailserver import MailServer, mailserver
from support.webhooks import raw

JOE, ANN, BOB = "joe@example.com", "ann@example.com", "bob@example.com"


def open_at(
    port: int, addresses: list[str], *, clock: Clock = system_clock, digest: str | None = None, **settings: Any
) -> Notifier:
    values = {"enabled": True, "host": "127.0.0.1", "port": port, "sender": "Pulp <pulp@example.com>", "timeout": 10}
    kind = Email(Settings(**{**values, **settings}), clock)
    config = {"subject": "{event_type} of {repo_id}: {result}", "addresses": addresses, "digest": digest}
    kind.check_config(config)
    return kind.open(config)


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 30))


async def outcome(notifier: Notifier, **payload: Any) -> Outcome:
    (one,) = await notifier.deliver([event(**payload)])
    return one


def refusing(far: MailServer, replies: dict[str, str]) -> None:
    far.on_rcpt = replies.get


def test_one_message_goes_to_all_addresses() -> None:
    async def story() -> None:
        happened = event(3, result="failed", error_message="No such host: mirror")
        async with mailserver() as far:
            (done,) = await open_at(far.port, [JOE, ANN]).deliver([happened])
        assert done == Delivered(answer=f"Taken for {ANN}, {JOE}.")
        (mail,) = far.mails
        message = mail.message
        assert (mail.sender, mail.recipients) == ("pulp@example.com", [JOE, ANN])
        assert message["To"] == f"{JOE}, {ANN}"
        assert message["From"] == "Pulp <pulp@example.com>"
        assert message["Subject"] == "repo.sync.finish of zoo: failed"
        assert message["Message-ID"] == f"<{happened.id}@example.com>"
        assert message["Auto-Submitted"] == "auto-generated"
        assert message["Date"].datetime == NOON.replace(microsecond=0)
        text, file = message.iter_parts()
        assert text.get_content().startswith("Sync of zoo FAILED.\r\n\r\nError:      No such host: mirror\r\n")
        assert file.get_filename() == "event.json"
        assert json.loads(file.get_content()) == json.loads(happened.body)

    run(story)


def test_several_events_share_a_session_and_the_rest_follows_later() -> None:
    async def story() -> None:
        async with mailserver() as far:
            outcomes = await open_at(far.port, [JOE]).deliver([event(number) for number in range(1, 9)])
        assert [type(one) for one in outcomes] == [Delivered] * 5 + [Later]
        assert outcomes[-1] == Later(reason="More follow.", after=timedelta(0))
        assert [mail.message["Pulpit-Number"] for mail in far.mails] == ["1", "2", "3", "4", "5"]
        assert far.sessions == 1

    run(story)


def test_an_address_that_is_refused_does_not_keep_the_others_from_theirs() -> None:
    async def story() -> None:
        async with mailserver() as far:
            refusing(far, {ANN: "550 5.1.1 No such user"})
            done = await outcome(open_at(far.port, [JOE, ANN, BOB]))
        assert isinstance(done, Delivered)
        assert done.refused == {ANN: "550 5.1.1 No such user"}
        assert [mail.recipients for mail in far.mails] == [[JOE, BOB]]

    run(story)


def test_an_event_that_every_address_refuses_is_refused() -> None:
    async def story() -> None:
        async with mailserver() as far:
            refusing(far, {ANN: "550 No such user", JOE: "551 Moved away"})
            done = await outcome(open_at(far.port, [JOE, ANN]))
            assert done == Refused(reason=f"{JOE}: 551 Moved away; {ANN}: 550 No such user.")

    run(story)


def test_an_address_that_is_put_off_is_tried_again_alone() -> None:
    async def story() -> None:
        async with mailserver() as far:
            notifier, happened = open_at(far.port, [JOE, ANN, BOB]), event(1)
            refusing(far, {ANN: "451 4.7.1 Greylisted", BOB: "550 No such user"})
            (first,) = await notifier.deliver([happened, event(2)])
            assert isinstance(first, Retry)
            assert first.reason.endswith(f"puts off {ANN}: 451 4.7.1 Greylisted.")
            refusing(far, {})
            assert await notifier.deliver([happened]) == [
                Delivered(answer=f"Taken for {ANN}, {JOE}.", refused={BOB: "550 No such user"})
            ]
        assert [mail.recipients for mail in far.mails] == [[JOE], [ANN]]
        assert len({mail.message["Message-ID"] for mail in far.mails}) == 1

    run(story)


def test_a_mail_server_that_wants_a_login_is_no_fault_of_the_address() -> None:
    async def story() -> None:
        async with mailserver() as far:
            refusing(far, {JOE: "530 5.7.0 Authentication required"})
            assert isinstance(await outcome(open_at(far.port, [JOE])), Retry)

    run(story)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [("451 Later", Retry), ("421 Going down", Retry), ("554 Looks like spam", Refused), ("552 Too large", Refused)],
)
def test_the_reply_to_the_content_decides(reply: str, kind: type[Outcome]) -> None:
    async def story() -> None:
        async with mailserver() as far:
            far.on_data = lambda: reply
            assert type(await outcome(open_at(far.port, [JOE]))) is kind

    run(story)


def test_a_refused_sender_can_be_mended() -> None:
    async def story() -> None:
        async with mailserver() as far:
            far.on_mail = lambda: "553 Sender unknown"
            assert await outcome(open_at(far.port, [JOE])) == Retry(
                reason=f"The mail server 127.0.0.1:{far.port} said 553 Sender unknown."
            )

    run(story)


@pytest.mark.parametrize(
    "reply",
    [
        "504 5.5.2 <vm>: Helo command rejected: need fully-qualified hostname",
        "550 5.1.8 <pulp@example.com>: Sender address rejected: Domain not found",
        "554 5.7.1 <localhost[127.0.0.1]>: Client host rejected: Access denied",
        "554 5.7.1 <joe@example.com>: Relay access denied",
        "550 relay not permitted",
        "550 Verification failed for <pulp@example.com>: Unrouteable address: Sender verify failed",
    ],
)
def test_what_postfix_and_exim_say_at_the_address_about_this_server_can_be_mended(reply: str) -> None:
    async def story() -> None:
        async with mailserver() as far:
            notifier = open_at(far.port, [JOE, ANN])
            refusing(far, {JOE: reply, ANN: reply})
            assert isinstance(await outcome(notifier), Retry)
            refusing(far, {JOE: reply})
            assert await outcome(notifier) == Delivered(answer=f"Taken for {ANN}.", refused={JOE: reply})

    run(story)


@pytest.mark.parametrize(("own", "told"), [("vm", "[127.0.0.1]"), ("pulp.example.com", "pulp.example.com")])
def test_a_name_without_a_domain_is_not_told(monkeypatch: pytest.MonkeyPatch, own: str, told: str) -> None:
    """Postfix's `reject_non_fqdn_helo_hostname` takes no such name, and containers have no other."""
    monkeypatch.setattr(socket, "gethostname", lambda: own)
    greetings = []

    def remember(line: str, *_: int) -> None:
        greetings.append(line)

    async def story() -> None:
        async with scripted(remember) as far:
            assert isinstance(await outcome(open_at(far.port, [JOE])), Delivered)

    run(story)
    assert greetings[1] == f"EHLO {told}"


def test_a_server_that_hangs_is_left_in_time_and_others_too() -> None:
    async def story() -> None:
        async with raw(None, close=False) as url:
            port = int(url.rpartition(":")[2])
            done = await outcome(open_at(port, [JOE], timeout=1))
            assert done == Retry(reason=f"The mail server 127.0.0.1:{port} did not answer within 1 seconds.")
        async with mailserver() as far:

            async def never() -> str | None:
                await asyncio.sleep(20)
                return None

            far.on_data = never
            assert isinstance(await outcome(open_at(far.port, [JOE], timeout=1)), Retry)

    run(story)


def test_a_server_that_is_not_there_or_speaks_no_smtp_is_a_retry() -> None:
    async def story() -> None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            done = await outcome(open_at(bound.getsockname()[1], [JOE]))
        assert isinstance(done, Retry)
        assert "could not be used" in done.reason
        async with talking(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
            assert isinstance(await outcome(open_at(port, [JOE], timeout=2)), Retry)
        async with talking(b"554 No service\r\n") as port:
            done = await outcome(open_at(port, [JOE], timeout=2))
            assert done == Retry(reason=f"The mail server 127.0.0.1:{port} said 554 No service.")
        assert isinstance(await outcome(open_at(25, [JOE], host="nowhere.invalid")), Retry)

    run(story)


@contextlib.asynccontextmanager
async def talking(greeting: bytes) -> AsyncIterator[int]:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
            await reader.read()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


# What depends on the command, and the end of a session

MANY = [f"a{number}@example.com" for number in range(5)]


@dataclass
class Scripted:
    """A mail server that says what its test wants: a line of the client, with the numbers of its session and mail."""

    says: Callable[[str, int, int], str | None]
    port: int = 0
    sessions: int = 0
    mails: list[list[str]] = field(default_factory=list)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.sessions += 1
        session, mail, recipients = self.sessions, 0, list[str]()
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            line = "greeting"
            while True:
                mail += line.startswith("MAIL")
                reply = self.says(line, session, mail) or self.usual(line)
                if line.startswith("RCPT") and reply.startswith("250"):
                    recipients.append(line.partition("<")[2].partition(">")[0])
                writer.write(reply.replace("\n", "\r\n").encode() + b"\r\n")
                await writer.drain()
                if reply.startswith(("421", "221")) or reply.endswith("bye"):
                    break
                if reply.startswith("354"):
                    await reader.readuntil(b"\r\n.\r\n")
                    line = "content"
                    if (self.says("content", session, mail) or "250").startswith("250"):
                        self.mails.append(recipients)
                    recipients = []
                else:
                    line = (await reader.readuntil(b"\r\n")).decode().strip()
        writer.close()

    def usual(self, line: str) -> str:
        words = {"greeting": "220 mail", "EHLO": "250-mail\n250 SIZE", "DATA": "354 go on", "QUIT": "221 Bye"}
        return words.get(line.partition(" ")[0], "250 OK")


@contextlib.asynccontextmanager
async def scripted(says: Callable[[str, int, int], str | None]) -> AsyncIterator[Scripted]:
    far = Scripted(says)
    server = await asyncio.start_server(far.talk, "127.0.0.1", 0)
    far.port = server.sockets[0].getsockname()[1]
    try:
        yield far
    finally:
        server.close()


@pytest.mark.parametrize("code", ["452 4.5.3 Too many recipients", "552 Too many recipients"])
def test_b10_more_addresses_than_a_transaction_takes_go_in_further_ones_of_the_same_session(code: str) -> None:
    async def story() -> None:
        taken = 0

        def at_most_two(line: str, _: int, __: int) -> str | None:
            nonlocal taken
            taken = 0 if line.startswith("MAIL") else taken + line.startswith("RCPT")
            return code if line.startswith("RCPT") and taken > 2 else None

        async with scripted(at_most_two) as far:
            done = await outcome(open_at(far.port, MANY))
            assert done == Delivered(answer=f"Taken for {', '.join(MANY)}.")
            assert (far.mails, far.sessions) == ([MANY[:2], MANY[2:4], MANY[4:]], 1)

    run(story)


def test_b10_552_for_the_only_address_is_put_off_and_for_the_message_it_is_final() -> None:
    async def story() -> None:
        async with scripted(lambda line, *_: "552 5.2.2 Full" if line.startswith("RCPT") else None) as far:
            assert isinstance(await outcome(open_at(far.port, [JOE])), Retry)
        for command in ("MAIL", "DATA", "content"):
            async with scripted(lambda line, *_, at=command: "552 Too large" if line.startswith(at) else None) as far:
                assert await outcome(open_at(far.port, [JOE])) == Refused(reason=f"{JOE}: 552 Too large.")

    run(story)


def third(command: str, reply: str) -> Callable[[str, int, int], str | None]:
    """A reply to a command of the third mail of each session."""
    return lambda line, _, mail: reply if line.startswith(command) and mail == 3 else None


ENDS = {
    "421 at MAIL": third("MAIL", "421 Enough"),
    "450 at MAIL": third("MAIL", "450 Enough"),
    "421 at RCPT": third("RCPT", "421 Enough"),
    "421 at DATA": third("DATA", "421 Enough"),
    "421 at the content": third("content", "421 Enough"),
    "closed after each": lambda line, *_: "250 OK, bye" if line == "content" else None,
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
def test_b10_the_end_of_a_session_that_was_used_is_no_failure(end: Callable[[str, int, int], str | None]) -> None:
    async def story() -> None:
        async with scripted(end) as far:
            outcomes = await open_at(far.port, [JOE]).deliver([event(number) for number in range(1, 6)])
        assert [type(done) for done in outcomes] == [Delivered] * 5
        assert far.sessions > 1

    run(story)


@pytest.mark.parametrize("command", ["greeting", "EHLO", "MAIL", "RCPT", "DATA", "content"])
def test_b10_421_in_a_fresh_session_is_a_failure_and_not_a_circle(command: str) -> None:
    async def story() -> None:
        async with scripted(lambda line, *_: "421 Not now" if line.startswith(command) else None) as far:
            assert isinstance(await outcome(open_at(far.port, [JOE])), Retry)
            assert far.sessions == 1

    run(story)


@pytest.mark.parametrize(
    "odd",
    ["250-a\n250-b\n250", "250-\n250 ", "250-a\n250 b", "250"],
)
def test_replies_of_odd_lines_are_understood(odd: str) -> None:
    commands = ("EHLO", "MAIL", "RCPT", "content")

    async def story() -> None:
        async with scripted(lambda line, *_: odd if line.startswith(commands) else None) as far:
            assert isinstance(await outcome(open_at(far.port, [JOE])), Delivered)

    run(story)


def test_one_address_that_is_greylisted_does_not_hold_up_the_others() -> None:
    async def story() -> None:
        def greylisting(line: str, _: int, __: int) -> str | None:
            return "450 4.2.0 Greylisted" if "a3@" in line else "550 5.1.1 Unknown" if "a1@" in line else None

        async with scripted(greylisting) as far:
            done = await outcome(open_at(far.port, MANY))
            assert isinstance(done, Retry)
            assert done.reason.endswith("puts off a3@example.com: 450 4.2.0 Greylisted.")
            assert far.mails == [[MANY[0], MANY[2], MANY[4]]]

    run(story)


# Digests


def test_a_digest_waits_for_its_time_and_then_holds_everything() -> None:
    async def story() -> None:
        now = [NOON + timedelta(minutes=5)]
        events = [event(1, "repo.sync.start"), event(2, result="failed"), event(3, repo_id="other")]
        async with mailserver() as far:
            notifier = open_at(far.port, [JOE], digest="15m", clock=lambda: now[0])
            assert await notifier.deliver(events[:1]) == [
                Later(reason="The digest is gathering.", after=timedelta(minutes=10))
            ]
            assert far.sessions == 0
            now[0] += timedelta(minutes=10)
            outcomes = await notifier.deliver(events)
        assert [type(one) for one in outcomes] == [Delivered] * 3
        (mail,) = far.mails
        assert mail.message["Subject"] == "several of several: several"
        text, file = mail.message.iter_parts()
        assert text.get_content().startswith("3 events, 1 of them failed:\r\n")
        assert file.get_filename() == "events.ndjson"
        assert file.get_content() == "\n".join(one.body for one in events).encode()

    run(story)


def test_a_digest_that_was_put_off_by_one_address_is_finished_before_the_next() -> None:
    async def story() -> None:
        events = [event(number) for number in (1, 2, 3)]
        fresh = event(4, occurred_at=NOON + timedelta(minutes=30))
        async with mailserver() as far:
            now = NOON + timedelta(minutes=31)
            notifier = open_at(far.port, [JOE, ANN], digest="15m", clock=lambda: now)
            refusing(far, {ANN: "450 Later"})
            assert [type(one) for one in await notifier.deliver(events)] == [Retry]
            refusing(far, {})
            outcomes = await notifier.deliver([*events, fresh])
            assert [type(one) for one in outcomes] == [Delivered, Delivered, Delivered, Later]
        assert [mail.recipients for mail in far.mails] == [[JOE], [ANN]]
        assert far.mails[0].content == far.mails[1].content

    run(story)


# TLS and login


def server_side(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    made = trustme.CA()
    made.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return made


@pytest.mark.parametrize("way", ["starttls", "tls"])
def test_tls_in_both_ways(authority: trustme.CA, tmp_path: Path, way: str) -> None:
    async def story() -> None:
        context: dict[str, Any] = {way: server_side(authority)}
        async with mailserver(**context) as far:
            done = await outcome(open_at(far.port, [JOE], tls=way, ca=str(tmp_path / "ca.pem")))
            assert isinstance(done, Delivered), done
            stranger = await outcome(open_at(far.port, [JOE], tls=way))
            assert isinstance(stranger, Retry)
            assert stranger.reason.startswith("The certificate of the mail server 127.0.0.1 is not trusted: ")
        context = {way: server_side(authority, "other.example")}
        async with mailserver(**context) as far:
            misnamed = await outcome(open_at(far.port, [JOE], tls=way, ca=str(tmp_path / "ca.pem")))
            assert isinstance(misnamed, Retry)
            assert "is not trusted: IP address mismatch" in misnamed.reason

    run(story)


def test_a_server_without_starttls_gets_no_message_in_the_clear() -> None:
    async def story() -> None:
        async with mailserver() as far:
            assert isinstance(await outcome(open_at(far.port, [JOE], tls="starttls")), Retry)
            assert far.mails == []

    run(story)


def test_login(authority: trustme.CA, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret-word\n")
    (tmp_path / "password").chmod(0o600)

    async def story() -> None:
        ca = str(tmp_path / "ca.pem")
        async with mailserver(starttls=server_side(authority), login=(b"pulp", b"s3cret-word")) as far:
            config: dict[str, Any] = {"tls": "starttls", "ca": ca, "username": "pulp"}
            done = await outcome(open_at(far.port, [JOE], password_file=str(tmp_path / "password"), **config))
            assert isinstance(done, Delivered), done
            assert far.mails[0].user == b"pulp"
            wrong = await outcome(open_at(far.port, [JOE], password="wrong-word", **config))
            assert isinstance(wrong, Retry)
            assert "refused the login: 535" in wrong.reason
            assert "wrong-word" not in wrong.reason

    run(story)


# Nobody gets in


@pytest.mark.parametrize("poison", ["zoo\r\nBcc: eve@example.com", "zoo\n.\n", "zoo\x85Bcc: eve", "zoo\u2028Bcc: eve"])
def test_an_event_adds_no_header_and_no_recipient(poison: str) -> None:
    async def story() -> None:
        async with mailserver() as far:
            done = await outcome(open_at(far.port, [JOE]), repo_id=poison, result=poison, error_message=poison)
            assert isinstance(done, Delivered)
        (mail,) = far.mails
        assert mail.recipients == [JOE]
        assert "Bcc" not in mail.message
        assert set(mail.message.keys()) == {
            "Subject", "From", "To", "Date", "Message-ID", "Auto-Submitted", "Pulpit-Number", "MIME-Version",
            "Content-Type",
        }  # fmt: skip
        assert len(list(mail.message.iter_parts())) == 2

    run(story)


def test_nothing_is_sent_while_email_is_disabled() -> None:
    async def story() -> None:
        notifier = SwitchedOff(EMAIL, email_config.read, "[email] enabled is false.").open({"addresses": [JOE]})
        assert await outcome(notifier) == Delivered(answer="Nothing is sent: [email] enabled is false.")

    run(story)
