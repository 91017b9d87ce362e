"""The NATS connection that all nats listeners share: opened at first use, and again after it was lost.

Messages of all listeners are in flight on it together; acknowledgements arrive at an inbox of ours.
"""

import asyncio
import contextlib
import json
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import DiscardPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, NotFoundError

from pulpit.net.tls import in_words
from pulpit.text import one_line, system_reason

CONNECT_TIMEOUT: Final = 10.0
"""Seconds for one server to answer, with TLS and the login."""
DUPLICATE_WINDOW: Final = 600.0
"""Duplicate window, in seconds, of a stream that is created here."""
MOST_PENDING: Final = 1_000
"""Unacknowledged messages of all listeners."""
CLOSE_TIMEOUT: Final = 3.0
PING_S: Final = 10
"""Seconds between pings; a server is given up after two unanswered ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NatsServers:
    """How to reach the servers."""

    urls: tuple[str, ...]
    """`nats://host:port` or `tls://host:port`, in the order in which they are tried; without secrets."""
    tls: ssl.SSLContext | None = None
    username: str = ""
    password: str = field(default="", repr=False)
    credentials: str = ""
    """Path of a file with a JWT and its key."""


class NatsUnavailable(Exception):
    """No server can be used now; the text is a sentence."""


Acknowledgement = asyncio.Future[Mapping[str, Any] | None]
"""Done when the server has replied: null if stored, else JetStream's error, empty if no stream replied."""


