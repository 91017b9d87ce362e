# SPDX-License-Identifier: Apache-2.0
"""The SASL login before AMQP 1.0 (part 5 of the specification, section 5.3), without I/O; SCRAM is RFC 5802 and 7677.

It is implemented here because Proton's own build lacks SCRAM, which proves a password without sending it.

    LoginFailed
    ├── LoginRefused     other credentials are needed
    └── NoMechanism      another mechanism is needed, or TLS
"""

import base64
import binascii
import hashlib
import hmac
import secrets
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from struct import Struct
from typing import Any, ClassVar, Final

from pulpit.amqp.amqp10 import codec
from pulpit.amqp.amqp10.codec import DecodeError, Described, Symbol
from pulpit.amqp.amqp10.types import AMQP_HEADER

SASL_HEADER: Final = b"AMQP\x03\x01\x00\x00"
LARGEST_FRAME: Final = 8192
"""Bytes; the specification requires 512, and mechanisms with tickets send more."""
ANONYMOUS, PLAIN, EXTERNAL = "ANONYMOUS", "PLAIN", "EXTERNAL"

_HEAD: Final = Struct(">IBBH")
_MECHANISMS, _INIT, _CHALLENGE, _RESPONSE, _OUTCOME = 0x40, 0x41, 0x42, 0x43, 0x44
_OK, _AUTH = 0, 1
_NAMES: Final = {
    _MECHANISMS: "amqp:sasl-mechanisms:list",
    _INIT: "amqp:sasl-init:list",
    _CHALLENGE: "amqp:sasl-challenge:list",
    _RESPONSE: "amqp:sasl-response:list",
    _OUTCOME: "amqp:sasl-outcome:list",
}
_CODES: Final = {name: code for code, name in _NAMES.items()}
_OTHERS: Final = {
    b"AMQP\x00\x00\x09\x01": "AMQP 0-9-1",
    b"AMQP\x01\x01\x00\x0a": "AMQP 0-10",
    AMQP_HEADER: "AMQP 1.0 without a login",
}


class LoginFailed(Exception):
    """The login failed; the text says why, without any secret."""


class LoginRefused(LoginFailed):
    """The peer rejected the credentials, so a retry with them is useless."""


class NoMechanism(LoginFailed):
    """The peer offers no mechanism that is possible, or allowed, with these credentials."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """A client's credentials; the strongest mechanism that both sides support is used."""

    user: str | None = None
    password: str = field(default="", repr=False)
    external: bool = False
    """Whether TLS authenticates the client (by a client certificate)."""


