"""HTTP by libcurl on the event loop: how an upstream is reached, where redirects may lead, and errors as sentences.

dnf and curl use libcurl too, so a server that they can read can be mirrored. Redirects are followed here one by one,
each to the exact bytes that the server sent: so every step is checked, and the login of a feed is sent to its own
server only.
"""

import asyncio
import base64
import os
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import unquote, urljoin, urlsplit

import pycurl
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from yarl import URL

from pulpit import __version__
from pulpit.backoff import retry_after
from pulpit.content.feed import Feed
from pulpit.content.limits import KIB, Limits
from pulpit.errors import WorkFailed
from pulpit.net.addresses import FeedGuard, ForbiddenAddress, is_loopback
from pulpit.net.curl import CurlLoop, trust_system
from pulpit.repositories.exchange import Answer, DownloadFailed, Exchange, OnAnswer, OnData, TransferPace, cut, public
from pulpit.text import shown

_READ_BUFFER: Final = 512 * KIB
_NO_URL: Final = "is no URL that can be asked for, or leads to none"
_NOT_TLS: Final = frozenset({pycurl.E_SSL_CONNECT_ERROR, pycurl.E_SSL_CERTPROBLEM, pycurl.E_SSL_CIPHER})
_NOT_REACHED: Final = frozenset(
    {pycurl.E_COULDNT_RESOLVE_HOST, pycurl.E_COULDNT_RESOLVE_PROXY, pycurl.E_COULDNT_CONNECT}
)


_Origin = tuple[str, str | None, int | None]
"""Scheme, host and port."""


