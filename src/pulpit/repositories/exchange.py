"""A request and its response, as libcurl reports them: the head, the body in parts, and errors as sentences.

A failure is transient (the connection broke, the transfer stalled, the server says 5xx) and worth a retry, or
permanent (404, wrong size, wrong checksum).
"""

import re
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, urljoin, urlsplit

import pycurl

from pulpit.content.limits import KIB, Limits
from pulpit.content.port import NotForUs, NotThere
from pulpit.errors import WorkFailed
from pulpit.net.addresses import FeedGuard, ForbiddenAddress
from pulpit.net.curl import Ended
from pulpit.text import masked_url, shown

PARTIAL_CONTENT: Final = 206
NOT_MODIFIED: Final = 304
RANGE_NOT_SATISFIABLE: Final = 416

_OK: Final = 200
_NON_AUTHORITATIVE: Final = 203
"""What a proxy may turn a 200 into."""
_REDIRECTS: Final = frozenset(range(300, 400)) - {NOT_MODIFIED}
_FORBIDDEN: Final = frozenset({401, 403, 451})
_ABSENT: Final = frozenset({404, 410})
_SERVER_ERROR: Final = 500
_TRANSIENT: Final = frozenset({408, 425, 429})
_MOST_UNWANTED: Final = 64 * KIB
"""Bytes of an unneeded body that are read so that its connection can be reused."""
_HANDED_ON: Final = 256 * KIB
"""Bytes of a body that are handed on at a time: libcurl's own parts are small."""
_PRINTABLE: Final = "".join(map(chr, range(0x21, 0x7F)))
_ABSOLUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_EMPTY_LINES: Final = (b"\r\n", b"\n")
_LOGIN: Final = re.compile(r"(?<=://)[^/?#]*@")


class DownloadFailed(WorkFailed):
    """A URL could not be downloaded; `transient` if a retry may succeed."""

    def __init__(self, url: str, reason: str, *, transient: bool = False) -> None:
        super().__init__(f"{public(url)} {reason}.")
        self.url = public(url)
        self.transient = transient


class Absent(DownloadFailed, NotThere):
    """Nothing exists at a URL (404, 410)."""


class Forbidden(DownloadFailed, NotForUs):
    """Access to a URL is forbidden."""