class _Frames:
    """The frames of one side's login: a header, then `(code, fields)` until it is done."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._greeted = False
        self.done = False

    @property
    def rest(self) -> bytes:
        """Return the bytes received after the login."""
        return bytes(self._buffer) if self.done else b""

    def add(self, data: bytes) -> None:
        self._buffer += data

    def greeted(self) -> bool:
        """Whether the peer's header has arrived.

        Raises:
            LoginFailed: it is another one.
        """
        if not self._greeted and len(self._buffer) >= len(SASL_HEADER):
            header = bytes(self._buffer[: len(SASL_HEADER)])
            del self._buffer[: len(SASL_HEADER)]
            if header != SASL_HEADER and header.startswith(b"AMQP"):
                protocol = _OTHERS.get(header, "another AMQP")
                raise LoginFailed(f"The peer speaks {protocol}, and not AMQP 1.0 with SASL.")
            if header != SASL_HEADER:
                raise LoginFailed("The peer does not speak AMQP.")
            self._greeted = True
        return self._greeted

    def next(self) -> tuple[int, Sequence[Any]] | None:
        """Return the next whole frame.

        Raises:
            LoginFailed: the bytes are not a frame of a login.
        """
        if len(self._buffer) < _HEAD.size:
            return None
        size, offset, kind, _ = _HEAD.unpack_from(self._buffer)
        if not _HEAD.size <= size <= LARGEST_FRAME or kind != 1 or not _HEAD.size <= 4 * offset <= size:
            raise LoginFailed("The peer sent no frame of a login.")
        if len(self._buffer) < size:
            return None
        body = bytes(self._buffer[4 * offset : size])
        del self._buffer[:size]
        return _performative(body)


def _performative(body: bytes) -> tuple[int, Sequence[Any]]:
    try:
        value, _ = codec.decode(body)
    except DecodeError:
        value = None
    if isinstance(value, Described) and isinstance(value.value, list):
        code = _CODES.get(value.descriptor, value.descriptor) if isinstance(value.descriptor, str) else value.descriptor
        if code in _NAMES:
            return code, value.value
    raise LoginFailed("The peer sent no frame of a login.")


def _frame(code: int, *fields: Any) -> bytes:
    body = codec.described_list(code, fields)
    return _HEAD.pack(_HEAD.size + len(body), 2, 1, 0) + body


def _field(fields: Sequence[Any], number: int, kind: type) -> Any:
    """Return a field of a frame; `None` if it is absent or of another type."""
    value = fields[number] if number < len(fields) else None
    return value if isinstance(value, kind) else None


class ClientLogin:
    """The client's side: `take_output` first, then `receive` until `done`."""

    def __init__(self, credentials: Credentials, hostname: str = "") -> None:
        self._credentials: Final = credentials
        self._hostname: Final = hostname
        self._frames: Final = _Frames()
        self._output = bytearray(SASL_HEADER)
        self._scram: Scram | None = None
        self.mechanism: str | None = None

    @property
    def done(self) -> bool:
        return self._frames.done

    @property
    def rest(self) -> bytes:
        """Return the bytes received after the login, which belong to the engine."""
        return self._frames.rest

    def take_output(self) -> bytes:
        """Return the bytes to send to the peer now."""
        output = bytes(self._output)
        self._output.clear()
        return output

    def receive(self, data: bytes) -> None:
        """Process received bytes.

        Raises:
            LoginFailed: the login has failed.
        """
        self._frames.add(data)
        while self._frames.greeted() and not self.done and (frame := self._frames.next()):
            code, fields = frame
            answer = _CLIENT_STEPS.get(code)
            if answer is None:
                raise LoginFailed("The peer sent a frame of the login that only clients send.")
            answer(self, fields)

    def _on_mechanisms(self, fields: Sequence[Any]) -> None:
        if self.mechanism:
            raise LoginFailed("The peer began the login twice.")
        offered = codec.symbols(fields[0] if fields else None)
        self.mechanism, first = self._choose(offered)
        self._output += _frame(_INIT, Symbol(self.mechanism), first, self._hostname or None)

    def _choose(self, offered: Sequence[str]) -> tuple[str, bytes]:
        known = self._credentials
        if known.external and EXTERNAL in offered:
            return EXTERNAL, b""
        if known.user is None:
            if ANONYMOUS in offered:
                return ANONYMOUS, b"pulpit"
            raise NoMechanism(f"The peer wants a user name; it offers {_listed(offered)}.")
        for name in Scram.NAMES:
            if name in offered:
                self._scram = Scram(name, known.user, known.password)
                return name, self._scram.first()
        if PLAIN in offered:  # whether plain text is allowed was checked with the address
            return PLAIN, b"\0".join((b"", known.user.encode(), known.password.encode()))
        raise NoMechanism(f"The peer knows no login that works here; it offers {_listed(offered)}.")

    def _on_challenge(self, fields: Sequence[Any]) -> None:
        challenge = _field(fields, 0, bytes) or b""
        try:
            answer = self._scram.answer(challenge) if self._scram else b""
        except ScramError as error:
            raise LoginFailed(str(error)) from None
        self._output += _frame(_RESPONSE, answer)

    def _on_outcome(self, fields: Sequence[Any]) -> None:
        code = _field(fields, 0, int)
        if code == _AUTH:
            raise LoginRefused("The login was refused.")
        if code != _OK:
            raise LoginFailed("The peer has no login.")
        if self._scram:
            try:
                self._scram.check(_field(fields, 1, bytes))
            except ScramError as error:
                raise LoginFailed(str(error)) from None
        self._frames.done = True


