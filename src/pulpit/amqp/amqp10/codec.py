# SPDX-License-Identifier: Apache-2.0
"""The type system of AMQP 1.0 (part 1 of the specification): Python values to bytes and back.

Integers of a certain width, symbols, characters and times are subclasses of Python's own types, so that a decoded
value is encoded again with its type. A plain `int` is a long, a plain `float` a double, a plain `str` a string.
Decoding is bounded by the available bytes: no count, size or nesting that a peer claims allocates much more.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from struct import Struct
from struct import error as unpackable
from typing import Any, Final
from uuid import UUID

DEEPEST: Final = 32
"""Maximum nesting depth of decoded values."""


class DecodeError(ValueError):
    """The bytes are not a valid AMQP 1.0 value (`amqp:decode-error`)."""


class Ubyte(int):
    """An unsigned 8-bit number."""


class Ushort(int):
    """An unsigned 16-bit number."""


class Uint(int):
    """An unsigned 32-bit number."""


class Ulong(int):
    """An unsigned 64-bit number."""


class Byte(int):
    """A signed 8-bit number."""


class Short(int):
    """A signed 16-bit number."""


class Int(int):
    """A signed 32-bit number."""


class Timestamp(int):
    """Milliseconds since 1970 in UTC."""


class Float(float):
    """A 32-bit binary floating point number."""


class Char(str):
    __slots__ = ()


class Symbol(str):
    """A name in ASCII from a constrained domain."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Described:
    """A value with a descriptor, a symbol or an unsigned long, that defines its meaning."""

    descriptor: Any
    value: Any


@dataclass(frozen=True, slots=True)
class Opaque:
    """A value that is only passed on (decimals): its constructor and its bytes."""

    code: int
    data: bytes


class Symbols(tuple[Symbol, ...]):
    """An array of symbols, as used for capabilities and lists of mechanisms."""

    __slots__ = ()


def encode(value: Any) -> bytes:
    """Encode a value in its shortest common form.

    Raises:
        TypeError: AMQP has no such type.
        OverflowError: the number is too large for its type.
    """
    try:
        encoder = _ENCODERS[type(value)]
    except KeyError:
        raise TypeError(f"AMQP 1.0 has no {type(value).__name__}") from None
    return encoder(value)


def decode(data: bytes, at: int = 0) -> tuple[Any, int]:
    """Decode one value; return it and the offset after it.

    Raises:
        DecodeError: it is missing or truncated.
    """
    try:
        return _decode(data, at, DEEPEST)
    except (IndexError, ValueError, OverflowError, TypeError) as error:
        raise DecodeError(str(error) or "the value is cut short") from None


def symbols(value: Any) -> tuple[str, ...]:
    """Return the symbols of a field that may contain none, one, or an array of them (section 1.4, `multiple`)."""
    if value is None:
        return ()
    return tuple(map(str, value)) if isinstance(value, list | tuple) else (str(value),)


def described_list(descriptor: int, fields: Sequence[Any]) -> bytes:
    """Encode a composite type (section 1.4), omitting trailing nulls."""
    kept = len(fields)
    while kept and fields[kept - 1] is None:
        kept -= 1
    return b"\x00" + encode(Ulong(descriptor)) + _encode_list(fields[:kept])


# Encoding ----------------------------------------------------------------------------------------------------

_SMALL: Final = 256
_U16, _U32, _U64 = Struct(">H"), Struct(">I"), Struct(">Q")
_I8, _I16, _I32, _I64 = Struct(">b"), Struct(">h"), Struct(">i"), Struct(">q")
_F32, _F64 = Struct(">f"), Struct(">d")


def _packed(code: int, struct: Struct) -> Callable[[Any], bytes]:
    head = bytes((code,))

    def pack(value: Any) -> bytes:
        try:
            return head + struct.pack(value)
        except unpackable as error:
            raise OverflowError(str(error)) from None

    return pack


def _unsigned(zero: int, small: int, large: int, size: int) -> Callable[[int], bytes]:
    """Encode a number by the shortest of its three codes."""

    def pack(value: int) -> bytes:
        if 0 < value < _SMALL:
            return bytes((small, value))
        return bytes((large,)) + value.to_bytes(size, "big") if value else bytes((zero,))

    return pack


def _sized(small: int, large: int, raw: bytes) -> bytes:
    if len(raw) < _SMALL:
        return bytes((small, len(raw))) + raw
    return bytes((large,)) + _U32.pack(len(raw)) + raw