def public(url: str) -> str:
    """Return a URL without credentials, for users."""
    return shown(masked_url(without_login(url)), 500)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The head of a response; `url` is the final one after redirects, header names are in lower case."""

    url: str
    status: int
    reason: str
    headers: Mapping[str, str]

    @property
    def is_encoded(self) -> bool:
        """Whether the server says that it compressed the body, which was not requested."""
        return self.headers.get("content-encoding", "identity").lower() != "identity"

    def check(self, url: str, *further: int) -> None:
        """Reject a status that is neither 200 nor one of these.

        Raises:
            DownloadFailed: with the status in words.
        """
        if self.status in (_OK, _NON_AUTHORITATIVE, *further):
            return
        failure = Absent if self.status in _ABSENT else Forbidden if self.status in _FORBIDDEN else DownloadFailed
        transient = self.status >= _SERVER_ERROR or self.status in _TRANSIENT
        reason = f"was answered with {self.status} {shown(self.reason)}".rstrip()
        raise failure(url, reason, transient=transient)


OnAnswer = Callable[[Answer], None]
"""Called once, before any part of the body; an exception ends the download."""
OnData = Callable[[bytes], None]
"""Called with each part of the body; an exception ends the download."""


@dataclass(slots=True)
class TransferPace:
    """The speed at which a body arrives."""

    limits: Limits
    fastest: float | None = None
    began: float = field(default_factory=time.monotonic)
    came: int = 0

    @property
    def slowest(self) -> float:
        """The lowest acceptable speed, in bytes per second."""
        return min(self.limits.slow_bytes_per_second, (self.fastest or float("inf")) / 2)

    def too_slow(self, came: int) -> bool:
        """Count bytes; true at the end of a window in which too few arrived."""
        self.came += came
        elapsed = time.monotonic() - self.began
        if elapsed < self.limits.slow_window:
            return False
        slow = self.came < self.slowest * elapsed
        self.began, self.came = time.monotonic(), 0
        return slow


@dataclass(slots=True)
class Exchange:
    """A request and its response; the callbacks for libcurl raise nothing."""

    asked: str
    """The URL before redirects, for messages."""
    url: str
    guard: FeedGuard
    proxy_host: str | None
    accept: OnAnswer
    take: OnData
    limits: Limits
    pace: TransferPace
    ended: Ended
    """libcurl's final result: its code and text."""
    deadline: float
    """The time limit by the event loop's clock; enforced by whoever awaits the end."""
    head: list[bytes] = field(default_factory=list)
    status: int = 0
    reason: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    head_is_whole: bool = False
    answer: Answer | None = None
    leads_to: str = ""
    """The target of a redirect, once it has ended."""
    failure: Exception | None = None
    forbidden: ForbiddenAddress | None = None
    parts: list[bytes] = field(default_factory=list)
    """Received parts of the body that are not handed on yet."""
    waiting: int = 0
    """Bytes of these parts."""
    unwanted: int = 0

    @property
    def is_transient(self) -> bool:
        """Whether the status says that a retry may succeed."""
        return self.status in _TRANSIENT or self.status >= _SERVER_ERROR

    def open_socket(self, _purpose: int, address: pycurl.CurlSockAddr) -> int:
        """Create the socket of a connection; every connection goes through here."""
        try:
            self.guard.check(str(address.addr[0]), self.proxy_host or urlsplit(self.url).hostname or "")
        except ForbiddenAddress as error:
            self.forbidden = error
            return int(pycurl.SOCKET_BAD)
        return socket.socket(address.family, address.socktype, address.protocol).detach()

    def on_header(self, line: bytes) -> None:
        """Handle a header line, of this response or an earlier one: a proxy's, or one with a status below 200."""
        self.head.append(line)
        if line in _EMPTY_LINES:
            self._read_head()

    def _read_head(self) -> None:
        for line in b"".join(self.head).decode("latin-1").split("\n"):
            name, colon, value = line.partition(":")
            if line.startswith("HTTP/"):
                _, status, reason = (*line.strip().split(" ", 2), "", "")[:3]
                self.status, self.reason, self.headers = int(status) if status.isdecimal() else 0, reason, {}
            elif colon:
                self.headers[name.strip().lower()] = value.strip()
        self.head.clear()
        if self.status >= _OK:
            self.head_is_whole = True
            self._more_time()

    def on_body(self, data: bytes) -> int:
        """Handle a part of the body, at most 16 KiB by libcurl; 0 ends the download."""
        if self.answer is None:
            self._answered()
        if self.failure is not None or self.answer is None:
            self.unwanted += len(data)
            return len(data) if self.unwanted <= _MOST_UNWANTED else 0
        self.parts.append(data)
        self.waiting += len(data)
        if self.pace.too_slow(len(data)):
            slow = f"came slower than {self.pace.slowest:.0f} bytes per second"
            self.failure = DownloadFailed(self.asked, slow, transient=True)
        if self.waiting >= _HANDED_ON:
            self.hand_on()
        self._more_time()
        return len(data) if self.failure is None else 0

    def hand_on(self) -> None:
        """Hand on what has been received of the body."""
        parts, self.parts, self.waiting = self.parts, [], 0
        try:
            if parts:
                self.take(b"".join(parts))
        except Exception as error:  # noqa: BLE001 - raised again where the end is awaited
            self.failure = error

    def end(self, code: int) -> None:
        """Record how it ended."""
        if self.failure is None and self._is_redirect() and self.head_is_whole:
            self.leads_to = resolved(self.url, self.headers["location"])
            return
        if self.answer is None and code == pycurl.E_OK:
            self._read_head()
            self._answered()

    def _answered(self) -> None:
        if self._is_redirect():
            return
        self.answer = Answer(url=without_login(self.url), status=self.status, reason=self.reason, headers=self.headers)
        try:
            self.accept(self.answer)
        except Exception as error:  # noqa: BLE001 - as above
            self.failure = error

    def _is_redirect(self) -> bool:
        return self.status in _REDIRECTS and "location" in self.headers

    def _more_time(self) -> None:
        self.deadline = self.ended.get_loop().time() + self.limits.stall_timeout


def without_login(url: str) -> str:
    """Return a URL without user and password."""
    return _LOGIN.sub("", url, count=1)


def cut(url: str) -> tuple[str, str, str, str]:
    """Split a URL into scheme, authority, path, and query with its question mark, byte for byte."""
    scheme, _, rest = url.partition("#")[0].partition("://")
    address, mark, query = rest.partition("?")
    host, slash, path = address.partition("/")
    return scheme.lower(), host, slash + path, mark + query


def resolved(base: str, location: str) -> str:
    """Resolve a `Location` by RFC 3986 without changing any byte; it is Latin-1 as received."""
    target = quote(location.encode("latin-1"), safe=_PRINTABLE).partition("#")[0]
    scheme, host, _, _ = cut(base)
    if _ABSOLUTE.match(target):
        return target
    if target.startswith("//"):
        return f"{scheme}:{target}"
    return f"{scheme}://{host}{target}" if target.startswith("/") else urljoin(base, target)
