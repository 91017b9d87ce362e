"""The connections of webhooks: guarded sockets, proxies, and replies whose head is odd.

aiohttp's parser refuses a reply for a header that nobody needs. For a webhook the status decides, so what is odd in a
head is left out before the parser sees it:

    bytes ──▶ head complete? ──▶ plain: as it came
                                 odd: status line, framing and the few headers that mean something here ──▶ aiohttp
"""

import asyncio
import re
import socket
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler

from pulpit.net.addresses import AddressGuard

MOST_CONNECTIONS: Final = 500
LOOKUPS: Final = 8
"""Resolver threads; names whose lookup hangs delay only other lookups."""
LONGEST_HEAD: Final = 1024 * 1024
"""Bytes of a reply's status line and headers together, and of each: aiohttp's `max_line_size` and `max_field_size`."""
MOST_HEADERS: Final = 10_000
"""Headers of a reply: aiohttp's `max_headers`. Some servers send hundreds, or 9 kB in one."""

connected: Final[ContextVar[bool]] = ContextVar("connected", default=False)
"""Whether the current request opened a new connection instead of reusing one."""

_STATUS_LINE: Final = re.compile(rb"HTTP/(\d(?:\.\d)?)[ \t]+(\d{3})(?:[ \t]([^\r\n]*))?\Z")
_PLAIN_HEAD: Final = re.compile(
    rb"HTTP/1\.[01] (?!1\d\d|204)\d{3}(?: [\x20-\x7e]*)?\r\n(?:[A-Za-z0-9_-]+:[\t\x20-\x7e]*\r\n)+\r\n\Z"
)
_END_OF_HEAD: Final = re.compile(rb"\r?\n\r?\n")
_FRAMING: Final = re.compile(rb"\n((?:content-length|transfer-encoding):[^\r\n]*)", re.IGNORECASE)
_PLAIN_FRAMING: Final = re.compile(rb"content-length: ?[0-9]{1,18}\Z|transfer-encoding: ?chunked\Z", re.IGNORECASE)
_TEXT: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*\Z")
_KEPT: Final = frozenset({b"connection", b"location", b"retry-after"})
KNOWN: Final = 256
"""Heads whose cleaned form is cached: a receiver sends the same one many times a second."""
_LONGEST_KNOWN: Final = 1_000
_LONGEST_PLAIN: Final = 8000
_LONGEST_LENGTH: Final = 18
"""Digits of a `Content-Length` that is still plausible."""


def open_session(guard: AddressGuard) -> aiohttp.ClientSession:
    """Open a connection pool; its user limits the time of each request."""
    return aiohttp.ClientSession(
        connector=_Connector(
            limit=MOST_CONNECTIONS, resolver=Resolver(), socket_factory=guarded_sockets(guard), ttl_dns_cache=10
        ),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        max_line_size=LONGEST_HEAD,
        max_field_size=LONGEST_HEAD,
        max_headers=MOST_HEADERS,
    )