def _encode_binary(value: bytes | bytearray | memoryview) -> bytes:
    return _sized(0xA0, 0xB0, bytes(value))


def _encode_string(value: str) -> bytes:
    raw = value.encode()
    if len(raw) < _SMALL:  # inlined, because most written strings are short
        return bytes((0xA1, len(raw))) + raw
    return b"\xb1" + _U32.pack(len(raw)) + raw


def _encode_symbols(values: Symbols) -> bytes:
    raws = [symbol.encode("ascii") for symbol in values]
    body = b"\xb3" + b"".join(_U32.pack(len(raw)) + raw for raw in raws)
    return b"\xf0" + _U32.pack(len(body) + 4) + _U32.pack(len(raws)) + body


def _compound(small: int, large: int, count: int, body: bytes) -> bytes:
    if len(body) + 1 < _SMALL and count < _SMALL:
        return bytes((small, len(body) + 1, count)) + body
    return bytes((large,)) + _U32.pack(len(body) + 4) + _U32.pack(count) + body


def _encode_list(values: Sequence[Any]) -> bytes:
    return _compound(0xC0, 0xD0, len(values), b"".join(map(encode, values))) if values else b"\x45"


def _encode_map(values: Mapping[Any, Any]) -> bytes:
    body = b"".join(encode(key) + encode(value) for key, value in values.items())
    return _compound(0xC1, 0xD1, 2 * len(values), body)


_ENCODERS: Final[Mapping[type, Callable[[Any], bytes]]] = {
    type(None): lambda _: b"\x40",
    bool: lambda value: b"\x41" if value else b"\x42",
    Ubyte: lambda value: b"\x50" + value.to_bytes(1, "big"),
    Ushort: _packed(0x60, _U16),
    Uint: _unsigned(0x43, 0x52, 0x70, 4),
    Ulong: _unsigned(0x44, 0x53, 0x80, 8),
    Byte: _packed(0x51, _I8),
    Short: _packed(0x61, _I16),
    Int: _packed(0x71, _I32),
    int: _packed(0x81, _I64),
    Float: _packed(0x72, _F32),
    float: _packed(0x82, _F64),
    Char: lambda value: b"\x73" + _U32.pack(ord(value)),
    Timestamp: _packed(0x83, _I64),
    UUID: lambda value: b"\x98" + value.bytes,
    bytes: _encode_binary,
    bytearray: _encode_binary,
    memoryview: _encode_binary,
    str: _encode_string,
    Symbol: lambda value: _sized(0xA3, 0xB3, value.encode("ascii")),
    Symbols: _encode_symbols,
    list: _encode_list,
    tuple: _encode_list,
    dict: _encode_map,
    Described: lambda value: b"\x00" + encode(value.descriptor) + encode(value.value),
    Opaque: lambda value: bytes((value.code,)) + value.data,
}

# Decoding ----------------------------------------------------------------------------------------------------

_Reader = Callable[[bytes, int, int], tuple[Any, int]]


