"""The log-in before AMQP 1.0 (part 5 of the specification, section 5.3), without I/O, for both sides.

It is done here and not by Proton, whose own build knows neither SCRAM nor how to check a password on the server's side.
Both classes take bytes until they are `done`; what came behind the log-in stands in `rest` and belongs to the engine.

    LoginFailed
    ├── LoginRefused     other credentials are needed
    └── NoMechanism      another mechanism is needed, or TLS
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from struct import Struct
from typing import Any, Final

from pulpit.amqp.amqp10 import codec
from pulpit.amqp.amqp10.codec import DecodeError, Described, Symbol, Symbols, Ubyte
from pulpit.amqp.amqp10.scram import Scram, ScramError
from pulpit.amqp.amqp10.words import AMQP_HEADER

SASL_HEADER: Final = b"AMQP\x03\x01\x00\x00"
LARGEST_FRAME: Final = 8192
"""Bytes; the specification asks for 512, and mechanisms with tickets send more."""
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


class LoginFailed(Exception):
    """There is no log-in; the text says why, without any secret."""


class LoginRefused(LoginFailed):
    """The peer judged the credentials, so that trying again with them is no use."""


class NoMechanism(LoginFailed):
    """The peer offers no way of logging in that these credentials can use, or may."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """By what a client may log in; the first mechanism that both sides know is taken, the strongest first."""

    user: str | None = None
    password: str = field(default="", repr=False)
    external: bool = False
    """Whether the TLS connection itself shows who it is (a client certificate)."""
    plain: bool = True
    """Whether the password may be sent as it is."""


class _Frames:
    """Bytes of one side's log-in, as frames: a header, then `(code, fields)` until it is done."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._greeted = False
        self.done = False

    @property
    def rest(self) -> bytes:
        """What came behind the log-in."""
        return bytes(self._buffer) if self.done else b""

    def add(self, data: bytes) -> None:
        """Take what came from the peer."""
        self._buffer += data

    def greeted(self) -> bool:
        """Whether the peer's header is there.

        Raises:
            LoginFailed: it is another one.
        """
        if not self._greeted and len(self._buffer) >= len(SASL_HEADER):
            header = bytes(self._buffer[: len(SASL_HEADER)])
            del self._buffer[: len(SASL_HEADER)]
            if header != SASL_HEADER:
                raise LoginFailed(_other_protocol(header))
            self._greeted = True
        return self._greeted

    def next(self) -> tuple[int, Sequence[Any]] | None:
        """The next whole frame.

        Raises:
            LoginFailed: the bytes are no frame of a log-in.
        """
        if len(self._buffer) < _HEAD.size:
            return None
        size, offset, kind, _ = _HEAD.unpack_from(self._buffer)
        if not _HEAD.size <= size <= LARGEST_FRAME or kind != 1 or not _HEAD.size <= 4 * offset <= size:
            raise LoginFailed("The peer sent no frame of a log-in.")
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
    raise LoginFailed("The peer sent no frame of a log-in.")


def _frame(code: int, *fields: Any) -> bytes:
    body = codec.described_list(code, fields)
    return _HEAD.pack(_HEAD.size + len(body), 2, 1, 0) + body


def _field(fields: Sequence[Any], number: int, kind: type) -> Any:
    """A field of a frame; one that is absent or of another type is none."""
    value = fields[number] if number < len(fields) else None
    return value if isinstance(value, kind) else None


_OTHERS: Final = {
    b"AMQP\x00\x00\x09\x01": "AMQP 0-9-1",
    b"AMQP\x01\x01\x00\x0a": "AMQP 0-10",
    AMQP_HEADER: "AMQP 1.0 without a log-in",
}


def _other_protocol(header: bytes) -> str:
    if header.startswith(b"AMQP"):
        return f"The peer speaks {_OTHERS.get(header, 'another AMQP')}, and not AMQP 1.0 with SASL."
    return "The peer does not speak AMQP."


class _Side:
    """What both sides of a log-in have."""

    def __init__(self, output: bytes = b"") -> None:
        self._frames: Final = _Frames()
        self._output = bytearray(output)

    @property
    def done(self) -> bool:
        """Whether the client is let in."""
        return self._frames.done

    @property
    def rest(self) -> bytes:
        """What came behind the log-in."""
        return self._frames.rest

    def take_output(self) -> bytes:
        """What must be sent to the peer now."""
        output = bytes(self._output)
        self._output.clear()
        return output


