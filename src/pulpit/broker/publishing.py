"""basic.publish: assembly of method and content, checks of a publish, and confirms.

A frame that does not continue the content is a connection error (AMQP 0-9-1, section 2.3.5.2).
"""

import base64
import os
import struct
from bisect import bisect_left
from collections.abc import Callable
from typing import Final, TypeVar

from pulpit.amqp.amqp091 import tables
from pulpit.broker.dead_letters import copy_keys
from pulpit.broker.exchanges import Exchange
from pulpit.broker.message import Message
from pulpit.broker.method_codec import head
from pulpit.broker.methods import BasicAck, BasicNack, BasicPublish
from pulpit.broker.properties import Properties, body_size, with_part, with_reply_to
from pulpit.broker.queue_arguments import expiration_problem
from pulpit.broker.refusals import (
    ConnectionRefusal,
    Refusal,
    frame_error,
    not_implemented,
    precondition_failed,
    unexpected_frame,
)
from pulpit.broker.resources import Memory

T = TypeVar("T")
PUBLISH: Final = head(BasicPublish)
MAX_REMEMBERED: Final = 512
"""Publish methods, or property lists, that a channel caches decoded."""
MAX_REMEMBERED_SIZE: Final = 256
"""Bytes; longer ones rarely repeat."""
FRAGMENT_OVERHEAD: Final = 48
"""Memory of a piece of a body in bytes besides its content."""
MAX_FRAGMENTS: Final = 64
"""Pieces that are kept before they are joined."""
_ADDRESS_START: Final = 6
"""After the method's number and the reserved short."""
PSEUDO_QUEUE: Final = "amq.rabbitmq.reply-to"
REPLY_PREFIX: Final = PSEUDO_QUEUE + "."
_MANDATORY: Final = 1
_IMMEDIATE: Final = 2


class Publish:
    """A decoded basic.publish; `address` are exchange and key as encoded, ready for basic.deliver.

    `permitted` is the exchange to which the channel's user may publish this. A message with `is_reply` goes directly to
    the requester.
    """

    __slots__ = ("address", "exchange", "immediate", "is_reply", "mandatory", "permitted", "routing_key")

    def __init__(self, payload: bytes) -> None:
        try:
            middle = _ADDRESS_START + 1 + payload[_ADDRESS_START]
            end = middle + 1 + payload[middle]
            bits = payload[end]
            self.exchange = payload[_ADDRESS_START + 1 : middle].decode()
            self.routing_key = payload[middle + 1 : end].decode()
        except IndexError as error:
            raise frame_error("basic.publish is cut off") from error
        except UnicodeDecodeError as error:
            raise frame_error("Malformed UTF-8 in shortstr") from error
        self.address = payload[_ADDRESS_START:end]
        self.mandatory = bool(bits & _MANDATORY)
        self.immediate = bool(bits & _IMMEDIATE)
        self.is_reply = not self.exchange and self.routing_key.startswith(REPLY_PREFIX)
        self.permitted: Exchange | None = None


class Budget:
    """Bytes that one connection may hold in incomplete messages; they count as memory."""

    __slots__ = ("_limit", "_memory", "_used")

    def __init__(self, limit: int, memory: Memory) -> None:
        self._limit: Final = limit
        self._memory: Final = memory
        self._used = 0

    @property
    def is_used(self) -> bool:
        return self._used > 0

    def take(self, size: int) -> None:
        """Hold more bytes."""
        self._used += size
        self._memory.used += size
        if self._used > self._limit:
            raise ConnectionRefusal(506, f"unfinished messages hold more than {self._limit} bytes")

    def give(self, size: int) -> None:
        """Release bytes."""
        self._used -= size
        self._memory.used -= size


