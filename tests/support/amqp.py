"""A small AMQP 0-9-1 client that sends exactly what a test says and returns exactly what comes back."""

import contextlib
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from pamqp import body, commands, frame, header, heartbeat
from pamqp.base import Frame

from support.waiting import PATIENCE

M = TypeVar("M", bound=Frame)
HELLO = b"AMQP\x00\x00\x09\x01"
CAPABILITIES: dict[str, Any] = {
    "authentication_failure_close": True,
    "basic.nack": True,
    "connection.blocked": True,
    "consumer_cancel_notify": True,
    "publisher_confirms": True,
}


class Closed(Exception):
    """The broker closed the channel or the connection."""

    def __init__(self, method: Any) -> None:
        super().__init__(f"{method.name} {method.reply_code} {method.reply_text}")
        self.code = method.reply_code
        self.text = method.reply_text
        self.hard = isinstance(method, commands.Connection.Close)
        self.cause = (method.class_id, method.method_id)


class Gone(Exception):
    """The broker hung up."""


@dataclass(frozen=True, kw_only=True)
class Content:
    method: Any
    properties: commands.Basic.Properties
    body: bytes


class Wire:
    """One connection; channel 1 is opened unless `channel` is False."""

    def __init__(
        self,
        port: int,
        *,
        user: str = "guest",
        password: str = "guest",  # noqa: S107 - the one that everybody knows
        vhost: str = "/",
        frame_max: int = 131072,
        channel_max: int = 2047,
        heartbeat: int = 0,
        opened: bool = True,
        channel: bool = True,
        capabilities: dict[str, Any] | None = None,
        seconds: float = PATIENCE,
    ) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=seconds)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.frame_max = frame_max
        self._buffer = b""
        self._seconds = seconds
        if opened:
            with contextlib.ExitStack() as stack:
                stack.callback(self.socket.close)
                self._shake_hands(f"\0{user}\0{password}", vhost, channel_max, heartbeat, capabilities)
                if channel:
                    self.open(1)
                stack.pop_all()

    def _shake_hands(
        self, secret: str, vhost: str, channel_max: int, heartbeat: int, capabilities: dict[str, Any] | None
    ) -> None:
        self.raw(HELLO)
        self.start = self.expect(commands.Connection.Start)
        properties: dict[str, Any] = {"capabilities": CAPABILITIES if capabilities is None else capabilities}
        self.send(commands.Connection.StartOk(properties, "PLAIN", secret), 0)
        self.tune = self.expect(commands.Connection.Tune)
        self.send(commands.Connection.TuneOk(channel_max, self.frame_max, heartbeat), 0)
        self.send(commands.Connection.Open(vhost), 0)
        self.expect(commands.Connection.OpenOk)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hang_up()

    def hang_up(self) -> None:
        """Close the socket without a word."""
        self.socket.close()

    def close(self) -> None:
        self.send(commands.Connection.Close(200, "bye", 0, 0), 0)
        while not isinstance(self.read()[1], commands.Connection.CloseOk):
            pass
        self.hang_up()

    def open(self, channel: int) -> None:
        self.call(commands.Channel.Open(), channel, answer=commands.Channel.OpenOk)

    def raw(self, data: bytes) -> None:
        """Send bytes."""
        self.socket.sendall(data)

    def send(self, method: Any, channel: int = 1) -> None:
        self.raw(frame.marshal(method, channel))

    def read(self, seconds: float | None = None) -> tuple[int, Any]:
        """Read one frame: its channel and what it holds."""
        deadline = time.monotonic() + (self._seconds if seconds is None else seconds)
        while not (complete := _complete(self._buffer)):
            self.socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                data = self.socket.recv(1 << 20)
            except TimeoutError:
                raise TimeoutError("the broker says nothing") from None
            except ConnectionError as error:
                raise Gone from error
            if not data:
                raise Gone
            self._buffer += data
        data, self._buffer = self._buffer[:complete], self._buffer[complete:]
        _, channel, value = frame.unmarshal(data)
        return channel, value

    def exactly(self, count: int) -> bytes:
        """Read so many bytes, whatever they say: for methods that pamqp does not know."""
        self.socket.settimeout(self._seconds)
        while len(self._buffer) < count:
            if not (data := self.socket.recv(1 << 16)):
                raise Gone
            self._buffer += data
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def take_buffer(self) -> bytes:
        """Bytes that were received but not read, for somebody who goes on reading the socket himself."""
        data, self._buffer = self._buffer, b""
        return data

    def expect(self, kind: type[M], seconds: float | None = None) -> M:
        """Read the next frame, which must be this method; a close is raised, heartbeats are skipped."""
        while True:
            value = self.read(seconds)[1]
            if isinstance(value, commands.Channel.Close | commands.Connection.Close):
                raise Closed(value)
            if isinstance(value, kind):
                return value
            assert isinstance(value, heartbeat.Heartbeat), f"expected {kind.name}, got {value!r}"

    def call(self, method: Any, channel: int = 1, *, answer: type[M] | None = None) -> Any:
        """Send a method and return what comes back."""
        self.send(method, channel)
        return self.expect(answer or Frame)

    def publish(
        self,
        payload: bytes = b"",
        key: str = "",
        *,
        exchange: str = "",
        channel: int = 1,
        mandatory: bool = False,
        immediate: bool = False,
        **properties: Any,
    ) -> None:
        head = header.ContentHeader(0, len(payload), commands.Basic.Properties(**properties))
        size = (self.frame_max or 131072) - 8
        parts = [
            frame.marshal(commands.Basic.Publish(0, exchange, key, mandatory, immediate), channel),
            frame.marshal(head, channel),
        ]
        parts += [
            frame.marshal(body.ContentBody(payload[at : at + size]), channel) for at in range(0, len(payload), size)
        ]
        self.raw(b"".join(parts))

    def content(self, kind: Any = commands.Basic.Deliver, seconds: float | None = None) -> Content:
        """Read a method with its header and body."""
        method = self.expect(kind, seconds)
        _, head = self.read()
        assert isinstance(head, header.ContentHeader)
        data = b""
        while len(data) < head.body_size:
            _, piece = self.read()
            data += piece.value
        return Content(method=method, properties=head.properties, body=data)

    def get(self, queue: str, *, no_ack: bool = True, channel: int = 1) -> Content | None:
        self.send(commands.Basic.Get(0, queue, no_ack), channel)
        while True:
            number, value = self.read()
            if isinstance(value, commands.Basic.GetEmpty):
                return None
            if isinstance(value, commands.Channel.Close | commands.Connection.Close):
                raise Closed(value)
            if isinstance(value, commands.Basic.GetOk):
                assert number == channel
                head = self.read()[1]
                data = b""
                while len(data) < head.body_size:
                    data += self.read()[1].value
                return Content(method=value, properties=head.properties, body=data)

    def drain(self, queue: str) -> list[bytes]:
        """Take all messages of a queue."""
        bodies = []
        while (content := self.get(queue)) is not None:
            bodies.append(content.body)
        return bodies

    def declare(self, name: str = "", **flags: Any) -> Any:
        """Declare a queue; exclusive unless said otherwise, so that nothing is left behind."""
        flags = {"exclusive": True} | flags
        return self.call(commands.Queue.Declare(0, name, **flags), answer=commands.Queue.DeclareOk)

    def queue(self, **flags: Any) -> str:
        """Declare a queue with a name that the broker finds."""
        return str(self.declare(**flags).queue)

    def exchange(self, name: str, kind: str = "topic", **flags: Any) -> None:
        """Declare an exchange; auto-deleted ones vanish with their last binding."""
        self.call(commands.Exchange.Declare(0, name, kind, **flags), answer=commands.Exchange.DeclareOk)

    def bind(self, queue: str, exchange: str, key: str = "", arguments: dict[str, Any] | None = None) -> None:
        self.call(commands.Queue.Bind(0, queue, exchange, key, arguments=arguments), answer=commands.Queue.BindOk)

    def consume(self, queue: str, tag: str = "", *, channel: int = 1, **flags: Any) -> str:
        method = commands.Basic.Consume(0, queue, tag, **flags)
        return str(self.call(method, channel, answer=commands.Basic.ConsumeOk).consumer_tag)

    def ready(self, queue: str) -> int:
        """Messages that wait in a queue."""
        return int(self.declare(queue, passive=True).message_count)

    def silent(self, seconds: float = 0.2) -> bool:
        """Whether the broker says nothing for a while."""
        try:
            self.read(seconds)
        except TimeoutError:
            return True
        return False


@contextlib.contextmanager
def refused(code: int, text: str = "", *, hard: bool = False, cause: tuple[int, int] | None = None) -> Iterator[None]:
    """The block must end with this close."""
    closed: Closed | None = None
    try:
        yield
    except Closed as error:
        closed = error
    assert closed is not None, f"nothing was refused, {code} was expected"
    assert (closed.code, closed.hard) == (code, hard), closed
    assert text in closed.text, closed
    assert cause is None or closed.cause == cause, closed.cause


def _complete(data: bytes) -> int:
    """The length of the first frame, or 0 when it is incomplete."""
    if len(data) < 7:
        return 0
    if data[:4] == b"AMQP":
        return 8 if len(data) >= 8 else 0
    size = int(struct.unpack_from(">BHI", data)[2]) + 8
    return size if len(data) >= size else 0