def _decode(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    code = data[at]
    reader = _READERS.get(code)
    if reader is None:
        raise DecodeError(f"there is no type 0x{code:02x}")
    return reader(data, at + 1, depth)


def _cut(data: bytes, at: int, size: int) -> bytes:
    end = at + size
    if end > len(data):
        raise DecodeError("the value is cut short")
    return data[at:end]


def _constant(value: Any) -> _Reader:
    return lambda _data, at, _depth: (value, at)


def _number(struct: Struct, kind: Callable[[Any], Any]) -> _Reader:
    unpack, size = struct.unpack_from, struct.size

    def read(data: bytes, at: int, _depth: int) -> tuple[Any, int]:
        if at + size > len(data):
            raise DecodeError("the number is cut short")
        return kind(unpack(data, at)[0]), at + size

    return read


def _fixed(size: int, kind: Callable[[bytes], Any]) -> _Reader:
    return lambda data, at, _depth: (kind(_cut(data, at, size)), at + size)


def _variable(width: int, kind: Callable[[bytes], Any]) -> _Reader:
    def read(data: bytes, at: int, _depth: int) -> tuple[Any, int]:
        size = int.from_bytes(_cut(data, at, width), "big")
        start = at + width
        return kind(_cut(data, start, size)), start + size

    return read


def _compound_head(data: bytes, at: int, width: int) -> tuple[int, int, int]:
    """Return the number of elements, where they begin, and where they must end."""
    size = int.from_bytes(_cut(data, at, width), "big")
    end = at + width + size
    if size < width or end > len(data):
        raise DecodeError("the compound value is cut short")
    return int.from_bytes(data[at + width : at + 2 * width], "big"), at + 2 * width, end


def _elements(data: bytes, at: int, width: int, depth: int) -> tuple[list[Any], int]:
    if depth == 0:
        raise DecodeError(f"more than {DEEPEST} values lie inside one another")
    count, at, end = _compound_head(data, at, width)
    if count > end - at:
        raise DecodeError("the compound value claims more elements than it has bytes")
    values: list[Any] = []
    for _ in range(count):
        value, at = _decode(data, at, depth - 1)
        values.append(value)
    if at != end:
        raise DecodeError("the elements do not fill the compound value")
    return values, end


def _list(width: int) -> _Reader:
    return lambda data, at, depth: _elements(data, at, width, depth)


def _map(width: int) -> _Reader:
    def read(data: bytes, at: int, depth: int) -> tuple[Any, int]:
        flat, end = _elements(data, at, width, depth)
        if len(flat) % 2:
            raise DecodeError("a map has a key without a value")
        return dict(zip(flat[::2], flat[1::2], strict=True)), end

    return read


def _array(width: int) -> _Reader:
    def read(data: bytes, at: int, depth: int) -> tuple[Any, int]:
        count, at, end = _compound_head(data, at, width)
        if depth == 0 or count > end - at:
            raise DecodeError("the array claims more elements than it has bytes")
        code = data[at]
        descriptor, at = _decode(data, at + 1, depth - 1) if code == 0 else (None, at)
        reader = _READERS.get(data[at])
        if reader is None or data[at] == 0:
            raise DecodeError(f"there is no array of type 0x{data[at]:02x}")
        values: list[Any] = []
        at += 1
        for _ in range(count):
            value, at = reader(data, at, depth - 1)
            values.append(value)
        if at != end:
            raise DecodeError("the elements do not fill the array")
        if code == 0:
            return [Described(descriptor, value) for value in values], end
        only_symbols = values and all(isinstance(value, Symbol) for value in values)
        return Symbols(values) if only_symbols else values, end

    return read


def _described(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    if depth == 0:
        raise DecodeError(f"more than {DEEPEST} values lie inside one another")
    descriptor, at = _decode(data, at, depth - 1)
    value, at = _decode(data, at, depth - 1)
    return Described(descriptor, value), at


def _boolean(raw: bytes) -> bool:
    if raw[0] > 1:
        raise DecodeError("a boolean is neither true nor false")
    return raw[0] == 1


def _text(raw: bytes) -> str:
    return raw.decode()


def _symbol(raw: bytes) -> Symbol:
    return Symbol(raw.decode("ascii"))


def _opaque(code: int) -> Callable[[bytes], Opaque]:
    return lambda raw: Opaque(code, raw)


_READERS: Final[Mapping[int, _Reader]] = {
    0x00: _described,
    0x40: _constant(None),
    0x41: _constant(True),
    0x42: _constant(False),
    0x43: _constant(Uint(0)),
    0x44: _constant(Ulong(0)),
    0x45: lambda _data, at, _depth: ([], at),
    0x50: _number(Struct(">B"), Ubyte),
    0x51: _number(_I8, Byte),
    0x52: _number(Struct(">B"), Uint),
    0x53: _number(Struct(">B"), Ulong),
    0x54: _number(_I8, Int),
    0x55: _number(_I8, int),
    0x56: _fixed(1, _boolean),
    0x60: _number(_U16, Ushort),
    0x61: _number(_I16, Short),
    0x70: _number(_U32, Uint),
    0x71: _number(_I32, Int),
    0x72: _number(_F32, Float),
    0x73: _number(_U32, lambda number: Char(chr(number))),
    0x74: _fixed(4, _opaque(0x74)),
    0x80: _number(_U64, Ulong),
    0x81: _number(_I64, int),
    0x82: _number(_F64, float),
    0x83: _number(_I64, Timestamp),
    0x84: _fixed(8, _opaque(0x84)),
    0x94: _fixed(16, _opaque(0x94)),
    0x98: _fixed(16, lambda raw: UUID(bytes=raw)),
    0xA0: _variable(1, bytes),
    0xA1: _variable(1, _text),
    0xA3: _variable(1, _symbol),
    0xB0: _variable(4, bytes),
    0xB1: _variable(4, _text),
    0xB3: _variable(4, _symbol),
    0xC0: _list(1),
    0xC1: _map(1),
    0xD0: _list(4),
    0xD1: _map(4),
    0xE0: _array(1),
    0xF0: _array(4),
}
