"""The connections of webhooks: a POST by libcurl, over guarded sockets that are kept for the next one.

For a webhook the status decides. Once the status line has arrived, the reply counts, whatever comes behind it: a header
that nobody can read, a body that breaks off or never ends.
"""

import asyncio
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Final

import pycurl
from yarl import URL

from pulpit.delivery.notifiers.http_config import Hook, Proxy, client_certificate
from pulpit.errors import ConfigurationError
from pulpit.net.addresses import AddressGuard
from pulpit.net.curl import QUICK_EXIT, SUPPRESS_CONNECT_HEADERS, CurlLoop, Ended, trust_system
from pulpit.net.tls import client_context
from pulpit.text import shown, system_reason

MOST_CONNECTIONS: Final = 500
LONGEST_IDLE: Final = 15
"""Seconds after which an idle connection is not used again: a firewall between may have forgotten it."""
NAMES_KEPT: Final = 10
"""Seconds for which the addresses of a name are used again."""
LONGEST_HEAD: Final = 1024 * 1024
"""Bytes of all heads before a body; libcurl itself gives up at less, but counts each interim head (1xx) anew."""
LONGEST_ANSWER: Final = 4096
"""Bytes of a reply's body that are kept."""
LONGEST_BODY: Final = 64 * 1024
"""Bytes of a reply's body that are read, so that its connection can be used again."""
ANSWER_TIMEOUT: Final = 5
"""Seconds to read a reply's body; the status alone decides, so a body that never ends does no harm."""

_STATUS_LINE: Final = re.compile(rb"HTTP/\d(?:\.\d)?[ \t]+(\d{3})(?!\d)([^\r\n]*)")
_ABORT: Final = -1
"""What a callback returns to libcurl to end the transfer."""
_NOT_HTTP: Final = "{place} answered something that is not HTTP."
_UNUSABLE: Final = frozenset({pycurl.E_SSL_CACERT_BADFILE, pycurl.E_SSL_CERTPROBLEM})
_CLOSED: Final = frozenset({pycurl.E_GOT_NOTHING, pycurl.E_RECV_ERROR, pycurl.E_SEND_ERROR})
_FAILURES: Final[Mapping[int, str]] = {
    pycurl.E_COULDNT_RESOLVE_HOST: "The name of {place} cannot be resolved ({text}).",
    pycurl.E_COULDNT_RESOLVE_PROXY: "The name of {peer} cannot be resolved ({text}).",
    pycurl.E_COULDNT_CONNECT: "No connection to {peer}: {system}.",
    pycurl.E_SSL_CONNECT_ERROR: "TLS with {place} failed ({text}).",
    pycurl.E_PEER_FAILED_VERIFICATION: "The certificate of {place} is not trusted: {text}.",
    pycurl.E_SSL_CACERT_BADFILE: "ca_path {ca_path} cannot be used ({unusable}).",
    pycurl.E_SSL_CERTPROBLEM: "client_cert_path {client_cert_path} cannot be used ({unusable}).",
    pycurl.E_OPERATION_TIMEDOUT: "{place} did not answer within {timeout} seconds.",
    **dict.fromkeys(_CLOSED, "{place} closed the connection without an answer."),
    pycurl.E_OK: _NOT_HTTP,
    pycurl.E_UNSUPPORTED_PROTOCOL: _NOT_HTTP,
    pycurl.E_FTP_WEIRD_SERVER_REPLY: _NOT_HTTP,
}
"""What libcurl's results mean if there was no status."""


_ALERT: Final = re.compile(r"alert ([a-z ]*certificate[a-z ]*|unknown ca|handshake failure)")
"""How a receiver refuses a client for its certificate (RFC 8446, section 6.2), as libcurl quotes it.

In TLS 1.3 the alert may come where the reply would.
"""


class NoReply(Exception):
    """No status line arrived; the text is a sentence that says why."""


class Connections:
    """The connections of all listeners whose receivers one guard judges."""

    def __init__(self, guard: AddressGuard) -> None:
        self.guard: Final = guard
        self.curls: Final = CurlLoop(MOST_CONNECTIONS, MOST_CONNECTIONS)

    def close(self) -> None:
        """Close every connection."""
        self.curls.close()