class Transfers:
    """The connections to one upstream."""

    def __init__(self, feed: Feed, limits: Limits) -> None:
        self._feed: Final = feed
        self._limits: Final = limits
        _check_certificates(feed)
        parts = urlsplit(_in_ascii(feed.url))
        self._origin: Final = _origin(_in_ascii(feed.url))
        self._root: Final = f"{parts.scheme}://{parts.netloc}/"
        host = parts.hostname or ""
        self._user, self._password = feed.username, feed.password
        if self._user is None and parts.username is not None:
            self._user, self._password = unquote(parts.username), unquote(parts.password or "")
        self._guard: Final = FeedGuard([host, self._proxy_host() or host])
        self._beyond_proxy: Final = FeedGuard([host])
        self._places: Final = asyncio.Semaphore(feed.max_downloads or limits.downloads)
        self._loop: Final = asyncio.get_running_loop()
        self._curls: Final = CurlLoop(feed.max_downloads or limits.downloads)
        self._idle: Final[dict[bool, list[pycurl.Curl]]] = {True: [], False: []}
        """Idle handles for reuse, with and without the client certificate."""
        self._not_before: Final[dict[_Origin, float]] = {}
        self._running: Final[dict[pycurl.Curl, Exchange]] = {}
        self._tick: Final = min(limits.answer_timeout, limits.stall_timeout) / 8
        self._lookout: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Close all connections; no request may be running."""
        if self._lookout is not None:
            self._lookout.cancel()
        for curl in (*self._idle[True], *self._idle[False]):
            curl.close()
        self._curls.close()

    async def get(self, url: str, headers: Mapping[str, str], on_answer: OnAnswer, on_data: OnData) -> Answer:
        """Request a URL, and follow redirects.

        Raises:
            DownloadFailed: there was no complete response; or whatever `on_answer` and `on_data` raise.
        """
        try:
            asked = _in_ascii(url)
            origin = self._origin_of(asked)
        except ValueError:
            raise DownloadFailed(url, _NO_URL) from None
        pause = self._not_before.get(origin, 0.0) - self._loop.time() if self._not_before else 0.0
        if pause > 0:
            await asyncio.sleep(pause)
        async with self._places:
            for _ in range(self._limits.redirects + 1):
                exchange = Exchange(
                    asked=url,
                    url=asked,
                    guard=self._guard,
                    proxy_host=self._proxy_host(),
                    accept=on_answer,
                    take=on_data,
                    limits=self._limits,
                    pace=TransferPace(self._limits, self._feed.max_speed),
                    ended=self._loop.create_future(),
                    deadline=self._loop.time() + self._limits.answer_timeout,
                )
                await self._exchanged(url, headers, exchange)
                if exchange.answer is not None:
                    return exchange.answer
                self._judge_redirect(url, asked, exchange.leads_to)
                asked = exchange.leads_to
        raise DownloadFailed(url, f"redirects more than {self._limits.redirects} times")

    def _origin_of(self, url: str) -> _Origin:
        """Return scheme, host and port of a URL, cached because most URLs are below the feed.

        Raises:
            ValueError: it is not a URL.
        """
        return self._origin if url.startswith(self._root) else _origin(url)

    def _judge_redirect(self, url: str, source: str, target: str) -> None:
        try:
            self._origin_of(target)
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
        """Reject a forbidden address that a proxy would connect to; it may be on this machine itself."""
        host = urlsplit(target).hostname or ""
        try:
            self._beyond_proxy.check("127.0.0.1" if is_loopback(host) else host, host)
        except ForbiddenAddress as error:
            raise DownloadFailed(url, f"leads where it must not: {error.strerror}") from None

    def _proxy_host(self) -> str | None:
        return urlsplit(self._feed.proxy).hostname if self._feed.proxy else None

    def _login(self, url: str) -> list[str]:
        """Return the header of RFC 7617, for the feed's own server only."""
        if self._user is None or self._origin_of(url) != self._origin:
            return []
        credentials = f"{self._user}:{self._password or ''}".encode()
        return [f"Authorization: Basic {base64.b64encode(credentials).decode()}"]

    def _shows_certificate(self, url: str) -> bool:
        """Whether the client certificate may be sent to the URL's host: the feed's or one that the operator named."""
        if not self._feed.ssl_client_cert:
            return False
        host = self._origin_of(url)[1]
        return host == self._origin[1] or host in self._feed.ssl_client_cert_hosts

    def _with_token(self, url: str) -> str:
        """Return the URL to send: the feed's token is added below the feed only."""
        token = self._feed.token
        if token is None or self._origin_of(url) != self._origin:
            return url
        parts = urlsplit(url)
        if token in parts.query or not parts.path.startswith(urlsplit(self._feed.url).path):
            return url
        return f"{url}{'&' if parts.query else '?'}{token}"

    def _target(self, url: str) -> str:
        """Return the request target: the URL's exact bytes, which libcurl would otherwise normalise."""
        scheme, host, path, query = cut(url)
        if "/." in path:
            path = urljoin("http://host/", path).removeprefix("http://host")
        target = (path or "/") + query
        return f"{scheme}://{host.rpartition('@')[2]}{target}" if self._feed.proxy and scheme == "http" else target

    async def _exchanged(self, url: str, headers: Mapping[str, str], exchange: Exchange) -> None:
        """Send one request and receive its response."""
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
        self._running[curl] = exchange
        if self._lookout is None:
            self._lookout = self._loop.call_later(self._tick, self._look_out)
        try:
            self._curls.start(curl, exchange.ended)
            code, text = await exchange.ended
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
            self._curls.stop(curl)
            self._idle[shows].append(curl)

    def _note_pause(self, url: str, exchange: Exchange) -> None:
        """Respect a server's `Retry-After`, up to a limit."""
        if exchange.is_transient:
            asked = retry_after(exchange.headers.get("retry-after"), datetime.now(UTC))
            if asked is not None:
                pause = min(asked.total_seconds(), self._limits.longest_wait)
                self._not_before[self._origin_of(url)] = self._loop.time() + pause

    def _failure(self, url: str, code: int, text: str, curl: pycurl.Curl, exchange: Exchange) -> DownloadFailed:
        """Return libcurl's error as a sentence."""
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
        curl.setopt(pycurl.COOKIEFILE, "")  # keep cookies while redirects are followed
        curl.setopt(pycurl.PROXY, feed.proxy or "")  # never a proxy from the environment
        if feed.proxy_username is not None:
            curl.setopt(pycurl.PROXYUSERNAME, feed.proxy_username)
            curl.setopt(pycurl.PROXYPASSWORD, feed.proxy_password or "")
        if feed.max_speed is not None:
            curl.setopt(pycurl.MAX_RECV_SPEED_LARGE, max(1, int(feed.max_speed)))
        trust_system(curl)
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

    def _look_out(self) -> None:
        """End the transfers that have timed out; one timer for all is cheaper than one for each."""
        now = self._loop.time()
        for exchange in self._running.values():
            if exchange.deadline <= now and not exchange.ended.done():
                exchange.ended.set_exception(TimeoutError())
        self._lookout = self._loop.call_later(self._tick, self._look_out) if self._running else None


def _in_ascii(url: str) -> str:
    """Encode a URL's non-ASCII characters, in its host too (IDNA)."""
    return url if url.isascii() else str(URL(url))


def _origin(url: str) -> _Origin:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _check_certificates(feed: Feed) -> None:
    """Reject invalid PEM texts, without quoting them.

    Raises:
        WorkFailed: they cannot be used.
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
