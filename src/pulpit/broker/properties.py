"""The content header: the message properties that the broker itself needs.

The header is passed to consumers unchanged; only these few values are read from it (AMQP 0-9-1, section 4.2.6.1).
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pulpit.amqp.amqp091 import tables
from pulpit.broker.frames import BASIC
from pulpit.broker.method_codec import short_string
from pulpit.broker.refusals import frame_error, unexpected_frame

PERSISTENT: Final = 2
_HEADER: Final = struct.Struct(">HHQH")

_LAYOUT: Final = (
    ("content_type", 15, "shortstr"),
    ("content_encoding", 14, "shortstr"),
    ("headers", 13, "table"),
    ("delivery_mode", 12, "octet"),
    ("priority", 11, "octet"),
    ("correlation_id", 10, "shortstr"),
    ("reply_to", 9, "shortstr"),
    ("expiration", 8, "shortstr"),
    ("message_id", 7, "shortstr"),
    ("timestamp", 6, "longlong"),
    ("type", 5, "shortstr"),
    ("user_id", 4, "shortstr"),
    ("app_id", 3, "shortstr"),
    ("cluster_id", 2, "shortstr"),
)
_LOOKED_AT: Final = {"reply_to", "expiration", "user_id"}


@dataclass(slots=True, kw_only=True)
class Properties:
    """The position of each property in a header, and the values that the broker needs.

    `parts` (name to its bytes, in wire order) suffices to write the header again with one of them changed. A publish
    with `ordinary` properties needs no further checks.
    """

    parts: dict[str, bytes]
    ordinary: bool = False
    persistent: bool = False
    priority: int = 0
    reply_to: str | None = None
    expiration: str | None = None
    user_id: str | None = None
    has_copies: bool = False

    def headers(self) -> tables.Table:
        """Decode the headers; empty if there are none."""
        raw = self.parts.get("headers")
        return tables.read_table(raw)[0] if raw else {}

    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        raw = self.parts.get("headers")
        return tables.split(raw) if raw else []


def body_size(payload: bytes) -> int:
    """Check that this is a header of the class basic, and return the size of the body."""
    if len(payload) < _HEADER.size:
        raise frame_error("a content header is cut off")
    class_id, _weight, size, _flags = _HEADER.unpack_from(payload)
    if class_id != BASIC:
        raise unexpected_frame(f"expected content header for class 60, got one for class {class_id} instead")
    return int(size)


def read_properties(payload: bytes) -> Properties:
    body_size(payload)
    flags = _HEADER.unpack_from(payload)[3]
    if flags & 1:
        raise frame_error("a content header with more flags than there are properties")
    values: dict[str, Any] = {}
    parts: dict[str, bytes] = {}
    offset = _HEADER.size
    try:
        for name, bit, kind in _LAYOUT:
            if flags >> bit & 1:
                start = offset
                values[name], offset = _READERS[kind](payload, start)
                parts[name] = payload[start:offset]
    except (IndexError, struct.error, tables.BadTable) as error:
        raise frame_error(f"a content header cannot be read: {error}") from error
    return _steering(parts, values)


def _steering(parts: dict[str, bytes], values: dict[str, Any]) -> Properties:
    headers = values.get("headers") or {}
    has_copies = "CC" in headers or "BCC" in headers
    return Properties(
        parts=parts,
        ordinary=not has_copies and not values.keys() & _LOOKED_AT,
        persistent=values.get("delivery_mode") == PERSISTENT,
        priority=values.get("priority", 0),
        reply_to=values.get("reply_to"),
        expiration=values.get("expiration"),
        user_id=values.get("user_id"),
        has_copies=has_copies,
    )


def write_header(size: int, properties: Properties) -> bytes:
    """Write a content header from its parts, in the specification's order."""
    ordered = b"".join(properties.parts[name] for name, _, _ in _LAYOUT if name in properties.parts)
    flags = sum(1 << bit for name, bit, _ in _LAYOUT if name in properties.parts)
    return _HEADER.pack(BASIC, 0, size, flags) + ordered


def with_part(properties: Properties, name: str, raw: bytes | None) -> Properties:
    """Return the properties with one of them replaced, or removed by None; `write_header` encodes them."""
    parts = dict(properties.parts)
    if raw is None:
        parts.pop(name, None)
    else:
        parts[name] = raw
    return Properties(
        parts=parts,
        persistent=properties.persistent,
        priority=properties.priority,
        reply_to=properties.reply_to,
        expiration=properties.expiration if "expiration" in parts else None,
        user_id=properties.user_id,
        has_copies=properties.has_copies,
    )


def with_reply_to(properties: Properties, reply_to: str) -> Properties:
    changed = with_part(properties, "reply_to", short_string(reply_to))
    changed.reply_to = reply_to
    return changed


def _short(payload: bytes, offset: int) -> tuple[str, int]:
    stop = offset + 1 + payload[offset]
    if stop > len(payload):
        raise tables.BadTable("a string is cut off")
    return payload[offset + 1 : stop].decode("utf-8", "surrogateescape"), stop


_READERS: Final[Mapping[str, Callable[[bytes, int], tuple[Any, int]]]] = {
    "shortstr": _short,
    "octet": lambda payload, offset: (payload[offset], offset + 1),
    "longlong": lambda payload, offset: (struct.unpack_from(">Q", payload, offset)[0], offset + 8),
    "table": tables.read_table,
}
