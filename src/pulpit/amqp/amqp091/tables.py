# SPDX-License-Identifier: Apache-2.0
"""Field tables of AMQP 0-9-1 from untrusted peers, for the embedded broker and for subscribers.

They are decoded in one pass, with a limit on nesting: pamqp's decoder copies the rest of the table at every level and
allows any depth, pika's loses fractions. The types are those of RabbitMQ's errata (section 3). A table that is passed
on keeps its bytes: `split` divides it into entries without decoding their values.
"""

import struct
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

MAX_DEPTH: Final = 64
"""Nesting depth of tables and arrays; the deepest that a known client needs is 4."""

Table = dict[str, Any]

TYPE_NAMES: Final[Mapping[int, str]] = {
    ord("t"): "bool",
    ord("b"): "byte",
    ord("B"): "unsignedbyte",
    ord("s"): "short",
    ord("u"): "unsignedshort",
    ord("I"): "signedint",
    ord("i"): "unsignedint",
    ord("l"): "long",
    ord("L"): "long",
    ord("f"): "float",
    ord("d"): "double",
    ord("D"): "decimal",
    ord("S"): "longstr",
    ord("x"): "binary",
    ord("A"): "array",
    ord("T"): "timestamp",
    ord("F"): "table",
    ord("V"): "void",
}
"""Names of types in RabbitMQ's error texts."""

_FIXED: Final[Mapping[int, struct.Struct]] = {
    ord("t"): struct.Struct(">?"),
    ord("b"): struct.Struct(">b"),
    ord("B"): struct.Struct(">B"),
    ord("s"): struct.Struct(">h"),
    ord("u"): struct.Struct(">H"),
    ord("I"): struct.Struct(">i"),
    ord("i"): struct.Struct(">I"),
    ord("l"): struct.Struct(">q"),
    ord("L"): struct.Struct(">q"),
    ord("f"): struct.Struct(">f"),
    ord("d"): struct.Struct(">d"),
}
_LENGTH: Final = struct.Struct(">I")
_DECIMAL: Final = struct.Struct(">Bi")
"""Decimal places, and all digits as a number: unsigned in the specification, signed in every client that writes one."""
_TIMESTAMP: Final = struct.Struct(">Q")


class BadTable(ValueError):
    """The bytes are not a field table."""


def read_table(data: bytes, offset: int = 0) -> tuple[Table, int]:
    """Decode a table with its length in front; return it and its end."""
    return _table(data, offset, len(data), 0)


def read_entries(data: bytes) -> Table:
    """Decode a table without its length, as AMQPLAIN sends it."""
    return _entries(data, 0, len(data), 0)


def read_tolerantly(data: bytes, offset: int = 0) -> tuple[Table, int, str]:
    """Decode a table up to the first invalid value; also return why that is invalid.

    Raises:
        BadTable: its length is wrong, so its end is unknown.
    """
    start, stop = _extent(data, offset, len(data))
    table: Table = {}
    while start < stop:
        try:
            name, start = _name(data, start, stop)
            value, start = _value(data, start, stop, 1)
        except BadTable as error:
            return table, stop, str(error)
        table[name.decode("utf-8", "surrogateescape")] = value
    return table, stop, ""


def read_short(data: bytes, offset: int) -> tuple[str, int]:
    """Decode a short string; bytes that are not UTF-8 are shown in hexadecimal.

    Raises:
        BadTable: it is truncated.
    """
    stop = offset + 1 + data[offset] if offset < len(data) else len(data) + 1
    if stop > len(data):
        raise BadTable("a text is cut off")
    return data[offset + 1 : stop].decode(errors="backslashreplace"), stop


def split(data: bytes, offset: int = 0) -> list[tuple[bytes, bytes]]:
    """Split a table into names and encoded values with their type octets, in order."""
    start, stop = _extent(data, offset, len(data))
    entries: list[tuple[bytes, bytes]] = []
    while start < stop:
        name, start = _name(data, start, stop)
        _, after = _value(data, start, stop, 1)
        entries.append((name, data[start:after]))
        start = after
    return entries


def kinds(data: bytes) -> dict[str, str]:
    """Return the type names of a table's values."""
    return {name.decode("utf-8", "surrogateescape"): TYPE_NAMES[value[0]] for name, value in split(data)}


def join(entries: Iterable[tuple[bytes, bytes]]) -> bytes:
    body = b"".join(bytes((len(name),)) + name + value for name, value in entries)
    return _LENGTH.pack(len(body)) + body


def items(raw: bytes) -> list[bytes]:
    """Split an encoded array into its encoded values."""
    start, stop = _extent(raw, 1, len(raw))
    values: list[bytes] = []
    while start < stop:
        _, after = _value(raw, start, stop, 1)
        values.append(raw[start:after])
        start = after
    return values


def read_value(raw: bytes) -> Any:
    """Decode one value from `split`."""
    return _value(raw, 0, len(raw), 0)[0]


