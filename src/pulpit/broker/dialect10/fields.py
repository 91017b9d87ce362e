"""Values between the two type systems: field values of AMQP 0-9-1, with their type octet, and values of AMQP 1.0."""

import struct
from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import UUID

from pulpit.amqp.amqp10 import codec
from pulpit.broker import tables

MAX_NAME: Final = 255
"""Bytes of a header's name in AMQP 0-9-1."""
MAX_SIGNED: Final = 2**63 - 1
_LENGTH: Final = struct.Struct(">I")


def to_field(value: Any) -> bytes:
    """Write a value of AMQP 1.0 as a field; what has no type of its own there becomes text or bytes."""
    return _WRITERS[type(value)](value)


def to_entries(values: Mapping[Any, Any]) -> list[tuple[bytes, bytes]]:
    """Write a map as the entries of a table; names that no table can hold are left out."""
    named = ((str(name).encode("utf-8", "surrogateescape"), value) for name, value in values.items())
    return [(name, to_field(value)) for name, value in named if len(name) <= MAX_NAME]


def from_field(raw: bytes) -> Any:
    """Read a field, with its type octet, as the value of AMQP 1.0 that it is."""
    kind = raw[:1]
    if kind == b"A":
        return [from_field(item) for item in tables.items(raw)]
    if kind == b"F":
        return {_text(name): from_field(item) for name, item in tables.split(raw, 1)}
    if kind == b"T":
        return codec.Timestamp(_moment(raw))
    value = tables.read_value(raw)
    number = _NUMBERS.get(kind)
    if number is not None:
        return number(value)
    return value if isinstance(value, str | bytes | None | bool) else str(value)


def _moment(raw: bytes) -> int:
    seconds: int = struct.unpack_from(">Q", raw, 1)[0]
    return min(seconds * 1000, MAX_SIGNED)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")


def _packed(kind: bytes, form: str) -> Callable[[Any], bytes]:
    pack = struct.Struct(form).pack
    return lambda value: kind + pack(value)


def _bytes(value: bytes) -> bytes:
    return b"x" + _LENGTH.pack(len(value)) + value


def _unsigned_long(value: int) -> bytes:
    return tables.long(value) if value <= MAX_SIGNED else tables.long_string(str(int(value)))


def _timestamp(value: int) -> bytes:
    return tables.timestamp(value // 1000) if value >= 0 else tables.long(value)


def _array(values: Any) -> bytes:
    return tables.array(map(to_field, values))


_WRITERS: Final[Mapping[type, Callable[[Any], bytes]]] = {
    type(None): lambda _: b"V",
    bool: _packed(b"t", ">?"),
    codec.Ubyte: _packed(b"B", ">B"),
    codec.Ushort: _packed(b"u", ">H"),
    codec.Uint: _packed(b"i", ">I"),
    codec.Ulong: _unsigned_long,
    codec.Byte: _packed(b"b", ">b"),
    codec.Short: _packed(b"s", ">h"),
    codec.Int: _packed(b"I", ">i"),
    int: tables.long,
    codec.Float: _packed(b"f", ">f"),
    float: _packed(b"d", ">d"),
    codec.Char: tables.long_string,
    codec.Timestamp: _timestamp,
    UUID: lambda value: tables.long_string(str(value)),
    bytes: _bytes,
    str: tables.long_string,
    codec.Symbol: tables.long_string,
    codec.Symbols: _array,
    list: _array,
    dict: lambda values: tables.nested(to_entries(values)),
    codec.Described: lambda described: to_field(described.value),
    codec.Opaque: lambda opaque: _bytes(opaque.data),
}

_NUMBERS: Final[Mapping[bytes, Callable[[Any], Any]]] = {
    b"b": codec.Byte,
    b"B": codec.Ubyte,
    b"s": codec.Short,
    b"u": codec.Ushort,
    b"I": codec.Int,
    b"i": codec.Uint,
    b"l": int,
    b"L": int,
    b"f": codec.Float,
    b"d": float,
}
