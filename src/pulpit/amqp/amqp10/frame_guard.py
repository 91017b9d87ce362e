# SPDX-License-Identifier: Apache-2.0
"""Checks each frame before Proton does, for what corrupts the memory of Proton 0.40.

A channel that is begun twice, or a handle that is attached twice, makes Proton leak references and use memory after
it was freed. Both are errors of the broker (sections 2.7.2, 2.7.3), as is a session that it begins unasked; the
connection is closed.
"""

from struct import Struct
from typing import Any, Final

from pulpit.amqp.amqp10 import codec
from pulpit.amqp.amqp10.codec import DecodeError, Described

_HEAD: Final = Struct(">IBBH")
_BEGIN, _ATTACH, _DETACH, _END = 0x11, 0x12, 0x16, 0x17
_WATCHED: Final = frozenset({_BEGIN, _ATTACH, _DETACH, _END})
_DESCRIPTOR: Final = 10
"""Bytes of the longest descriptor: the constructor of a described value, and an unsigned long with its own."""
_HANDLE: Final = {_ATTACH: 1, _DETACH: 0}
"""Position of the handle among the fields."""


class Violation(Exception):
    """The peer violates the protocol; the text says how."""


class FrameGuard:
    """The frames of one peer, after the protocol header."""

    def __init__(self, largest: int) -> None:
        self._largest: Final = largest
        self._cut = b""
        self._skip = 0
        self._handles: dict[int, set[int]] = {}
        self._answered: dict[int, object] = {}
        """By the channel of each session, the one of ours that it answers."""

    def judged(self, data: bytes) -> bytes:
        """Return what Proton may process now; incomplete frames are kept.

        Raises:
            Violation: the peer violates the protocol.
        """
        data, self._cut = self._cut + data, b""
        at = min(self._skip, len(data))
        self._skip -= at
        while at < len(data):
            size = self._next(data, at)
            if size == 0:
                self._cut = data[at:]
                return data[:at]
            self._look(data, at, size)
            at += size
        self._skip += at - len(data)
        return data

    def _next(self, data: bytes, at: int) -> int:
        """Return the size of the frame that begins here, once enough of it has arrived to check it; else 0."""
        have = len(data) - at
        if have < _HEAD.size:
            return 0
        size, offset, _, _ = _HEAD.unpack_from(data, at)
        if not _HEAD.size <= 4 * offset <= size <= self._largest:
            raise Violation("A frame has no size that a frame may have.")
        if have < min(size, 4 * offset + _DESCRIPTOR):
            return 0
        return size if have >= size or self._code(data, at) not in _WATCHED else 0

    def _look(self, data: bytes, at: int, size: int) -> None:
        code = self._code(data, at)
        channel = _HEAD.unpack_from(data, at)[3]
        frame = data[at : at + size]
        if code == _BEGIN:
            ours = _field(frame, 0)
            if ours is None:
                raise Violation("The broker began a session that was not requested.")
            if channel in self._answered or ours in self._answered.values():
                raise Violation("A session was begun twice.")
            self._answered[channel] = ours
        elif code == _END:
            self._answered.pop(channel, None)
            self._handles.pop(channel, None)
        elif code in _HANDLE:
            self._look_at_handle(code, self._handles.setdefault(channel, set()), frame)

    @staticmethod
    def _look_at_handle(code: int, handles: set[int], frame: bytes) -> None:
        handle = _field(frame, _HANDLE[code])
        if not isinstance(handle, int):
            raise Violation("A link has no handle.")
        if code == _ATTACH and handle in handles:
            raise Violation("A link was attached to a handle that has one.")
        handles.add(handle) if code == _ATTACH else handles.discard(handle)

    @staticmethod
    def _code(data: bytes, at: int) -> int | None:
        """Return the performative of a frame; none for an empty frame, which is a heartbeat."""
        size, offset, _, _ = _HEAD.unpack_from(data, at)
        body = data[at + 4 * offset : at + min(size, 4 * offset + _DESCRIPTOR)]
        if not body:
            return None
        if body[:2] == b"\x00\x53" and len(body) > 2:  # noqa: PLR2004 - a small number behind its mark
            return body[2]
        if body[:2] == b"\x00\x80" and len(body) == _DESCRIPTOR:
            return int.from_bytes(body[2:], "big")
        raise Violation("A frame does not say what it is.")


def _field(frame: bytes, number: int) -> Any:
    """Return a field of the performative in a frame; null if it is absent."""
    try:
        performative, _ = codec.decode(frame, 4 * frame[4])
        return performative.value[number] if isinstance(performative, Described) else None
    except (DecodeError, TypeError, KeyError, IndexError):
        return None
