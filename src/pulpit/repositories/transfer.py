"""HTTP by libcurl on the event loop: how an upstream is reached, where it may lead, and what went wrong in words.

libcurl is what dnf and curl themselves use, so a server that they can read can be mirrored. Redirects are followed here
one by one, each to the very bytes that the server wrote: so every step is judged, and the login of a feed goes to its
own server alone.

A failure is transient (the connection broke, nothing came for too long, the server says 5xx) and worth another try, or
final (404, another size, another checksum).
"""

import asyncio
import base64
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, unquote, urljoin, urlsplit

import pycurl
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from yarl import URL

from pulpit import __version__
from pulpit.backoff import retry_after
from pulpit.content.feed import Feed
from pulpit.content.limits import KIB, Limits
from pulpit.content.port import NotForUs, NotThere
from pulpit.errors import WorkFailed
from pulpit.net.addresses import FeedGuard, ForbiddenAddress, is_loopback
from pulpit.text import masked_url, shown

PARTIAL_CONTENT: Final = 206
NOT_MODIFIED: Final = 304
RANGE_NOT_SATISFIABLE: Final = 416

_OK: Final = 200
_NON_AUTHORITATIVE: Final = 203
"""What a proxy may make of 200."""
_REDIRECTS: Final = frozenset(range(300, 400)) - {NOT_MODIFIED}
_FORBIDDEN: Final = frozenset({401, 403, 451})
_ABSENT: Final = frozenset({404, 410})
_SERVER_ERROR: Final = 500
_TRANSIENT: Final = frozenset({408, 425, 429})
_READ_BUFFER: Final = 512 * KIB
_MOST_UNWANTED: Final = 64 * KIB
"""So much of a body that nobody wants is read, so that its connection can be used again."""
_HANDED_ON: Final = 256 * KIB
"""So much of a body is handed on at once: libcurl's own parts are small."""
_PRINTABLE: Final = "".join(map(chr, range(0x21, 0x7F)))
_ABSOLUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_LOGIN: Final = re.compile(r"(?<=://)[^/?#]*@")
_NO_URL: Final = "is no URL that can be asked for, or leads to none"
_NOT_TLS: Final = frozenset({pycurl.E_SSL_CONNECT_ERROR, pycurl.E_SSL_CERTPROBLEM, pycurl.E_SSL_CIPHER})
_NOT_REACHED: Final = frozenset(
    {pycurl.E_COULDNT_RESOLVE_HOST, pycurl.E_COULDNT_RESOLVE_PROXY, pycurl.E_COULDNT_CONNECT}
)


class DownloadFailed(WorkFailed):
    """A URL could not be had; `transient` if another try may do better."""

    def __init__(self, url: str, reason: str, *, transient: bool = False) -> None:
        super().__init__(f"{public(url)} {reason}.")
        self.url = public(url)
        self.transient = transient


class Absent(DownloadFailed, NotThere):
    """There is nothing at a URL."""


class Forbidden(DownloadFailed, NotForUs):
    """We must not have what is at a URL."""


