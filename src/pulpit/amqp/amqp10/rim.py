"""The socket under a client's connection: TCP or TLS, and a clock."""

import asyncio
from typing import Final, Protocol, cast

GOODBYE_TIMEOUT: Final = 2.0
"""Seconds that a broker has to answer a goodbye."""


class Speaker(Protocol):
    """Whose bytes the rim carries."""

    def begun(self) -> bytes:
        """There is a socket: what to send first."""

    def received(self, data: bytes) -> None:
        """Bytes came."""

    def ended(self, error: BaseException | None) -> None:
        """The socket is gone."""

    def take_output(self) -> bytes:
        """What to send."""

    def tick(self, now: float) -> float | None:
        """Let time pass, and answer when that is to be done again."""

    def handle_events(self) -> None:
        """Something may have come to pass by what was sent."""

    def free(self) -> None:
        """There is no socket any more, and nothing will be asked again."""


class Rim(asyncio.Protocol):
    """The socket of one connection: writes what the engine wants to be sent, and winds the clock."""

    def __init__(self, speaker: Speaker) -> None:
        self._speaker: Final = speaker
        self._loop: Final = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self._flushing: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self.unplugged: Final = asyncio.Event()
        """Set while there is no socket."""
        self.unplugged.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = stream = cast("asyncio.Transport", transport)  # uvloop's are of no class of asyncio's
        self.unplugged.clear()
        if self._closed:
            stream.abort()
            return
        stream.write(self._speaker.begun())

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        self._speaker.received(data)
        self.write()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the end."""
        self._speaker.ended(exc)
        self._stop_clock()
        self._speaker.free()
        self.unplugged.set()

    def pause_writing(self) -> None:
        """Keep what is to be sent inside the engine."""
        self._paused = True

    def resume_writing(self) -> None:
        """Go on."""
        self._paused = False
        self.write()

    def flush(self) -> None:
        """Write soon what was done, with everything that is done until then."""
        if self._flushing is None:
            self._flushing = self._loop.call_soon(self.write)

    def write(self) -> None:
        """Write what is to be sent, and see to the clock."""
        if self._flushing:
            self._flushing.cancel()
            self._flushing = None
        transport = self._transport
        if transport is None or self._paused or transport.is_closing():
            return
        self._wind()
        output = self._speaker.take_output()
        if output:
            transport.write(output)
        self._speaker.handle_events()

    def close(self) -> None:
        """Close the socket after what is still to be sent; a peer that does not take it is left."""
        if self._closed:
            return
        self._closed = True
        self._stop_clock()
        transport = self._transport
        if transport is None:
            self._speaker.free()
            return
        if not transport.is_closing():
            output = self._speaker.take_output()
            if output:
                transport.write(output)
            transport.close()
            self._loop.call_later(GOODBYE_TIMEOUT, self.abort)

    def abort(self) -> None:
        """Close the socket whatever is still to be sent."""
        if self._transport and not self.unplugged.is_set():
            self._transport.abort()

    def _wind(self) -> None:
        self._stop_clock()
        if self._closed:
            return
        now = self._loop.time()
        due = self._speaker.tick(now)
        if due is not None and not self._closed:
            self._timer = self._loop.call_at(max(due, now + 0.001), self.write)

    def _stop_clock(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
