"""One socket: moves bytes between asyncio and a connection, and slows the peer down where that protects others."""

import asyncio
import ssl
from collections.abc import Container
from typing import Any, Final, Protocol, cast

from pulpit.broker.config import BrokerConfig
from pulpit.broker.connection import Connection
from pulpit.broker.house import House
from pulpit.net.addresses import is_loopback

MAX_UNSENT: Final = 16 * 1024 * 1024
"""Bytes that a peer may leave unread before nothing more is read from it."""
UNWRITTEN_SHARE: Final = 8
"""Publishers wait when an eighth of the memory limit waits for the disk."""
LINGER_SECONDS: Final = 2.0
"""That a peer gets to close its socket after it has said good-bye."""
SEND_BUFFER: Final = 256 * 1024


class Rim(Protocol):
    """What a socket needs of the broker."""

    handshaking: int

    @property
    def config(self) -> BrokerConfig:
        """Its limits."""

    @property
    def sockets(self) -> "set[Socket]":
        """All of them."""

    @property
    def house(self) -> House:
        """What the connections share."""

    def check_alarms(self) -> None:
        """Look at memory and disk."""


class Socket(asyncio.Protocol):
    """asyncio's side of a connection."""

    def __init__(self, broker: Rim) -> None:
        self._broker: Final = broker
        self._loop: Final = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._connection: Connection | None = None
        self._flush_planned = False
        self._receiving = False
        self._reading = True
        self._writing_paused = False
        self._handshake: asyncio.TimerHandle | None = None
        self._shaking = False
        self._store_full = False

    # -- asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A peer has come; too many of them are sent away."""
        transport = self._transport = cast("asyncio.Transport", transport)  # uvloop derives its own from nothing
        config = self._broker.config
        full = len(self._broker.sockets) >= config.max_connections
        if full or self._broker.handshaking >= config.max_connections_handshaking:
            transport.abort()
            return
        transport.set_write_buffer_limits(high=SEND_BUFFER)
        self._broker.sockets.add(self)
        self._broker.handshaking += 1
        self._shaking = True
        self._handshake = self._loop.call_later(config.handshake_timeout, self._too_slow)
        address = str((transport.get_extra_info("peername") or ("",))[0])
        self._connection = Connection(
            self._broker.house,
            wake=self._plan_flush,
            address=address,
            local=address == "" or is_loopback(address),  # a socket without addresses is on this machine
            certificate_name=_certificate_name(transport),
            secure=transport.get_extra_info("ssl_object") is not None,
        )

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        connection = self._connection
        if connection is None:
            return
        self._receiving = True
        connection.receive(data)
        self._receiving = False
        self._flush()
        if self._shaking and connection.state == "running":
            self._shaken()
        self._protect()

    def eof_received(self) -> bool:
        """The peer will say nothing more; hang up."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's word
        """The socket is gone."""
        self._shaken()
        self._broker.sockets.discard(self)
        if self._connection is not None:
            self._connection.lost()
            self._connection = None

    def pause_writing(self) -> None:
        """The peer does not read as fast as it is written to."""
        self._writing_paused = True
        if self._connection is not None:
            self._connection.outbox.peer_reads(reads=False)

    def resume_writing(self) -> None:
        """There is room again."""
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
        """Read on for a while: closing with bytes unread resets the connection, and our last words may get lost.

        A peer that said good-bye closes its socket itself; the others are told by the end of our sending half.
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
        self._loop.call_later(LINGER_SECONDS + self._broker.config.shutdown_timeout, transport.abort)

    # -- protection

    def _protect(self) -> None:
        """Stop reading from a peer that publishes more than memory or disk take, or that leaves too much unread."""
        connection, transport = self._connection, self._transport
        if connection is None or transport is None:
            return
        store = self._broker.house.store
        if store.memory.is_exhausted and not self._broker.house.alarm:
            self._broker.check_alarms()
        if store.unwritten_bytes > store.memory.limit // UNWRITTEN_SHARE and not self._store_full:
            self._store_full = True
            store.after(self._store_has_room)
        self.consider_reading()

    def consider_reading(self) -> None:
        """Read if nothing speaks against it."""
        connection, transport = self._connection, self._transport
        if connection is None or transport is None or transport.is_closing():
            return
        unread = transport.get_write_buffer_size() if self._writing_paused else 0
        wanted = not (connection.blocked or self._store_full or unread > MAX_UNSENT)
        if wanted != self._reading:
            self._reading = wanted
            if wanted:
                transport.resume_reading()
            else:
                transport.pause_reading()

    def _store_has_room(self) -> None:
        self._store_full = False
        self.consider_reading()

    def shut(self) -> None:
        """Close with good manners."""
        if self._connection is not None:
            self._connection.shut(320, "broker forced connection closure with reason 'shutdown'")

    def dismiss(self, users: Container[str]) -> None:
        """Close with good manners if it is one of these users, who may come back under new terms."""
        connection = self._connection
        if connection is not None and connection.user in users:
            connection.shut(320, f"the password or the rights of user '{connection.user}' have changed")
            self._flush()

    def abort(self) -> None:
        """Hang up; what the peer held is given back at once."""
        if self._connection is not None:
            self._connection.lost()
            self._connection = None
        if self._transport is not None:
            self._transport.abort()

    def _too_slow(self) -> None:
        self._handshake = None
        self.abort()

    def _shaken(self) -> None:
        if self._shaking:
            self._shaking = False
            self._broker.handshaking -= 1
        if self._handshake is not None:
            self._handshake.cancel()
            self._handshake = None


def _certificate_name(transport: asyncio.Transport) -> str | None:
    """The common name of a verified client certificate."""
    tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    certificate: Any = tls.getpeercert() if tls is not None else None
    for part in (certificate or {}).get("subject", ()):
        for name, value in part:
            if name == "commonName":
                return str(value)
    return None
