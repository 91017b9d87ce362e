"""The login: a client with a server, without a network, and with invalid input."""

import base64
import hashlib
import hmac
from collections.abc import Callable

import pytest

from pulpit.amqp.amqp10 import codec
from pulpit.amqp.amqp10.codec import Symbol, Symbols, Ubyte
from pulpit.amqp.amqp10.sasl import (
    SASL_HEADER,
    ClientLogin,
    Credentials,
    LoginFailed,
    LoginRefused,
    NoMechanism,
    Scram,
    ScramError,
)
from pulpit.amqp.amqp10.types import AMQP_HEADER
from support.amqp10_peer import ServerLogin, read_plain

JOE = Credentials(user="joe", password="pä,ss=")


def frame(code: int, *fields: object) -> bytes:
    body = codec.described_list(code, fields)
    return (8 + len(body)).to_bytes(4, "big") + b"\x02\x01\x00\x00" + body


def mechanisms(*names: str) -> bytes:
    return SASL_HEADER + frame(0x40, Symbols(map(Symbol, names)))


def log_in(credentials: Credentials, offered: list[str], judge: Callable[[str, bytes], bool]) -> str | None:
    """Let a client log in at a server of ours; answers the mechanism."""
    client, server = ClientLogin(credentials, "host"), ServerLogin(offered)
    while not client.done:
        for byte in client.take_output():  # one by one: frames may come in any pieces
            asked = server.receive(bytes((byte,)))
            if asked:
                assert asked.hostname == "host"
                server.accept() if judge(asked.mechanism, asked.response) else server.refuse()
        client.receive(server.take_output() + (b"rest" if server.done else b""))
    assert client.rest == b"rest"
    return client.mechanism


def test_plain_shows_user_and_password() -> None:
    assert log_in(JOE, ["PLAIN"], lambda _, response: read_plain(response) == ("joe", "pä,ss=")) == "PLAIN"
    with pytest.raises(LoginRefused, match=r"The login was refused\."):
        log_in(JOE, ["PLAIN"], lambda _, response: read_plain(response) == ("joe", "other"))


def test_without_a_user_it_is_anonymous_and_with_a_certificate_external() -> None:
    assert log_in(Credentials(), ["PLAIN", "ANONYMOUS"], lambda *_: True) == "ANONYMOUS"
    assert log_in(Credentials(external=True), ["PLAIN", "EXTERNAL"], lambda *_: True) == "EXTERNAL"
    with pytest.raises(NoMechanism, match=r"wants a user name; it offers PLAIN\."):
        log_in(Credentials(), ["PLAIN"], lambda *_: True)


@pytest.mark.parametrize("name", Scram.NAMES)
def test_scram_proves_the_password_on_both_sides(name: str) -> None:
    client = ClientLogin(JOE)
    client.take_output()
    client.receive(mechanisms("PLAIN", name))
    peer = _ScramPeer(name, "pä,ss=")
    client.receive(frame(0x42, peer.challenge(_response(client, 1))))
    final = peer.judge(_response(client, 0))
    client.receive(frame(0x44, Ubyte(0), final))
    assert client.done


def test_scram_finds_out_a_peer_that_does_not_know_the_password() -> None:
    for final in (b"v=" + base64.b64encode(b"x" * 32), None):
        client = ClientLogin(JOE)
        client.take_output()
        client.receive(mechanisms("SCRAM-SHA-256"))
        client.receive(frame(0x42, _ScramPeer("SCRAM-SHA-256", "other").challenge(_response(client, 1))))
        with pytest.raises(LoginFailed, match="does not know the password itself"):
            client.receive(frame(0x44, Ubyte(0), final))
    client = ClientLogin(JOE)
    client.receive(mechanisms("SCRAM-SHA-256"))
    with pytest.raises(LoginFailed, match="without asking for the password"):
        client.receive(frame(0x44, Ubyte(0)))


@pytest.mark.parametrize(
    "challenge",
    [b"", b"r=other,s=QUJD,i=4096", b"r=NONCEx,s=QUJD,i=1", b"r=NONCEx,s=QUJD,i=99999999", b"r=NONCEx,s=!,i=4096"],
)
def test_scram_refuses_challenges_that_do_not_fit(challenge: bytes) -> None:
    with pytest.raises(ScramError):
        Scram("SCRAM-SHA-256", "joe", "x", nonce="NONCE").answer(challenge)


def test_scram_says_what_the_example_of_the_standard_says() -> None:
    scram = Scram("SCRAM-SHA-256", "user", "pencil", nonce="rOprNGfwEbeRWgbNEkqO")
    assert scram.first() == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    nonce = b"rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    answer = scram.answer(b"r=" + nonce + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
    assert answer == b"c=biws,r=" + nonce + b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    scram.check(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"AMQP\x00\x00\x09\x01", "speaks AMQP 0-9-1"),
        (b"AMQP\x01\x01\x00\x0a", "speaks AMQP 0-10"),
        (AMQP_HEADER, "without a login"),
        (b"HTTP/1.1 400", "does not speak AMQP"),
        (SASL_HEADER + b"\x00\x00\x00\x07\x02\x01\x00\x00", "no frame"),
        (SASL_HEADER + b"\xff\xff\xff\xff\x02\x01\x00\x00", "no frame"),
        (SASL_HEADER + frame(0x40, "PLAIN")[:-3], None),
        (SASL_HEADER + frame(0x10), "no frame"),
        (SASL_HEADER + frame(0x41, Symbol("PLAIN")), "only clients send"),
        (mechanisms("ANONYMOUS") * 1 + frame(0x40, Symbol("ANONYMOUS")), "twice"),
        (mechanisms("KERBEROS"), "offers KERBEROS"),
        (mechanisms(), "offers nothing"),
        (mechanisms("ANONYMOUS") + frame(0x44, Ubyte(4)), "has no login"),
        (mechanisms("ANONYMOUS") + frame(0x44), "has no login"),
    ],
)
def test_a_server_that_says_something_else_is_refused_in_words(sent: bytes, words: str | None) -> None:
    client = ClientLogin(Credentials())
    if words is None:
        client.receive(sent)
        assert not client.done
        return
    with pytest.raises(LoginFailed, match=words):
        client.receive(sent)


def _response(client: ClientLogin, number: int) -> bytes:
    value, _ = codec.decode(client.take_output(), 8)
    response = value.value[number]
    assert isinstance(response, bytes)
    return response


class _ScramPeer:
    """A server's side of SCRAM, by RFC 5802 section 3."""

    def __init__(self, name: str, password: str) -> None:
        self._hash = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}[name]
        self._salted = hashlib.pbkdf2_hmac(self._hash, password.encode(), b"salt", 4096)

    def challenge(self, first: bytes) -> bytes:
        self._bare = first.removeprefix(b"n,,")
        self._first = self._bare.rpartition(b"r=")[2]
        self._said = b"r=" + self._first + b"more,s=" + base64.b64encode(b"salt") + b",i=4096"
        return self._said

    def judge(self, final: bytes) -> bytes:
        without, _, proof = final.rpartition(b",p=")
        signed = b",".join((self._bare, self._said, without))
        key = self._hmac(self._salted, b"Client Key")
        signature = self._hmac(hashlib.new(self._hash, key).digest(), signed)
        assert bytes(a ^ b for a, b in zip(base64.b64decode(proof), signature, strict=True)) == key
        return b"v=" + base64.b64encode(self._hmac(self._hmac(self._salted, b"Server Key"), signed))

    def _hmac(self, key: bytes, data: bytes) -> bytes:
        return hmac.new(key, data, self._hash).digest()
