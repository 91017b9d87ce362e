"""Every method of AMQP 0-9-1 with RabbitMQ's extensions: one table, from which they are decoded and encoded.

A field's type is its wire type. Decoding walks the bytes once and trusts nothing: names may be what RabbitMQ allows,
tables are nested at most `tables.MAX_DEPTH` deep, and a table keeps its encoded form.
"""

import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Self, TypeVar, dataclass_transform

from pulpit.amqp.amqp091.tables import BadTable, read_table, write_table
from pulpit.broker.frames import FRAME_METHOD, frame
from pulpit.broker.refusals import frame_error, not_implemented


class Arguments(dict[str, Any]):
    """A table field of a method; `raw` is its encoded form, with all types."""

    __slots__ = ("raw",)

    def __init__(self, values: Mapping[str, Any], raw: bytes) -> None:
        super().__init__(values)
        self.raw: Final = raw

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Encode a table."""
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
    """Encode a method as a frame."""
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
def _method(class_id: int, method_id: int) -> Callable[[M], M]:
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


@_method(10, 10)
class ConnectionStart(Method):
    version_major: Octet
    version_minor: Octet
    server_properties: Table
    mechanisms: LongString
    locales: LongString


@_method(10, 11)
class ConnectionStartOk(Method):
    client_properties: Table
    mechanism: ShortString
    response: LongString
    locale: ShortString


@_method(10, 20)
class ConnectionSecure(Method):
    challenge: LongString


@_method(10, 21)
class ConnectionSecureOk(Method):
    response: LongString


@_method(10, 30)
class ConnectionTune(Method):
    channel_max: Short
    frame_max: Long
    heartbeat: Short


@_method(10, 31)
class ConnectionTuneOk(Method):
    channel_max: Short
    frame_max: Long
    heartbeat: Short


@_method(10, 40)
class ConnectionOpen(Method):
    virtual_host: ShortString
    reserved_1: ShortString
    reserved_2: Bit


@_method(10, 41)
class ConnectionOpenOk(Method):
    reserved: ShortString


@_method(10, 50)
class ConnectionClose(Method):
    reply_code: Short
    reply_text: ShortString
    class_id: Short
    method_id: Short


@_method(10, 51)
class ConnectionCloseOk(Method):
    pass


@_method(10, 60)
class ConnectionBlocked(Method):
    reason: ShortString


@_method(10, 61)
class ConnectionUnblocked(Method):
    pass


@_method(10, 70)
class ConnectionUpdateSecret(Method):
    new_secret: LongString
    reason: ShortString


@_method(10, 71)
class ConnectionUpdateSecretOk(Method):
    pass


@_method(20, 10)
class ChannelOpen(Method):
    reserved: ShortString


@_method(20, 11)
class ChannelOpenOk(Method):
    reserved: LongString


@_method(20, 20)
class ChannelFlow(Method):
    active: Bit


@_method(20, 21)
class ChannelFlowOk(Method):
    active: Bit


@_method(20, 40)
class ChannelClose(Method):
    reply_code: Short
    reply_text: ShortString
    class_id: Short
    method_id: Short


@_method(20, 41)
class ChannelCloseOk(Method):
    pass


@_method(30, 10)
class AccessRequest(Method):
    """Of AMQP 0-8: clients of that time ask for leave to use a realm before they do anything else."""

    realm: ShortString
    exclusive: Bit
    passive: Bit
    active: Bit
    write: Bit
    read: Bit


@_method(30, 11)
class AccessRequestOk(Method):
    ticket: Short


@_method(40, 10)
class ExchangeDeclare(Method):
    reserved: Short
    exchange: ShortString
    exchange_type: ShortString
    passive: Bit
    durable: Bit
    auto_delete: Bit
    internal: Bit
    nowait: Bit
    arguments: Table


@_method(40, 11)
class ExchangeDeclareOk(Method):
    pass


@_method(40, 20)
class ExchangeDelete(Method):
    reserved: Short
    exchange: ShortString
    if_unused: Bit
    nowait: Bit


@_method(40, 21)
class ExchangeDeleteOk(Method):
    pass


@_method(40, 30)
class ExchangeBind(Method):
    reserved: Short
    destination: ShortString
    source: ShortString
    routing_key: ShortString
    nowait: Bit
    arguments: Table


@_method(40, 31)
class ExchangeBindOk(Method):
    pass


@_method(40, 40)
class ExchangeUnbind(Method):
    reserved: Short
    destination: ShortString
    source: ShortString
    routing_key: ShortString
    nowait: Bit
    arguments: Table


@_method(40, 51)
class ExchangeUnbindOk(Method):
    pass


@_method(50, 10)
class QueueDeclare(Method):
    reserved: Short
    queue: ShortString
    passive: Bit
    durable: Bit
    exclusive: Bit
    auto_delete: Bit
    nowait: Bit
    arguments: Table


@_method(50, 11)
class QueueDeclareOk(Method):
    queue: ShortString
    message_count: Long
    consumer_count: Long


@_method(50, 20)
class QueueBind(Method):
    reserved: Short
    queue: ShortString
    exchange: ShortString
    routing_key: ShortString
    nowait: Bit
    arguments: Table


@_method(50, 21)
class QueueBindOk(Method):
    pass


@_method(50, 30)
class QueuePurge(Method):
    reserved: Short
    queue: ShortString
    nowait: Bit


@_method(50, 31)
class QueuePurgeOk(Method):
    message_count: Long


@_method(50, 40)
class QueueDelete(Method):
    reserved: Short
    queue: ShortString
    if_unused: Bit
    if_empty: Bit
    nowait: Bit


@_method(50, 41)
class QueueDeleteOk(Method):
    message_count: Long


@_method(50, 50)
class QueueUnbind(Method):
    reserved: Short
    queue: ShortString
    exchange: ShortString
    routing_key: ShortString
    arguments: Table


@_method(50, 51)
class QueueUnbindOk(Method):
    pass


@_method(60, 10)
class BasicQos(Method):
    prefetch_size: Long
    prefetch_count: Short
    is_global: Bit


@_method(60, 11)
class BasicQosOk(Method):
    pass


@_method(60, 20)
class BasicConsume(Method):
    reserved: Short
    queue: ShortString
    consumer_tag: ShortString
    no_local: Bit
    no_ack: Bit
    exclusive: Bit
    nowait: Bit
    arguments: Table


@_method(60, 21)
class BasicConsumeOk(Method):
    consumer_tag: ShortString


@_method(60, 30)
class BasicCancel(Method):
    consumer_tag: ShortString
    nowait: Bit


@_method(60, 31)
class BasicCancelOk(Method):
    consumer_tag: ShortString


@_method(60, 40)
class BasicPublish(Method):
    reserved: Short
    exchange: ShortString
    routing_key: ShortString
    mandatory: Bit
    immediate: Bit


@_method(60, 50)
class BasicReturn(Method):
    reply_code: Short
    reply_text: ShortString
    exchange: ShortString
    routing_key: ShortString


@_method(60, 60)
class BasicDeliver(Method):
    consumer_tag: ShortString
    delivery_tag: LongLong
    redelivered: Bit
    exchange: ShortString
    routing_key: ShortString


@_method(60, 70)
class BasicGet(Method):
    reserved: Short
    queue: ShortString
    no_ack: Bit


@_method(60, 71)
class BasicGetOk(Method):
    delivery_tag: LongLong
    redelivered: Bit
    exchange: ShortString
    routing_key: ShortString
    message_count: Long


@_method(60, 72)
class BasicGetEmpty(Method):
    reserved: ShortString


@_method(60, 80)
class BasicAck(Method):
    delivery_tag: LongLong
    multiple: Bit


@_method(60, 90)
class BasicReject(Method):
    delivery_tag: LongLong
    requeue: Bit


@_method(60, 100)
class BasicRecoverAsync(Method):
    requeue: Bit


@_method(60, 110)
class BasicRecover(Method):
    requeue: Bit


@_method(60, 111)
class BasicRecoverOk(Method):
    pass


@_method(60, 120)
class BasicNack(Method):
    delivery_tag: LongLong
    multiple: Bit
    requeue: Bit


@_method(85, 10)
class ConfirmSelect(Method):
    nowait: Bit


@_method(85, 11)
class ConfirmSelectOk(Method):
    pass


@_method(90, 10)
class TxSelect(Method):
    pass


@_method(90, 11)
class TxSelectOk(Method):
    pass


@_method(90, 20)
class TxCommit(Method):
    pass


@_method(90, 21)
class TxCommitOk(Method):
    pass


@_method(90, 30)
class TxRollback(Method):
    pass


@_method(90, 31)
class TxRollbackOk(Method):
    pass
