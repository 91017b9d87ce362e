# SPDX-License-Identifier: Apache-2.0
"""libcurl on the event loop: transfers run side by side, over connections that are kept for the next ones."""

import asyncio
import contextlib
import select
import socket
import ssl
from typing import Final

import pycurl

SUPPRESS_CONNECT_HEADERS: Final = 265
QUICK_EXIT: Final = 322
"""libcurl's numbers of options that pycurl has no name for."""

_PENDING: Final = 65536

Ended = asyncio.Future[tuple[int, str]]
"""libcurl's result of a transfer: its code, and a text for one that failed."""


class CurlLoop:
    """libcurl's multi interface, driven by the event loop that it is created on."""

    def __init__(self, most_kept: int, most: int = 0) -> None:
        """Prepare: `most_kept` connections are kept open between transfers, which wait while `most` are open."""
        self._loop: Final = asyncio.get_running_loop()
        self._multi: Final = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, most_kept)
        self._multi.setopt(pycurl.M_MAX_TOTAL_CONNECTIONS, most)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)
        self._timer: asyncio.TimerHandle | None = None
        self._running: Final[dict[pycurl.Curl, Ended]] = {}
        self._watched: Final[dict[int, int]] = {}
        """Events that are watched on each socket, as libcurl numbers them."""
        self._adopted: Final = select.epoll()
        self._wanted: Final[dict[int, int]] = {}
        self._due: int | None = None
        """What libcurl asked for in this call: events of sockets, and to be called after so many milliseconds.

        It is done when the call has returned: when a reply came at once, nothing is left to do.
        """

    def adopt(self, fd: int) -> None:
        """Look after the socket of a new connection: it is not used again once something came unasked."""
        self._adopted.register(fd, select.EPOLLIN)

    def start(self, curl: pycurl.Curl, ended: Ended) -> None:
        """Start a transfer and send what the socket takes at once; `stop` it when it has ended or is given up."""
        self._end_spoiled()
        self._running[curl] = ended
        self._multi.add_handle(curl)
        self._act(pycurl.SOCKET_TIMEOUT, 0)

    def stop(self, curl: pycurl.Curl) -> None:
        """Take a transfer out; the connection of one that has not ended is closed."""
        if self._running.pop(curl, None) is not None:
            self._multi.remove_handle(curl)
            self._settle()

    def close(self) -> None:
        """Close all connections; transfers that still run are cancelled."""
        for curl, ended in self._running.items():
            ended.cancel()
            self._multi.remove_handle(curl)
        self._running.clear()
        self._multi.close()
        self._adopted.close()
        self._due = -1
        self._settle()

    def _end_spoiled(self) -> None:
        """End idle connections on which something came, which would be taken for the reply to the next request.

        libcurl looks for that too, but not within a second of the last time (https://github.com/curl/curl/pull/22169).
        """
        for fd, _ in self._adopted.poll(0):
            if fd not in self._watched:
                self._adopted.unregister(fd)
                with socket.socket(fileno=fd) as spoiled, contextlib.suppress(OSError):
                    try:
                        spoiled.shutdown(socket.SHUT_RDWR)
                        spoiled.recv(_PENDING, socket.MSG_DONTWAIT)
                    finally:
                        spoiled.detach()  # libcurl closes it

    def _watch(self, what: int, fd: int, _multi: object, _data: object) -> None:
        """Note what libcurl wants to know of a socket; one that it wants no more may be closed at once."""
        self._wanted[fd] = wanted = what & pycurl.POLL_INOUT
        if not wanted:
            del self._wanted[fd]
            self._watch_socket(fd, 0)

    def _watch_socket(self, fd: int, wanted: int) -> None:
        changed = wanted ^ self._watched.pop(fd, 0)
        if wanted:
            self._watched[fd] = wanted
        if changed & pycurl.POLL_IN:
            if wanted & pycurl.POLL_IN:
                self._loop.add_reader(fd, self._act, fd, pycurl.CSELECT_IN)
            else:
                self._loop.remove_reader(fd)
        if changed & pycurl.POLL_OUT:
            if wanted & pycurl.POLL_OUT:
                self._loop.add_writer(fd, self._act, fd, pycurl.CSELECT_OUT)
            else:
                self._loop.remove_writer(fd)

    def _set_timer(self, milliseconds: int) -> None:
        self._due = milliseconds

    def _settle(self) -> None:
        """Do what libcurl asked for."""
        while self._wanted:
            self._watch_socket(*self._wanted.popitem())
        if self._due is None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._due >= 0:
            self._timer = self._loop.call_later(self._due / 1000, self._act, pycurl.SOCKET_TIMEOUT, 0)
        self._due = None

    def _act(self, fd: int, events: int) -> None:
        """Let libcurl continue, and tell the results of the transfers that have ended."""
        self._multi.socket_action(fd, events)
        self._settle()
        left = 1
        while left:
            left, good, bad = self._multi.info_read()
            for curl, code, text in [*((curl, pycurl.E_OK, "") for curl in good), *bad]:
                ended = self._running.get(curl)
                if ended is not None and not ended.done():
                    ended.set_result((code, text))


def trust_system(curl: pycurl.Curl) -> None:
    """Trust the CA certificates of the system that OpenSSL finds: those that libcurl was built with may not exist."""
    trusted = ssl.get_default_verify_paths()
    for option, known in ((pycurl.CAINFO, trusted.cafile), (pycurl.CAPATH, trusted.capath)):
        if known:
            curl.setopt(option, known)
