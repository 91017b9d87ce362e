"""An AMQP 1.0 broker that accepts, refuses, detaches, falls silent or breaks off as a test says."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pulpit.amqp.amqp10 import message, sasl
from pulpit.amqp.amqp10.codec import Symbol, Symbols, Ubyte
from pulpit.amqp.amqp10.engine import Setup
from pulpit.amqp.amqp10.links import Arrived, Closed, CreditChanged, Link, Opened, Receiver
from pulpit.amqp.amqp10.message import Message
from pulpit.amqp.amqp10.sasl import LoginFailed
from pulpit.amqp.amqp10.types import ACCEPTED, Condition, Outcome, Terminus
from support.amqp10 import Asked, ServerEngine, refuse

SILENT, HANG_UP = "silent", "hang up"


@dataclass(kw_only=True)
class Peer:
    """What it does, which may be changed while it runs, and what it has seen."""

    properties: dict[str, Any] = field(default_factory=dict)
    users: dict[str, str] = field(default_factory=lambda: {"guest": "guest"})
    mechanisms: list[str] = field(default_factory=lambda: ["PLAIN", "ANONYMOUS"])
    attach: Callable[[Terminus], Condition | None] = lambda _: None
    """Why a link is refused, if it is."""
    judge: Callable[[int, Message], Outcome | Condition | str] = lambda _number, _message: ACCEPTED
    """What becomes of a message, counted from 1: an outcome, a condition to detach the link with, or silence."""
    credit: int = 1000
    largest_message: int = 0
    port: int = 0
    targets: list[Terminus] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    taken: list[Message] = field(default_factory=list)
    """Those that were accepted."""
    logins: list[tuple[str, str]] = field(default_factory=list)
    """Mechanism and user."""
    hostnames: list[str] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)
    """Container and name of every link."""
    sources: list[Terminus] = field(default_factory=list)
    outgoing: list[Message] = field(default_factory=list)
    """What a client gets that receives."""
    talking: set["asyncio.Task[None]"] = field(default_factory=set)
    server: asyncio.Server | None = None

    async def stop(self) -> None:
        """End every connection, and take none any more."""
        if self.server:
            self.server.close()
        for task in self.talking:
            task.cancel()
        await asyncio.gather(*self.talking, return_exceptions=True)


@contextlib.asynccontextmanager
async def peer(tls: ssl.SSLContext | None = None, **does: Any) -> AsyncIterator[Peer]:
    """Run one on a free port."""
    peer = Peer(**does)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        peer.talking.add(task)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await _Visit(peer, reader, writer).talk()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", peer.port, ssl=tls)
    peer.port = server.sockets[0].getsockname()[1]
    peer.server = server
    try:
        yield peer
    finally:
        await peer.stop()


class _Visit:
    def __init__(self, peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._peer, self._reader, self._writer = peer, reader, writer
        self._container = ""
        self._engine = ServerEngine(Setup(container="peer", properties=peer.properties))

    async def talk(self) -> None:
        try:
            rest = await self._let_in()
            if rest is None:
                return
            self._engine.receive(rest)
            await self._answer()
            while not self._engine.over and (data := await self._reader.read(65536)):
                self._engine.receive(data)
                await self._answer()
        finally:
            self._engine.free()

    async def _let_in(self) -> bytes | None:
        login = ServerLogin(self._peer.mechanisms)
        while data := await self._reader.read(4096):
            try:
                asked = login.receive(data)
            except LoginFailed:
                return None
            if asked:
                login.accept() if self._knows(asked) else login.refuse()
            self._writer.write(login.take_output())
            if login.done:
                return login.rest
        return None

    def _knows(self, asked: "Login") -> bool:
        plain = read_plain(asked.response) if asked.mechanism == "PLAIN" else None
        self._peer.logins.append((asked.mechanism, plain[0] if plain else ""))
        return asked.mechanism != "PLAIN" or (plain is not None and self._peer.users.get(plain[0]) == plain[1])

    async def _answer(self) -> None:
        for event in self._engine.events():
            match event:
                case Opened(container=container):
                    self._container = container
                    self._peer.hostnames.append(self._engine.hostname)
                    self._engine.open()
                case Asked(link=link):
                    self._attached(link)
                case Arrived(link=link, number=number, message=data):
                    self._judge(link, number, message.decode(data))
                case CreditChanged(link=link):
                    while self._peer.outgoing and link.credit > 0:
                        link.send(message.encode(self._peer.outgoing.pop(0)))
                case Closed():
                    pass
                case _:
                    pass
        self._writer.write(self._engine.take_output())
        await self._writer.drain()

    def _attached(self, link: Link) -> None:
        target = link.target or Terminus()
        self._peer.targets.append(target)
        self._peer.sources.append(link.source or Terminus())
        self._peer.links.append((self._container, link.name))
        condition = self._peer.attach(target)
        if condition:
            refuse(link, condition)
            return
        link.attach(source=link.source, target=target, largest_message=self._peer.largest_message)
        if isinstance(link, Receiver):
            link.grant(self._peer.credit)

    def _judge(self, link: Receiver, number: int, message: Message) -> None:
        self._peer.messages.append(message)
        verdict = self._peer.judge(len(self._peer.messages), message)
        if verdict == HANG_UP:
            self._writer.transport.abort()
            raise ConnectionAbortedError
        if isinstance(verdict, Condition):
            if link.alive:
                link.detach(verdict)
        elif not isinstance(verdict, str) and link.alive:
            link.settle(number, verdict)
            if verdict == ACCEPTED:
                self._peer.taken.append(message)
            if link.credit < self._peer.credit:
                link.grant(1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Login:
    """A client asks to be let in, or answers a challenge: to be answered by `accept`, `refuse` or `challenge`."""

    mechanism: str
    response: bytes
    hostname: str


class ServerLogin:
    """The server's side; the peer's header is read here too. Who may come in is decided by whoever uses it."""

    def __init__(self, mechanisms: Sequence[str]) -> None:
        self._mechanisms: Final = tuple(mechanisms)
        self._frames = sasl._Frames()
        self._output = bytearray()
        self._begun = False
        self._asked: Login | None = None

    @property
    def done(self) -> bool:
        return self._frames.done

    @property
    def rest(self) -> bytes:
        return self._frames.rest

    def take_output(self) -> bytes:
        output = bytes(self._output)
        self._output.clear()
        return output

    def receive(self, data: bytes) -> Login | None:
        """Take what came from the client; returns what it asks, which must be answered before it is given more.

        Raises:
            LoginFailed: the peer does not keep to the protocol; send the output, and close.
        """
        self._frames.add(data)
        try:
            if not self._frames.greeted():
                return None
        except LoginFailed:
            self._output += sasl.SASL_HEADER  # section 2.2: say what would be right, and close
            raise
        if not self._begun:
            self._begun = True
            self._output += sasl.SASL_HEADER + sasl._frame(sasl._MECHANISMS, Symbols(map(Symbol, self._mechanisms)))
        frame = None if self.done else self._frames.next()
        return self._ask(*frame) if frame else None

    def accept(self) -> None:
        self._output += sasl._frame(sasl._OUTCOME, Ubyte(sasl._OK))
        self._frames.done = True

    def refuse(self) -> None:
        """Send the client away; send the output, and close."""
        self._output += sasl._frame(sasl._OUTCOME, Ubyte(sasl._AUTH))

    def challenge(self, data: bytes) -> None:
        self._output += sasl._frame(sasl._CHALLENGE, data)

    def _ask(self, code: int, fields: Sequence[Any]) -> Login:
        if code == sasl._INIT and self._asked is None:
            mechanism = str(sasl._field(fields, 0, str) or "")
            if mechanism not in self._mechanisms:
                raise LoginFailed("The client wants a log-in that was not offered.")
            asked = Login(
                mechanism=mechanism,
                response=sasl._field(fields, 1, bytes) or b"",
                hostname=sasl._field(fields, 2, str) or "",
            )
        elif code == sasl._RESPONSE and self._asked is not None:
            response = sasl._field(fields, 0, bytes) or b""
            asked = Login(mechanism=self._asked.mechanism, response=response, hostname=self._asked.hostname)
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