class Resolver(AbstractResolver):
    """Resolves names in threads of its own, so that an unresponsive name server delays nothing else."""

    def __init__(self) -> None:
        self._threads: Final = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Resolve a name.

        Raises:
            OSError: the name has no address.
        """
        loop = asyncio.get_running_loop()
        answers = await loop.run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
        )
        return [_result(host, answer) for answer in answers]

    async def close(self) -> None:
        """Release the threads; one that still waits for a reply ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def guarded_sockets(guard: AddressGuard) -> Callable[[tuple[Any, ...]], socket.socket]:
    """Return aiohttp's `socket_factory` for a connector; every connection goes through it.

    The returned function raises `ForbiddenAddress`.
    """

    def make(addrinfo: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, destination = addrinfo
        guard.check(destination[0])
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made

    return make


def _result(host: str, answer: tuple[Any, ...]) -> ResolveResult:
    family, _, protocol, _, destination = answer
    address = destination[0]
    if len(destination) > 2 and destination[3]:  # noqa: PLR2004 - a scope: link-local addresses mean nothing without it
        address, _ = socket.getnameinfo(destination, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(hostname=host, host=address, port=destination[1], family=family, proto=protocol, flags=flags)


class _Connector(aiohttp.TCPConnector):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory = lambda: _TolerantReplies(self._loop)  # type: ignore[assignment] # aiohttp has no public way

    async def _create_connection(self, *args: Any, **options: Any) -> ResponseHandler:
        connected.set(True)  # in the context of the request that waits for it
        return await super()._create_connection(*args, **options)


class _TolerantReplies(ResponseHandler):
    """Cleans reply heads so that the parser accepts them; bodies pass unchanged."""

    _head: bytearray | None = None
    """The part of a head received so far, or null during a body."""
    _seen = 0
    """Bytes of the interim heads (1xx) of one reply."""

    def set_response_params(self, **params: Any) -> None:
        self._head, self._seen = bytearray(), 0
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        if self._head is None:
            self._pass_on(data)
            return
        if not self._head and len(data) < _LONGEST_KNOWN and (alone := _lone_head(data)) is not None:
            self._head = None
            self._pass_on(alone)
            return
        looked_at = max(0, len(self._head) - 3)
        self._head += data
        if not b"HTTP/".startswith(self._head[:64].lstrip(b"\r\n")[:5]):
            self._take_head(len(self._head))  # the parser will report that it is not HTTP
            return
        while end := _END_OF_HEAD.search(self._head, looked_at):
            if not _is_interim(self._head[: end.end()]) or self._seen > LONGEST_HEAD:
                self._take_head(end.end())
                return
            self._seen += end.end()
            looked_at = 0
            del self._head[: end.end()]
        if len(self._head) > LONGEST_HEAD:
            self._cut()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._head and b"\n" in self._head:
            self._cut()
        super().connection_lost(exc)

    def _take_head(self, length: int) -> None:
        """Pass on head and body separately, so that an invalid body does not hide the status."""
        head, rest = bytes((self._head or b"")[:length]), bytes((self._head or b"")[length:])
        self._head = None
        self._pass_on(_readable(head))
        if rest:
            self._pass_on(rest)

    def _cut(self) -> None:
        """Use the status line alone: the rest of the head never ends, or is too long."""
        line = bytes(self._head or b"").lstrip(b"\r\n").partition(b"\n")[0]
        self._head = None
        self.force_close()
        self._pass_on(_readable(line + b"\nContent-Length: 0\r\n\r\n"))

    def _pass_on(self, data: bytes) -> None:
        super().data_received(data)
        if self.exception() is not None and self._payload is not None:
            self._payload.feed_eof()  # aiohttp would wait for ever to read an invalid body


@lru_cache(KNOWN)
def _lone_head(data: bytes) -> bytes | None:
    """Return the readable form of a reply that came whole, and is nothing but a head; null for any other."""
    end = _END_OF_HEAD.search(data)
    if end is None or end.end() != len(data) or not data.startswith(b"HTTP/") or _is_interim(data):
        return None
    return _made_readable(data)


def _is_interim(head: bytes | bytearray) -> bool:
    status = _STATUS_LINE.match(head.lstrip(b"\r\n").partition(b"\n")[0].rstrip())
    return status is not None and status[2].startswith(b"1") and status[2] != b"101"


def _readable(head: bytes) -> bytes:
    return _known_readable(head) if len(head) < _LONGEST_KNOWN else _made_readable(head)


def _made_readable(head: bytes) -> bytes:
    """Return a regular head unchanged, else its relevant parts; what is not HTTP is left to the parser."""
    if len(head) < _LONGEST_PLAIN and _PLAIN_HEAD.match(head):
        framing = _FRAMING.findall(head)
        if not framing or (len(framing) == 1 and _PLAIN_FRAMING.match(framing[0])):
            return head
    first, _, rest = head.lstrip(b"\r\n").partition(b"\n")
    status = _STATUS_LINE.match(first.rstrip())
    if status is None:
        return head
    version = b"1.0" if status[1] == b"1.0" else b"1.1"
    phrase = bytes(byte for byte in (status[3] or b"")[:200] if 0x20 <= byte < 0x7F)  # noqa: PLR2004 - printable ASCII
    fields: list[tuple[bytes, bytes]] = []
    for line in rest.split(b"\n"):
        name, colon, text = line.partition(b":")
        if colon and not line[:1].isspace():  # skip lines without a colon and folded ones
            fields.append((name.strip().lower(), text.strip()))
    kept = [(name, text) for name, text in fields if name in _KEPT and _TEXT.match(text)]
    lines = [b"HTTP/%b %b %b" % (version, status[2], phrase)]
    lines += [b"%b: %b" % field for field in [*kept, *_framing(status[2], fields)]]
    return b"\r\n".join(lines) + b"\r\n\r\n"


_known_readable: Final = lru_cache(KNOWN)(_made_readable)


def _framing(status: bytes, fields: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Decide where the body ends: at an unambiguous length, after the last chunk, or with the connection."""
    if status == b"204":
        return []
    texts: dict[bytes, set[bytes]] = {b"content-length": set(), b"transfer-encoding": set()}
    for name, text in fields:
        if name in texts:
            texts[name].update(part.strip().lower() for part in text.split(b","))
    if b"chunked" in texts[b"transfer-encoding"]:
        return [(b"transfer-encoding", b"chunked")]
    lengths = texts[b"content-length"]
    length = lengths.pop() if len(lengths) == 1 else b""
    if not texts[b"transfer-encoding"] and length.isdigit() and len(length) <= _LONGEST_LENGTH:
        return [(b"content-length", length)]
    return [(b"connection", b"close")]
