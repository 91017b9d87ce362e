"""A message of the broker as AMQP 1.0: what came over that dialect goes out as it came, the rest is translated."""

import base64
import binascii
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from pulpit.amqp.amqp10 import codec
from pulpit.amqp.amqp10.codec import Described, Symbol, Timestamp, Ubyte, Uint, Ulong
from pulpit.amqp.amqp10.message import ANNOTATIONS, APPLICATION_PROPERTIES, HEADER, PROPERTIES
from pulpit.broker.dialect10 import sections
from pulpit.broker.dialect10.arrival import BASIC, RAW_TYPE, unpack
from pulpit.broker.dialect10.fields import from_field
from pulpit.broker.message import Entry, Message
from pulpit.broker.properties import Properties

DEATHS: Final = (b"x-death", b"x-first-death-queue", b"x-first-death-reason", b"x-first-death-exchange")
"""Headers that the broker itself adds to a message, whatever dialect it came in."""
MAX_TTL: Final = 2**32 - 1
_OWN_HEADERS: Final = (b"x-message-id", b"x-message-id-type", b"x-correlation-id", b"x-correlation-id-type")
_SIMPLE: Final = (type(None), bool, int, float, str, bytes, UUID)


class Departures:
    """Remembers the message that was written last, because one message often goes to many receivers in a row."""

    __slots__ = ("_last", "_written")

    def __init__(self) -> None:
        self._last: Message | None = None
        self._written = b""

    def forget(self) -> None:
        """Keep nothing beyond the turn."""
        self._last, self._written = None, b""

    def write(self, entry: Entry) -> bytes:
        """The message with its header section, which says how often it was tried."""
        message = entry.message
        if message is not self._last:
            self._written = _translated(message) if message.native is None else _as_it_came(message)
            self._last = message
        return _header_of(entry) + self._written


def _header_of(entry: Entry) -> bytes:
    properties = entry.message.properties
    priority = properties.priority if "priority" in properties.parts else None
    ttl = None if properties.expiration is None else min(int(properties.expiration), MAX_TTL)
    return _header(properties.persistent, priority, ttl, not entry.redelivered, entry.failures)


@lru_cache(maxsize=256)
def _header(durable: bool, priority: int | None, ttl: int | None, first: bool, failures: int) -> bytes:
    return codec.described_list(
        HEADER,
        [
            durable,
            None if priority is None else Ubyte(priority),
            None if ttl is None else Uint(ttl),
            first,
            Uint(failures),
        ],
    )


def _as_it_came(message: Message) -> bytes:
    """The bare message, and its annotations with those that the broker adds."""
    assert message.native is not None  # noqa: S101 - whoever calls has looked
    native = unpack(message.native)
    annotations = codec.decode(native.annotations)[0] if native.annotations else {}
    if b"x-death" in message.header:
        headers = dict(message.properties.raw_headers())
        annotations |= _annotations({name: headers[name] for name in DEATHS if name in headers})
    return b"".join((_annotated(message, annotations), native.front, message.body, native.back))


def _translated(message: Message) -> bytes:
    """A message of AMQP 0-9-1: headers become application properties, those with x- annotations."""
    properties = message.properties
    headers = dict(properties.raw_headers())
    extensions = {name: raw for name, raw in headers.items() if name.startswith(b"x-") and name not in _OWN_HEADERS}
    annotations = _annotations(extensions)
    for name, annotation in BASIC:
        if name in properties.parts:
            annotations[Symbol(annotation.decode())] = _short(properties, name)
    application = {
        name.decode("utf-8", "replace"): value
        for name, raw in headers.items()
        if not name.startswith(b"x-") and isinstance(value := from_field(raw), _SIMPLE)
    }
    parts = [_annotated(message, annotations), _bare_properties(message, headers)]
    if application:
        parts.append(codec.encode(Described(Ulong(APPLICATION_PROPERTIES), application)))
    parts.append(_body(message))
    return b"".join(parts)


def _annotations(headers: Mapping[bytes, bytes]) -> dict[Any, Any]:
    named = ((name.decode("utf-8", "replace"), raw) for name, raw in headers.items())
    return {Symbol(name): from_field(raw) for name, raw in named if name.isascii()}


def _annotated(message: Message, annotations: dict[Any, Any]) -> bytes:
    annotations[Symbol("x-exchange")] = message.exchange
    annotations[Symbol("x-routing-key")] = message.routing_key
    return codec.encode(Described(Ulong(ANNOTATIONS), annotations))


def _bare_properties(message: Message, headers: Mapping[bytes, bytes]) -> bytes:
    properties = message.properties
    user = _short(properties, "user_id")
    moment = properties.parts.get("timestamp")
    values = [
        _id(properties, headers, "message_id"),
        None if user is None else user.encode("utf-8", "surrogateescape"),
        None,
        message.routing_key,
        _short(properties, "reply_to"),
        _id(properties, headers, "correlation_id"),
        _symbol(properties, "content_type"),
        _symbol(properties, "content_encoding"),
        None,
        None if moment is None else Timestamp(min(int.from_bytes(moment, "big") * 1000, 2**63 - 1)),
    ]
    return codec.described_list(PROPERTIES, values)


def _body(message: Message) -> bytes:
    if _short(message.properties, "type") == RAW_TYPE and sections.are_bodies(message.body):
        return message.body
    return sections.data_head(len(message.body)) + message.body


def _short(properties: Properties, name: str) -> str | None:
    raw = properties.parts.get(name)
    return None if raw is None else raw[1:].decode("utf-8", "replace")


def _symbol(properties: Properties, name: str) -> Symbol | None:
    text = _short(properties, name)
    return Symbol(text) if text is not None and text.isascii() else None


def _id(properties: Properties, headers: Mapping[bytes, bytes], name: str) -> Any:
    """An id, of the type that a header tells of."""
    header = b"x-" + name.replace("_", "-").encode()
    text = _short(properties, name)
    if text is None and header in headers:
        text = str(from_field(headers[header]))
    kind = headers.get(header + b"-type")
    if text is None or kind is None:
        return text
    try:
        return _TYPED[str(from_field(kind))](text)
    except (KeyError, ValueError):
        return text


def _ulong(text: str) -> Ulong:
    number = Ulong(text)
    if not 0 <= number < 2**64:
        raise ValueError(text)
    return number


def _binary(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(text) from error


_TYPED: Final[Mapping[str, Callable[[str], Any]]] = {"ulong": _ulong, "uuid": UUID, "binary": _binary}
