# SPDX-License-Identifier: Apache-2.0
"""A client's connection over AMQP 1.0 without I/O: bytes in, events out.

    receive(bytes) ─┐                          ┌─▶ events()
    tick(now) ──────┼─▶ Proton's state machine ┤
    open, begin, …  ┘                          └─▶ take_output()

The rules that keep Proton's memory safe, all of them:

1. Proton's objects belong to one engine and are used by the thread that uses it. `free` gives them back, once.
2. A pointer is looked at only in the call that got it from an event, or through a `Session` or `Link` that is alive.
3. When a session or link ends, its `Session` or `Link` is dead at once, so that no stale pointer is followed;
   it is freed when Proton has written the answer and no event is left: freeing a session first frees its links twice.
4. A delivery is forgotten here before it is settled, because Proton reuses its memory for the next one.
5. A call on a dead object raises `Ended`; a freed engine yields no events and no output.

The engine itself answers close, end and detach, as the protocol requires. Opening, links, credit and outcomes are up to
its user. A peer that begins sessions or links of its own violates the protocol and ends the connection.
"""

import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pulpit.amqp.amqp10 import proton
from pulpit.amqp.amqp10.frame_guard import FrameGuard, Violation
from pulpit.amqp.amqp10.links import (
    Arrived,
    Attached,
    Broken,
    Closed,
    CreditChanged,
    Decided,
    Detached,
    Ended,
    Event,
    Link,
    Opened,
    Receiver,
    Sender,
    Session,
    SessionEnded,
)
from pulpit.amqp.amqp10.types import AMQP_HEADER, FRAMING_ERROR, TOO_LARGE, Condition

LARGEST_FRAME: Final = 65_536
"""Maximum size in bytes of a frame that this side accepts."""
LARGEST_MESSAGE: Final = 16 * 1024 * 1024
"""Maximum size in bytes of a message that this side accepts by default."""
MOST_SESSIONS: Final = 255
_MILLI: Final = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """The content of this side's open performative."""

    container: str
    hostname: str = ""
    """The requested host, as in the specification's `open`."""
    properties: Mapping[str, Any] = field(default_factory=dict)
    idle_timeout: float = 0
    """Seconds of silence after which the peer is given up; 0 is never. The peer is told half of it."""
    largest_frame: int = LARGEST_FRAME
    largest_message: int = LARGEST_MESSAGE


