"""basic.publish and the content that follows it.

A frame that does not continue the content is an error of the whole connection (AMQP 0-9-1, section 2.3.5.2).
"""

from typing import Final, TypeVar

from pulpit.broker.memory import Memory
from pulpit.broker.properties import body_size
from pulpit.broker.refusals import ConnectionRefusal, Refusal, frame_error, precondition_failed, unexpected_frame

T = TypeVar("T")
MAX_REMEMBERED: Final = 512
"""Publish methods, or property lists, that a channel remembers decoded."""
MAX_REMEMBERED_SIZE: Final = 256
"""Bytes; longer ones hardly come twice."""
PUBLISH: Final = b"\x00\x3c\x00\x28"
_ADDRESS_START: Final = 6
"""Behind the method's number and the reserved short."""
_MANDATORY: Final = 1
_IMMEDIATE: Final = 2


class Publish:
    """One decoded basic.publish; `address` are the exchange and the key as they came, ready for basic.deliver.

    `permitted` remembers that the user of the channel may do this.
    """

    __slots__ = ("address", "exchange", "immediate", "mandatory", "permitted", "routing_key")

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
        self.permitted = False


class Budget:
    """Bytes that one connection may leave lying in messages that have not come whole; they count as memory."""

    __slots__ = ("_limit", "_memory", "_used")

    def __init__(self, limit: int, memory: Memory) -> None:
        self._limit: Final = limit
        self._memory: Final = memory
        self._used = 0

    def take(self, size: int) -> None:
        """Hold so many bytes more."""
        self._used += size
        self._memory.used += size
        if self._used > self._limit:
            raise ConnectionRefusal(506, f"unfinished messages hold more than {self._limit} bytes")

    def give(self, size: int) -> None:
        """Hold so many bytes less."""
        self._used -= size
        self._memory.used -= size


class Content:
    """Puts one message after the other together; `publish` is None between two of them."""

    __slots__ = ("_budget", "_fragments", "_held", "_known", "_max_size", "_missing", "header", "publish")

    def __init__(self, max_size: int, budget: Budget) -> None:
        self._budget: Final = budget
        self._held = 0
        self.publish: Publish | None = None
        self.header: bytes | None = None
        self._missing = 0
        self._fragments: list[bytes] = []
        self._known: dict[bytes, Publish] = {}
        self._max_size: Final = max_size

    def interrupted(self) -> Refusal:
        """What is wrong with a frame that does not go on with the content."""
        if self.publish is None:
            return unexpected_frame("expected method frame, got non method frame instead")
        if self.header is None:
            return unexpected_frame("expected content header for class 60, got non content header frame instead")
        return unexpected_frame("expected content body, got non content body frame instead")

    def begin(self, payload: bytes) -> None:
        """Take a basic.publish; its content follows."""
        if self.publish is not None:
            raise self.interrupted()
        publish = self._known.get(payload)
        if publish is None:
            publish = Publish(payload)
            remember(self._known, payload, publish)
        self.publish = publish

    def take_header(self, payload: bytes) -> bool:
        """Take the content header; True when nothing will follow."""
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
        """Take a piece of the body; answers the whole body when this was the last piece."""
        if self.header is None:
            raise self.interrupted()
        self._missing -= len(payload)
        if self._missing < 0:
            raise unexpected_frame("the body is longer than its header said")
        if self._missing:
            self._fragments.append(payload)
            self._held += len(payload)
            self._budget.take(len(payload))
            return None
        if not self._fragments:
            return payload
        self._fragments.append(payload)
        body = b"".join(self._fragments)
        self._drop_fragments()
        return body

    def forget(self) -> None:
        """Drop what has come of an unfinished message."""
        self.publish = self.header = None
        self._drop_fragments()

    def _drop_fragments(self) -> None:
        self._budget.give(self._held)
        self._held = 0
        self._fragments = []


def remember(known: dict[bytes, T], key: bytes, value: T) -> None:
    """Keep what was decoded, if it is short enough to come again."""
    if len(key) <= MAX_REMEMBERED_SIZE:
        if len(known) >= MAX_REMEMBERED:
            known.clear()
        known[key] = value