class ContentAssembler:
    """Assembles one message after another; `publish` is None between two of them.

    Pieces of a body are joined at intervals, so that a body in tiny pieces does not cost a thousand objects.
    """

    __slots__ = ("_budget", "_fragments", "_held", "_joined", "_known", "_max_size", "_missing", "header", "publish")

    def __init__(self, max_size: int, budget: Budget) -> None:
        self._budget: Final = budget
        self._held = 0
        self._joined = bytearray()
        self.publish: Publish | None = None
        self.header: bytes | None = None
        self._missing = 0
        self._fragments: list[bytes] = []
        self._known: dict[bytes, Publish] = {}
        self._max_size: Final = max_size

    def interrupted(self) -> Refusal:
        """Return the error for a frame that does not continue the content."""
        if self.publish is None:
            return unexpected_frame("expected method frame, got non method frame instead")
        if self.header is None:
            return unexpected_frame("expected content header for class 60, got non content header frame instead")
        return unexpected_frame("expected content body, got non content body frame instead")

    def begin(self, payload: bytes) -> None:
        """Start with a basic.publish; its content follows."""
        if self.publish is not None:
            raise self.interrupted()
        self.publish = self._known.get(payload) or self._decoded(payload)

    def whole(self, payload: bytes, size: int) -> Publish | None:
        """Return a publish whose content is complete; None if it is not allowed now, or too large."""
        if self.publish is None and size <= self._max_size:
            return self._known.get(payload) or self._decoded(payload)
        return None

    def take_header(self, payload: bytes) -> bool:
        """Handle the content header; True if there is no body."""
        if self.publish is None or self.header is not None:
            raise self.interrupted()
        self._missing = body_size(payload)
        if self._missing > self._max_size:
            self.publish = None
            raise precondition_failed(
                f"message size {self._missing} is larger than configured max size {self._max_size}"
            )
        self.header = payload
        return not self._missing

    def take_body(self, payload: bytes) -> bytes | None:
        """Handle a piece of the body; return the whole body after the last piece."""
        if self.header is None:
            raise self.interrupted()
        self._missing -= len(payload)
        if self._missing < 0:
            raise unexpected_frame("the body is longer than its header said")
        if self._missing:
            self._keep(payload)
            return None
        if not self._fragments and not self._joined:
            return payload
        body = b"".join((self._joined, *self._fragments, payload))
        self._drop_fragments()
        return body

    def _decoded(self, payload: bytes) -> Publish:
        publish = Publish(payload)
        remember(self._known, payload, publish)
        return publish

    def finish(self) -> tuple[Publish, bytes]:
        """Return publish and header of the complete message; another one may begin."""
        publish, header = self.publish, self.header
        assert publish is not None and header is not None  # noqa: S101, PT018 - a body implies both
        self.publish = self.header = None
        return publish, header

    def _keep(self, payload: bytes) -> None:
        size = len(payload) + FRAGMENT_OVERHEAD
        self._fragments.append(payload)
        self._held += size
        self._budget.take(size)
        if len(self._fragments) >= MAX_FRAGMENTS:
            for fragment in self._fragments:
                self._joined += fragment
            self._fragments.clear()
            saved = MAX_FRAGMENTS * FRAGMENT_OVERHEAD
            self._held -= saved
            self._budget.give(saved)

    def forget(self) -> None:
        """Drop an incomplete message."""
        self.publish = self.header = None
        self._drop_fragments()

    def _drop_fragments(self) -> None:
        self._budget.give(self._held)
        self._held = 0
        self._fragments = []
        self._joined = bytearray()


def remember(known: dict[bytes, T], key: bytes, value: T) -> None:
    """Cache a decoded value, if it is short enough to repeat."""
    if len(key) <= MAX_REMEMBERED_SIZE:
        if len(known) >= MAX_REMEMBERED:
            known.clear()
        known[key] = value


def check_message(publish: Publish, properties: Properties, *, user: str) -> None:
    """Reject what RabbitMQ rejects in a message's flags and properties."""
    if publish.immediate:
        raise not_implemented("immediate=true")
    if properties.user_id is not None and properties.user_id != user:
        raise precondition_failed(f"user_id property set to '{properties.user_id}' but authenticated user was '{user}'")
    if properties.expiration is not None and (problem := expiration_problem(properties.expiration)):
        raise precondition_failed(f"invalid expiration '{properties.expiration}': {problem}")
    if properties.has_copies:
        for name, value in properties.raw_headers():
            if name in (b"CC", b"BCC") and value[:1] != b"A":
                kind = tables.TYPE_NAMES[value[0]]
                unfit = f'{{unacceptable_type_in_header,"{name.decode()}",{kind}}}'
                raise precondition_failed(f"invalid message: {unfit}")