class Engine:
    """The protocol of one connection, after the login (see `sasl`)."""

    def __init__(self, setup: Setup) -> None:
        """Create it; nothing is sent before `open`.

        Raises:
            ConfigurationError: the extra `amqp10` is not installed.
        """
        pn = self._pn = proton.load()
        self._setup: Final = setup
        self._transport = pn.pn_transport()
        self._connection = pn.pn_connection()
        self._collector = pn.pn_collector()
        self._free: Final = weakref.finalize(self, _free, self._transport, self._connection, self._collector)
        self._sessions: dict[Any, Session] = {}
        self._links: dict[Any, Link] = {}
        self._told: deque[Event] = deque()
        self._graves: list[tuple[Callable[[Any], None], Any]] = []
        self._over = False
        self._greeted: bytes | None = b""
        self._guard = FrameGuard(setup.largest_frame)
        pn.pn_transport_set_max_frame(self._transport, setup.largest_frame)
        pn.pn_transport_set_channel_max(self._transport, MOST_SESSIONS - 1)
        pn.pn_transport_set_idle_timeout(self._transport, int(setup.idle_timeout * _MILLI))
        pn.pn_connection_collect(self._connection, self._collector)
        pn.pn_connection_set_container(self._connection, setup.container)
        pn.pn_connection_set_hostname(self._connection, setup.hostname or None)
        proton.put(pn.pn_connection_properties(self._connection), proton.symbol_map(setup.properties))
        pn.pn_transport_bind(self._transport, self._connection)
        self._handlers: Final = self._handlers_of(pn)

    # Bytes and time ---------------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Process received bytes; call `events` afterwards."""
        if self.over:
            return
        try:
            self._push(self._guard.judged(self._greeting(data)))
        except Violation as violation:
            self._break(Condition(FRAMING_ERROR, str(violation)))
        if self._free.alive and self._pn.pn_transport_capacity(self._transport) < 0:
            self._break()  # Proton accepts nothing any more, and does not always say why

    def _push(self, piece: bytes) -> None:
        pn, view = self._pn, memoryview(piece)
        while view and not self.over:
            room = pn.pn_transport_capacity(self._transport)
            taken = pn.pn_transport_push(self._transport, view[:room]) if room > 0 else 0
            self._collect()
            if taken <= 0:
                break
            view = view[taken:]

    def _greeting(self, data: bytes) -> bytes:
        """Hold back the first bytes until the protocol header is complete.

        Pass it to Proton, and return the rest as frames.
        """
        if self._greeted is None:
            return data
        self._greeted += data
        header, rest = self._greeted[: len(AMQP_HEADER)], self._greeted[len(AMQP_HEADER) :]
        if not AMQP_HEADER.startswith(header):
            raise Violation("The peer does not speak AMQP 1.0.")
        if header != AMQP_HEADER:
            return b""
        self._greeted = None
        self._push(header)
        return rest

    def take_output(self) -> bytes:
        """Return the bytes to send to the peer now; this call advances the protocol."""
        pieces = []
        pn = self._pn
        while self._free.alive and (size := pn.pn_transport_pending(self._transport)) > 0:
            length, data = pn.pn_transport_peek(self._transport, size)
            if length <= 0:
                break
            pn.pn_transport_pop(self._transport, length)
            pieces.append(data)
        if self._free.alive:
            self._collect()
            self._bury()
        return b"".join(pieces)

    def _bury(self) -> None:
        """Free what has ended (rule 3), once its end is written and no event of it is left."""
        graves, self._graves = self._graves, []
        for free, pointer in graves:
            free(pointer)
        if graves:
            self._collect()

    def tick(self, now: float) -> float | None:
        """Advance the clock, monotonic, in seconds; return the latest time for the next call, if any."""
        if not self._free.alive:
            return None
        due = self._pn.pn_transport_tick(self._transport, int(now * _MILLI))
        self._collect()
        return due / _MILLI if due else None

    def events(self) -> Iterator[Event]:
        """Yield what has happened since the last call."""
        while self._told:
            yield self._told.popleft()

    @property
    def over(self) -> bool:
        """Whether the connection has ended: the socket can be closed after the remaining output."""
        return self._over or not self._free.alive

    # Actions
    # ------------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        if self._free.alive:
            self._pn.pn_connection_open(self._connection)

    def close(self, condition: Condition | None = None) -> None:
        """Close this side of the connection; `Closed` tells when the peer has done so."""
        if self._free.alive:
            proton.set_condition(self._pn.pn_connection_condition(self._connection), condition)
            self._pn.pn_connection_close(self._connection)

    def begin(self) -> Session:
        """Begin a session.

        Raises:
            Ended: the connection is over.
        """
        session = Session(self._pn.pn_session(self._connection) if self._free.alive and not self._over else None)
        pointer = session.pointer()
        self._sessions[pointer] = session
        self._pn.pn_session_open(pointer)
        return session

    def sender(self, session: Session, name: str) -> Sender:
        """Prepare a sending link; `attach` requests it from the peer.

        Raises:
            Ended: the session is over.
        """
        link = Sender(self._pn.pn_sender(self._own(session), name), session, name)
        self._links[link.pointer()] = link
        return link

    def receiver(self, session: Session, name: str) -> Receiver:
        """Prepare a receiving link; `attach` requests it from the peer.

        Raises:
            Ended: the session is over.
        """
        link = Receiver(self._pn.pn_receiver(self._own(session), name), session, name)
        self._links[link.pointer()] = link
        return link

    def free(self) -> None:
        """Free everything; all sessions and links are dead from now on."""
        self._end()
        self._free()

    def _own(self, session: Session) -> Any:
        pointer = session.pointer()
        if self._sessions.get(pointer) is not session:
            raise Ended("The session is another connection's.")
        return pointer

    # Proton's events
    # ----------------------------------------------------------------------------------------------------

    def _collect(self) -> None:
        pn, collector = self._pn, self._collector
        while not pn.isnull(event := pn.pn_collector_peek(collector)):
            handler = self._handlers.get(pn.pn_event_type(event))
            if handler:
                handler(self, event)
            pn.pn_collector_pop(collector)

    def _tell(self, event: Event) -> None:
        self._told.append(event)

    def _on_opened(self, _event: Any) -> None:
        pn, connection = self._pn, self._connection
        self._tell(
            Opened(
                container=proton.text(pn.lib.pn_connection_remote_container(connection)),
                properties=proton.text_map(proton.get(pn.pn_connection_remote_properties(connection))),
            )
        )

    def _on_closed(self, _event: Any) -> None:
        condition = proton.get_condition(self._pn.pn_connection_remote_condition(self._connection))
        self._pn.pn_connection_close(self._connection)
        self._end()
        self._tell(Closed(condition=condition))

    def _on_broken(self, _event: Any) -> None:
        self._break()

    def _break(self, condition: Condition | None = None) -> None:
        condition = condition or proton.get_condition(self._pn.pn_transport_condition(self._transport))
        if not self._over:
            self._end()
            self._tell(Broken(condition=condition or Condition(FRAMING_ERROR)))

    def _on_session_ended(self, event: Any) -> None:
        pointer = self._pn.pn_event_session(event)
        session = self._sessions.pop(pointer, None)
        if session is None:
            return
        condition = proton.get_condition(self._pn.pn_session_remote_condition(pointer))
        for link_pointer in [pointer for pointer, link in self._links.items() if link.session is session]:
            self._links.pop(link_pointer).forget()
        session.forget()
        self._pn.pn_session_close(pointer)
        self._graves.append((self._pn.pn_session_free, pointer))
        self._tell(SessionEnded(session=session, condition=condition))

    def _on_attached(self, event: Any) -> None:
        link = self._links.get(self._pn.pn_event_link(event))
        if link is None:
            self._break(Condition(FRAMING_ERROR, "The broker attached a link that was not requested."))
        else:
            self._tell(Attached(link=link))

    def _on_detached(self, event: Any) -> None:
        pn = self._pn
        closed = pn.pn_event_type(event) == pn.PN_LINK_REMOTE_CLOSE  # and not only detached
        pointer = pn.pn_event_link(event)
        link = self._links.pop(pointer, None)
        if link is None:
            return
        condition = proton.get_condition(pn.pn_link_remote_condition(pointer))
        link.forget()
        pn.pn_link_close(pointer) if closed else pn.pn_link_detach(pointer)
        self._graves.append((pn.pn_link_free, pointer))
        self._tell(Detached(link=link, closed=closed, condition=condition))

    def _on_flow(self, event: Any) -> None:
        link = self._links.get(self._pn.pn_event_link(event))
        if isinstance(link, Sender) and link.alive:
            self._tell(CreditChanged(link=link))

    def _on_delivery(self, event: Any) -> None:
        delivery = self._pn.pn_event_delivery(event)
        link = self._links.get(self._pn.pn_delivery_link(delivery))
        if isinstance(link, Sender):
            decided = link.decided(delivery)
            if decided:
                self._tell(Decided(link=link, number=decided[0], outcome=decided[1]))
        elif isinstance(link, Receiver):
            self._read(link)

    def _read(self, link: Receiver) -> None:
        try:
            while arrived := link.read(self._setup.largest_message):
                number, message, settled = arrived
                if link.alive:
                    self._tell(Arrived(link=link, number=number, message=message, settled=settled))
        except OverflowError:
            limit = self._setup.largest_message
            if link.alive:
                link.detach(Condition(TOO_LARGE, f"A message here has at most {limit} bytes."))

    def _end(self) -> None:
        self._over = True
        for link in self._links.values():
            link.forget()
        for session in self._sessions.values():
            session.forget()
        self._links.clear()
        self._sessions.clear()

    @classmethod
    def _handlers_of(cls, pn: Any) -> "Mapping[int, Callable[[Engine, Any], None]]":
        """Return the handlers by Proton's event type; other events report this side's own actions."""
        return {
            pn.PN_CONNECTION_REMOTE_OPEN: cls._on_opened,
            pn.PN_CONNECTION_REMOTE_CLOSE: cls._on_closed,
            pn.PN_TRANSPORT_ERROR: cls._on_broken,
            pn.PN_SESSION_REMOTE_CLOSE: cls._on_session_ended,
            pn.PN_LINK_REMOTE_OPEN: cls._on_attached,
            pn.PN_LINK_REMOTE_CLOSE: cls._on_detached,
            pn.PN_LINK_REMOTE_DETACH: cls._on_detached,
            pn.PN_LINK_FLOW: cls._on_flow,
            pn.PN_DELIVERY: cls._on_delivery,
        }


def _free(transport: Any, connection: Any, collector: Any) -> None:
    """Free related objects in order, events first, because they reference the rest."""
    pn = proton.load()
    pn.pn_collector_release(collector)
    pn.pn_transport_unbind(transport)
    pn.pn_connection_release(connection)
    pn.pn_decref(connection)
    pn.pn_decref(transport)
    pn.pn_collector_free(collector)
