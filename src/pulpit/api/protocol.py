"""Uvicorn's HTTP protocol with limits for unauthenticated clients, and with access to client certificates."""

import asyncio
from collections import OrderedDict
from typing import Any, ClassVar, Final
from weakref import WeakKeyDictionary

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from pulpit.api.app import Application
from pulpit.net.request_state import ABORT, CERTIFICATE

MAX_HEAD: Final = 64 * 1024
"""Bytes of a request line with its headers; the last read may exceed it."""
HEAD_SECONDS: Final = 30.0
"""From the connection, or the first byte of a further request, to the end of the headers."""
MAX_CONNECTIONS: Final = 4096
"""Concurrent connections. When it is exceeded, the connection that has been idle for longest is closed, first of an
address with many idle ones; if none is idle, the new connection is closed at once.
"""
MAX_SILENT: Final = 512
"""Idle connections of one address."""

CLOSE: Final = (b"connection", b"close")
"""Header of all responses of a server that drains."""
_MAPPED: Final = "::ffff:"
_OK: Final = b"HTTP/1.1 200 OK\r\n"
_TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class BoundedHttp(HttpToolsProtocol):
    """Passed to uvicorn as `http`; its own protocol and parser have none of these limits."""

    head_seconds: ClassVar[float] = HEAD_SECONDS
    most_connections: ClassVar[int] = MAX_CONNECTIONS
    most_silent: ClassVar[int] = MAX_SILENT
    _silent_by_server: ClassVar[WeakKeyDictionary[ServerState, OrderedDict["BoundedHttp", str]]] = WeakKeyDictionary()

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._silent: Final = self._silent_by_server.setdefault(self.server_state, OrderedDict())
        """The connections that wait for a head, with their addresses, the longest waiting first."""
        app = self.config.app
        self._published: Final = app.published if isinstance(app, Application) else None
        self._head: int | None = 0  # bytes of an incomplete head; None if there is none
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as the parent has it
        """Accept a connection, unless there are too many."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, ABORT: transport.abort}
        if self.client:  # IPv4 arrives so at a socket that listens for both versions
            self.client = (self.client[0].removeprefix(_MAPPED), self.client[1])
        address = self.client[0] if self.client else ""
        mine = [connection for connection, other in self._silent.items() if other == address]
        if len(mine) >= self.most_silent:
            mine[0].drop()
        elif len(self.connections) > self.most_connections:
            if not self._silent:
                transport.abort()
                return
            next(iter(self._silent)).drop()
        self._silent[self] = address
        self._start_clock()

    def drop(self) -> None:
        """Close the connection to make room for another one."""
        self._silent.pop(self, None)
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        self._silent.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, and limit the size of an incomplete head."""
        super().data_received(data)
        if self._head is not None:
            self._head += len(data)
            if self._head > MAX_HEAD and not self.transport.is_closing():
                self.transport.write(_TOO_LARGE)
                self.transport.close()
            elif self._deadline is None:
                self._start_clock()

    def on_message_begin(self) -> None:
        """Start a further request."""
        self._head = 0
        self._stop_clock()  # most heads arrive complete; otherwise the clock restarts after this piece
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Handle a complete head."""
        self._head = None
        self._stop_clock()
        self._silent.pop(self, None)
        if not self._sent_at_once():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Handle a complete body; requests served from the cache had none."""
        if self.cycle is not None:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request, unless it is here already."""
        super().on_response_complete()
        if not self.transport.is_closing() and self.cycle.response_complete:
            self._silent[self] = self.client[0] if self.client else ""

    def _sent_at_once(self) -> bool:
        """Send a cached published file directly if no other request is in progress; a task and its scope cost more."""
        is_idle = self.cycle is None or self.cycle.response_complete  # type: ignore[redundant-expr] # there may be none
        if self._published is None or not is_idle or self.flow.write_paused or self.parser.get_method() != b"GET":
            return False
        if self.parser.get_http_version() != "1.1" or not self.parser.should_keep_alive() or b"%" in self.url:
            return False
        if CLOSE in self.server_state.default_headers:
            return False
        path = self.url.partition(b"?")[0].decode("latin-1")
        ready = self._published.at_once({**self.scope, "method": "GET", "path": path})
        if ready is None:
            return False
        own = [b"%s: %s\r\n" % header for header in self.server_state.default_headers]
        self.transport.write(b"".join((_OK, *own, ready.head, ready.content)))
        self.server_state.total_requests += 1
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)
        self._silent[self] = self.client[0] if self.client else ""
        return True

    def _start_clock(self) -> None:
        self._stop_clock()
        self._deadline = self.loop.call_later(self.head_seconds, self.transport.abort)

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class CertifiedHttp(BoundedHttp):
    """HTTP over TLS; used as `http` together with `ssl_ca_certs` and `ssl_cert_reqs=CERT_OPTIONAL`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as the parent has it
        """Store the certificate for all requests of the connection."""
        super().connection_made(transport)
        secured = transport.get_extra_info("ssl_object")
        shown = secured.getpeercert(binary_form=True) if secured is not None else None
        if shown:
            self.app_state = {**self.app_state, CERTIFICATE: shown}