def further_keys(properties: Properties) -> list[str]:
    """Return the routing keys in CC and BCC."""
    if not properties.has_copies:
        return []
    headers = properties.headers()
    return copy_keys(headers, "CC") + copy_keys(headers, "BCC")


def hide_blind_copies(message: Message) -> None:
    """Remove the BCC header from a routed message, so that no receiver sees it."""
    entries = message.properties.raw_headers()
    kept = [(name, value) for name, value in entries if name != b"BCC"]
    if len(kept) < len(entries):
        message.replace_properties(with_part(message.properties, "headers", tables.join(kept)))


Reply = Callable[[Message], None]


class DirectReplies:
    """Direct replies to the channel of the requester, by the address in its request."""

    def __init__(self) -> None:
        self._replies: dict[str, Reply] = {}

    def enter(self, reply: Reply) -> str:
        """Create an unguessable address, in RabbitMQ's form; messages to it are passed to `reply`."""
        address = REPLY_PREFIX + ".".join(base64.b64encode(os.urandom(16)).decode() for _ in range(2))
        self._replies[address] = reply
        return address

    def leave(self, address: str) -> None:
        self._replies.pop(address, None)

    def find(self, address: str) -> Reply | None:
        return self._replies.get(address)


def replace_reply_to(message: Message, reply_address: str | None) -> None:
    properties = message.properties
    if properties.reply_to == PSEUDO_QUEUE:
        if reply_address is None:
            raise precondition_failed("fast reply consumer does not exist")
        message.replace_properties(with_reply_to(properties, reply_address))


class Confirms:
    """Publisher confirms of one channel, sent at the end of a turn, with few frames for many messages.

    One ack with `multiple` covers everything below the oldest pending publish; the rest is acknowledged one by one, and
    so are a few, for clients that wait for as many acks as they have published.
    `say` sends payloads, `soon` schedules the end of the turn.
    """

    __slots__ = ("_confirmed", "_refused", "_say", "_soon", "_waiting", "published")

    def __init__(self, *, say: Callable[[bytes], None], soon: Callable[[Callable[[], None]], None]) -> None:
        self.published = 0
        self._waiting: dict[int, None] = {}
        self._confirmed: list[int] = []
        self._refused: list[int] = []
        self._say = say
        self._soon = soon

    def confirm_next(self) -> None:
        """Number a publish for which the broker has taken responsibility already."""
        if not self._confirmed and not self._refused:
            self._soon(self.flush)
        self.published += 1
        self._confirmed.append(self.published)

    def expect(self) -> int:
        """Number a publish whose outcome is still open."""
        self.published += 1
        self._waiting[self.published] = None
        return self.published

    def confirm(self, number: int) -> None:
        """Confirm it: the broker has taken responsibility."""
        if not self._confirmed and not self._refused:
            self._soon(self.flush)
        self._confirmed.append(number)

    def refuse(self, number: int) -> None:
        """Nack it: the message was not accepted."""
        if not self._confirmed and not self._refused:
            self._soon(self.flush)
        self._refused.append(number)

    def flush(self) -> None:
        confirmed, refused = sorted(self._confirmed), self._refused
        self._confirmed, self._refused = [], []
        for number in refused:
            del self._waiting[number]
            self._say(_NACK + _REFUSAL.pack(number, _REQUEUE))
        if self._waiting:
            for number in confirmed:
                self._waiting.pop(number, None)
        oldest = next(iter(self._waiting), self.published + 1)
        covered = bisect_left(confirmed, oldest)
        if covered > _FEW:
            self._say(_ACK + _ANSWER.pack(confirmed[covered - 1], True))
            confirmed = confirmed[covered:]
        for number in confirmed:
            self._say(_ACK + _ANSWER.pack(number, False))


_FEW: Final = 4
_ACK: Final = head(BasicAck)
_NACK: Final = head(BasicNack)
_ANSWER: Final = struct.Struct(">Q?")
_REFUSAL: Final = struct.Struct(">QB")
_REQUEUE: Final = 2
"""Meaningless to a publisher, but RabbitMQ sets it."""