class Link:
    """A connection, its messages in flight, and whether it is lost.

    The client's own `publish_async` never completes for a message that JetStream rejects with an error.
    """

    def __init__(self, client: Client) -> None:
        self.client: Final = client
        self.stream_context: Final = client.jetstream()
        self.lost: Final = asyncio.Event()
        self._inbox: Final = client.new_inbox()
        self._number = 0
        self._in_flight: Final[dict[str, Acknowledgement]] = {}
        self._room: Final = asyncio.Semaphore(MOST_PENDING)

    async def begin(self) -> None:
        await self.client.subscribe(f"{self._inbox}.*", cb=self._on_reply)

    async def publish(self, subject: str, body: bytes, headers: dict[str, str]) -> Acknowledgement:
        """Publish when there is room, and return the pending acknowledgement."""
        await self._room.acquire()
        self._number += 1
        token = str(self._number)
        acknowledgement: Acknowledgement = asyncio.get_running_loop().create_future()
        self._in_flight[token] = acknowledgement

        def ended(_: Acknowledgement) -> None:
            del self._in_flight[token]
            self._room.release()

        acknowledgement.add_done_callback(ended)
        try:
            await self.client.publish(subject, body, reply=f"{self._inbox}.{token}", headers=headers)
        except BaseException:
            acknowledgement.cancel()
            raise
        return acknowledgement

    async def _on_reply(self, message: Msg) -> None:
        acknowledgement = self._in_flight.get(message.subject.rpartition(".")[2])
        if acknowledgement is None or acknowledgement.done():
            return
        try:
            reply = json.loads(message.data) if message.data else {"error": {}}
            error = reply.get("error")
        except (ValueError, AttributeError):
            error = {"description": "it answered something else than JSON"}
        acknowledgement.set_result(error)

    async def on_closed(self) -> None:
        """Fail everything in flight."""
        self.lost.set()

    async def settled(self, acknowledgements: Sequence[Acknowledgement], seconds: float) -> None:
        """Wait until all are acknowledged or rejected, the connection is lost, or the time is up."""
        lost: asyncio.Future[Any] = asyncio.ensure_future(self.lost.wait())
        end = asyncio.get_running_loop().time() + seconds
        try:
            # Those of one stream mostly arrive in order, so wait for the last one first.
            last = acknowledgements[-1]
            await asyncio.wait({last, lost}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            pending = {ack for ack in acknowledgements if not ack.done()}
            if pending and not lost.done():
                left = max(0.0, end - asyncio.get_running_loop().time())
                everything: asyncio.Future[Any] = asyncio.gather(*pending, return_exceptions=True)
                await asyncio.wait({everything, lost}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if not everything.done():
                    everything.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await everything
        finally:
            lost.cancel()


class Connection:
    """The current connection, if any; opened by whichever listener needs it first."""

    def __init__(self, servers: NatsServers) -> None:
        self._servers: Final = servers
        self._connecting: Final = asyncio.Lock()
        self._known_streams: Final[set[str]] = set()
        self._link: Link | None = None
        self._errors: list[str] = []
        self.address = servers.urls[0]

    @property
    def complaint(self) -> str:
        """Return the server's last error, such as a missing permission."""
        return self._errors[-1] if self._errors else ""

    def forget(self, stream: str) -> None:
        """Check again whether a stream exists before the next message."""
        self._known_streams.discard(stream)

    async def link(self, stream: str, subjects: str) -> "Link":
        """Return a connection on which the stream is known to exist.

        Raises:
            NatsUnavailable: no server can be used, or the stream is missing and cannot be created.
        """
        async with self._connecting:
            if self._link is None or self._link.lost.is_set():
                await self.drop()
                self._link = await self._connected()
            link = self._link
            if stream not in self._known_streams:
                await self._find_or_make(link, stream, subjects)
                self._known_streams.add(stream)
        return link

    async def reach(self) -> None:
        """Connect and log in, and look at no stream.

        Raises:
            NatsUnavailable: no server can be used.
        """
        self._link = await self._connected()

    async def drop(self) -> None:
        """Close the connection; it is reopened when needed."""
        link, self._link = self._link, None
        self._known_streams.clear()
        if link is not None:
            link.lost.set()
            await _closed(link.client)

    async def _connected(self) -> "Link":
        reasons = []
        for url in self._servers.urls:
            try:
                link = await self._connect(url)
            except NatsUnavailable as error:
                reasons.append(str(error))
            else:
                self.address = url
                return link
        raise NatsUnavailable(" ".join(reasons))

    async def _connect(self, url: str) -> "Link":
        self._errors.clear()
        servers, failure = self._servers, "It answered nothing."
        connected = False
        link = Link(_Client(wants_tls=url.startswith("tls:")))
        causes: list[BaseException] = []

        async def on_error(error: Exception) -> None:
            causes.append(error)
            self._errors = [*self._errors[-9:], said(error)]

        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await link.client.connect(
                    [url],
                    name="pulpit",
                    error_cb=on_error,
                    closed_cb=link.on_closed,
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=int(CONNECT_TIMEOUT),
                    ping_interval=PING_S,
                    max_outstanding_pings=2,
                    tls=servers.tls if url.startswith("tls:") else None,
                    user=servers.username or None,
                    password=servers.password or None,
                    user_credentials=servers.credentials or None,
                )
                await link.begin()
            connected = True
        except TimeoutError:
            failure = f"it did not answer within {CONNECT_TIMEOUT:g} seconds."
        except Exception as error:  # noqa: BLE001 - whatever the client makes of a server's first bytes
            failure = _why_not(causes[0] if causes else error, servers)
        finally:
            if not connected:  # it may also have been cancelled
                await _closed(link.client)
        if connected:
            return link
        raise NatsUnavailable(f"No connection to {url}: {failure}")

    async def _find_or_make(self, link: "Link", stream: str, subjects: str) -> None:
        try:
            try:
                await link.stream_context.stream_info(stream)
            except NotFoundError:
                config = StreamConfig(
                    name=stream,
                    subjects=[subjects],
                    storage=StorageType.FILE,
                    discard=DiscardPolicy.OLD,
                    duplicate_window=DUPLICATE_WINDOW,
                )
                await link.stream_context.add_stream(config)
        except (nats.errors.Error, OSError) as error:
            why = self.complaint or said(error)
            raise NatsUnavailable(f"The stream {stream} at {self.address} cannot be used: {why}.") from None


class _Client(Client):
    """A client that sends no login and no event to a server without TLS if TLS is required."""

    def __init__(self, *, wants_tls: bool) -> None:
        super().__init__()
        self._wants_tls: Final = wants_tls

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if initial_connection and self._wants_tls and not info.get("tls_required"):
            raise nats.errors.Error("it does not speak TLS")
        await super()._process_info(info, initial_connection)


async def _closed(client: Client) -> None:
    """Close a client completely even if the caller is cancelled: half a close leaves the socket open."""
    closing = asyncio.ensure_future(client.close())
    _closing.add(closing)
    closing.add_done_callback(_let_go)
    await asyncio.wait({closing}, timeout=CLOSE_TIMEOUT)
    closing.cancel()


def _let_go(closing: asyncio.Future[None]) -> None:
    _closing.discard(closing)
    _ = closing.cancelled() or closing.exception()  # retrieved, so that asyncio does not log it


_closing: Final[set[asyncio.Future[None]]] = set()
"""Referenced until they are done, because the loop itself keeps no reference."""


def _why_not(error: BaseException, servers: NatsServers) -> str:
    """Say why there is no connection, as the end of a sentence."""
    match error:
        case ssl.SSLError():
            return in_words(error)
        case OSError() if not isinstance(error, TimeoutError):
            return f"{system_reason(error)}."
        case TimeoutError():
            return "it did not answer in time."
        case nats.errors.Error():
            pass
        case _ if servers.credentials:  # errors of nkeys and base64 may quote part of the key
            return f"the credentials in {servers.credentials} cannot be used ({type(error).__name__})."
    words = said(error)
    return "it refused the login." if "authorization" in words.lower() else f"{words}."


def said(error: BaseException) -> str:
    """Return the client's or the server's text of an error."""
    text = error.description if isinstance(error, APIError) and error.description else str(error)
    return one_line(text.removeprefix("nats: ").strip("'"), 300).rstrip(".") or type(error).__name__
