"""Frames: bytes in, whole frames out (AMQP 0-9-1, section 4.2.3)."""

import struct
from collections.abc import Iterator
from typing import Final

from pulpit.broker.refusals import frame_error

FRAME_METHOD: Final = 1
FRAME_HEADER: Final = 2
FRAME_BODY: Final = 3
FRAME_HEARTBEAT: Final = 8
FRAME_HEAD: Final = struct.Struct(">BHI")
"""Type, channel and payload size."""
CONTENT_HEAD: Final = struct.Struct(">BHIHHQ")
"""The start of a content header's frame: type, channel, payload size; class, weight, body size."""
BASIC: Final = 60
"""The only class whose methods have content."""
FRAME_END: Final = b"\xce"
FRAME_OVERHEAD: Final = FRAME_HEAD.size + len(FRAME_END)
HEARTBEAT: Final = b"\x08\x00\x00\x00\x00\x00\x00\xce"
_END: Final = FRAME_END[0]
_HEAD_SIZE: Final = FRAME_HEAD.size
_LEAST_CONTENT: Final = CONTENT_HEAD.size + len(FRAME_END) + _HEAD_SIZE
"""From the start of a content header's frame to the body."""

Frame = tuple[int, int, bytes]
"""Type, channel and payload."""


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    """Wrap a payload."""
    return b"".join((FRAME_HEAD.pack(kind, channel, len(payload)), payload, FRAME_END))


class FrameReader:
    """Buffers incomplete input; at most one frame of `limit` bytes and one piece of input."""

    __slots__ = ("_data", "_position", "_rest", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._rest = b""
        self._data = b""  # what `feed` is reading, and its position
        self._position = 0

    @property
    def has_frame(self) -> bool:
        """Whether `feed` can yield without further bytes, after its caller stopped early."""
        rest = self._rest
        return len(rest) >= FRAME_OVERHEAD and len(rest) >= FRAME_HEAD.unpack_from(rest)[2] + FRAME_OVERHEAD

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield every complete frame; a caller that stops early gets the rest the next time.

        A payload may have the whole limit: RabbitMQ tolerates clients that do not count the eight bytes around it.

        Raises:
            ConnectionRefusal: 501, for a frame that is too long or lacks its end marker.
        """
        if self._rest:
            data = self._rest + data
        self._rest = b""
        self._data, self._position = data, 0
        end = len(data)
        unpack = FRAME_HEAD.unpack_from
        try:
            while end - (position := self._position) >= FRAME_OVERHEAD:
                kind, number, size = unpack(data, position)
                stop = position + _HEAD_SIZE + size
                if size > self.limit:
                    self._position = end
                    raise frame_error(f"a frame of {size} bytes where {self.limit} are the limit")
                if stop >= end:
                    break
                if data[stop] != _END:
                    self._position = end
                    raise frame_error("a frame does not end where it said")
                self._position = stop + 1
                yield kind, number, data[position + _HEAD_SIZE : stop]
        finally:
            self._rest = data[self._position :]
            self._data = b""

    def take_content(self, channel: int) -> tuple[bytes, bytes] | None:
        """Return header and body after the publish that `feed` has just yielded, if each is one complete valid frame.

        None consumes nothing: `feed` continues with what follows, and reports errors in it.
        """
        data, limit = self._data, self.limit
        header_start = self._position + _HEAD_SIZE
        try:
            kind, number, size, class_id, _weight, announced = CONTENT_HEAD.unpack_from(data, self._position)
            header_stop = header_start + size
            if kind != FRAME_HEADER or number != channel or size > limit or data[header_stop] != _END:
                return None
            kind, number, size = FRAME_HEAD.unpack_from(data, header_stop + 1)
            body_start = header_stop + 1 + _HEAD_SIZE
            body_stop = body_start + size
            if kind != FRAME_BODY or number != channel or size > limit or data[body_stop] != _END:
                return None
            if class_id != BASIC or not size or size != announced or body_start - self._position < _LEAST_CONTENT:
                return None
        except (struct.error, IndexError):  # the rest has not arrived yet
            return None
        self._position = body_stop + 1
        return data[header_start:header_stop], data[body_start:body_stop]
