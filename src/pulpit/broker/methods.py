"""Method frames: bytes to pamqp's method classes and back.

pamqp's classes name the arguments and their types, so they are the specification here. Reading walks the bytes once and
trusts nothing.
"""

import struct
from collections.abc import Mapping
from typing import Any, Final, cast

from pamqp import commands, encode
from pamqp.base import Frame

from pulpit.amqp.amqp091.tables import BadTable, read_table
from pulpit.broker.refusals import frame_error, not_implemented

FRAME_METHOD: Final = 1
FRAME_HEADER: Final = 2
FRAME_BODY: Final = 3
FRAME_HEARTBEAT: Final = 8
FRAME_END: Final = b"\xce"
FRAME_OVERHEAD: Final = 8
"""Bytes of a frame beside its payload: seven in front, one behind."""
HEARTBEAT: Final = b"\x08\x00\x00\x00\x00\x00\x00\xce"

_HEAD: Final = struct.Struct(">BHI")
_INDEX: Final = struct.Struct(">I")
_NUMBERS: Final = {
    "octet": struct.Struct(">B"),
    "short": struct.Struct(">H"),
    "long": struct.Struct(">I"),
    "longlong": struct.Struct(">Q"),
    "timestamp": struct.Struct(">Q"),
}
_CLASSES: Final[Mapping[int, type[Frame]]] = {
    index: cast("type[Frame]", method) for index, method in commands.INDEX_MAPPING.items()
}
_PLANS: Final = {
    index: (method, [(name, method.amqp_type(name)) for name in method.__slots__]) for index, method in _CLASSES.items()
}


class Arguments(dict[str, Any]):
    """A table that was an argument of a method; `raw` is how it came, types and all."""

    __slots__ = ("raw",)

    def __init__(self, values: dict[str, Any], raw: bytes) -> None:
        super().__init__(values)
        self.raw = raw


def method_ids(payload: bytes) -> tuple[int, int]:
    """Class and method number of a payload; zeros where it is too short."""
    return struct.unpack_from(">HH", payload) if len(payload) >= _INDEX.size else (0, 0)


def read_method(payload: bytes) -> Frame:
    """Decode the payload of a method frame."""
    if len(payload) < _INDEX.size:
        raise frame_error("a method frame without a method")
    plan = _PLANS.get(_INDEX.unpack_from(payload)[0])
    if plan is None:
        class_id, method_id = method_ids(payload)
        raise not_implemented(f"unknown method {class_id}.{method_id}")
    method_class, arguments = plan
    method = method_class.__new__(method_class)  # their own constructors check what RabbitMQ allows
    try:
        _read_arguments(method, arguments, payload)
    except UnicodeDecodeError as error:
        raise frame_error("Malformed UTF-8 in shortstr") from error
    except (BadTable, IndexError, struct.error) as error:
        raise frame_error(f"cannot decode the arguments of {method_class.name}: {error}") from error
    return method


def _read_arguments(method: Frame, arguments: list[tuple[str, str]], payload: bytes) -> None:
    offset = _INDEX.size
    bit = 0  # bits in a row share an octet
    for name, kind in arguments:
        if kind == "bit":
            setattr(method, name, bool(payload[offset] >> bit & 1))
            bit += 1
            continue
        if bit:
            offset, bit = offset + 1, 0
        value, offset = _read_argument(kind, payload, offset)
        setattr(method, name, value)


def _read_argument(kind: str, payload: bytes, offset: int) -> tuple[Any, int]:
    if kind == "shortstr":
        stop = offset + 1 + payload[offset]
        return _cut(payload, offset + 1, stop).decode(), stop
    if kind == "longstr":
        stop = offset + 4 + _INDEX.unpack_from(payload, offset)[0]
        return _cut(payload, offset + 4, stop), stop
    if kind == "table":
        values, stop = read_table(payload, offset)
        return Arguments(values, payload[offset:stop]), stop
    number = _NUMBERS[kind]
    return number.unpack_from(payload, offset)[0], offset + number.size


def _cut(payload: bytes, start: int, stop: int) -> bytes:
    if stop > len(payload):
        raise BadTable("a string is cut off")
    return payload[start:stop]


def short_string(text: str) -> bytes:
    """Write a short string; one that is too long cannot have come from a peer."""
    raw = text.encode("utf-8", "surrogateescape")
    return bytes((len(raw),)) + raw


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    """Wrap a payload."""
    return b"".join((_HEAD.pack(kind, channel, len(payload)), payload, FRAME_END))


def method_frame(channel: int, method: Frame) -> bytes:
    """Write a method as a frame."""
    parts = [_INDEX.pack(method.index)]
    bits: list[bool] = []
    for name, kind in _PLANS[method.index][1]:
        value = getattr(method, name)
        if kind == "bit":
            bits.append(bool(value))
            continue
        _flush_bits(parts, bits)
        parts.append(_write_argument(kind, value))
    _flush_bits(parts, bits)
    return frame(FRAME_METHOD, channel, b"".join(parts))


def _flush_bits(parts: list[bytes], bits: list[bool]) -> None:
    if bits:
        parts.append(bytes((sum(bit << position for position, bit in enumerate(bits)),)))
        bits.clear()


def _write_argument(kind: str, value: Any) -> bytes:
    if kind == "shortstr":
        return short_string(value)
    if kind == "longstr":
        return encode.long_string(value)
    if kind == "table":
        return encode.field_table(value)
    return _NUMBERS[kind].pack(value or 0)
