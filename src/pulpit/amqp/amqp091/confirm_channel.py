# SPDX-License-Identifier: Apache-2.0
"""A channel of AMQP 0-9-1 in confirm mode, with messages written and confirms read faster than by pika itself."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable
from struct import Struct
from typing import Any, Final, NamedTuple

from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel
from pika.exceptions import AMQPError
from pika.frame import Frame, Method
from pika.spec import (
    FRAME_BODY,
    FRAME_END,
    FRAME_END_SIZE,
    FRAME_HEADER,
    FRAME_HEADER_SIZE,
    FRAME_METHOD,
    Basic,
)

from pulpit.amqp import BrokerUnavailable
from pulpit.amqp.amqp091.connection import Call, Calls, give, sentence

_FRAME: Final = Struct(">BHI")
_CONTENT: Final = Struct(">BHIHHQ")
_ACK: Final = Struct(">BHIIQBB")
"""The frame of `basic.ack`: type, channel, size, class and method, tag, bits, end (sections 4.2.3 and 1.8.3.13)."""
_IS_ACK: Final = (FRAME_METHOD, 13, 0x003C0050, FRAME_END)
_END: Final = bytes((FRAME_END,))
_AROUND: Final = FRAME_HEADER_SIZE + FRAME_END_SIZE
_BASIC: Final = 60
_NOT_FOUND: Final = 404
MOST_KEYS: Final = 1_000
"""Routing keys whose encoded `basic.publish` is cached."""
AT_ONCE: Final = 65_536
"""Bytes from which output is sent without waiting for other output of the same turn of the loop."""


class Outgoing(NamedTuple):
    """A message to publish."""

    routing_key: str
    properties: bytes
    """As encoded in the content header, flags first (section 4.2.6.1)."""
    body: bytes


class PublisherConnection(AsyncioConnection):  # type: ignore[misc] # pika 1.3 has no types
    """pika's connection, with faster handling of per-message frames: content, and `basic.ack`.

    Frames of many messages, and of many channels in one turn of the loop, are written together, where pika makes a
    system call for each. Runs of `basic.ack` are decoded without an object and a callback lookup for each.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.acknowledged: Final[dict[int, Callable[[int, bool], None]]] = {}
        """By channel, the handler of acks: called with the tag, and whether it covers all up to it."""
        self.exchanges: Final[dict[str, asyncio.Future[bool]]] = {}
        """Exchanges that a channel here has declared, and whether they can be used; so a thousand channels ask once."""
        self._unsent: list[bytes] = []
        self._is_turn = False
        super().__init__(*arguments, **options)

    def write(self, frames: bytes) -> None:
        """Send whole frames."""
        self._output_marshaled_frames([frames])

    def _adapter_emit_data(self, data: bytes) -> None:
        """Send the first output of a turn of the loop at once, and the rest of the turn together."""
        if not self._is_turn:
            self._is_turn = True
            self.ioloop.call_soon(self._end_turn)
            self._send_now(data)
            return
        self._unsent.append(data)
        if len(data) >= AT_ONCE:
            self._send()

    def _adapter_disconnect_stream(self) -> None:
        self._send()
        super()._adapter_disconnect_stream()

    def _end_turn(self) -> None:
        self._is_turn = False
        self._send()

    def _send(self) -> None:
        unsent, self._unsent = self._unsent, []
        if unsent and self._transport is not None:
            self._send_now(b"".join(unsent))

    def _send_now(self, data: bytes) -> None:
        """Send at once what the socket takes; pika waits for a turn of the loop, in which a login may be refused."""
        is_due = self.is_open and self._transport.get_write_buffer_size() == 0
        super()._adapter_emit_data(data)
        if is_due:
            self._transport._on_socket_writable()  # noqa: SLF001 - what the loop would call

    def _read_frame(self) -> tuple[int, Frame | None]:
        if taken := self._take_acks():
            self._trim_frame_buffer(taken)
        return super()._read_frame()  # type: ignore[no-any-return] # as above

    def _take_acks(self) -> int:
        """Handle the acks at the start of the buffer, and return their length."""
        buffer, offset = self._frame_buffer, 0
        while len(buffer) - offset >= _ACK.size:
            kind, channel, size, method, tag, bits, end = _ACK.unpack_from(buffer, offset)
            told = self.acknowledged.get(channel)
            if told is None or (kind, size, method, end) != _IS_ACK:
                break
            told(tag, bool(bits & 1))
            offset += _ACK.size
        return offset