def long_string(text: str | bytes) -> bytes:
    """Encode a long string with its type octet."""
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    return b"S" + _LENGTH.pack(len(raw)) + raw


def long(number: int) -> bytes:
    """Encode a 64-bit number with its type octet."""
    return b"l" + _FIXED[ord("l")].pack(number)


def timestamp(seconds: int) -> bytes:
    """Encode a time, in whole seconds since 1970, with its type octet."""
    return b"T" + _TIMESTAMP.pack(seconds)


def array(values: Iterable[bytes]) -> bytes:
    body = b"".join(values)
    return b"A" + _LENGTH.pack(len(body)) + body


def nested(entries: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Encode a table as a value with its type octet."""
    return b"F" + join(entries)


def write_table(values: Mapping[str, Any]) -> bytes:
    """Encode a table of texts, booleans, integers and such tables."""
    return join((name.encode(), _written(value)) for name, value in values.items())


def _written(value: Any) -> bytes:
    if isinstance(value, bool):
        return b"t" + bytes((value,))
    if isinstance(value, int):
        return long(value)
    if isinstance(value, str):
        return long_string(value)
    return nested((name.encode(), _written(inner)) for name, inner in value.items())


def _extent(data: bytes, offset: int, limit: int) -> tuple[int, int]:
    if offset + 4 > limit:
        raise BadTable("a length is cut off")
    start = offset + 4
    stop = start + _LENGTH.unpack_from(data, offset)[0]
    if stop > limit:
        raise BadTable("a length points behind the end")
    return start, int(stop)


def _name(data: bytes, offset: int, limit: int) -> tuple[bytes, int]:
    start = offset + 1
    stop = start + data[offset]
    if stop >= limit:
        raise BadTable("a name without a value")
    return data[start:stop], stop


def _value(data: bytes, offset: int, limit: int, depth: int) -> tuple[Any, int]:
    if offset >= limit:
        raise BadTable("a value is cut off")
    kind = data[offset]
    offset += 1
    fixed = _FIXED.get(kind)
    if fixed is not None:
        if offset + fixed.size > limit:
            raise BadTable("a number is cut off")
        return fixed.unpack_from(data, offset)[0], offset + fixed.size
    reader = _READERS.get(kind)
    if reader is None:
        raise BadTable(f"unknown type {kind}")
    return reader(data, offset, limit, depth)


def _text(data: bytes, offset: int, limit: int, _depth: int) -> tuple[str | bytes, int]:
    start, stop = _extent(data, offset, limit)
    raw = data[start:stop]
    try:
        return raw.decode(), stop
    except UnicodeDecodeError:
        return raw, stop


def _octets(data: bytes, offset: int, limit: int, _depth: int) -> tuple[bytes, int]:
    start, stop = _extent(data, offset, limit)
    return data[start:stop], stop


def _decimal(data: bytes, offset: int, limit: int, _depth: int) -> tuple[Decimal, int]:
    if offset + _DECIMAL.size > limit:
        raise BadTable("a decimal is cut off")
    scale, number = _DECIMAL.unpack_from(data, offset)
    return Decimal(number).scaleb(-scale), offset + _DECIMAL.size


def _moment(data: bytes, offset: int, limit: int, _depth: int) -> tuple[datetime | int, int]:
    """Decode a time; one outside the calendar stays a number."""
    if offset + _TIMESTAMP.size > limit:
        raise BadTable("a timestamp is cut off")
    seconds: int = _TIMESTAMP.unpack_from(data, offset)[0]
    try:
        return datetime.fromtimestamp(seconds, tz=UTC), offset + _TIMESTAMP.size
    except (ValueError, OverflowError, OSError):
        return seconds, offset + _TIMESTAMP.size


def _array(data: bytes, offset: int, limit: int, depth: int) -> tuple[list[Any], int]:
    start, stop = _extent(data, offset, limit)
    _check_depth(depth)
    values = []
    while start < stop:
        value, start = _value(data, start, stop, depth + 1)
        values.append(value)
    return values, stop


def _table(data: bytes, offset: int, limit: int, depth: int) -> tuple[Table, int]:
    start, stop = _extent(data, offset, limit)
    _check_depth(depth)
    return _entries(data, start, stop, depth), stop


def _entries(data: bytes, start: int, stop: int, depth: int) -> Table:
    table: Table = {}
    while start < stop:
        name, start = _name(data, start, stop)
        value, start = _value(data, start, stop, depth + 1)
        table[name.decode("utf-8", "surrogateescape")] = value
    return table


def _check_depth(depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise BadTable(f"tables nest deeper than {MAX_DEPTH}")


_READERS: Final[Mapping[int, Callable[[bytes, int, int, int], tuple[Any, int]]]] = {
    ord("S"): _text,
    ord("x"): _octets,
    ord("D"): _decimal,
    ord("T"): _moment,
    ord("V"): lambda _data, offset, _limit, _depth: (None, offset),
    ord("A"): _array,
    ord("F"): _table,
}
