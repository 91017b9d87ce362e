"""Frames: bytes in, whole frames out (AMQP 0-9-1, section 4.2.3)."""

import struct
from collections.abc import Iterator
from typing import Final

from pulpit.broker.methods import FRAME_OVERHEAD
from pulpit.broker.refusals import frame_error

_HEAD: Final = struct.Struct(">BHI")
_HEAD_SIZE: Final = 7
_END: Final = 0xCE

Frame = tuple[int, int, bytes]
"""Type, channel and payload."""


class FrameReader:
    """Keeps what is incomplete for the next time; never more than one frame of `limit` bytes and one piece of input."""

    __slots__ = ("_rest", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield every frame that is complete now; whoever stops early gets the others the next time.

        Raises:
            ConnectionRefusal: 501, for a frame that is longer than the limit or does not end where it said.
        """
        if self._rest:
            data = self._rest + data
        self._rest = b""
        position, end = 0, len(data)
        unpack = _HEAD.unpack_from
        try:
            while end - position >= FRAME_OVERHEAD:
                kind, number, size = unpack(data, position)
                if size > self.limit - FRAME_OVERHEAD:
                    position = end
                    raise frame_error(f"a frame of {size} bytes where {self.limit} are the limit")
                stop = position + _HEAD_SIZE + size
                if stop >= end:
                    break
                if data[stop] != _END:
                    position = end
                    raise frame_error("a frame does not end where it said")
                payload = data[position + _HEAD_SIZE : stop]
                position = stop + 1
                yield kind, number, payload
        finally:
            self._rest = data[position:]