@dataclass(slots=True)
class Exchange:
    """A POST and its reply, as libcurl reports it; the callbacks raise nothing."""

    url: URL
    connections: Connections
    ended: Ended
    end: float
    """When it is given up, by the event loop's clock."""
    status: int = 0
    """Of the last status line; a number below 200 announces another one."""
    reason: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    """By lower-case name."""
    body: bytes = b""
    opened: bool = False
    """Whether a connection was opened for it."""
    failed: OSError | None = None
    """Why a socket was not created."""
    code: int = pycurl.E_OK
    text: str = ""
    """libcurl's result."""
    _head_size: int = 0
    _body_size: int = 0
    _timer: asyncio.TimerHandle | None = None

    @property
    def is_answered(self) -> bool:
        """Whether the status is one that decides."""
        return self.status >= HTTPStatus.OK or self.status == HTTPStatus.SWITCHING_PROTOCOLS

    def open_socket(self, _purpose: int, address: pycurl.CurlSockAddr) -> int:
        """Create the socket of a connection; every connection goes through here."""
        try:
            self.connections.guard.check(str(address.addr[0]))
            fd = socket.socket(address.family, address.socktype, address.protocol).detach()
        except OSError as error:
            self.failed = error
            return int(pycurl.SOCKET_BAD)
        self.connections.curls.adopt(fd)
        self.opened = True
        return fd

    def on_header(self, line: bytes) -> int | None:
        """Take a line of a head."""
        self._head_size += len(line)
        if found := _STATUS_LINE.match(line):
            self.status, self.reason, self.headers = int(found[1]), found[2].decode("latin-1").strip(), {}
        elif line not in (b"\r\n", b"\n"):
            name, _, text = line.decode("latin-1").partition(":")
            self.headers[name.strip().lower()] = text.strip()
        elif self.is_answered and self.status != HTTPStatus.NO_CONTENT:
            self.expect_until(min(self.end, self.ended.get_loop().time() + ANSWER_TIMEOUT))
        return None if self._head_size <= LONGEST_HEAD else _ABORT

    def on_body(self, data: bytes) -> int | None:
        """Take a part of the body."""
        self.body += data[: LONGEST_ANSWER - len(self.body)]
        self._body_size += len(data)
        return None if self._body_size <= LONGEST_BODY else _ABORT

    def expect_until(self, time: float) -> None:
        """Give up at that time by the event loop's clock; what has been received by then counts."""
        self.expect_no_more()
        self._timer = self.ended.get_loop().call_at(time, self._give_up)

    def expect_no_more(self) -> None:
        """Stop waiting."""
        if self._timer is not None:
            self._timer.cancel()

    def _give_up(self) -> None:
        if not self.ended.done():
            self.ended.set_result((pycurl.E_OPERATION_TIMEDOUT, ""))

    def failure(self, curl: pycurl.Curl, hook: Hook, proxy: Proxy | None) -> str:
        """Say in one sentence why there is no status."""
        place = place_of(self.url)
        peer = f"the proxy {proxy.url.host}:{proxy.url.port}" if proxy else place
        if self.failed is not None and not self.opened:
            return f"No connection to {peer}: {self.failed.strerror}."
        refused = curl.getinfo(pycurl.HTTP_CONNECTCODE)
        if refused and refused // 100 != 2:  # noqa: PLR2004 - the statuses of success
            return f"The proxy does not let the request through to {place}: it answered {refused}."
        text, number = shown(self.text, 300).rstrip("."), curl.getinfo(pycurl.OS_ERRNO)
        sentence = _FAILURES.get(self.code, "The request to {place} failed ({text}).")
        if alert := _ALERT.search(text):
            wanted = "" if hook.client_cert_path else "; it may want a client certificate (client_cert_path)"
            return f"TLS with {place} failed ({alert[1].strip()}){wanted}."
        if self._head_size and self.code != pycurl.E_OPERATION_TIMEDOUT:
            sentence = _NOT_HTTP
        return sentence.format(
            place=place,
            peer=peer,
            text=text,
            system=os.strerror(number) if number else text,
            timeout=hook.timeout,
            ca_path=hook.ca_path,
            client_cert_path=hook.client_cert_path,
            unusable=_why_unusable(hook) if self.code in _UNUSABLE else "",
        )


