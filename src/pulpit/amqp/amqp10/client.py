# SPDX-License-Identifier: Apache-2.0
"""A client connection: login and engine between the socket and its links (`client_links`).

A connection never reconnects: when it is `lost`, its links are too, and its user opens a new one. TLS is Python's own,
so the host name is checked unless the given context says otherwise. Each link has a session of its own, because some
brokers react to an error on a link by ending its session.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from pulpit.amqp.address import BrokerAddress
from pulpit.amqp.amqp10 import proton
from pulpit.amqp.amqp10.client_links import ClientLink, ClientReceiver, ClientSender
from pulpit.amqp.amqp10.engine import Engine, Setup
from pulpit.amqp.amqp10.links import (
    Arrived,
    Attached,
    Broken,
    Closed,
    CreditChanged,
    Decided,
    Detached,
    Ended,
    Link,
    Opened,
    Session,
    SessionEnded,
)
from pulpit.amqp.amqp10.sasl import ClientLogin, Credentials, LoginFailed, LoginRefused, NoMechanism
from pulpit.amqp.amqp10.types import RESOURCE_LIMIT, Cause, Condition, Lost, Terminus
from pulpit.text import system_reason

CONNECT_TIMEOUT: Final = 10.0
"""Timeout in seconds for a connection or a link."""
GOODBYE_TIMEOUT: Final = 2.0
"""Timeout in seconds for the broker's close."""
IDLE_TIMEOUT: Final = 40.0
"""Seconds of silence after which a broker is given up; it is told to send something in half that time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientSettings:
    name: str
    """The container id, which brokers show as the connection's name."""
    context: ssl.SSLContext | None = None
    """For addresses with TLS; `None` trusts the system's CAs."""
    by_certificate: bool = False
    """Whether the client certificate in `context` is the login (SASL EXTERNAL), if the address names no user."""
    connect_timeout: float = CONNECT_TIMEOUT
    idle_timeout: float = IDLE_TIMEOUT
    largest_message: int = 16 * 1024 * 1024
    properties: Mapping[str, Any] | None = None


async def connect(address: BrokerAddress, settings: ClientSettings) -> "Connection":
    """Connect, log in and open.

    Raises:
        ConfigurationError: the extra `amqp10` is not installed.
        Lost: it failed.
    """
    proton.load()
    loop = asyncio.get_running_loop()
    tls = (settings.context or ssl.create_default_context()) if address.tls else None
    connection = Connection(address, settings)
    try:
        async with asyncio.timeout(connection.connect_timeout):
            await loop.create_connection(
                lambda: connection.transport,
                address.host,
                address.port,
                ssl=tls,
                server_hostname=address.host if tls else None,
            )
            await connection.opened()
    except ssl.SSLCertVerificationError as error:
        raise Lost(
            f"The certificate of {address.place} is not trusted: {error.verify_message}.", Cause.CERTIFICATE
        ) from None
    except TimeoutError:
        connection.abandon()
        raise Lost(f"The broker at {address.place} did not answer in time.", Cause.SILENT) from None
    except OSError as error:
        raise Lost(
            f"The broker at {address.place} cannot be reached: {system_reason(error)}.", Cause.UNREACHABLE
        ) from None
    except Lost:
        await connection.close()
        raise
    except BaseException:
        connection.abandon()
        raise
    return connection


async def _for_a_while(event: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GOODBYE_TIMEOUT):
            await event.wait()


