# SPDX-License-Identifier: Apache-2.0
"""A message of AMQP 1.0 as a value, and its encoding (section 3.2)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pulpit.amqp.amqp10 import codec
from pulpit.amqp.amqp10.codec import DecodeError, Described, Symbol, Timestamp, Ubyte, Uint

HEADER, DELIVERY_ANNOTATIONS, ANNOTATIONS, PROPERTIES, APPLICATION_PROPERTIES = 0x70, 0x71, 0x72, 0x73, 0x74
DATA, SEQUENCE, VALUE, FOOTER = 0x75, 0x76, 0x77, 0x78
DEFAULT_PRIORITY: Final = 4
SECTIONS: Final = {
    "amqp:header:list": HEADER,
    "amqp:delivery-annotations:map": DELIVERY_ANNOTATIONS,
    "amqp:message-annotations:map": ANNOTATIONS,
    "amqp:properties:list": PROPERTIES,
    "amqp:application-properties:map": APPLICATION_PROPERTIES,
    "amqp:data:binary": DATA,
    "amqp:amqp-sequence:list": SEQUENCE,
    "amqp:amqp-value:*": VALUE,
    "amqp:footer:map": FOOTER,
}
"""Symbols that may be sent instead of the codes of the sections."""


@dataclass(frozen=True, slots=True)
class Value:
    """A body that is one AMQP value instead of bytes."""

    value: Any


@dataclass(frozen=True, slots=True)
class Sequences:
    lists: tuple[list[Any], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """A message; the names are those of the specification."""

    body: bytes | Value | Sequences = b""
    """Bytes are data sections, joined."""
    durable: bool = False
    priority: int = DEFAULT_PRIORITY
    ttl: int | None = None
    """Milliseconds."""
    first_acquirer: bool = False
    delivery_count: int = 0
    message_id: Any = None
    """Text, bytes, a `Ulong` or a UUID; so is `correlation_id`."""
    user_id: bytes | None = None
    to: str | None = None
    subject: str | None = None
    reply_to: str | None = None
    correlation_id: Any = None
    content_type: str | None = None
    content_encoding: str | None = None
    absolute_expiry_time: int | None = None
    """Milliseconds since 1970, as is `creation_time`."""
    creation_time: int | None = None
    group_id: str | None = None
    group_sequence: int | None = None
    reply_to_group_id: str | None = None
    application_properties: Mapping[str, Any] = field(default_factory=dict)
    annotations: Mapping[Any, Any] = field(default_factory=dict)
    delivery_annotations: Mapping[Any, Any] = field(default_factory=dict)
    footer: Mapping[Any, Any] = field(default_factory=dict)


def encode(message: Message) -> bytes:
    """Encode a message.

    Raises:
        TypeError: a property has a value without an AMQP type.
    """
    return b"".join(
        (
            _encode_header(message),
            _encode_map(DELIVERY_ANNOTATIONS, message.delivery_annotations),
            _encode_map(ANNOTATIONS, message.annotations),
            _encode_properties(message),
            _encode_map(APPLICATION_PROPERTIES, message.application_properties),
            _encode_body(message.body),
            _encode_map(FOOTER, message.footer),
        )
    )


def decode(data: bytes) -> Message:
    """Decode a message.

    Raises:
        DecodeError: the bytes are not a message.
    """
    found: dict[str, Any] = {}
    bodies: list[tuple[int, Any]] = []
    at = 0
    while at < len(data):
        section, at = codec.decode(data, at)
        code = _code(section)
        if code in _FIELDS:
            found |= _named(section.value, _FIELDS[code])
        elif code in _MAPS:
            if not isinstance(section.value, dict):
                raise DecodeError("a section of the message is no map")
            found[_MAPS[code]] = section.value
        else:
            bodies.append((code, section.value))
    return Message(**found, body=_body(bodies))


_MAPS: Final = {
    DELIVERY_ANNOTATIONS: "delivery_annotations",
    ANNOTATIONS: "annotations",
    APPLICATION_PROPERTIES: "application_properties",
    FOOTER: "footer",
}
_FIELDS: Final[Mapping[int, tuple[tuple[str, type | tuple[type, ...]], ...]]] = {
    HEADER: (
        ("durable", bool),
        ("priority", int),
        ("ttl", int),
        ("first_acquirer", bool),
        ("delivery_count", int),
    ),
    PROPERTIES: (
        ("message_id", object),
        ("user_id", bytes),
        ("to", str),
        ("subject", str),
        ("reply_to", str),
        ("correlation_id", object),
        ("content_type", str),
        ("content_encoding", str),
        ("absolute_expiry_time", int),
        ("creation_time", int),
        ("group_id", str),
        ("group_sequence", int),
        ("reply_to_group_id", str),
    ),
}


def _code(section: Any) -> int:
    if isinstance(section, Described):
        name = section.descriptor
        code = SECTIONS.get(name) if isinstance(name, str) else name
        if isinstance(code, int) and HEADER <= code <= FOOTER:
            return code
    raise DecodeError("the message has a section that there is not")


def _named(values: Any, fields: tuple[tuple[str, type | tuple[type, ...]], ...]) -> dict[str, Any]:
    if not isinstance(values, list) or len(values) > len(fields):
        raise DecodeError("a section of the message is no list of its fields")
    named: dict[str, Any] = {}
    for value, (name, kind) in zip(values, fields, strict=False):
        if value is None:
            continue
        if not isinstance(value, kind):
            raise DecodeError(f"the message's {name} has the wrong type")
        named[name] = str(value) if isinstance(value, Symbol) else value
    return named


def _body(sections: list[tuple[int, Any]]) -> bytes | Value | Sequences:
    kinds = {code for code, _ in sections}
    values = [value for _, value in sections]
    if not kinds:
        return b""
    if kinds == {DATA} and all(isinstance(value, bytes) for value in values):
        return b"".join(values)
    if kinds == {SEQUENCE} and all(isinstance(value, list) for value in values):
        return Sequences(tuple(values))
    if kinds == {VALUE} and len(values) == 1:
        return Value(values[0])
    raise DecodeError("the message's body is none of data, sequences and one value")


def _encode_header(message: Message) -> bytes:
    fields = (
        message.durable or None,
        None if message.priority == DEFAULT_PRIORITY else Ubyte(message.priority),
        _as(Uint, message.ttl),
        message.first_acquirer or None,
        Uint(message.delivery_count) if message.delivery_count else None,
    )
    return codec.described_list(HEADER, fields) if any(field is not None for field in fields) else b""


def _encode_properties(message: Message) -> bytes:
    fields = (
        message.message_id,
        message.user_id,
        message.to,
        message.subject,
        message.reply_to,
        message.correlation_id,
        _as(Symbol, message.content_type),
        _as(Symbol, message.content_encoding),
        _as(Timestamp, message.absolute_expiry_time),
        _as(Timestamp, message.creation_time),
        message.group_id,
        _as(Uint, message.group_sequence),
        message.reply_to_group_id,
    )
    return codec.described_list(PROPERTIES, fields) if any(field is not None for field in fields) else b""


def _as(kind: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else kind(value)


def _encode_map(code: int, values: Mapping[Any, Any]) -> bytes:
    return bytes((0x00, 0x53, code)) + codec.encode(dict(values)) if values else b""


def _encode_body(body: bytes | Value | Sequences) -> bytes:
    if isinstance(body, Value):
        return bytes((0x00, 0x53, VALUE)) + codec.encode(body.value)
    if isinstance(body, Sequences):
        return b"".join(bytes((0x00, 0x53, SEQUENCE)) + codec.encode(values) for values in body.lists)
    return bytes((0x00, 0x53, DATA)) + codec.encode(body)
