"""The embedded broker without sockets, threads and real time: bytes in, bytes out, and a clock turned by hand."""

import heapq
import itertools
from collections.abc import Callable
from typing import Any

from pamqp import body, commands, frame, header

from pulpit.broker.config import BrokerConfig
from pulpit.broker.connection import BrokerState, Connection
from pulpit.broker.handshake import server_properties
from pulpit.broker.permissions import AllRights, Rights
from pulpit.broker.resources import Memory
from pulpit.broker.sasl import Attempt, Verdict
from pulpit.broker.store import Store
from pulpit.broker.writer import Done, WriteBatch


class HandTimers:
    """A clock that moves when it is asked to."""

    def __init__(self) -> None:
        self.milliseconds = 1_000_000
        self._soon: list[Callable[[], None]] = []
        self._later: list[tuple[float, int, HandTimer]] = []
        self._numbers = itertools.count()

    def now(self) -> int:
        return self.milliseconds

    def soon(self, call: Callable[[], None]) -> None:
        self._soon.append(call)

    def after(self, seconds: float, call: Callable[[], None]) -> "HandTimer":
        timer = HandTimer(call)
        heapq.heappush(self._later, (self.milliseconds + seconds * 1000, next(self._numbers), timer))
        return timer

    def settle(self) -> None:
        """Do everything that is to be done soon."""
        while self._soon:
            calls, self._soon = self._soon, []
            for call in calls:
                call()

    def pass_time(self, milliseconds: int) -> None:
        self.settle()
        self.milliseconds += milliseconds
        while self._later and self._later[0][0] <= self.milliseconds:
            timer = heapq.heappop(self._later)[2]
            if timer.call is not None:
                timer.call()
            self.settle()


class HandTimer:
    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None


class Forgetful:
    """A writer that claims to have written."""

    def __init__(self, timers: HandTimers) -> None:
        self._timers = timers

    def submit(self, batch: WriteBatch, done: Done) -> None:  # noqa: ARG002 - forgotten at once
        self._timers.soon(lambda: done(None))


class LetsEverybodyIn:
    def authenticate(self, attempt: Attempt, verdict: Verdict) -> None:
        verdict(attempt, True)

    def rights(self, user: str, host: str) -> Rights:  # noqa: ARG002 - of any
        return AllRights()


class Box:
    def __init__(self, **settings: Any) -> None:
        self.timers = HandTimers()
        config = BrokerConfig(data_dir=None, **settings)
        store = Store(
            writer=Forgetful(self.timers),
            reader=None,
            timers=self.timers,
            memory=Memory(config.memory_limit, has_disk=False),
        )
        self.state = BrokerState(
            config=config,
            store=store,
            timers=self.timers,
            authenticator=LetsEverybodyIn(),
            server_properties=server_properties(config.product, "box", "test"),
        )

    def client(self) -> "BoxClient":
        """A connected client with channel 1 open."""
        return BoxClient(self)


class BoxClient:
    """Talks to one connection; `inbox` holds what came and was not looked at."""

    def __init__(self, box: Box, *, greeted: bool = True) -> None:
        self.box = box
        self.inbox: list[tuple[int, Any]] = []
        self.connection = Connection(box.state, wake=lambda: None, address="127.0.0.1", local=True)
        self._rest = b""
        if greeted:
            self.raw(b"AMQP\x00\x00\x09\x01")
            capabilities: dict[str, Any] = {"capabilities": {"consumer_cancel_notify": True}}
            self.send(commands.Connection.StartOk(capabilities, "PLAIN", "\0guest\0guest"), 0)
            self.send(commands.Connection.TuneOk(2047, 131072, 0), 0)
            self.send(commands.Connection.Open("/"), 0)
            self.send(commands.Channel.Open())
            self.read()

    def raw(self, data: bytes) -> None:
        """Hand bytes to the broker."""
        self.connection.receive(data)
        self.box.timers.settle()

    def send(self, method: Any, channel: int = 1) -> None:
        """Hand one frame to the broker."""
        self.raw(frame.marshal(method, channel))

    def publish(self, payload: bytes, key: str, *, exchange: str = "", channel: int = 1, **properties: Any) -> None:
        head = header.ContentHeader(0, len(payload), commands.Basic.Properties(**properties))
        parts: list[Any] = [commands.Basic.Publish(0, exchange, key), head]
        pieces = [body.ContentBody(payload)] if payload else []
        self.raw(b"".join(frame.marshal(part, channel) for part in [*parts, *pieces]))

    def read(self) -> list[tuple[int, Any]]:
        """Everything that the broker said since the last time."""
        while data := self.connection.take_output():
            self._rest += data
            self.box.timers.settle()
        said = []
        while len(self._rest) >= 8:
            size = 8 if self._rest[:4] == b"AMQP" else int.from_bytes(self._rest[3:7], "big") + 8
            if len(self._rest) < size:
                break
            _, channel, value = frame.unmarshal(self._rest[:size])
            self._rest = self._rest[size:]
            said.append((channel, value))
        return said