_CLIENT_STEPS: Final[Mapping[int, Callable[[ClientLogin, Sequence[Any]], None]]] = {
    _MECHANISMS: ClientLogin._on_mechanisms,  # noqa: SLF001 - its own table
    _CHALLENGE: ClientLogin._on_challenge,  # noqa: SLF001
    _OUTCOME: ClientLogin._on_outcome,  # noqa: SLF001
}


def _listed(offered: Sequence[str]) -> str:
    return ", ".join(offered) or "nothing"


# SCRAM ------------------------------------------------------------------------------------------------------------

MOST_ROUNDS: Final = 1_000_000
"""Iterations that a peer may ask for; more would be a denial of service."""
FEWEST_ROUNDS: Final = 4096
"""With fewer, an eavesdropping peer could try passwords too fast (RFC 7677 section 4)."""


class ScramError(Exception):
    """The peer violates the mechanism, or does not know the password itself."""


class Scram:
    """The client's side of one exchange: `first`, `answer` to the challenge, `check` of the server's final message."""

    NAMES: ClassVar = ("SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1")
    """The mechanisms, the strongest first."""
    _HASHES: ClassVar = {"SCRAM-SHA-512": "sha512", "SCRAM-SHA-256": "sha256", "SCRAM-SHA-1": "sha1"}

    def __init__(self, name: str, user: str, password: str, nonce: str | None = None) -> None:
        self._hash: Final = self._HASHES[name]
        self._password: Final = unicodedata.normalize("NFKC", password).encode()
        self._nonce: Final = nonce or secrets.token_urlsafe(24)
        self._bare: Final = f"n={user.replace('=', '=3D').replace(',', '=2C')},r={self._nonce}"
        self._signature: bytes | None = None

    def first(self) -> bytes:
        return f"n,,{self._bare}".encode()

    def answer(self, challenge: bytes) -> bytes:
        """Answer the server's first message with the proof, and a final one that comes as a challenge with nothing.

        Raises:
            ScramError: it is invalid.
        """
        if self._signature is not None:
            self.check(challenge)
            return b""
        nonce, salt, rounds = self._read(challenge)
        salted = hashlib.pbkdf2_hmac(self._hash, self._password, salt, rounds)
        client_key = self._hmac(salted, b"Client Key")
        final = f"c=biws,r={nonce}"
        signed = b",".join((self._bare.encode(), challenge, final.encode()))
        signature = self._hmac(hashlib.new(self._hash, client_key).digest(), signed)
        self._signature = self._hmac(self._hmac(salted, b"Server Key"), signed)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        return f"{final},p={base64.b64encode(proof).decode()}".encode()

    def check(self, final: bytes | None) -> None:
        """Verify that the server knows the password too; without a final message here it must have come as a challenge.

        Raises:
            ScramError: it does not, or did not prove it.
        """
        if self._signature is None:
            raise ScramError("The peer let us in without asking for the password.")
        if final is None and self._checked:
            return
        wanted = b"v=" + base64.b64encode(self._signature)
        if final is None or not hmac.compare_digest(final.partition(b",")[0], wanted):
            raise ScramError("The peer does not know the password itself.")
        self._checked = True

    _checked = False

    def _read(self, challenge: bytes) -> tuple[str, bytes, int]:
        try:
            parts = dict(part.split("=", 1) for part in challenge.decode().split(","))
            nonce, rounds = parts["r"], int(parts["i"])
            salt = base64.b64decode(parts["s"], validate=True)
        except (ValueError, KeyError, binascii.Error):
            raise ScramError("The peer's challenge cannot be read.") from None
        if not nonce.startswith(self._nonce) or nonce == self._nonce:
            raise ScramError("The peer's challenge answers another login.")
        if not FEWEST_ROUNDS <= rounds <= MOST_ROUNDS:
            raise ScramError(
                f"The peer asks for {rounds} rounds of hashing; allowed are {FEWEST_ROUNDS} to {MOST_ROUNDS}."
            )
        return nonce, salt, rounds

    def _hmac(self, key: bytes, data: bytes) -> bytes:
        return hmac.new(key, data, self._hash).digest()
