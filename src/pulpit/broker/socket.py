"""One socket: moves bytes between asyncio and a connection, and applies backpressure to protect others."""

import asyncio
import logging
import ssl
from collections import Counter
from collections.abc import Callable, Container
from time import thread_time
from typing import Any, Final, cast

from pulpit.broker.connection import BrokerState, Connection
from pulpit.broker.connection_methods import State
from pulpit.net.addresses import is_loopback

TURN_SECONDS: Final = 0.0005
"""CPU time (`thread_time`) of one connection's turn while others are active."""
LONG_TURN_SECONDS: Final = 0.008
"""The same while no other connection is active: longer turns confirm more messages at once."""
COMPANY_SECONDS: Final = 0.05
"""CPU time after which other connections no longer count as active."""
WORK_BETWEEN_TURNS: Final = 0.0005
"""CPU time between two turns of a connection, beyond the loop's own, from which others were active."""

MAX_UNSENT: Final = 16 * 1024 * 1024
"""Unsent bytes of a peer above which nothing more is read from it."""
UNWRITTEN_SHARE: Final = 8
"""Publishers are blocked when an eighth of the memory limit waits for the disk."""
LINGER_SECONDS: Final = 2.0
"""That a peer has to close its socket after its close method."""
SEND_BUFFER: Final = 256 * 1024
_log = logging.getLogger(__name__)


class Sockets:
    """All sockets of a broker; `logging_in` are those that have not logged in yet, the oldest first."""

    def __init__(self, state: BrokerState, check_alarms: Callable[[], None]) -> None:
        self.state: Final = state
        self.config: Final = state.config
        self.check_alarms: Final = check_alarms
        self.open: Final[set[Socket]] = set()
        self.logging_in: Final[dict[Socket, None]] = {}
        self._last: Socket | None = None
        self._company_until = 0.0

    def turn(self, socket: "Socket", asked: float) -> float:
        """Return when a turn ends that was requested at `asked` (`thread_time`)."""
        now = thread_time()
        if self._last is not socket or now - asked > WORK_BETWEEN_TURNS:
            self._last = socket
            self._company_until = now + COMPANY_SECONDS
        return now + (TURN_SECONDS if now < self._company_until else LONG_TURN_SECONDS)

    def make_room(self) -> None:
        """If too many sockets are not logged in, close the oldest one of the address with the most."""
        if len(self.logging_in) < self.config.max_connections_handshaking:
            return
        addresses = Counter(socket.address for socket in self.logging_in)
        address = max(addresses, key=addresses.__getitem__)
        oldest = next(socket for socket in self.logging_in if socket.address == address)
        _log.warning(
            "Too many clients have connected without logging in; the oldest from %s is sent away",
            address or "this machine",
            extra={"action": "broker_client_crowded_out"},
        )
        oldest.abort()


