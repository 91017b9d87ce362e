# SPDX-License-Identifier: Apache-2.0
"""A tolerant decoder of content headers, in which no foreign value breaks the connection.

pika loses fractions and closes the connection for a date after 9999 or an invalid number, so that the same message is
redelivered at once and for ever (pika's issue 1698).
"""

from collections.abc import Mapping
from struct import Struct
from struct import error as cut_short
from typing import Any, Final

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.frame import Frame, Header
from pika.spec import FRAME_END, FRAME_END_SIZE, FRAME_HEADER, FRAME_HEADER_SIZE

from pulpit.amqp.amqp091 import tables

_HEAD: Final = Struct(">BHI")
_CONTENT: Final = Struct(">HHQ")
_OCTET, _LONG_LONG, _FLAGS = Struct(">B"), Struct(">Q"), Struct(">H")
_SHORT, _TABLE = None, "table"
PROPERTIES: Final[Mapping[str, Struct | str | None]] = {
    "content_type": _SHORT,
    "content_encoding": _SHORT,
    "headers": _TABLE,
    "delivery_mode": _OCTET,
    "priority": _OCTET,
    "correlation_id": _SHORT,
    "reply_to": _SHORT,
    "expiration": _SHORT,
    "message_id": _SHORT,
    "timestamp": _LONG_LONG,
    "type": _SHORT,
    "user_id": _SHORT,
    "app_id": _SHORT,
    "cluster_id": _SHORT,
}
"""In the order of their flags, from the highest bit, which is also that of their values (section 4.2.6.1, class
`basic`).
"""


class ContentProperties(pika.BasicProperties):  # type: ignore[misc] # pika has no types
    unreadable: str = ""
    """Why they cannot be decoded; empty if they can."""
    incomplete: str = ""
    """Why some headers are missing; empty if none are."""


class TolerantConnection(AsyncioConnection):  # type: ignore[misc] # pika has no types
    """pika's connection, except for content headers, which are foreign: no value in them closes the connection."""

    def _read_frame(self) -> tuple[int, Frame | None]:
        data = self._frame_buffer
        if len(data) < FRAME_HEADER_SIZE or data[0] != FRAME_HEADER:
            return super()._read_frame()  # type: ignore[no-any-return] # pika has no types
        _, channel, size = _HEAD.unpack_from(data)
        end = FRAME_HEADER_SIZE + size + FRAME_END_SIZE
        if len(data) < end:
            return 0, None
        if data[end - 1] != FRAME_END or size < _CONTENT.size:
            return super()._read_frame()  # type: ignore[no-any-return] # reports what is wrong
        _, _, body_size = _CONTENT.unpack_from(data, FRAME_HEADER_SIZE)
        raw = data[FRAME_HEADER_SIZE + _CONTENT.size : end - 1]
        return end, Header(channel, body_size, _read_properties(raw))


def _read_properties(data: bytes) -> ContentProperties:
    properties = ContentProperties()
    value: Any
    try:
        flags = _FLAGS.unpack_from(data)[0]
        offset = _FLAGS.size
        for bit, (name, kind) in enumerate(PROPERTIES.items()):
            if not flags & 0x8000 >> bit:
                continue
            if kind is _TABLE:
                value, offset, properties.incomplete = tables.read_tolerantly(data, offset)
            elif isinstance(kind, Struct):
                value, offset = kind.unpack_from(data, offset)[0], offset + kind.size
            else:
                value, offset = tables.read_short(data, offset)
            setattr(properties, name, value)
    except (tables.BadTable, cut_short) as error:
        properties.unreadable = str(error)
    return properties


def short_text(value: str | bytes | None) -> str:
    """Decode a method's short string from pika, which returns bytes if it is not UTF-8."""
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else value or ""
