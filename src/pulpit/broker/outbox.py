"""A connection's output: collected during a turn, taken by the socket at its end, held while the disk is busy."""

from collections.abc import Callable
from typing import Final

from pulpit.broker.store import Store

WRITE_LIMIT: Final = 256 * 1024
"""Bytes waiting to be sent above which no further deliveries go out until the peer has read."""
FRAME_COST: Final = 256
"""Bytes that a frame counts additionally, so that many small ones do not block the loop."""


class Outbox:
    """`wake` asks the socket to call `take` soon; `writable` says whether deliveries may continue.

    `on_writable` is called when they may again.
    """

    __slots__ = (
        "_awake",
        "_endings",
        "_holds",
        "_parts",
        "_peer_reads",
        "_size",
        "_store",
        "_wake",
        "on_writable",
        "spoke",
        "writable",
    )

    def __init__(
        self,
        *,
        wake: Callable[[], None],
        store: Store,
        on_writable: Callable[[], None],
    ) -> None:
        self.writable = True
        self.spoke = True  # since the last heartbeat
        self.on_writable = on_writable
        self._wake: Final = wake
        self._store: Final = store
        self._parts: list[bytes] = []
        self._size = 0
        self._endings: list[Callable[[], None]] = []
        self._holds = 0
        self._awake = False
        self._peer_reads = True

    def send(self, data: bytes) -> None:
        """Queue bytes for the peer."""
        self._parts.append(data)
        self._size += len(data) + FRAME_COST
        if self._size > WRITE_LIMIT:
            self.writable = False
        if not self._awake:
            self.wake()

    def soon(self, call: Callable[[], None]) -> None:
        """Call at the end of the turn, before output is taken."""
        self._endings.append(call)
        if not self._awake:
            self.wake()

    def hold(self) -> None:
        """Hold back untaken output until the store has written everything so far."""
        self._holds += 1

        def release() -> None:
            self._holds -= 1
            self.wake()

        self._store.after(release)

    def wake(self) -> None:
        self._awake = True
        self._wake()

    def take(self, *, at_once: bool) -> bytes:
        """Return the bytes to write to the socket now; `at_once` ignores holds, for the final bytes."""
        self._awake = False
        while self._endings:
            endings, self._endings = self._endings, []
            for call in endings:
                call()
        if self._holds and not at_once:
            return b""
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = []
        self._size = 0
        self._awake = False
        self.spoke = self.spoke or bool(data)
        if not self.writable and self._peer_reads:
            self.writable = True
            self.soon(self.on_writable)
        return data

    def peer_reads(self, *, reads: bool) -> None:
        """Record that the socket's buffer is full, or has room again."""
        self._peer_reads = reads
        if not reads:
            self.writable = False
        elif self._size <= WRITE_LIMIT:
            self.writable = True
            self.on_writable()
