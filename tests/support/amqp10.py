"""Whether AMQP 1.0 can be tested here, and the peer of a connection, made of the same engine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from pulpit.amqp.amqp10 import proton
from pulpit.amqp.amqp10.engine import Engine, Setup
from pulpit.amqp.amqp10.frame_guard import FrameGuard
from pulpit.amqp.amqp10.links import Event, Link, Receiver, Sender, Session
from pulpit.amqp.amqp10.types import Condition, Terminus

needs_amqp10 = pytest.mark.skipif(
    not proton.available(), reason="python-qpid-proton is not installed (it is built by pip; see .venv/amqp10.log)"
)


@dataclass(frozen=True, kw_only=True)
class SessionBegun:
    """The client began a session, which is answered."""

    session: Session


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The client asks for a link: `attach` answers it, or `refuse`."""

    link: Link


class _NoGuard(FrameGuard):
    """Proton gets what a test's own client says."""

    def judged(self, data: bytes) -> bytes:
        return data


class ServerEngine(Engine):
    """A broker's side of the protocol, for a client that keeps to it."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._guard = _NoGuard(0)
        self._pn.pn_transport_set_server(self._transport)

    @property
    def hostname(self) -> str:
        """The host that the client wants."""
        return proton.text(self._pn.lib.pn_connection_remote_hostname(self._connection))

    def _on_session_begun(self, event: Any) -> None:
        pointer = self._pn.pn_event_session(event)
        if pointer not in self._sessions:
            self._sessions[pointer] = Session(pointer)
            self._pn.pn_session_open(pointer)
        self._told.append(SessionBegun(session=self._sessions[pointer]))  # type: ignore[arg-type] # a test's event

    def _on_attached(self, event: Any) -> None:
        pn, pointer = self._pn, self._pn.pn_event_link(event)
        session = self._sessions.get(pn.pn_link_session(pointer))
        if pointer in self._links or session is None:
            super()._on_attached(event)
            return
        kind = Sender if pn.pn_link_is_sender(pointer) else Receiver
        link = self._links[pointer] = kind(pointer, session, proton.text(pn.lib.pn_link_name(pointer)))
        self._told.append(Asked(link=link))  # type: ignore[arg-type] # a test's event

    @classmethod
    def _handlers_of(cls, pn: Any) -> Mapping[int, Callable[[Any, Any], None]]:
        return {**super()._handlers_of(pn), pn.PN_SESSION_REMOTE_OPEN: cls._on_session_begun}


def refuse(link: Link, condition: Condition) -> None:
    """Answer a link that the client asks for with no: attached without a terminus, then detached (section 2.6.3)."""
    proton.load().pn_link_open(link.pointer())
    link.detach(condition)


class Pair:
    """A client and a server, connected."""

    def __init__(self, *, largest_message: int = 1_000_000, idle_timeout: float = 0) -> None:
        self.client = Engine(Setup(container="client", hostname="here", idle_timeout=idle_timeout))
        self.server = ServerEngine(Setup(container="server", largest_message=largest_message))

    def open(self) -> "Pair":
        self.client.open()
        self.server.open()
        self.talk()
        return self

    def talk(self) -> tuple[list[Event], list[Any]]:
        """Carry bytes to and fro until there are none; returns what happened at the client and at the server."""
        at_client: list[Event] = []
        at_server: list[Any] = []
        while True:
            up, down = self.client.take_output(), self.server.take_output()
            self.server.receive(up)
            self.client.receive(down)
            at_client += self.client.events()
            at_server += self.server.events()
            if not up and not down:
                return at_client, at_server

    def sending(self, credit: int = 10) -> tuple[Sender, Receiver]:
        """A link from the client to the server; the server's end has granted some credit."""
        sender = self.client.sender(self.client.begin(), "out")
        sender.attach(target=Terminus(address="exchange"))
        receiver = asked(self.talk()[1])
        assert isinstance(receiver, Receiver)
        receiver.attach(target=receiver.target)
        receiver.grant(credit)
        self.talk()
        return sender, receiver

    def free(self) -> None:
        self.client.free()
        self.server.free()


def asked(events: list[Any]) -> Link:
    """The link that the peer asks for."""
    (link,) = (event.link for event in events if isinstance(event, Asked))
    return link
