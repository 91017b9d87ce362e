"""The asyncio rim of a client: TCP or TLS around the engine, and what happens on it as awaitables.

A connection is made once and never mends itself: when it is `lost`, everything on it is, and whoever used it makes a
new one. TLS is Python's own, so the host name is checked unless the context that is given says otherwise. Each link has
a session of its own, because some brokers answer a mistake on a link by ending its session.
"""

import asyncio
import contextlib
import os
import socket
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Protocol, cast

from pulpit.amqp10 import proton
from pulpit.amqp10.address import Address
from pulpit.amqp10.engine import Engine, Setup
from pulpit.amqp10.events import (
    Arrived,
    Attached,
    Broken,
    Closed,
    CreditChanged,
    Decided,
    Detached,
    Event,
    Opened,
    SessionEnded,
)
from pulpit.amqp10.links import Ended, Link, Session
from pulpit.amqp10.links import Receiver as ReceivingLink
from pulpit.amqp10.links import Sender as SendingLink
from pulpit.amqp10.sasl import ClientLogin, Credentials, LoginFailed
from pulpit.amqp10.words import ACCEPTED, Condition, Outcome, Terminus

CONNECT_TIMEOUT: Final = 10.0
"""Seconds until a broker must have answered a connection or a link."""
IDLE_TIMEOUT: Final = 40.0
"""Seconds of silence after which a broker is given up; it is asked to say something every half of it."""
GOODBYE_TIMEOUT: Final = 2.0
"""Seconds that a broker has to answer a goodbye."""


class Cause(Enum):
    """Why a connection or a link is lost."""

    UNREACHABLE = "unreachable"
    """No connection: refused, no such host, no answer, or broken off."""
    CERTIFICATE = "certificate"
    """The broker's certificate is not trusted."""
    LOGIN = "login"
    """The broker refuses the credentials, or no mechanism is left that may be used."""
    PROTOCOL = "protocol"
    """It does not speak AMQP 1.0, or breaks it."""
    CLOSED = "closed"
    """The broker closed the connection, the session or the link, with or without a condition."""
    SILENT = "silent"
    """The broker did not answer in time."""


class Lost(Exception):
    """The connection or link cannot be used any more; the text says why, without any secret."""

    def __init__(self, reason: str, cause: Cause, condition: Condition | None = None) -> None:
        super().__init__(reason)
        self.cause = cause
        self.condition = condition


@dataclass(frozen=True, kw_only=True, slots=True)
class Manner:
    """How a client connects."""

    name: str
    """The container: what brokers show as the connection's name."""
    tls: ssl.SSLContext | None = None
    """For addresses with TLS; `None` is the system's authorities."""
    external: bool = False
    """Whether a client certificate in `tls` is who we are (SASL EXTERNAL)."""
    allow_plain: Callable[[Address], bool] = lambda address: address.tls
    """Whether a password may be sent to an address as it is."""
    connect_timeout: float = CONNECT_TIMEOUT
    idle_timeout: float = IDLE_TIMEOUT
    largest_message: int = 16 * 1024 * 1024
    properties: Mapping[str, Any] | None = None


async def connect(address: Address, manner: Manner) -> "Connection":
    """Connect, log in and open.

    Raises:
        ConfigurationError: the extra `amqp10` is not installed.
        Lost: it did not work.
    """
    proton.load()
    loop = asyncio.get_running_loop()
    tls = (manner.tls or ssl.create_default_context()) if address.tls else None
    connection = Connection(address, manner)
    try:
        async with asyncio.timeout(manner.connect_timeout):
            await loop.create_connection(
                lambda: connection.rim,
                address.host,
                address.port,
                ssl=tls,
                server_hostname=address.host if tls else None,
            )
            await connection.opened()
    except ssl.SSLCertVerificationError as error:
        raise Lost(f"The certificate of {address} is not trusted: {error.verify_message}.", Cause.CERTIFICATE) from None
    except TimeoutError:
        connection.abandon()
        raise Lost(f"The broker at {address} did not answer in time.", Cause.SILENT) from None
    except OSError as error:
        raise Lost(f"The broker at {address} cannot be reached: {_in_words(error)}.", Cause.UNREACHABLE) from None
    except Lost:
        await connection.close()
        raise
    except BaseException:
        connection.abandon()
        raise
    return connection


