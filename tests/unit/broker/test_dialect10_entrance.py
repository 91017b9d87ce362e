"""The entrance of AMQP 1.0: who is let in, as whom, and what happens to the others."""

import struct
from typing import Any

import pytest

from pulpit.amqp.amqp10 import codec
from pulpit.amqp.amqp10.codec import Described, Symbol, Ulong
from pulpit.amqp.amqp10.sasl import SASL_HEADER, Credentials, LoginFailed
from pulpit.amqp.amqp10.words import AMQP_HEADER
from pulpit.broker.dialect10.entrance import MAX_WAITING, Entrance
from pulpit.broker.dialects import Greeting, Particulars
from pulpit.broker.logins import Attempt
from support.amqp10 import needs_amqp10
from support.broker_box import Box
from support.broker_box10 import Box10Client


class Judge:
    """Remembers attempts, and judges when it is told to."""

    def __init__(self, **particulars: Any) -> None:
        known: dict[str, Any] = {"address": "10.0.0.1", "local": False, "certificate_name": None} | particulars
        self.attempts: list[Attempt] = []
        self.entrance = Entrance(ask=self.attempts.append, **known)

    def said(self) -> bytes:
        return self.entrance.take_output()


def sasl_frame(code: int, *fields: Any) -> bytes:
    body = codec.encode(Described(Ulong(code), list(fields)))
    return struct.pack(">IBBH", 8 + len(body), 2, 1, 0) + body


def init(mechanism: str, response: bytes = b"") -> bytes:
    return sasl_frame(0x41, Symbol(mechanism), response)


def mechanisms(data: bytes) -> list[str]:
    assert data.startswith(SASL_HEADER)
    value = codec.decode(data, len(SASL_HEADER) + 8)[0]
    return [str(each) for each in value.value[0]]


@pytest.mark.parametrize(
    ("particulars", "offered"),
    [
        ({}, ["PLAIN"]),
        ({"local": True}, ["PLAIN", "ANONYMOUS"]),
        ({"certificate_name": "ci"}, ["EXTERNAL", "PLAIN"]),
        ({"certificate_name": "ci", "local": True}, ["EXTERNAL", "PLAIN", "ANONYMOUS"]),
    ],
)
def test_what_is_offered_depends_on_where_a_client_comes_from(particulars: dict[str, Any], offered: list[str]) -> None:
    judge = Judge(**particulars)
    judge.entrance.receive(SASL_HEADER)
    assert mechanisms(judge.said()) == offered


@pytest.mark.parametrize(
    ("sent", "user", "password"),
    [
        (init("PLAIN", b"\0ci\0secret"), "ci", "secret"),
        (init("PLAIN", b"garbage"), "", ""),
        (init("ANONYMOUS", b"who"), "guest", "guest"),
        (init("EXTERNAL"), "cn", None),
    ],
)
def test_a_log_in_is_judged_by_its_mechanism(sent: bytes, user: str, password: str | None) -> None:
    judge = Judge(local=True, certificate_name="cn")
    judge.entrance.receive(SASL_HEADER + sent)
    (attempt,) = judge.attempts
    assert (attempt.user, attempt.password, attempt.local) == (user, password, True)
    judge.entrance.judged(welcome=True)
    assert judge.entrance.rest == b""
    judge.entrance.failed = False


def test_a_client_without_sasl_is_the_guest() -> None:
    judge = Judge(local=True)
    for octet in AMQP_HEADER:
        judge.entrance.receive(bytes((octet,)))
    (attempt,) = judge.attempts
    assert (attempt.user, attempt.password) == ("guest", "guest")
    judge.entrance.receive(b"more")
    judge.entrance.judged(welcome=True)
    assert judge.entrance.rest == AMQP_HEADER + b"more"
    assert judge.said() == b""


def test_what_comes_behind_the_log_in_waits_for_the_verdict() -> None:
    judge = Judge()
    judge.entrance.receive(SASL_HEADER + init("PLAIN", b"\0a\0b") + AMQP_HEADER)
    judge.entrance.receive(b"open")
    assert judge.entrance.rest is None
    judge.entrance.judged(welcome=True)
    assert judge.entrance.rest == AMQP_HEADER + b"open"


