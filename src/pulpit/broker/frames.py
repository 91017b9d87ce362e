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
"""Type, channel and size of the payload."""
FRAME_END: Final = b"\xce"
FRAME_OVERHEAD: Final = FRAME_HEAD.size + len(FRAME_END)
HEARTBEAT: Final = b"\x08\x00\x00\x00\x00\x00\x00\xce"
_END: Final = FRAME_END[0]

Frame = tuple[int, int, bytes]
"""Type, channel and payload."""


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    """Wrap a payload."""
    return b"".join((FRAME_HEAD.pack(kind, channel, len(payload)), payload, FRAME_END))


class FrameReader:
    """Keeps what is incomplete for the next time; never more than one frame of `limit` bytes and one piece of input."""

    __slots__ = ("_rest", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._rest = b""

    @property
    def has_frame(self) -> bool:
        """Whether `feed` has something to yield without further bytes, after its caller stopped early."""
        rest = self._rest
        return len(rest) >= FRAME_OVERHEAD and len(rest) >= FRAME_HEAD.unpack_from(rest)[2] + FRAME_OVERHEAD

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield every frame that is complete now; whoever stops early gets the others the next time.

        A payload may have the whole limit: RabbitMQ lets clients pass that do not count the eight bytes around it.

        Raises:
            ConnectionRefusal: 501, for a frame that is longer than the limit or does not end where it said.
        """
        if self._rest:
            data = self._rest + data
        self._rest = b""
        position, end = 0, len(data)
        unpack = FRAME_HEAD.unpack_from
        try:
            while end - position >= FRAME_OVERHEAD:
                kind, number, size = unpack(data, position)
                if size > self.limit:
                    position = end
                    raise frame_error(f"a frame of {size} bytes where {self.limit} are the limit")
                stop = position + FRAME_HEAD.size + size
                if stop >= end:
                    break
                if data[stop] != _END:
                    position = end
                    raise frame_error("a frame does not end where it said")
                payload = data[position + FRAME_HEAD.size : stop]
                position = stop + 1
                yield kind, number, payload
        finally:
            self._rest = data[position:]