class ConfirmChannel:
    """A channel in confirm mode that knows the outcome of every message it has published."""

    def __init__(self, channel: Channel, connection: PublisherConnection) -> None:
        self._channel: Final = channel
        self._number: Final[int] = channel.channel_number
        self._connection: Final = connection
        self._methods: Final[dict[tuple[str, str, bool], bytes]] = {}
        self._largest_body: Final[int] = connection.params.frame_max - _AROUND
        self.published = 0
        """Number of messages, which is the delivery tag of the last one."""
        self._settled_to = 0
        self._early: set[int] = set()
        self._nacked: set[int] = set()
        self._returned: set[str] = set()
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._calls: Final = Calls(channel)
        self.exchanges: Final = connection.exchanges
        self.lost: BrokerUnavailable | None = None
        channel.add_on_close_callback(self._on_close)
        channel.add_on_return_callback(
            lambda _channel, _method, properties, _body: self._returned.add(properties.message_id or "")
        )

    async def confirm(self) -> None:
        """Enable confirm mode.

        Raises:
            BrokerUnavailable: the broker closed the channel or the connection instead.
        """
        await self._call(lambda done: self._channel.confirm_delivery(self._on_confirm, callback=done))
        if self.lost is None:
            self._connection.acknowledged[self._number] = self._acknowledged

    async def declare_exchange(self, name: str, *, passive: bool = False) -> None:
        """Declare a durable topic exchange; or, if passive, check that one of any type exists.

        Raises:
            BrokerUnavailable: with the broker's reply code, 406 if it exists with other properties.
        """
        await self._call(
            lambda done: self._channel.exchange_declare(
                name, exchange_type="topic", passive=passive, durable=True, callback=done
            )
        )

    def publish(self, exchange: str, messages: Iterable[Outgoing], *, mandatory: bool = False) -> range:
        """Send messages in one write, and return their delivery tags.

        Mandatory ones are returned if no queue accepts them.

        Raises:
            BrokerUnavailable: the channel is closed.
        """
        if self.lost:
            raise self.lost
        if not self._channel.is_open:
            raise BrokerUnavailable("The channel is being closed.")
        pieces: list[bytes] = []
        number, largest, first = self._number, self._largest_body, self.published + 1
        for key, properties, body in messages:
            size = len(body)
            pieces += (
                self._methods.get((exchange, key, mandatory)) or self._method(exchange, key, mandatory=mandatory),
                _CONTENT.pack(FRAME_HEADER, number, 12 + len(properties), _BASIC, 0, size),
                properties,
                _END,
            )
            if 0 < size <= largest:
                pieces += (_FRAME.pack(FRAME_BODY, number, size), body, _END)
            else:
                for start in range(0, size, largest):
                    part = body[start : start + largest]
                    pieces += (_FRAME.pack(FRAME_BODY, number, len(part)), part, _END)
            self.published += 1
        self._connection.write(b"".join(pieces))
        return range(first, self.published + 1)

    def _method(self, exchange: str, routing_key: str, *, mandatory: bool) -> bytes:
        """Encode `basic.publish`, which is the same for all events of a type."""
        if len(self._methods) >= MOST_KEYS:
            self._methods.clear()
        publish = Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=mandatory)
        frame: bytes = Method(self._number, publish).marshal()
        self._methods[exchange, routing_key, mandatory] = frame
        return frame

    async def settled(self, tag: int) -> None:
        """Wait until every message up to a tag is confirmed or refused, or the channel is lost."""
        if self._settled_to >= tag or self.lost:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((tag, future))
        await future

    def confirmed(self, tag: int) -> bool:
        """Whether the broker has taken responsibility for a message."""
        return tag <= self._settled_to and tag not in self._nacked

    def all_confirmed(self, tags: range) -> bool:
        """Whether the broker has confirmed all of some messages, and returned none."""
        return tags.stop - 1 <= self._settled_to and not self._nacked and not self._returned

    def refused(self, tag: int) -> bool:
        """Whether the broker has refused a message (`basic.nack`)."""
        return tag in self._nacked

    def came_back(self, message_id: str) -> bool:
        """Whether a mandatory message was returned because no queue accepted it; asking forgets it."""
        returned = message_id in self._returned
        self._returned.discard(message_id)
        return returned

    def close(self) -> None:
        """Close the channel without waiting for it."""
        with contextlib.suppress(AMQPError):
            self._channel.close()

    async def _call(self, call: Call) -> None:
        if self.lost:
            raise self.lost
        try:
            await self._calls.call(call)
        except TimeoutError:
            raise BrokerUnavailable("The broker did not answer in time.") from None
        except AMQPError as error:
            raise _lost(error) from None

    def _on_confirm(self, frame: Method) -> None:
        tag, multiple = frame.method.delivery_tag, frame.method.multiple
        if isinstance(frame.method, Basic.Nack):
            self._nacked.update(range(self._settled_to + 1, tag + 1) if multiple else (tag,))
        self._acknowledged(tag, multiple)

    def _acknowledged(self, tag: int, multiple: bool) -> None:
        """Record the confirms and refusals of the broker."""
        if not self._early and (multiple or tag == self._settled_to + 1):
            self._settled_to = max(self._settled_to, tag)
        else:
            self._early.update(range(self._settled_to + 1, tag + 1) if multiple else (tag,))
        while self._settled_to + 1 in self._early:
            self._settled_to += 1
            self._early.discard(self._settled_to)
        while self._waiting and self._waiting[0][0] <= self._settled_to:
            give(self._waiting.popleft()[1])

    def _on_close(self, _channel: Channel, reason: Exception) -> None:
        self.lost = _lost(reason)
        if self.lost.code == _NOT_FOUND:  # an exchange was deleted
            for name in [name for name, asked in self.exchanges.items() if asked.done()]:
                del self.exchanges[name]
        self._connection.acknowledged.pop(self._number, None)
        while self._waiting:
            give(self._waiting.popleft()[1])


def _lost(error: Exception) -> BrokerUnavailable:
    return BrokerUnavailable(sentence(error), code=getattr(error, "reply_code", 0))
