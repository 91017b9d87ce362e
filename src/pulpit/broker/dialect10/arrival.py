"""A message of AMQP 1.0 as the broker keeps it: in the words of AMQP 0-9-1, with its own sections beside.

What a receiver of the other dialect sees is written once, when the message comes. A receiver of AMQP 1.0 gets the bare
message byte by byte as it came; `Native` is what is kept for that.
"""

import base64
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from pulpit.amqp.amqp10 import codec
from pulpit.broker import tables
from pulpit.broker.dialect10.addresses import queue_of
from pulpit.broker.dialect10.fields import MAX_NAME, to_entries
from pulpit.broker.dialect10.sections import Sections, cut
from pulpit.broker.message import Message
from pulpit.broker.methods import short_string
from pulpit.broker.properties import PERSISTENT, Properties, write_header

MAX_HEAD: Final = 65_536
"""Bytes of a message beside its body: they must fit into one frame of AMQP 0-9-1, and do not page to the disk."""
RAW_TYPE: Final = "amqp-1.0"
"""The `type` of a message whose body is sections of AMQP 1.0, as in RabbitMQ."""
BASIC: Final = (("type", b"x-basic-type"), ("app_id", b"x-basic-app-id"))
"""Properties that AMQP 1.0 does not have, and the annotations that stand for them, as in RabbitMQ 4."""
_LENGTHS: Final = struct.Struct(">II")

_MESSAGE_ID, _USER_ID, _TO, _SUBJECT, _REPLY_TO, _CORRELATION_ID, _CONTENT_TYPE, _CONTENT_ENCODING = range(8)
_CREATION_TIME: Final = 9


class BadMessage(ValueError):
    """A message that cannot be taken; it says why."""


@dataclass(frozen=True, slots=True)
class Native:
    """What surrounds the body of a message that came over AMQP 1.0; `annotations` is a map, or nothing."""

    annotations: bytes
    front: bytes
    back: bytes

    def pack(self) -> bytes:
        """As one piece of bytes, for the store."""
        lengths = _LENGTHS.pack(len(self.annotations), len(self.front))
        return b"".join((lengths, self.annotations, self.front, self.back))


def unpack(packed: bytes) -> Native:
    """What `Native.pack` packed."""
    annotations, front = _LENGTHS.unpack_from(packed)
    middle = _LENGTHS.size + annotations
    return Native(packed[_LENGTHS.size : middle], packed[middle : middle + front], packed[middle + front :])