def public(url: str) -> str:
    """A URL for people, without credentials."""
    return shown(masked_url(_without_login(url)), 500)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The head of an answer; `url` is where redirects led to, names of headers are in lower case."""

    url: str
    status: int
    reason: str
    headers: Mapping[str, str]

    @property
    def is_encoded(self) -> bool:
        """Whether the server says that it packed the body, which nobody asked it to do."""
        return self.headers.get("content-encoding", "identity").lower() != "identity"

    def check(self, url: str, *further: int) -> None:
        """Refuse a status that is neither 200 nor one of these.

        Raises:
            DownloadFailed: with the status in words.
        """
        if self.status in (_OK, _NON_AUTHORITATIVE, *further):
            return
        failure = Absent if self.status in _ABSENT else Forbidden if self.status in _FORBIDDEN else DownloadFailed
        transient = self.status >= _SERVER_ERROR or self.status in _TRANSIENT
        reason = f"was answered with {self.status} {shown(self.reason)}".rstrip()
        raise failure(url, reason, transient=transient)


_Origin = tuple[str, str | None, int | None]
"""Scheme, host and port."""
OnAnswer = Callable[[Answer], None]
"""Called once, before any part of the body; what it raises ends the download."""
OnData = Callable[[bytes | bytearray], None]
"""Called with each part of the body; what it raises ends the download."""


class Transfers:
    """The connections to one upstream."""

    def __init__(self, feed: Feed, limits: Limits) -> None:
        self._feed: Final = feed
        self._limits: Final = limits
        _check_certificates(feed)
        self._origin: Final = _origin(_in_ascii(feed.url))
        parts = urlsplit(_in_ascii(feed.url))
        host = parts.hostname or ""
        self._user, self._password = feed.username, feed.password
        if self._user is None and parts.username is not None:
            self._user, self._password = unquote(parts.username), unquote(parts.password or "")
        self._guard: Final = FeedGuard([host, self._proxy_host() or host])
        self._beyond_proxy: Final = FeedGuard([host])
        self._places: Final = asyncio.Semaphore(feed.max_downloads or limits.downloads)
        self._loop: Final = asyncio.get_running_loop()
        self._multi: Final = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, feed.max_downloads or limits.downloads)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)
        self._timer: asyncio.TimerHandle | None = None
        self._idle: Final[dict[bool, list[pycurl.Curl]]] = {True: [], False: []}
        """Handles that wait to be used again: those that show the client certificate, and those that do not."""
        self._not_before: Final[dict[_Origin, float]] = {}
        self._running: Final[dict[pycurl.Curl, asyncio.Future[tuple[int, str]]]] = {}

    def close(self) -> None:
        """Close all connections; nothing may be under way."""
        self._set_timer(-1)
        for curl in (*self._idle[True], *self._idle[False]):
            curl.close()
        self._multi.close()

    async def get(self, url: str, headers: Mapping[str, str], on_answer: OnAnswer, on_data: OnData) -> Answer:
        """Ask for a URL, and follow redirects.

        Raises:
            DownloadFailed: there was no whole answer; or whatever `on_answer` and `on_data` raise.
        """
        try:
            asked = _in_ascii(url)
            _origin(asked)
        except ValueError:
            raise DownloadFailed(url, _NO_URL) from None
        pause = self._not_before.get(_origin(asked), 0.0) - self._loop.time() if self._not_before else 0.0
        if pause > 0:
            await asyncio.sleep(pause)
        async with self._places:
            for _ in range(self._limits.redirects + 1):
                exchange = _Exchange(url, asked, self._guard, self._proxy_host(), on_answer, on_data, self._limits)
                exchange.pace.fastest = self._feed.max_speed
                await self._exchanged(url, headers, exchange)
                if exchange.answer is not None:
                    return exchange.answer
                self._judge_redirect(url, asked, exchange.leads_to)
                asked = exchange.leads_to
        raise DownloadFailed(url, f"redirects more than {self._limits.redirects} times")

    def _judge_redirect(self, url: str, source: str, target: str) -> None:
        try:
            _origin(target)
            is_http = target.lower().startswith(("http://", "https://"))
        except ValueError:
            is_http = False
        if not is_http:
            raise DownloadFailed(url, "redirects to something that is no HTTP URL")
        if source.lower().startswith("https:") and not target.lower().startswith("https:"):
            raise DownloadFailed(
                url,
                f"redirects to {public(target)}, which is not encrypted; if that is meant, give the feed as http://",
            )

    def _judge_beyond_proxy(self, url: str, target: str) -> None:
        """Refuse an address that a proxy is to be asked for; it may well stand on this machine itself."""
        host = urlsplit(target).hostname or ""
        try:
            self._beyond_proxy.check("127.0.0.1" if is_loopback(host) else host, host)
        except ForbiddenAddress as error:
            raise DownloadFailed(url, f"leads where it must not: {error.strerror}") from None

    def _proxy_host(self) -> str | None:
        return urlsplit(self._feed.proxy).hostname if self._feed.proxy else None

    def _login(self, url: str) -> list[str]:
        """The header of RFC 7617, for the feed's own server alone."""
        if self._user is None or _origin(url) != self._origin:
            return []
        credentials = f"{self._user}:{self._password or ''}".encode()
        return [f"Authorization: Basic {base64.b64encode(credentials).decode()}"]

    def _shows_certificate(self, url: str) -> bool:
        """Whether the host of a URL may see who we are: the feed's own, and those that the operator named."""
        if not self._feed.ssl_client_cert:
            return False
        host = _origin(url)[1]
        return host == self._origin[1] or host in self._feed.ssl_client_cert_hosts

    def _with_token(self, url: str) -> str:
        """The URL as it is sent: below the feed, and only there, the feed's token goes with it."""
        token = self._feed.token
        if token is None or _origin(url) != self._origin:
            return url
        parts = urlsplit(url)
        if token in parts.query or not parts.path.startswith(urlsplit(self._feed.url).path):
            return url
        return f"{url}{'&' if parts.query else '?'}{token}"

    def _target(self, url: str) -> str:
        """What stands in the line of the request: the very bytes of the URL, which libcurl would spell anew."""
        scheme, host, path, query = _cut(url)
        if "/." in path:
            path = urljoin("http://host/", path).removeprefix("http://host")
        target = (path or "/") + query
        return f"{scheme}://{host.rpartition('@')[2]}{target}" if self._feed.proxy and scheme == "http" else target

    async def _exchanged(self, url: str, headers: Mapping[str, str], exchange: "_Exchange") -> None:
        """One request and its answer."""
        if self._feed.proxy:
            self._judge_beyond_proxy(url, exchange.url)
        shows = self._shows_certificate(exchange.url)
        curl = self._idle[shows].pop() if self._idle[shows] else self._new_handle(with_certificate=shows)
        lines = ["Accept-Encoding: identity", *(f"{name}: {value}" for name, value in headers.items())]
        address = self._with_token(exchange.url)
        curl.setopt(pycurl.URL, address)
        curl.setopt(pycurl.REQUEST_TARGET, self._target(address))
        curl.setopt(pycurl.HTTPHEADER, lines + self._login(exchange.url))
        curl.setopt(pycurl.HEADERFUNCTION, exchange.on_header)
        curl.setopt(pycurl.WRITEFUNCTION, exchange.on_body)
        curl.setopt(pycurl.OPENSOCKETFUNCTION, exchange.open_socket)
        ended = self._running[curl] = self._loop.create_future()
        try:
            async with asyncio.timeout(self._limits.answer_timeout) as exchange.deadline:
                self._multi.add_handle(curl)
                code, text = await ended
            exchange.end(code)
            exchange.hand_on()
            self._note_pause(url, exchange)
            if exchange.failure is not None:
                raise exchange.failure
            if code != pycurl.E_OK and not exchange.leads_to:
                raise self._failure(url, code, text, curl, exchange)
        except TimeoutError:
            exchange.hand_on()
            waited = f"stalled: nothing came for {self._limits.stall_timeout:g} seconds"
            if not exchange.head_is_whole:
                waited = f"did not answer within {self._limits.answer_timeout:g} seconds"
            raise DownloadFailed(url, waited, transient=True) from None
        finally:
            del self._running[curl]
            self._multi.remove_handle(curl)
            self._idle[shows].append(curl)

    def _note_pause(self, url: str, exchange: "_Exchange") -> None:
        """Leave a server alone for as long as it asks for, as far as it is believed."""
        if exchange.status in _TRANSIENT or exchange.status >= _SERVER_ERROR:
            asked = retry_after(exchange.headers.get("retry-after"), datetime.now(UTC))
            if asked is not None:
                pause = min(asked.total_seconds(), self._limits.longest_wait)
                self._not_before[_origin(url)] = self._loop.time() + pause

    def _failure(self, url: str, code: int, text: str, curl: pycurl.Curl, exchange: "_Exchange") -> DownloadFailed:
        """What libcurl could not do, in words."""
        connect_status, number = curl.getinfo(pycurl.HTTP_CONNECTCODE), curl.getinfo(pycurl.OS_ERRNO)
        transient = False
        if exchange.forbidden is not None:
            reason = f"leads where it must not: {exchange.forbidden.strerror}"
        elif connect_status and connect_status // 100 != 2:  # noqa: PLR2004 - the statuses of success
            reason = f"could not be asked for: the proxy answered {connect_status}"
        elif code == pycurl.E_PEER_FAILED_VERIFICATION:
            reason = f"has a certificate that is not trusted ({shown(text)}); its authority may be given as ssl_ca_cert"
        elif code == pycurl.E_URL_MALFORMAT:
            reason = _NO_URL
        elif code in _NOT_TLS:
            reason = f"could not be reached over TLS ({shown(text)})"
        else:
            transient = True
            if code == pycurl.E_OPERATION_TIMEDOUT:
                reason = f"could not be connected to within {self._limits.connect_timeout:g} seconds"
            elif code in _NOT_REACHED:
                reason = f"could not be connected to ({os.strerror(number) if number else shown(text)})"
            elif code == pycurl.E_PARTIAL_FILE or exchange.answer is not None:
                reason = "ended too early: the connection broke off"
            else:
                reason = f"answered what is not HTTP, or broke off ({shown(text)})"
        return DownloadFailed(url, reason, transient=transient)

    def _new_handle(self, *, with_certificate: bool) -> pycurl.Curl:
        curl, feed = pycurl.Curl(), self._feed
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.USERAGENT, f"pulpit/{__version__}")
        curl.setopt(pycurl.CONNECTTIMEOUT_MS, int(self._limits.connect_timeout * 1000))
        curl.setopt(pycurl.BUFFERSIZE, _READ_BUFFER)
        curl.setopt(pycurl.COOKIEFILE, "")  # cookies are kept while redirects are followed
        curl.setopt(pycurl.PROXY, feed.proxy or "")  # and no proxy of the environment
        if feed.proxy_username is not None:
            curl.setopt(pycurl.PROXYUSERNAME, feed.proxy_username)
            curl.setopt(pycurl.PROXYPASSWORD, feed.proxy_password or "")
        if feed.max_speed is not None:
            curl.setopt(pycurl.MAX_RECV_SPEED_LARGE, max(1, int(feed.max_speed)))
        trusted = ssl.get_default_verify_paths()
        for option, known in ((pycurl.CAINFO, trusted.cafile), (pycurl.CAPATH, trusted.capath)):
            if known:
                curl.setopt(option, known)
        if feed.ssl_ca_cert:
            curl.setopt(pycurl.CAINFO_BLOB, feed.ssl_ca_cert.encode())
            curl.setopt(pycurl.PROXY_CAINFO_BLOB, feed.ssl_ca_cert.encode())
        if not feed.ssl_validation:
            curl.setopt(pycurl.SSL_VERIFYPEER, 0)
            curl.setopt(pycurl.SSL_VERIFYHOST, 0)
        if with_certificate and feed.ssl_client_cert:
            curl.setopt(pycurl.SSLCERT_BLOB, feed.ssl_client_cert.encode())
            curl.setopt(pycurl.SSLKEY_BLOB, (feed.ssl_client_key or feed.ssl_client_cert).encode())
        return curl

    def _watch(self, what: int, fd: int, _multi: object, _data: object) -> None:
        """Watch a socket as libcurl wants it."""
        reads, writes = (pycurl.POLL_IN, pycurl.POLL_INOUT), (pycurl.POLL_OUT, pycurl.POLL_INOUT)
        if what in reads:
            self._loop.add_reader(fd, self._act, fd, pycurl.CSELECT_IN)
        else:
            self._loop.remove_reader(fd)
        if what in writes:
            self._loop.add_writer(fd, self._act, fd, pycurl.CSELECT_OUT)
        else:
            self._loop.remove_writer(fd)

    def _set_timer(self, milliseconds: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if milliseconds >= 0:
            self._timer = self._loop.call_later(milliseconds / 1000, self._act, pycurl.SOCKET_TIMEOUT, 0)

    def _act(self, fd: int, events: int) -> None:
        """Let libcurl go on, and hand out what it has ended."""
        self._multi.socket_action(fd, events)
        left = 1
        while left:
            left, good, bad = self._multi.info_read()
            for curl, code, text in [*((curl, pycurl.E_OK, "") for curl in good), *bad]:
                ended = self._running.get(curl)
                if ended is not None and not ended.done():
                    ended.set_result((code, text))


@dataclass(slots=True)
class TransferPace:
    """How fast a body comes."""

    limits: Limits
    fastest: float | None = None
    began: float = field(default_factory=time.monotonic)
    came: int = 0

    @property
    def slowest(self) -> float:
        """What is worth waiting for, in bytes per second."""
        return min(self.limits.slow_bytes_per_second, (self.fastest or float("inf")) / 2)

    def too_slow(self, came: int) -> bool:
        """Count bytes; true at the end of a window in which too few came."""
        self.came += came
        elapsed = time.monotonic() - self.began
        if elapsed < self.limits.slow_window:
            return False
        slow = self.came < self.slowest * elapsed
        self.began, self.came = time.monotonic(), 0
        return slow


@dataclass(slots=True)
class _Exchange:
    """A request and its answer; what is called by libcurl raises nothing."""

    asked: str
    """The URL before redirects, which sentences name."""
    url: str
    guard: FeedGuard
    proxy_host: str | None
    accept: OnAnswer
    take: OnData
    limits: Limits
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    pace: TransferPace = field(init=False)
    deadline: asyncio.Timeout = field(init=False)
    status: int = 0
    reason: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    head_is_whole: bool = False
    answer: Answer | None = None
    leads_to: str = ""
    """Where a redirect points to, once it has ended."""
    failure: Exception | None = None
    forbidden: ForbiddenAddress | None = None
    came: bytearray = field(default_factory=bytearray)
    unwanted: int = 0
    more_time_at: float = 0.0

    def __post_init__(self) -> None:
        self.pace = TransferPace(self.limits)

    def open_socket(self, _purpose: int, address: pycurl.CurlSockAddr) -> int:
        """Make the socket of one connection; no connection is made without it."""
        try:
            self.guard.check(str(address.addr[0]), self.proxy_host or urlsplit(self.url).hostname or "")
        except ForbiddenAddress as error:
            self.forbidden = error
            return int(pycurl.SOCKET_BAD)
        return socket.socket(address.family, address.socktype, address.protocol).detach()

    def on_header(self, line: bytes) -> None:
        """Read a line of the head, or of one before it: of a proxy, or of a status below 200."""
        if line.startswith(b"HTTP/"):
            _, status, reason = (*line.decode("latin-1").strip().split(" ", 2), "", "")[:3]
            self.status, self.reason, self.headers = int(status) if status.isdecimal() else 0, reason, {}
        elif b":" in line:
            name, _, value = line.decode("latin-1").partition(":")
            self.headers[name.strip().lower()] = value.strip()
        elif not line.strip() and self.status >= _OK:
            self.head_is_whole = True
            self._more_time()

    def on_body(self, data: bytes) -> int:
        """Take a part of the body, 16 KiB at most as libcurl has it; 0 ends the download."""
        if self.answer is None:
            self._answered()
        if self.failure is not None or self.answer is None:
            self.unwanted += len(data)
            return len(data) if self.unwanted <= _MOST_UNWANTED else 0
        self.came += data
        if self.pace.too_slow(len(data)):
            slow = f"came slower than {self.pace.slowest:.0f} bytes per second"
            self.failure = DownloadFailed(self.asked, slow, transient=True)
        if len(self.came) >= _HANDED_ON:
            self.hand_on()
        self._more_time()
        return len(data) if self.failure is None else 0

    def hand_on(self) -> None:
        """Give away what has come of the body."""
        came, self.came = self.came, bytearray()
        try:
            if came:
                self.take(came)
        except Exception as error:  # noqa: BLE001 - raised again by whoever waits for the end
            self.failure = error

    def end(self, code: int) -> None:
        """Note how it ended."""
        if self.failure is None and self._is_redirect() and self.head_is_whole:
            self.leads_to = _resolved(self.url, self.headers["location"])
            return
        if self.answer is None and code == pycurl.E_OK:
            self._answered()

    def _answered(self) -> None:
        if self._is_redirect():
            return
        self.answer = Answer(url=_without_login(self.url), status=self.status, reason=self.reason, headers=self.headers)
        try:
            self.accept(self.answer)
        except Exception as error:  # noqa: BLE001 - as above
            self.failure = error

    def _is_redirect(self) -> bool:
        return self.status in _REDIRECTS and "location" in self.headers

    def _more_time(self) -> None:
        now = self.loop.time()
        if now >= self.more_time_at:  # not with every part: timers cost more than parts
            self.deadline.reschedule(now + self.limits.stall_timeout)
            self.more_time_at = now + self.limits.stall_timeout / 8


def _in_ascii(url: str) -> str:
    """A URL with its other letters encoded, those of its host too (IDNA)."""
    return url if url.isascii() else str(URL(url))


def _without_login(url: str) -> str:
    return _LOGIN.sub("", url, count=1)


def _cut(url: str) -> tuple[str, str, str, str]:
    """Scheme, host with what belongs to it, path, and query with its question mark, byte for byte."""
    scheme, _, rest = url.partition("#")[0].partition("://")
    address, mark, query = rest.partition("?")
    host, slash, path = address.partition("/")
    return scheme.lower(), host, slash + path, mark + query


def _resolved(base: str, location: str) -> str:
    """Where a `Location` leads, as RFC 3986 resolves it and without another byte changed; it is Latin-1 as it came."""
    target = quote(location.encode("latin-1"), safe=_PRINTABLE).partition("#")[0]
    scheme, host, _, _ = _cut(base)
    if _ABSOLUTE.match(target):
        return target
    if target.startswith("//"):
        return f"{scheme}:{target}"
    return f"{scheme}://{host}{target}" if target.startswith("/") else urljoin(base, target)


def _origin(url: str) -> _Origin:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _check_certificates(feed: Feed) -> None:
    """Refuse PEM texts that cannot be used; nothing of them is told.

    Raises:
        WorkFailed: they cannot.
    """
    if feed.ssl_ca_cert:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=feed.ssl_ca_cert)
        except (ssl.SSLError, ValueError):
            raise WorkFailed("ssl_ca_cert cannot be used: it holds no certificate that can be read.") from None
    if not feed.ssl_client_cert:
        return
    try:
        shown_key = x509.load_pem_x509_certificate(feed.ssl_client_cert.encode()).public_key()
        key = load_pem_private_key((feed.ssl_client_key or feed.ssl_client_cert).encode(), None)
    except TypeError:
        reason = "the key has a password"
    except ValueError:
        reason = "they hold no certificate and key that can be read"
    else:
        if key.public_key() == shown_key:
            return
        reason = "the key is not the certificate's"
    raise WorkFailed(f"ssl_client_cert and ssl_client_key cannot be used: {reason}.")
