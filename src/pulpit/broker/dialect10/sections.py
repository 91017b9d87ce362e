"""The sections of a message of AMQP 1.0 (part 3.2 of the specification): cut apart, with the body left as it came.

header ┊ delivery annotations ┊ message annotations ┊ properties, application properties ┊ body ┊ footer
                                                      └───────────── bare message ─────────────┘
"""

import struct
from dataclasses import dataclass, field
from typing import Any, Final

from pulpit.amqp.amqp10 import codec
from pulpit.amqp.amqp10.codec import DecodeError
from pulpit.amqp.amqp10.message import (
    ANNOTATIONS,
    APPLICATION_PROPERTIES,
    DATA,
    FOOTER,
    HEADER,
    PROPERTIES,
    SECTIONS,
    SEQUENCE,
    VALUE,
)

BODIES: Final = (DATA, SEQUENCE, VALUE)
_FIXED: Final = {0x4: 0, 0x5: 1, 0x6: 2, 0x7: 4, 0x8: 8, 0x9: 16}
_VARIABLE: Final = {0xA: 1, 0xB: 4, 0xC: 1, 0xD: 4, 0xE: 1, 0xF: 4}
_LENGTHS: Final = {1: struct.Struct(">B"), 4: struct.Struct(">I")}
_SMALL_ULONG: Final = 0x53
_MOST_DATA: Final = 1024
"""Data sections in one message."""


@dataclass(slots=True)
class Sections:
    """One message; `front`, `body` and `back` are the bare message, cut around what AMQP 0-9-1 calls the body.

    Of data `body` is what it holds; of any other body it is the sections themselves, and `is_data` is false.
    `annotations` are those of the message as they came, without what says that they are annotations.
    """

    header: list[Any] = field(default_factory=list)
    annotations: bytes = b""
    properties: list[Any] = field(default_factory=list)
    application: dict[Any, Any] = field(default_factory=dict)
    front: bytes = b""
    body: bytes = b""
    back: bytes = b""
    is_data: bool = True


def cut(data: bytes) -> Sections:
    """Take a message apart.

    Raises:
        DecodeError: these are no sections of a message, or not in their order.
    """
    sections = Sections()
    bodies: list[tuple[int, int, int, int]] = []  # kind, start, start of the value, end
    at, last, bare = 0, 0, -1
    while at < len(data):
        kind, value, end = _section(data, at)
        if kind < last or (kind == last and kind not in (DATA, SEQUENCE)):
            raise DecodeError("the sections of the message are not in their order")
        if kind in BODIES:
            if bodies and bodies[-1][0] != kind:
                raise DecodeError("the body of the message has sections of several kinds")
            bodies.append((kind, at, value, end))
        else:
            _take(sections, kind, data, value, end)
        if bare < 0 and kind >= PROPERTIES:
            bare = at
        at, last = end, kind
    _take_bare(sections, data, bare, bodies)
    return sections


def _take(sections: Sections, kind: int, data: bytes, start: int, end: int) -> None:
    if kind == ANNOTATIONS:
        _of_type(dict, data, start)
        sections.annotations = data[start:end]
    elif kind == HEADER:
        sections.header = _of_type(list, data, start)
    elif kind == PROPERTIES:
        sections.properties = _of_type(list, data, start)
    elif kind == APPLICATION_PROPERTIES:
        sections.application = _of_type(dict, data, start)


def _take_bare(sections: Sections, data: bytes, bare: int, bodies: list[tuple[int, int, int, int]]) -> None:
    if not bodies:
        sections.front = data[bare:] if bare >= 0 else b""
    elif bodies[0][0] != DATA:
        start, end = bodies[0][1], bodies[-1][3]
        sections.front, sections.body, sections.back = data[bare:start], data[start:end], data[end:]
        sections.is_data = False
    elif len(bodies) == 1:
        _, _, value, end = bodies[0]
        start = _binary(data, value)
        sections.front, sections.body, sections.back = data[bare:start], data[start:end], data[end:]
    else:
        _join(sections, data, bare, bodies)


def _join(sections: Sections, data: bytes, bare: int, bodies: list[tuple[int, int, int, int]]) -> None:
    """Make one data section of several."""
    if len(bodies) > _MOST_DATA:
        raise DecodeError(f"the message has more than {_MOST_DATA} data sections")
    sections.body = b"".join(data[_binary(data, value) : end] for _, _, value, end in bodies)
    sections.front = data[bare : bodies[0][1]] + data_head(len(sections.body))
    sections.back = data[bodies[-1][3] :]


def data_head(size: int) -> bytes:
    """What stands in front of so many bytes to make a data section of them."""
    if size < 256:  # noqa: PLR2004 - what one byte can count
        return bytes((0, _SMALL_ULONG, DATA, 0xA0, size))
    return bytes((0, _SMALL_ULONG, DATA, 0xB0)) + _LENGTHS[4].pack(size)


def are_bodies(data: bytes) -> bool:
    """Whether these bytes are sections of a body and nothing else."""
    try:
        sections = cut(data)
    except DecodeError:
        return False
    return not sections.is_data and sections.body == data


def _section(data: bytes, at: int) -> tuple[int, int, int]:
    """The kind of the section that begins here, where its value begins, and where it ends."""
    if data[at] != 0:
        raise DecodeError("a section of the message has no descriptor")
    if data[at + 1 : at + 2] == b"\x53" and at + 2 < len(data):
        kind, value = data[at + 2], at + 3
    else:
        descriptor, value = codec.decode(data, at + 1)
        kind = int(descriptor) if isinstance(descriptor, int) else SECTIONS.get(str(descriptor), 0)
    if not HEADER <= kind <= FOOTER:
        raise DecodeError("the message has a section that is none of AMQP 1.0")
    return kind, value, _end(data, value)


def _end(data: bytes, at: int) -> int:
    """Where a value ends, judged by its constructor alone."""
    while at < len(data) and data[at] == 0:  # a described value inside: its descriptor, then the value itself
        at = codec.decode(data, at + 1)[1]
    if at >= len(data):
        raise DecodeError("a section of the message is cut short")
    category = data[at] >> 4
    if category in _FIXED:
        end = at + 1 + _FIXED[category]
    elif category in _VARIABLE:
        width = _VARIABLE[category]
        if at + 1 + width > len(data):
            raise DecodeError("a section of the message is cut short")
        end = at + 1 + width + int(_LENGTHS[width].unpack_from(data, at + 1)[0])
    else:
        raise DecodeError(f"there is no type 0x{data[at]:02x}")
    if end > len(data):
        raise DecodeError("a section of the message is cut short")
    return end


def _binary(data: bytes, at: int) -> int:
    """Where the bytes of a binary value begin."""
    if data[at] not in (0xA0, 0xB0):
        raise DecodeError("a data section of the message does not hold bytes")
    return at + 2 if data[at] == 0xA0 else at + 5  # noqa: PLR2004 - the short form


def _of_type(kind: type, data: bytes, at: int) -> Any:
    value, _ = codec.decode(data, at)
    if not isinstance(value, kind):
        raise DecodeError("a section of the message has a value of another type")
    return value