async def _for_a_while(event: asyncio.Event) -> None:
    """Wait for something that may never happen."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GOODBYE_TIMEOUT):
            await event.wait()


class _User(Protocol):
    """What stands on a link and is told what happens on it."""

    def on_event(self, event: Event) -> None:
        """Take an event of the link."""

    def on_lost(self, lost: Lost) -> None:
        """Take that the link is dead."""


class Connection:
    """An open connection to one broker."""

    def __init__(self, address: Address, manner: Manner) -> None:
        self.address: Final = address
        self.lost: Lost | None = None
        """Why it is dead, if it is."""
        self.remote: Opened | None = None
        """What the broker says about itself."""
        self._manner: Final = manner
        hostname = f"vhost:{address.virtual_host}" if address.virtual_host else address.host
        credentials = Credentials(
            user=address.user,
            password=address.password,
            external=manner.external and address.tls and address.user is None,
            plain=manner.allow_plain(address),
        )
        self._login: ClientLogin | None = ClientLogin(credentials, address.host)
        self._engine: Final = Engine(
            Setup(
                container=manner.name,
                hostname=hostname,
                properties=manner.properties or {"product": "Pulpit"},
                idle_timeout=manner.idle_timeout,
                largest_message=manner.largest_message,
            )
        )
        self._opened: Final[asyncio.Future[None]] = asyncio.get_running_loop().create_future()
        self._gone: Final = asyncio.Event()
        self._users: Final[dict[Link, _User]] = {}
        self._names = 0
        self.rim: Final = _Rim(self)

    async def opened(self) -> None:
        """Wait until the broker has opened the connection too.

        Raises:
            Lost: it did not.
        """
        await self._opened

    async def sender(self, target: Terminus, *, name: str = "") -> "Sender":
        """Attach a link on which to send.

        Raises:
            Lost: the broker refuses it, with its condition, or does not answer in time.
        """
        link = self._engine_call(lambda: self._engine.sender(self._engine.begin(), self._name(name)))
        sender = Sender(self, link)
        await self._attach(sender, link, lambda: link.attach(source=Terminus(), target=target))
        return sender

    async def receiver(self, source: Terminus, *, name: str = "", window: int = 100) -> "Receiver":
        """Attach a link on which to receive; the broker may send `window` messages ahead of what is settled.

        Raises:
            Lost: the broker refuses it, with its condition, or does not answer in time.
        """
        link = self._engine_call(lambda: self._engine.receiver(self._engine.begin(), self._name(name)))
        receiver = Receiver(self, link, window)
        largest = self._manner.largest_message
        attach = lambda: link.attach(source=source, target=Terminus(), largest_message=largest)  # noqa: E731
        await self._attach(receiver, link, attach)
        return receiver

    async def close(self) -> None:
        """Say goodbye, and wait for the answer for two seconds at most; never raises."""
        if self.lost is None:
            self._engine.close()
            self.rim.flush()
            await _for_a_while(self._gone)
        self._lose(self._given_up())
        await _for_a_while(self.rim.unplugged)
        self.rim.abort()

    def abandon(self) -> None:
        """Give the connection up at once."""
        self._lose(self._given_up())
        self.rim.abort()

    # For the rim, and for links ---------------------------------------------------------------------------------------

    def begun(self) -> bytes:
        """There is a socket: what to send first."""
        return self._login.take_output() if self._login else b""

    def received(self, data: bytes) -> None:
        """Bytes came."""
        if self._login:
            data = self._log_in(data)
        if self._login is None:
            self._engine.receive(data)
            self.handle_events()

    def ended(self, error: BaseException | None) -> None:
        """The socket is gone."""
        reason = _in_words(error) if isinstance(error, OSError) else "it broke off"
        self._lose(Lost(f"The connection to {self.address} is lost: {reason}.", Cause.UNREACHABLE))

    def take_output(self) -> bytes:
        """What to send."""
        return self._login.take_output() if self._login else self._engine.take_output()

    def tick(self, now: float) -> float | None:
        """Let time pass."""
        due = None if self._login else self._engine.tick(now)
        self.handle_events()
        return due

    def handle_events(self) -> None:
        """Hand each event to whom it concerns."""
        for event in self._engine.events():
            match event:
                case Opened():
                    self.remote = event
                    if not self._opened.done():
                        self._opened.set_result(None)
                case Closed(condition=condition):
                    why = f": {condition}" if condition else ""
                    self._lose(
                        Lost(f"The broker at {self.address} closed the connection{why}.", Cause.CLOSED, condition)
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
                case _:
                    pass

    def forget(self, link: Link) -> None:
        """A link is not used any more."""
        self._users.pop(link, None)

    def _log_in(self, data: bytes) -> bytes:
        assert self._login  # noqa: S101 - for the type checker
        try:
            self._login.receive(data)
        except LoginFailed as error:
            cause = Cause.LOGIN if error.refused else Cause.PROTOCOL
            self._lose(Lost(f"The broker at {self.address} cannot be used: {error}", cause))
            return b""
        if not self._login.done:
            self.rim.flush()
            return b""
        rest, self._login = self._login.rest, None
        self._engine.open()
        self.rim.flush()
        return rest

    def _given_up(self) -> Lost:
        return Lost(f"The connection to {self.address} was given up.", Cause.UNREACHABLE)

    def _broken(self, condition: Condition) -> Lost:
        if condition.name == "amqp:resource-limit-exceeded":
            return Lost(f"The broker at {self.address} has been silent for too long.", Cause.SILENT, condition)
        if condition.description == "connection aborted":
            return Lost(f"The connection to {self.address} is lost: it broke off.", Cause.UNREACHABLE)
        return Lost(f"The broker at {self.address} breaks the protocol: {condition}.", Cause.PROTOCOL, condition)

    def _session_lost(self, session: Session, condition: Condition | None) -> None:
        for link in [one for one in self._users if one.session is session]:
            self._link_lost(link, condition)

    def _link_lost(self, link: Link, condition: Condition | None) -> None:
        user = self._users.pop(link, None)
        if user:
            why = f": {condition}" if condition else ""
            user.on_lost(Lost(f"The broker at {self.address} closed the link{why}.", Cause.CLOSED, condition))

    def _lose(self, lost: Lost) -> None:
        if self.lost is None:
            self.lost = lost
            users, answered = list(self._users.values()), self._opened.done()
            self._users.clear()
            for user in users:
                user.on_lost(lost)
            if not answered:
                self._opened.set_exception(lost)
                self._opened.exception()  # whoever waits has it; nobody may wait any more
            self._gone.set()
            self.rim.close()

    def free(self) -> None:
        """Give the engine's memory back, when the socket is gone."""
        self._engine.free()

    def _name(self, name: str) -> str:
        self._names += 1
        return name or f"{self._manner.name}-{self._names}"

    def _engine_call(self, act: "Callable[[], Any]") -> Any:
        if self.lost:
            raise self.lost
        try:
            return act()
        except Ended as error:
            raise Lost(str(error), Cause.CLOSED) from None

    async def _attach(self, user: "Sender | Receiver", link: Link, attach: Callable[[], None]) -> None:
        self._users[link] = user
        self._engine_call(attach)
        self.rim.flush()
        try:
            async with asyncio.timeout(self._manner.connect_timeout):
                await user.attached()
        except TimeoutError:
            user.close()
            raise Lost(f"The broker at {self.address} did not answer in time.", Cause.SILENT) from None
        except asyncio.CancelledError:
            user.close()
            raise