class Connection:
    def __init__(self, address: BrokerAddress, settings: ClientSettings) -> None:
        self.address: Final = address
        self.connect_timeout: Final = address.connect_timeout or settings.connect_timeout
        self.lost: Lost | None = None
        """Why it is dead, if it is."""
        self.remote: Opened | None = None
        """The broker's open performative."""
        self.on_lost: Callable[[], None] = lambda: None
        """Called once, when it is lost."""
        self._settings: Final = settings
        hostname = address.host if address.virtual_host == "/" else f"vhost:{address.virtual_host}"
        credentials = Credentials(
            user=address.user,
            password=address.password,
            external=settings.by_certificate and address.tls and address.user is None,
        )
        self._login: ClientLogin | None = ClientLogin(credentials, address.host)
        self._engine: Final = Engine(
            Setup(
                container=settings.name,
                hostname=hostname,
                properties=settings.properties or {"product": "Pulpit"},
                idle_timeout=settings.idle_timeout if address.heartbeat is None else 2 * address.heartbeat,
                largest_message=settings.largest_message,
            )
        )
        self._opened: Final[asyncio.Future[None]] = asyncio.get_running_loop().create_future()
        self._gone: Final = asyncio.Event()
        self._users: Final[dict[Link, ClientLink]] = {}
        self._names = 0
        self.transport: Final = _Transport(self)

    async def opened(self) -> None:
        """Wait until the broker has opened the connection too.

        Raises:
            Lost: it did not.
        """
        await self._opened

    async def sender(self, target: Terminus, *, name: str = "") -> ClientSender:
        """Attach a sending link.

        Raises:
            Lost: the broker refuses it, with its condition, or does not respond in time.
        """
        link = self._engine_call(lambda: self._engine.sender(self._engine.begin(), self._name(name)))
        sender = ClientSender(link, self.flush, self.forget)
        await self._attach(sender, link, lambda: link.attach(source=Terminus(), target=target))
        return sender

    async def receiver(self, source: Terminus, *, name: str = "", window: int = 100) -> ClientReceiver:
        """Attach a receiving link; the broker may send `window` messages ahead of the settled ones.

        Raises:
            Lost: the broker refuses it, with its condition, or does not respond in time.
        """
        link = self._engine_call(lambda: self._engine.receiver(self._engine.begin(), self._name(name)))
        receiver = ClientReceiver(link, window, self.flush, self.forget)
        largest = self._settings.largest_message
        attach = lambda: link.attach(source=source, target=Terminus(), largest_message=largest)  # noqa: E731
        await self._attach(receiver, link, attach)
        return receiver

    async def close(self) -> None:
        """Close, and wait at most two seconds for the broker's close; never raises."""
        if self.lost is None:
            self._engine.close()
            self.flush()
            await _for_a_while(self._gone)
        self._lose(self._given_up())
        await _for_a_while(self.transport.unplugged)
        self.transport.abort()

    def abandon(self) -> None:
        self._lose(self._given_up())
        self.transport.abort()

    # Called by the transport and by links
    # ------------------------------------------------------------------------------

    def begun(self) -> bytes:
        """Return the first bytes to send on a new socket."""
        return self._login.take_output() if self._login else b""

    def received(self, data: bytes) -> None:
        if self._login:
            data = self._log_in(data)
        if self._login is None:
            self._engine.receive(data)
            self.handle_events()

    def ended(self, error: BaseException | None) -> None:
        reason = system_reason(error) if isinstance(error, OSError) else "it broke off"
        self._lose(Lost(f"The connection to {self.address.place} is lost: {reason}.", Cause.UNREACHABLE))

    def take_output(self) -> bytes:
        return self._login.take_output() if self._login else self._engine.take_output()

    def tick(self, now: float) -> float | None:
        due = None if self._login else self._engine.tick(now)
        self.handle_events()
        return due

    def handle_events(self) -> None:
        for event in self._engine.events():
            match event:
                case Opened():
                    self.remote = event
                    if not self._opened.done():
                        self._opened.set_result(None)
                case Closed(condition=condition):
                    why = f": {condition}" if condition else ""
                    self._lose(
                        Lost(f"The broker at {self.address.place} closed the connection{why}.", Cause.CLOSED, condition)
                    )
                case Broken(condition=condition):
                    self._lose(self._broken(condition))
                case SessionEnded(session=session, condition=condition):
                    self._session_lost(session, condition)
                case Detached(link=link, condition=condition):
                    self._link_lost(link, condition)
                case Attached(link=link) | CreditChanged(link=link) | Arrived(link=link) | Decided(link=link):
                    user = self._users.get(link)
                    if user:
                        user.on_event(event)

    def flush(self) -> None:
        self.transport.flush()

    def forget(self, link: Link) -> None:
        """Drop a link that is no longer used."""
        self._users.pop(link, None)

    def _log_in(self, data: bytes) -> bytes:
        assert self._login  # noqa: S101 - for the type checker
        try:
            self._login.receive(data)
        except LoginFailed as error:
            self._lose(Lost(f"The broker at {self.address.place} cannot be used: {error}", _cause(error)))
            return b""
        if not self._login.done:
            self.flush()
            return b""
        rest, self._login = self._login.rest, None
        self._engine.open()
        self.flush()
        return rest

    def _given_up(self) -> Lost:
        return Lost(f"The connection to {self.address.place} was given up.", Cause.UNREACHABLE)

    def _broken(self, condition: Condition) -> Lost:
        if condition.name == RESOURCE_LIMIT:
            return Lost(f"The broker at {self.address.place} has been silent for too long.", Cause.SILENT, condition)
        if condition.description == "connection aborted":
            return Lost(f"The connection to {self.address.place} is lost: it broke off.", Cause.UNREACHABLE)
        return Lost(f"The broker at {self.address.place} breaks the protocol: {condition}.", Cause.PROTOCOL, condition)

    def _session_lost(self, session: Session, condition: Condition | None) -> None:
        for link in [link for link in self._users if link.session is session]:
            self._link_lost(link, condition)

    def _link_lost(self, link: Link, condition: Condition | None) -> None:
        user = self._users.pop(link, None)
        if user:
            why = f": {condition}" if condition else ""
            user.on_lost(Lost(f"The broker at {self.address.place} closed the link{why}.", Cause.CLOSED, condition))

    def _lose(self, lost: Lost) -> None:
        if self.lost is None:
            self.lost = lost
            users, answered = list(self._users.values()), self._opened.done()
            self._users.clear()
            for user in users:
                user.on_lost(lost)
            if not answered:
                self._opened.set_exception(lost)
                self._opened.exception()  # retrieved, though nobody may await it
            self._gone.set()
            self.on_lost()
            self.transport.close()

    def free(self) -> None:
        """Free the engine's memory once the socket is gone."""
        self._engine.free()

    def _name(self, name: str) -> str:
        self._names += 1
        return name or f"{self._settings.name}-{self._names}"

    def _engine_call(self, act: "Callable[[], Any]") -> Any:
        if self.lost:
            raise self.lost
        try:
            return act()
        except Ended as error:
            raise Lost(str(error), Cause.CLOSED) from None

    async def _attach(self, user: ClientLink, link: Link, attach: Callable[[], None]) -> None:
        self._users[link] = user
        self._engine_call(attach)
        self.flush()
        try:
            async with asyncio.timeout(self.connect_timeout):
                await user.attached()
        except TimeoutError:
            user.close()
            raise Lost(f"The broker at {self.address.place} did not answer in time.", Cause.SILENT) from None
        except asyncio.CancelledError:
            user.close()
            raise