class Socket(asyncio.Protocol):
    def __init__(self, sockets: Sockets) -> None:
        self.address = ""
        self._sockets: Final = sockets
        self._loop: Final = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._connection: Connection | None = None
        self._flush_planned = False
        self._receiving = False
        self._reading = True
        self._writing_paused = False
        self._login_timer: asyncio.TimerHandle | None = None
        self._store_full = False
        self._turn_ends = 0.0
        self._has_more = False  # frames are pending for the next turn
        self._going_on = False
        self._asked = 0.0  # when the next turn was requested

    # -- asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Handle a new connection; too many are rejected."""
        transport = self._transport = cast("asyncio.Transport", transport)  # uvloop derives its own from nothing
        config = self._sockets.config
        if len(self._sockets.open) >= config.max_connections:
            transport.abort()
            return
        transport.set_write_buffer_limits(high=SEND_BUFFER)
        self.address = str((transport.get_extra_info("peername") or ("",))[0])
        self._sockets.make_room()
        self._sockets.open.add(self)
        self._sockets.logging_in[self] = None
        self._login_timer = self._loop.call_later(config.handshake_timeout, self.abort)
        self._connection = Connection(
            self._sockets.state,
            wake=self._plan_flush,
            address=self.address,
            local=self.address == "" or is_loopback(self.address),  # a socket without addresses is local
            certificate_name=_certificate_name(transport),
            secure=transport.get_extra_info("ssl_object") is not None,
            turn_over=lambda: thread_time() > self._turn_ends,
        )

    def data_received(self, data: bytes) -> None:
        """Handle received bytes for a turn, and the rest in later ones."""
        self._take_turn(data, thread_time())

    def _take_turn(self, data: bytes, asked: float) -> None:
        connection = self._connection
        if connection is None:
            return
        self._receiving = True
        self._turn_ends = self._sockets.turn(self, asked)
        connection.receive(data)
        self._receiving = False
        self._flush()
        if self._login_timer is not None and connection.state is State.RUNNING:
            self._logged_in()
        self._has_more = connection.has_more
        self._protect()

    def _go_on(self) -> None:
        """Take the next turn, after all others had one."""
        self._going_on = False
        self._take_turn(b"", self._asked)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's word
        self._logged_in()
        self._sockets.open.discard(self)
        if self._connection is not None:
            self._connection.lost()
            self._connection = None

    def pause_writing(self) -> None:
        """Stop writing to a peer that reads too slowly."""
        self._writing_paused = True
        if self._connection is not None:
            self._connection.outbox.peer_reads(reads=False)

    def resume_writing(self) -> None:
        self._writing_paused = False
        if self._connection is not None:
            self._connection.outbox.peer_reads(reads=True)
            self.consider_reading()

    # -- output

    def _plan_flush(self) -> None:
        if not self._receiving and not self._flush_planned:
            self._flush_planned = True
            self._loop.call_soon(self._flush_later)

    def _flush_later(self) -> None:
        self._flush_planned = False
        self._flush()
        if self._connection is not None and self._connection.has_more:  # a login was verified meanwhile
            self._has_more = True
            self.consider_reading()

    def _flush(self) -> None:
        connection, transport = self._connection, self._transport
        if connection is None or transport is None:
            return
        data = connection.take_output()
        if data:
            transport.write(data)
        if connection.finished:
            self._connection = None
            self._say_goodbye(transport, waits=connection.peer_closes)

    def _say_goodbye(self, transport: asyncio.Transport, *, waits: bool) -> None:
        """Keep reading for a while: closing with unread input resets the connection, and the last output may be lost.

        A peer that has sent its close method closes its socket itself; for others we shut down our sending half.
        """
        if not self._reading:
            self._reading = True
            transport.resume_reading()
        if waits:
            self._loop.call_later(LINGER_SECONDS, transport.close)
        elif transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()
        self._loop.call_later(LINGER_SECONDS + self._sockets.config.shutdown_timeout, transport.abort)

    # -- protection

    def _protect(self) -> None:
        """Stop reading from a peer that publishes faster than memory or disk allow, or that leaves too much unread."""
        connection, transport = self._connection, self._transport
        if connection is None or transport is None:
            return
        store = self._sockets.state.store
        if store.memory.is_exhausted and not self._sockets.state.alarm:
            self._sockets.check_alarms()
        if store.unwritten_bytes > store.memory.limit // UNWRITTEN_SHARE and not self._store_full:
            self._store_full = True

            def has_room() -> None:
                self._store_full = False
                self.consider_reading()

            store.after(has_room)
        self.consider_reading()

    def consider_reading(self) -> None:
        """Resume reading if nothing prevents it."""
        connection, transport = self._connection, self._transport
        if connection is None or transport is None or transport.is_closing():
            return
        unread = transport.get_write_buffer_size() if self._writing_paused else 0
        held = connection.blocked or self._store_full or unread > MAX_UNSENT
        if self._has_more and not held and not self._going_on:
            self._going_on = True
            self._asked = thread_time()
            self._loop.call_soon(self._go_on)
        wanted = not (held or self._has_more)
        if wanted != self._reading:
            self._reading = wanted
            if wanted:
                transport.resume_reading()
            else:
                transport.pause_reading()

    def shut(self) -> None:
        """Close with a reason."""
        if self._connection is not None:
            self._connection.shut(320, "broker forced connection closure with reason 'shutdown'")

    def dismiss(self, users: Container[str]) -> None:
        """Close with a reason if it belongs to one of these users, who may reconnect under the new rules."""
        connection = self._connection
        if connection is not None and connection.session.user in users:
            connection.shut(320, f"the password or the rights of user '{connection.session.user}' have changed")
            self._flush()

    def abort(self) -> None:
        """Disconnect; the peer's unacknowledged messages are requeued at once."""
        self._logged_in()
        if self._connection is not None:
            self._connection.lost()
            self._connection = None
        if self._transport is not None:
            self._transport.abort()

    def _logged_in(self) -> None:
        self._sockets.logging_in.pop(self, None)
        if self._login_timer is not None:
            self._login_timer.cancel()
            self._login_timer = None


def _certificate_name(transport: asyncio.Transport) -> str | None:
    """Return the common name of a verified client certificate."""
    tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    certificate: Any = tls.getpeercert() if tls is not None else None
    for part in (certificate or {}).get("subject", ()):
        for name, value in part:
            if name == "commonName":
                return str(value)
    return None
