"""How methods are decoded and encoded, by their tables in `connection_methods.py` and `methods.py`.

A field's type is its wire type. Decoding walks the bytes once and trusts nothing: names may be what RabbitMQ allows,
tables are nested at most `tables.MAX_DEPTH` deep, and a table keeps its encoded form.
"""

import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Self, TypeVar, dataclass_transform

from pulpit.amqp.amqp091.tables import BadTable, read_table, write_table
from pulpit.amqp.amqp091.tables import Table as Fields
from pulpit.broker.frames import FRAME_METHOD, frame
from pulpit.broker.refusals import frame_error, not_implemented


class Arguments(Fields):
    """A table field of a method; `raw` is its encoded form, with all types."""

    __slots__ = ("raw",)

    def __init__(self, values: Mapping[str, object], raw: bytes) -> None:
        super().__init__(values)
        self.raw: Final = raw

    @classmethod
    def of(cls, values: Mapping[str, object]) -> Self:
        return cls(values, write_table(values))


Bit = Annotated[bool, "bit"]
Octet = Annotated[int, "octet"]
Short = Annotated[int, "short"]
Long = Annotated[int, "long"]
LongLong = Annotated[int, "longlong"]
ShortString = Annotated[str, "shortstr"]
LongString = Annotated[bytes, "longstr"]
Table = Annotated[Arguments, "table"]

_INDEX: Final = struct.Struct(">HH")
_LENGTH: Final = struct.Struct(">I")
_NUMBERS: Final = {
    "octet": struct.Struct(">B"),
    "short": struct.Struct(">H"),
    "long": _LENGTH,
    "longlong": struct.Struct(">Q"),
}


class Method:
    """`title` is the specification's name, `ids` the class and method numbers, `layout` the fields and their types."""

    __slots__ = ()
    title: ClassVar[str]
    ids: ClassVar[tuple[int, int]]
    layout: ClassVar[tuple[tuple[str, str], ...]]

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and all(getattr(self, name) == getattr(other, name) for name, _ in self.layout)

    __hash__ = None  # type: ignore[assignment] # its fields can be changed

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name, _ in self.layout)})"


M = TypeVar("M", bound=type[Method])
_METHODS: dict[bytes, type[Method]] = {}


def read_method(payload: bytes) -> Method:
    """Decode the payload of a method frame.

    Raises:
        ConnectionRefusal: 501 or 540, it is malformed or unknown.
    """
    if len(payload) < _INDEX.size:
        raise frame_error("a method frame without a method")
    method = _METHODS.get(payload[: _INDEX.size])
    if method is None:
        class_id, method_id = method_ids(payload)
        raise not_implemented(f"unknown method {class_id}.{method_id}")
    try:
        return method(*_read_fields(method, payload))
    except UnicodeDecodeError as error:
        raise frame_error("Malformed UTF-8 in shortstr") from error
    except (BadTable, IndexError, struct.error) as error:
        raise frame_error(f"cannot decode the arguments of {method.title}: {error}") from error


def method_frame(channel: int, method: Method) -> bytes:
    parts = [_INDEX.pack(*method.ids)]
    bits: list[bool] = []
    for name, kind in method.layout:
        value = getattr(method, name)
        if kind == "bit":
            bits.append(value)
            continue
        _flush_bits(parts, bits)
        parts.append(_write(kind, value))
    _flush_bits(parts, bits)
    return frame(FRAME_METHOD, channel, b"".join(parts))


def method_ids(payload: bytes) -> tuple[int, int]:
    """Return class and method number of a payload; zeros if it is too short."""
    return _INDEX.unpack_from(payload) if len(payload) >= _INDEX.size else (0, 0)


def head(method: type[Method]) -> bytes:
    """Return the first four bytes of a method's payload, for code that looks at nothing else."""
    return _INDEX.pack(*method.ids)


def short_string(text: str) -> bytes:
    """Encode a short string; one that is too long cannot have come from a peer."""
    raw = text.encode("utf-8", "surrogateescape")
    return bytes((len(raw),)) + raw


def _read_fields(method: type[Method], payload: bytes) -> list[Any]:
    offset = _INDEX.size
    bit = 0  # consecutive bits share an octet
    values: list[Any] = []
    for _, kind in method.layout:
        if kind == "bit":
            values.append(bool(payload[offset] >> bit & 1))
            bit += 1
            continue
        if bit:
            offset, bit = offset + 1, 0
        value, offset = _READERS[kind](payload, offset)
        values.append(value)
    return values


def _read_short_string(payload: bytes, offset: int) -> tuple[str, int]:
    stop = offset + 1 + payload[offset]
    return _cut(payload, offset + 1, stop).decode(), stop


def _read_long_string(payload: bytes, offset: int) -> tuple[bytes, int]:
    stop = offset + _LENGTH.size + _LENGTH.unpack_from(payload, offset)[0]
    return _cut(payload, offset + _LENGTH.size, stop), stop


def _read_arguments(payload: bytes, offset: int) -> tuple[Arguments, int]:
    values, stop = read_table(payload, offset)
    return Arguments(values, payload[offset:stop]), stop


def _read_number(kind: str) -> "_Reader":
    number = _NUMBERS[kind]

    def read(payload: bytes, offset: int) -> tuple[int, int]:
        return number.unpack_from(payload, offset)[0], offset + number.size

    return read


def _cut(payload: bytes, start: int, stop: int) -> bytes:
    if stop > len(payload):
        raise BadTable("a string is cut off")
    return payload[start:stop]


_Reader = Callable[[bytes, int], tuple[Any, int]]
_READERS: Final[Mapping[str, _Reader]] = {
    "shortstr": _read_short_string,
    "longstr": _read_long_string,
    "table": _read_arguments,
    **{kind: _read_number(kind) for kind in _NUMBERS},
}


def _flush_bits(parts: list[bytes], bits: list[bool]) -> None:
    if bits:
        parts.append(bytes((sum(bit << position for position, bit in enumerate(bits)),)))
        bits.clear()


def _write(kind: str, value: Any) -> bytes:
    if kind == "shortstr":
        return short_string(value)
    if kind == "longstr":
        return _LENGTH.pack(len(value)) + bytes(value)
    if kind == "table":
        raw: bytes = value.raw
        return raw
    return _NUMBERS[kind].pack(value)


@dataclass_transform()
def declared(class_id: int, method_id: int) -> Callable[[M], M]:
    """Register a class as the method with these numbers."""

    def made(cls: M) -> M:
        # Equality and repr are shared: generating them for each class takes longer than all other imports here.
        method: M = dataclass(slots=True, eq=False, repr=False, match_args=False)(cls)  # type: ignore[assignment] # with slots
        family, *words = re.findall("[A-Z][a-z]*", cls.__name__)
        method.title = f"{family}.{'-'.join(words)}".lower()
        method.ids = (class_id, method_id)
        method.layout = tuple((name, kind.__metadata__[0]) for name, kind in cls.__annotations__.items())
        _METHODS[_INDEX.pack(class_id, method_id)] = method
        return method

    return made