class _Transport(asyncio.Protocol):
    """The socket of one connection: writes the engine's output, and drives its clock."""

    def __init__(self, connection: Connection) -> None:
        self._connection: Final = connection
        self._loop: Final = asyncio.get_running_loop()
        self._socket: asyncio.Transport | None = None
        self._paused = False
        self._flushing: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self.unplugged: Final = asyncio.Event()
        """Set while there is no socket."""
        self.unplugged.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = stream = cast("asyncio.Transport", transport)  # uvloop's are of no class of asyncio's
        self.unplugged.clear()
        if self._closed:
            stream.abort()
            return
        stream.write(self._connection.begun())

    def data_received(self, data: bytes) -> None:
        self._connection.received(data)
        self.write()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.ended(exc)
        self._stop_clock()
        self._connection.free()
        self.unplugged.set()

    def pause_writing(self) -> None:
        """Keep output inside the engine."""
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self.write()

    def flush(self) -> None:
        """Schedule a write, together with everything else in this turn."""
        if self._flushing is None:
            self._flushing = self._loop.call_soon(self.write)

    def write(self) -> None:
        """Write pending output, and update the clock."""
        if self._flushing:
            self._flushing.cancel()
            self._flushing = None
        transport = self._socket
        if transport is None or self._paused or transport.is_closing():
            return
        self._wind()
        output = self._connection.take_output()
        if output:
            transport.write(output)
        self._connection.handle_events()

    def close(self) -> None:
        """Close the socket after pending output; do not wait for a peer that does not read."""
        if self._closed:
            return
        self._closed = True
        self._stop_clock()
        transport = self._socket
        if transport is None:
            self._connection.free()
            return
        if not transport.is_closing():
            output = self._connection.take_output()
            if output:
                transport.write(output)
            transport.close()
            self._loop.call_later(GOODBYE_TIMEOUT, self.abort)

    def abort(self) -> None:
        """Close the socket without sending pending output."""
        if self._socket and not self.unplugged.is_set():
            self._socket.abort()

    def _wind(self) -> None:
        self._stop_clock()
        if self._closed:
            return
        now = self._loop.time()
        due = self._connection.tick(now)
        if due is not None and not self._closed:
            self._timer = self._loop.call_at(max(due, now + 0.001), self.write)

    def _stop_clock(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None


def _cause(error: LoginFailed) -> Cause:
    match error:
        case LoginRefused():
            return Cause.LOGIN
        case NoMechanism():
            return Cause.MECHANISM
        case _:
            return Cause.PROTOCOL
