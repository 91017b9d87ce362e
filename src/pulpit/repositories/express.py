"""The short way for small files: a request and its plain answer on a connection that stays open.

A general HTTP client spends more time on a file of a few KiB than the network does. Here only the plainest answer is
understood: status 200, a length that is the expected one, nothing encoded. Anything else is a surprise: `None`, and
that server is asked in the general way from then on, which follows redirects, tries again and says what is wrong. So
nothing fails here, and nothing is believed: whoever asked checks the bytes.
"""

import asyncio
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, cast

from pulpit.content.limits import KIB, Limits

_MOST_HEAD: Final = 16 * KIB
_HEAD_END: Final = b"\r\n\r\n"
_TARGET: Final = re.compile(r"[!-~]*\Z")
_PLAIN: Final = re.compile(rb"HTTP/1\.1 200( |\Z)")
_LENGTH: Final = re.compile(rb"[0-9]{1,9}\Z")
_SURPRISING: Final = frozenset({b"transfer-encoding", b"content-encoding", b"content-range"})


class Express:
    """Connections to servers that answer plainly.

    `headers` go with every request, `tls` is as aiohttp has it, and `may_ask` judges the address that was connected to.
    """

    def __init__(
        self,
        limits: Limits,
        headers: Mapping[str, str],
        tls: ssl.SSLContext | bool,
        may_ask: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._may_ask: Final = may_ask
        self._limits: Final = limits
        self._headers: Final = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._tls: Final = tls
        self._idle: Final[dict[str, list[_Line]]] = {}
        self._surprising: Final[set[str]] = set()

    async def content(self, url: str, size: int, headers: Mapping[str, str]) -> bytes | None:
        """The body of so many bytes that a URL was answered with, or `None`."""
        scheme, _, rest = url.partition("://")
        server, _, target = rest.partition("/")
        origin = f"{scheme}://{server}"
        if origin in self._surprising or "@" in server or not _TARGET.match(target):
            return None
        further = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        request = f"GET /{target} HTTP/1.1\r\nHost: {server}\r\n{self._headers}{further}\r\n"
        body = await self._answered(origin, request.encode(), size)
        if body is None:
            self._surprising.add(origin)
            _close(self._idle.pop(origin, []))
        return body

    def close(self) -> None:
        """Close all connections."""
        for lines in self._idle.values():
            _close(lines)
        self._idle.clear()

    async def _answered(self, origin: str, request: bytes, size: int) -> bytes | None:
        line, body, clock = None, None, asyncio.get_running_loop().time
        patience = min(self._limits.stall_timeout, self._limits.answer_timeout)
        latest = clock() + patience + size / self._limits.slow_bytes_per_second
        try:
            async with asyncio.timeout(patience) as deadline:
                line = self._free(origin) or await self._connect(origin)
                body = await line.ask(request, size, lambda: deadline.reschedule(min(latest, clock() + patience)))
        except OSError:  # those of time and of TLS are such too
            body = None
        finally:
            if line is not None and body is not None and line.is_free:
                self._idle.setdefault(origin, []).append(line)
            elif line is not None:
                line.close()
        return body

    def _free(self, origin: str) -> "_Line | None":
        """A connection that its server did not close meanwhile."""
        idle = self._idle.get(origin, [])
        while idle:
            line = idle.pop()
            if line.is_free:
                return line
        return None

    async def _connect(self, origin: str) -> "_Line":
        scheme, _, server = origin.partition("://")
        host, colon, port = server.rpartition(":")
        if not colon or not port.isdigit():
            host, port = server, "443" if scheme == "https" else "80"
        loop = asyncio.get_running_loop()
        tls = None if scheme == "http" else self._tls
        transport, line = await loop.create_connection(_Line, host.strip("[]"), int(port), ssl=tls)
        if not self._may_ask(transport.get_extra_info("peername")[0]):
            line.close()
            raise ConnectionAbortedError
        return line


class _Line(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[bytes | None] | None = None
        self._came = bytearray()
        self._size = 0
        self._start = 0
        """Where the body begins, once the head is judged."""
        self._stays = True
        self._on_part: Callable[[], None] = lambda: None
        self.is_free = True
        """Whether another request may follow."""

    def ask(self, request: bytes, size: int, on_part: Callable[[], None]) -> "asyncio.Future[bytes | None]":
        """Send a request; the answer is its body of so many bytes, or `None`; `on_part` is told of a part of it."""
        self._answer = asyncio.get_running_loop().create_future()
        self._came.clear()
        self._on_part = on_part
        self._size, self._start, self.is_free = size, 0, False
        if self._transport is None:
            self._settle(None)
        else:
            self._transport.write(request)
        return self._answer

    def close(self) -> None:
        """Break the connection off."""
        self.is_free = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the port's form
        """End."""
        self._transport, self.is_free = None, False
        self._settle(None)

    def data_received(self, data: bytes) -> None:
        """Take what came, and settle the answer once it is whole or cannot be one."""
        self._came += data
        if not self._start and not self._judged():
            self._on_part()
            return
        missing = self._size - (len(self._came) - self._start)
        if missing < 0 or self.is_free:
            self._refuse()
        elif missing == 0:
            self.is_free = self._stays
            self._settle(bytes(self._came[self._start :]))
        else:
            self._on_part()

    def _judged(self) -> bool:
        """Whether the head is whole and promises what is wanted."""
        end = self._came.find(_HEAD_END)
        if end < 0:
            if len(self._came) > _MOST_HEAD:
                self._refuse()
            return False
        promised = Promise.of(bytes(self._came[:end]))
        if promised is None or promised.size != self._size:
            self._refuse()
            return False
        self._start, self._stays = end + len(_HEAD_END), promised.stays
        return True

    def _refuse(self) -> None:
        self.close()
        self._settle(None)

    def _settle(self, body: bytes | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(body)


@dataclass(frozen=True, slots=True)
class Promise:
    """What the head of a plain answer promises: a body of so many bytes, and whether the connection stays open."""

    size: int
    stays: bool

    @classmethod
    def of(cls, head: bytes) -> "Promise | None":
        """Read a head without its last line end (RFC 9112); `None` if anything in it is not plain."""
        status, *lines = head.split(b"\r\n")
        if not _PLAIN.match(status):
            return None
        fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
        lengths = [value for name, value in fields if name == b"content-length"]
        if len(lengths) != 1 or not _LENGTH.match(lengths[0]) or any(name in _SURPRISING for name, _ in fields):
            return None
        return cls(int(lengths[0]), all(value.lower() != b"close" for name, value in fields if name == b"connection"))


def _close(lines: "list[_Line]") -> None:
    for line in lines:
        line.close()