class Receiver:
    """A URL that a listener's requests go to: its own, or one that it redirects to."""

    def __init__(self, connections: Connections, hook: Hook, proxy: Proxy | None, url: URL) -> None:
        self._connections: Final = connections
        self._hook: Final = hook
        self._proxy: Final = proxy
        self._url: Final = url
        self._idle: Final[list[pycurl.Curl]] = []

    async def post(self, headers: Mapping[str, str], body: bytes, end: float) -> Exchange:
        """Post; a kept connection that is dead is replaced. `end` is a time by the event loop's clock.

        Raises:
            NoReply: no status line arrived, for a reason or until the end.
        """
        curl = self._idle.pop() if self._idle else _handle(self._hook, self._proxy, self._url)
        lines = [f"{name}: {text}" if text.strip() else f"{name};" for name, text in headers.items()]
        curl.setopt(pycurl.HTTPHEADER, [*lines, "Expect:"])
        curl.setopt(pycurl.POSTFIELDS, body)
        try:
            exchange = await self._exchanged(curl, end)
            if exchange.code in _CLOSED and not (exchange.is_answered or exchange.opened):
                # libcurl tries at most five kept connections, and all of them were dead
                exchange = await self._exchanged(curl, end, fresh=True)
            if not exchange.is_answered:
                raise NoReply(exchange.failure(curl, self._hook, self._proxy))
            return exchange
        finally:
            self._idle.append(curl)

    async def _exchanged(self, curl: pycurl.Curl, end: float, *, fresh: bool = False) -> Exchange:
        loop = asyncio.get_running_loop()
        exchange = Exchange(self._url, self._connections, loop.create_future(), end)
        curl.setopt(pycurl.FRESH_CONNECT, fresh)
        curl.setopt(pycurl.OPENSOCKETFUNCTION, exchange.open_socket)
        curl.setopt(pycurl.HEADERFUNCTION, exchange.on_header)
        curl.setopt(pycurl.WRITEFUNCTION, exchange.on_body)
        self._connections.curls.start(curl, exchange.ended)
        try:
            if exchange.ended.done():  # a near receiver; others of the event loop have their turn all the same
                await asyncio.sleep(0)
            elif not exchange.is_answered:
                exchange.expect_until(end)
            exchange.code, exchange.text = await exchange.ended
            return exchange
        finally:
            exchange.expect_no_more()
            self._connections.curls.stop(curl)

    def rest(self) -> None:
        """Free the memory of what is not used for now; the connections are kept elsewhere."""
        self._idle.clear()


def _handle(hook: Hook, proxy: Proxy | None, url: URL) -> pycurl.Curl:
    curl = pycurl.Curl()
    curl.setopt(pycurl.NOSIGNAL, 1)
    curl.setopt(QUICK_EXIT, 1)  # else older versions wait for a name server that is given up
    curl.setopt(pycurl.POST, 1)
    curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
    curl.setopt(pycurl.MAXAGE_CONN, LONGEST_IDLE)
    curl.setopt(pycurl.DNS_CACHE_TIMEOUT, NAMES_KEPT)
    curl.setopt(pycurl.URL, str(url))
    target = url.raw_path_qs  # byte for byte, which libcurl would normalise
    curl.setopt(pycurl.REQUEST_TARGET, f"{url.origin()}{target}" if proxy and url.scheme == "http" else target)
    curl.setopt(pycurl.PROXY, str(proxy.url) if proxy else "")  # never a proxy from the environment
    if proxy:
        curl.setopt(pycurl.NOPROXY, "")
        curl.setopt(SUPPRESS_CONNECT_HEADERS, 1)
        if proxy.username:
            curl.setopt(pycurl.PROXYUSERNAME, proxy.username)
            curl.setopt(pycurl.PROXYPASSWORD, proxy.password)
    if url.scheme == "https":
        _trust(curl, hook.ca_path)
    if hook.client_cert_path and url.origin() == hook.url.origin():  # as with user and password, nobody else gets it
        curl.setopt(pycurl.SSLCERT, hook.client_cert_path)
    return curl


def _trust(curl: pycurl.Curl, ca_path: str) -> None:
    if not ca_path:
        trust_system(curl)
        return
    chosen, other = pycurl.CAINFO, pycurl.CAPATH
    if Path(ca_path).is_dir():
        chosen, other = other, chosen
    curl.setopt(chosen, ca_path)
    curl.unsetopt(other)  # which libcurl has a value of its own for


def _why_unusable(hook: Hook) -> str:
    try:
        client_context(hook.ca_path)
        if hook.client_cert_path:
            client_certificate(hook.client_cert_path).check()
    except OSError as error:
        return system_reason(error)
    except ConfigurationError as error:
        return error.reason.rstrip(".")
    return "it holds no certificate"


def place_of(url: URL) -> str:
    """Return the receiver's URL without path and query, which may hold a token."""
    return str(url.origin())
