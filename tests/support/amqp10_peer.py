"""A broker of AMQP 1.0 that does what a test tells it: takes, refuses, detaches, falls silent, breaks off."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from pulpit.amqp.amqp10 import message
from pulpit.amqp.amqp10.engine import Engine, Setup
from pulpit.amqp.amqp10.events import Arrived, Attached, Closed, Opened
from pulpit.amqp.amqp10.links import Link, Receiver
from pulpit.amqp.amqp10.message import Message
from pulpit.amqp.amqp10.sasl import Asked, LoginFailed, ServerLogin, read_plain
from pulpit.amqp.amqp10.words import ACCEPTED, Condition, Outcome, Terminus

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
    talking: set["asyncio.Task[None]"] = field(default_factory=set)


@contextlib.asynccontextmanager
async def peer(tls: ssl.SSLContext | None = None, **does: Any) -> AsyncIterator[Peer]:
    """Run one on a free port."""
    one = Peer(**does)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        one.talking.add(task)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await _Visit(one, reader, writer).talk()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    one.port = server.sockets[0].getsockname()[1]
    try:
        yield one
    finally:
        server.close()
        for task in one.talking:
            task.cancel()
        await asyncio.gather(*one.talking, return_exceptions=True)


class _Visit:
    """One connection."""

    def __init__(self, one: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._peer, self._reader, self._writer = one, reader, writer
        self._engine = Engine(Setup(container="peer", properties=one.properties), server=True)

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

    def _knows(self, asked: Asked) -> bool:
        plain = read_plain(asked.response) if asked.mechanism == "PLAIN" else None
        self._peer.logins.append((asked.mechanism, plain[0] if plain else ""))
        return asked.mechanism != "PLAIN" or (plain is not None and self._peer.users.get(plain[0]) == plain[1])

    async def _answer(self) -> None:
        for event in self._engine.events():
            match event:
                case Opened(hostname=hostname):
                    self._peer.hostnames.append(hostname)
                    self._engine.open()
                case Attached(link=link, asked=True):
                    self._attached(link)
                case Arrived(link=link, number=number, message=data):
                    self._judge(link, number, message.decode(data))
                case Closed():
                    pass
                case _:
                    pass
        self._writer.write(self._engine.take_output())
        await self._writer.drain()

    def _attached(self, link: Link) -> None:
        target = link.target or Terminus()
        self._peer.targets.append(target)
        condition = self._peer.attach(target)
        if condition:
            link.refuse(condition)
            return
        link.attach(source=link.source, target=target, largest_message=self._peer.largest_message)
        if isinstance(link, Receiver):
            link.grant(self._peer.credit)

    def _judge(self, link: Receiver, number: int, one: Message) -> None:
        self._peer.messages.append(one)
        verdict = self._peer.judge(len(self._peer.messages), one)
        if verdict == HANG_UP:
            self._writer.transport.abort()
            raise ConnectionAbortedError
        if isinstance(verdict, Condition):
            if link.alive:
                link.detach(verdict)
        elif not isinstance(verdict, str) and link.alive:
            link.settle(number, verdict)
            if verdict == ACCEPTED:
                self._peer.taken.append(one)
            if link.credit < self._peer.credit:
                link.grant(1)