class ClientLogin(_Side):
    """The client's side: `take_output` first, then `receive` until `done`."""

    def __init__(self, credentials: Credentials, hostname: str = "") -> None:
        self._credentials: Final = credentials
        self._hostname: Final = hostname
        super().__init__(SASL_HEADER)
        self._scram: Scram | None = None
        self.mechanism: str | None = None

    def receive(self, data: bytes) -> None:
        """Take what came from the peer.

        Raises:
            LoginFailed: it is no use to go on.
        """
        self._frames.add(data)
        while self._frames.greeted() and not self.done and (frame := self._frames.next()):
            code, fields = frame
            answer = _CLIENT_STEPS.get(code)
            if answer is None:
                raise LoginFailed("The peer sent a frame of the log-in that only clients send.")
            answer(self, fields)

    def _on_mechanisms(self, fields: Sequence[Any]) -> None:
        if self.mechanism:
            raise LoginFailed("The peer began the log-in twice.")
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
        if PLAIN in offered and known.plain:
            return PLAIN, b"\0".join((b"", known.user.encode(), known.password.encode()))
        if PLAIN in offered:
            raise NoMechanism("The peer wants the password in clear, and without TLS that is not allowed.")
        raise NoMechanism(f"The peer knows no log-in that works here; it offers {_listed(offered)}.")

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
            raise LoginFailed("The peer cannot log anybody in.")
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A client asks to be let in, or answers a challenge: to be answered by `accept`, `refuse` or `challenge`."""

    mechanism: str
    response: bytes
    hostname: str


class ServerLogin(_Side):
    """The server's side; the peer's header is read here too. Who may come in is decided by whoever uses it."""

    def __init__(self, mechanisms: Sequence[str]) -> None:
        self._mechanisms: Final = tuple(mechanisms)
        super().__init__()
        self._begun = False
        self._asked: Asked | None = None

    def receive(self, data: bytes) -> Asked | None:
        """Take what came from the client; answers what it asks, which must be answered before it is given more.

        Raises:
            LoginFailed: the peer does not keep to the protocol; send the output, and close.
        """
        self._frames.add(data)
        try:
            if not self._frames.greeted():
                return None
        except LoginFailed:
            self._output += SASL_HEADER  # section 2.2: say what would be right, and close
            raise
        if not self._begun:
            self._begun = True
            self._output += SASL_HEADER + _frame(_MECHANISMS, Symbols(map(Symbol, self._mechanisms)))
        frame = None if self.done else self._frames.next()
        return self._ask(*frame) if frame else None

    def accept(self) -> None:
        """Let the client in."""
        self._output += _frame(_OUTCOME, Ubyte(_OK))
        self._frames.done = True

    def refuse(self) -> None:
        """Send the client away; send the output, and close."""
        self._output += _frame(_OUTCOME, Ubyte(_AUTH))

    def challenge(self, data: bytes) -> None:
        """Ask the client for more."""
        self._output += _frame(_CHALLENGE, data)

    def _ask(self, code: int, fields: Sequence[Any]) -> Asked:
        if code == _INIT and self._asked is None:
            mechanism = str(_field(fields, 0, str) or "")
            if mechanism not in self._mechanisms:
                raise LoginFailed("The client wants a log-in that was not offered.")
            asked = Asked(
                mechanism=mechanism, response=_field(fields, 1, bytes) or b"", hostname=_field(fields, 2, str) or ""
            )
        elif code == _RESPONSE and self._asked is not None:
            response = _field(fields, 0, bytes) or b""
            asked = Asked(mechanism=self._asked.mechanism, response=response, hostname=self._asked.hostname)
        else:
            raise LoginFailed("The client sent a frame of the log-in out of turn.")
        self._asked = asked
        return asked


def read_plain(response: bytes) -> tuple[str, str] | None:
    """User and password of a PLAIN response (RFC 4616); nothing if it is none, or asks to act as somebody else."""
    parts = response.split(b"\0")
    try:
        acting, user, password = (part.decode() for part in parts)
    except ValueError:
        return None
    return (user, password) if user and acting in {"", user} else None