class Arrival:
    """One message that came, before it is known where it goes."""

    __slots__ = ("_sections",)

    def __init__(self, data: bytes) -> None:
        """Take it apart.

        Raises:
            DecodeError: it is no message of AMQP 1.0.
            BadMessage: more than its body is large.
        """
        self._sections: Sections = cut(data)
        if len(data) - len(self._sections.body) > MAX_HEAD:
            raise BadMessage(f"properties and annotations have together at most {MAX_HEAD} bytes here")

    @property
    def subject(self) -> str | None:
        """What becomes the routing key where the address says none."""
        return _text(self._property(_SUBJECT))

    @property
    def to(self) -> str | None:
        """Where a sender without a target wants it to go."""
        return _text(self._property(_TO))

    @property
    def user(self) -> str | None:
        """Who claims to have sent it."""
        value = self._property(_USER_ID)
        return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else None

    def message(self, exchange: str, key: str) -> Message:
        """As the broker keeps it.

        Raises:
            BadMessage: what it says of itself does not fit into a message of AMQP 0-9-1.
        """
        sections = self._sections
        if len(key.encode()) > MAX_NAME:
            raise BadMessage(f"a routing key has at most {MAX_NAME} bytes")
        properties = self._properties()
        header = write_header(len(sections.body), properties)
        if len(header) > MAX_HEAD:
            raise BadMessage(f"properties and annotations have in AMQP 0-9-1 at most {MAX_HEAD} bytes here")
        message = Message(
            exchange=exchange,
            routing_key=key,
            address=short_string(exchange) + short_string(key),
            header=header,
            body=sections.body,
            properties=properties,
        )
        message.native = Native(sections.annotations, sections.front, sections.back).pack()
        return message

    def _property(self, index: int) -> Any:
        values = self._sections.properties
        return values[index] if index < len(values) else None

    def _properties(self) -> Properties:
        header = [*self._sections.header, None, None, None]
        durable, priority, ttl = header[0] is True, header[1], header[2]
        parts: dict[str, bytes] = {"delivery_mode": bytes((PERSISTENT if durable else 1,))}
        entries = self._headers()
        for index, name, write in _PLAIN:
            value = self._property(index)
            if value is not None:
                _put(parts, name, write(value))
        for index, name, header_name in _IDS:
            self._put_id(index, name, header_name, parts, entries)
        expiration = str(int(ttl)) if isinstance(ttl, codec.Uint) else None
        _put(parts, "expiration", expiration)
        if isinstance(priority, codec.Ubyte):
            parts["priority"] = bytes((priority,))
        moment = self._property(_CREATION_TIME)
        if isinstance(moment, codec.Timestamp) and moment >= 0:
            parts["timestamp"] = struct.pack(">Q", moment // 1000)
        for name, header_name in BASIC:
            _put(parts, name, _string_field(entries.pop(header_name, None)))
        if not self._sections.is_data:
            _put(parts, "type", RAW_TYPE)
        if entries:
            parts["headers"] = tables.join(entries.items())
        return Properties(
            parts=parts, persistent=durable, priority=int(priority or 0) if "priority" in parts else 0,
            expiration=expiration, user_id=self.user,
        )  # fmt: skip

    def _headers(self) -> dict[bytes, bytes]:
        """Application properties, and those annotations whose names say that they are extensions."""
        entries = dict(to_entries(self._sections.application))
        if self._sections.annotations:
            annotations: dict[Any, Any] = codec.decode(self._sections.annotations)[0]
            known = {name: value for name, value in annotations.items() if str(name).startswith("x-")}
            entries |= to_entries({name: value for name, value in known.items() if name not in _OWN})
        return entries

    def _put_id(
        self, index: int, name: str, header_name: bytes, parts: dict[str, bytes], entries: dict[bytes, bytes]
    ) -> None:
        """An id of any type becomes text; a header keeps the type, or the text where it is too long for a property."""
        value = self._property(index)
        if value is None:
            return
        text, kind = _id_text(value)
        if len(text.encode()) > MAX_NAME:
            entries[header_name] = tables.long_string(text)
        else:
            parts[name] = short_string(text)
        if kind:
            entries[header_name + b"-type"] = tables.long_string(kind)


def _put(parts: dict[str, bytes], name: str, value: str | None) -> None:
    if value is not None and len(value.encode("utf-8", "surrogateescape")) <= MAX_NAME:
        parts[name] = short_string(value)


def _string_field(raw: bytes | None) -> str | None:
    value = None if raw is None else tables.read_value(raw)
    return value if isinstance(value, str) else None


def _text(value: Any) -> str | None:
    return str(value) if isinstance(value, str) else None


def _user(value: Any) -> str | None:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else None


def _reply_to(value: Any) -> str | None:
    """A queue is named as AMQP 0-9-1 names it, so that an answer to the default exchange finds it."""
    text = _text(value)
    return (queue_of(text) or text) if text else text


def _id_text(value: Any) -> tuple[str, str]:
    if isinstance(value, codec.Ulong):
        return str(int(value)), "ulong"
    if isinstance(value, UUID):
        return str(value), "uuid"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode(), "binary"
    return str(value), ""


_PLAIN: Final[tuple[tuple[int, str, Callable[[Any], str | None]], ...]] = (
    (_USER_ID, "user_id", _user),
    (_REPLY_TO, "reply_to", _reply_to),
    (_CONTENT_TYPE, "content_type", _text),
    (_CONTENT_ENCODING, "content_encoding", _text),
)
_IDS: Final = (
    (_MESSAGE_ID, "message_id", b"x-message-id"),
    (_CORRELATION_ID, "correlation_id", b"x-correlation-id"),
)
_OWN: Final = ("x-exchange", "x-routing-key")
"""Annotations that the broker writes anew with each delivery."""