def test_a_refused_client_is_told_and_left() -> None:
    judge = Judge()
    judge.entrance.receive(SASL_HEADER + init("PLAIN", b"\0a\0b"))
    judge.said()
    judge.entrance.judged(welcome=False)
    assert judge.said() == sasl_frame(0x44, codec.Ubyte(1))
    assert judge.entrance.failed


@pytest.mark.parametrize("sent", [init("GSSAPI"), init("ANONYMOUS"), init("EXTERNAL"), b"\0" * 20, b"\xff" * 20])
def test_what_was_not_offered_ends_it(sent: bytes) -> None:
    judge = Judge()
    judge.entrance.receive(SASL_HEADER + sent)
    assert judge.entrance.failed
    assert judge.attempts == []


def test_nobody_fills_the_memory_while_being_judged() -> None:
    judge = Judge()
    judge.entrance.receive(SASL_HEADER + init("PLAIN", b"\0a\0b"))
    judge.entrance.receive(b"x" * MAX_WAITING)
    assert not judge.entrance.failed
    judge.entrance.receive(b"x")
    assert judge.entrance.failed


def hello(**particulars: Any) -> Greeting:
    known: dict[str, Any] = {"wake": lambda: None, "address": "127.0.0.1", "local": True} | particulars
    return Greeting(Box().house, Particulars(**known))


@needs_amqp10
@pytest.mark.parametrize("header", [AMQP_HEADER, SASL_HEADER])
def test_the_first_bytes_decide_the_dialect(header: bytes) -> None:
    greeting = hello()
    for end in range(1, len(header)):
        assert greeting.receive(header[end - 1 : end]) == (None, b"")
    client, data = greeting.receive(header[-1:] + b"more")
    assert client is not None
    assert (client.dialect, data) == ("AMQP 1.0", header + b"more")


@pytest.mark.parametrize(
    "data", [b"AMQP\x00\x00\x09\x01", b"GET / HTTP/1.1\r\n", b"\x16", b"AMQP\x02", b"AMQP\x00\x01\x01\x00"]
)
def test_all_other_bytes_are_for_the_older_dialect(data: bytes) -> None:
    client, rest = hello().receive(data)
    assert client is not None
    assert (client.dialect, rest) == ("AMQP 0-9-1", data)


def test_without_the_extra_the_log_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("pulpit.amqp.amqp10.proton.MODULE", "a_module_that_nobody_has")
    client, data = hello().receive(SASL_HEADER)
    assert client is not None
    assert client.dialect == "AMQP 0-9-1"
    client.receive(data)
    assert (client.take_output(), client.finished) == (b"AMQP\x00\x00\x09\x01", True)
    (record,) = caplog.records
    assert record.__dict__["action"] == "broker_dialect_missing"
    assert "pip install 'pulpit[amqp10]'" in record.getMessage()


@needs_amqp10
def test_a_second_log_in_behind_the_first_is_no_protocol() -> None:
    client = Box10Client(Box(), opened=False)
    client.raw(SASL_HEADER + init("PLAIN", b"\0guest\0guest"))
    client.raw(SASL_HEADER + init("ANONYMOUS"))
    assert client.connection.finished
    assert client.connection.state == "closed"


@needs_amqp10
def test_the_wrong_password_is_refused_in_words() -> None:
    box = Box()
    box.house.logins.ask = lambda attempt, answer: answer(attempt, welcome=attempt.password == "right")  # type: ignore[method-assign]
    client = Box10Client(box, credentials=Credentials(user="guest", password="wrong"), opened=False)
    with pytest.raises(LoginFailed, match="refused"):
        client.talk()
    assert client.connection.finished
    assert Box10Client(box, credentials=Credentials(user="guest", password="right")).connection.user == "guest"


@needs_amqp10
def test_a_log_in_that_is_judged_later_goes_on_then() -> None:
    box = Box()
    waiting: list[Any] = []
    box.house.logins.ask = lambda attempt, answer: waiting.append((attempt, answer))  # type: ignore[method-assign]
    client = Box10Client(box)
    assert client.connection.state == "entrance"
    attempt, answer = waiting.pop()
    answer(attempt, welcome=True)
    client.talk()
    assert client.connection.state == "running"
    client.connection.lost()
    answer(attempt, welcome=True)