class _Rim(asyncio.Protocol):
    """The socket of one connection: writes what the engine wants to be sent, and keeps its clock."""

    def __init__(self, connection: Connection) -> None:
        self._connection: Final = connection
        self._loop: Final = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self._flushing: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self.unplugged: Final = asyncio.Event()
        """Set while there is no socket."""
        self.unplugged.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = stream = cast("asyncio.Transport", transport)  # uvloop's are of no class of asyncio's
        self.unplugged.clear()
        if self._closed:
            stream.abort()
            return
        stream.write(self._connection.begun())

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        self._connection.received(data)
        self.write()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the end."""
        self._connection.ended(exc)
        self._stop_clock()
        self._connection.free()
        self.unplugged.set()

    def pause_writing(self) -> None:
        """Keep what is to be sent inside the engine."""
        self._paused = True

    def resume_writing(self) -> None:
        """Go on."""
        self._paused = False
        self.write()

    def flush(self) -> None:
        """Write soon what was done, with everything that is done until then."""
        if self._flushing is None:
            self._flushing = self._loop.call_soon(self.write)

    def write(self) -> None:
        """Write what is to be sent, and see to the clock."""
        if self._flushing:
            self._flushing.cancel()
            self._flushing = None
        transport = self._transport
        if transport is None or self._paused or transport.is_closing():
            return
        self._wind()
        output = self._connection.take_output()
        if output:
            transport.write(output)
        self._connection.handle_events()

    def close(self) -> None:
        """Close the socket after what is still to be sent; a peer that does not take it is left."""
        if self._closed:
            return
        self._closed = True
        self._stop_clock()
        transport = self._transport
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
        """Close the socket whatever is still to be sent."""
        if self._transport and not self.unplugged.is_set():
            self._transport.abort()

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


class _Attached:
    """What both kinds of links share: an answer to wait for, and an end."""

    def __init__(self, connection: Connection, link: Link) -> None:
        self.lost: Lost | None = None
        """Why it is dead, if it is."""
        self._connection: Final = connection
        self._any_link: Final = link
        self._answered: Final[asyncio.Future[None]] = asyncio.get_running_loop().create_future()
        self._change = asyncio.Event()

    async def attached(self) -> None:
        """Wait for the broker's answer to the attach.

        Raises:
            Lost: it says no.
        """
        await self._answered
        if self.lost:
            raise self.lost

    def close(self) -> None:
        """Detach, without waiting for it."""
        if self._any_link.alive and self._connection.lost is None:
            with contextlib.suppress(Ended):
                self._any_link.session.end()
            self._connection.rim.flush()
        self._connection.forget(self._any_link)
        self.on_lost(Lost("The link was closed.", Cause.CLOSED))

    def on_lost(self, lost: Lost) -> None:
        """Take that the link is dead."""
        if self.lost is None:
            self.lost = lost
        self._answer()
        self._wake()

    def _answer(self) -> None:
        if not self._answered.done():
            self._answered.set_result(None)

    def _wake(self) -> None:
        self._change.set()
        self._change = asyncio.Event()

    async def _until(self, reached: Callable[[], bool]) -> None:
        while not reached() and self.lost is None:
            await self._change.wait()


class Sender(_Attached):
    """A link on which messages go out; each one's outcome is kept until it is taken."""

    def __init__(self, connection: Connection, link: SendingLink) -> None:
        super().__init__(connection, link)
        self._link: Final = link
        self._settled_to = 0
        self._outcomes: dict[int, Outcome | None] = {}
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def credit(self) -> int:
        """Messages that the broker takes now."""
        return self._link.credit if self._link.alive else 0

    @property
    def largest_message(self) -> int:
        """Bytes of a message that the broker takes at most; 0 is any."""
        return self._link.largest_message if self._link.alive else 0

    def send(self, message: bytes) -> int:
        """Send one encoded message and answer its number; numbers grow by one.

        Raises:
            Lost: the link is dead.
        """
        if self.lost:
            raise self.lost
        try:
            number = self._link.send(message)
        except Ended as error:
            raise Lost(str(error), Cause.CLOSED) from None
        self._connection.rim.flush()
        return number

    async def credited(self) -> None:
        """Wait until the broker takes messages.

        Raises:
            Lost: the link died instead.
        """
        await self._until(lambda: self.credit > 0)
        if self.lost:
            raise self.lost

    async def settled(self, number: int) -> None:
        """Wait until everything up to a number is decided, or the link is dead."""
        if self._settled_to >= number or self.lost:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((number, future))
        await future

    def decided(self, number: int) -> bool:
        """Whether the broker has decided about a message."""
        return number <= self._settled_to or number in self._outcomes

    def take_outcome(self, number: int) -> Outcome | None:
        """What became of a message that is decided; asked once. No outcome means that the broker forgot it."""
        return self._outcomes.pop(number, ACCEPTED if number <= self._settled_to else None)

    def on_event(self, event: Event) -> None:
        """Take an event of the link."""
        match event:
            case Attached():
                if self._link.alive and self._link.target:  # else the broker is about to say why not (section 2.6.3)
                    self._answer()
            case CreditChanged():
                if self._link.alive and self._link.draining:
                    self._link.drained()
                    self._connection.rim.flush()
                self._wake()
            case Decided(number=number, outcome=outcome):
                self._decide(number, outcome)
            case _:
                pass

    def on_lost(self, lost: Lost) -> None:
        """Take that the link is dead."""
        super().on_lost(lost)
        while self._waiting:
            self._release(self._waiting.popleft()[1])

    def _decide(self, number: int, outcome: Outcome | None) -> None:
        self._outcomes[number] = outcome
        while self._settled_to + 1 in self._outcomes:
            self._settled_to += 1
            if self._outcomes[self._settled_to] is ACCEPTED:
                del self._outcomes[self._settled_to]
        while self._waiting and self._waiting[0][0] <= self._settled_to:
            self._release(self._waiting.popleft()[1])

    @staticmethod
    def _release(future: "asyncio.Future[None]") -> None:
        if not future.done():
            future.set_result(None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """A message that came; unless it came settled, it must be settled."""

    number: int
    message: bytes
    settled: bool


class Receiver(_Attached):
    """A link on which messages come in; the credit is renewed as they are settled."""

    def __init__(self, connection: Connection, link: ReceivingLink, window: int) -> None:
        super().__init__(connection, link)
        self._link: Final = link
        self._window: Final = window
        self._arrived: deque[Delivery] = deque()
        self._used = 0

    async def next(self) -> Delivery:
        """The next message; those that came before a loss are handed out first.

        Raises:
            Lost: the link is dead, and there is none left.
        """
        await self._until(lambda: bool(self._arrived))
        if not self._arrived:
            assert self.lost  # noqa: S101 - for the type checker
            raise self.lost
        return self._arrived.popleft()

    def settle(self, delivery: Delivery, outcome: Outcome = ACCEPTED) -> None:
        """Say what became of a message; on a dead link that is too late, and nothing happens."""
        with contextlib.suppress(Ended):
            if not delivery.settled:
                self._link.settle(delivery.number, outcome)
            self._renew()
            self._connection.rim.flush()

    def on_event(self, event: Event) -> None:
        """Take an event of the link."""
        match event:
            case Attached():
                if self._link.alive and self._link.source:
                    self._link.grant(self._window)
                    self._connection.rim.flush()
                    self._answer()
            case Arrived(number=number, message=message, settled=settled):
                self._arrived.append(Delivery(number=number, message=message, settled=settled))
                self._wake()
            case _:
                pass

    def _renew(self) -> None:
        self._used += 1
        if self._used * 2 >= self._window:
            self._link.grant(self._used)
            self._used = 0


def _in_words(error: OSError) -> str:
    """What the system calls it; asyncio would show the address once more."""
    known = isinstance(error.errno, int) and error.errno > 0 and not isinstance(error, ssl.SSLError | socket.gaierror)
    return os.strerror(error.errno) if known and error.errno else error.strerror or "it broke off"
