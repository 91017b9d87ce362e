"""A client of AMQP 1.0 for the broker in a box: Proton's engine on the other side, and bytes carried by hand."""

from typing import Any, TypeVar

from pulpit.amqp.amqp10.engine import Engine, Setup
from pulpit.amqp.amqp10.events import (
    Arrived,
    Attached,
    Broken,
    Closed,
    CreditChanged,
    Decided,
    Detached,
    Event,
    SessionEnded,
)
from pulpit.amqp.amqp10.links import Link, Receiver, Sender, Session
from pulpit.amqp.amqp10.sasl import ClientLogin, Credentials
from pulpit.amqp.amqp10.words import Condition, Outcome, Terminus
from pulpit.broker.dialect10.connection import Connection
from pulpit.broker.permissions import Grant, GrantedRights
from support.broker_box import Box

E = TypeVar("E")
GUEST = Credentials(user="guest", password="guest")


class Box10Client:
    """Talks to one connection; `events` holds what happened and was not looked at."""

    def __init__(
        self,
        box: Box,
        *,
        container: str = "client",
        hostname: str = "",
        credentials: Credentials | None = GUEST,
        largest_frame: int = 65_536,
        opened: bool = True,
        **particulars: Any,
    ) -> None:
        self.box = box
        self.events: list[Event] = []
        self.said = b""
        known: dict[str, Any] = {"address": "127.0.0.1", "local": True} | particulars
        self.connection = Connection(box.house, wake=lambda: None, **known)
        self.engine = Engine(Setup(container=container, hostname=hostname, largest_frame=largest_frame))
        self.login = None if credentials is None else ClientLogin(credentials)
        if opened:
            self.engine.open()
            self.talk()

    # -- bytes

    def raw(self, data: bytes) -> None:
        """Hand bytes to the broker."""
        self.connection.receive(data)
        self.box.timers.settle()

    def take(self) -> bytes:
        """What the broker has to say now."""
        data = self.connection.take_output()
        self.box.timers.settle()
        self.said += data
        return data

    def talk(self) -> None:
        """Carry bytes to and fro until there are none."""
        while True:
            up = self._out()
            if up:
                self.raw(up)
            down = self.take()
            self._in(down)
            self.events += self.engine.events()
            if not up and not down:
                return

    def _out(self) -> bytes:
        if self.login is not None:
            output = self.login.take_output()
            if output or not self.login.done:
                return output
        return self.engine.take_output()

    def _in(self, data: bytes) -> None:
        if self.login is None or self.login.done:
            self.engine.receive(data)
        else:
            self.login.receive(data)
            self.engine.receive(self.login.rest)

    # -- events

    def take_events(self, kind: type[E]) -> list[E]:
        """Take those of a kind that happened."""
        self.talk()
        found: list[E] = [event for event in self.events if isinstance(event, kind)]
        self.events = [event for event in self.events if not isinstance(event, kind)]
        return found

    def arrived(self, link: Receiver) -> list[bytes]:
        """Messages that came on a link."""
        return [event.message for event in self.take_events(Arrived) if event.link is link]

    def outcomes(self, link: Sender) -> list[Outcome | None]:
        """What became of messages that were sent, in their order."""
        decided = {event.number: event.outcome for event in self.take_events(Decided) if event.link is link}
        return [decided[number] for number in sorted(decided)]

    def detached(self, link: Link) -> Condition | None:
        """Why a link was ended by the broker."""
        (event,) = [event for event in self.take_events(Detached) if event.link is link]
        return event.condition

    def closed(self) -> Condition | None:
        """Why the connection was closed by the broker."""
        (event,) = self.take_events(Closed)
        return event.condition

    @property
    def is_over(self) -> bool:
        """Whether the connection has ended in any way."""
        self.talk()
        return any(isinstance(event, Closed | Broken) for event in self.events) or self.connection.state == "closed"

    # -- links

    def session(self) -> Session:
        """Begin a session."""
        return self.engine.begin()

    def sender(self, target: Terminus | str | None, *, session: Session | None = None, name: str = "out") -> Sender:
        """Attach a link on which to send; the broker's answer may be a refusal."""
        link = self.engine.sender(session or self.session(), name)
        link.attach(source=Terminus(), target=_terminus(target))
        self.talk()
        return link

    def receiver(
        self,
        source: Terminus | str | None,
        *,
        credit: int = 0,
        session: Session | None = None,
        name: str = "in",
        settled: bool = False,
    ) -> Receiver:
        """Attach a link on which to receive."""
        link = self.engine.receiver(session or self.session(), name)
        if settled:
            link._pn.pn_link_set_snd_settle_mode(link.pointer(), link._pn.PN_SND_SETTLED)
            link._settle_mode = lambda: link._pn.PN_SND_SETTLED  # type: ignore[method-assign]
        link.attach(source=_terminus(source), target=Terminus())
        self.talk()
        if credit and link.alive:
            link.grant(credit)
            self.talk()
        return link

    def refused(self, link: Link) -> str:
        """The condition with which a link was refused."""
        condition = self.detached(link)
        assert condition is not None
        return condition.name

    def forget_events(self) -> None:
        """Look at nothing that happened so far."""
        self.talk()
        self.events = [event for event in self.events if isinstance(event, Detached | Closed | SessionEnded | Broken)]
        self.events = [event for event in self.events if not isinstance(event, Attached | CreditChanged)]


def _terminus(value: Terminus | str | None) -> Terminus | None:
    return Terminus(address=value) if isinstance(value, str) else value


class Restricted:
    """A door that lets everybody in with these grants."""

    def __init__(self, *grants: Grant) -> None:
        self._grants = grants

    def ask(self, attempt: object, answer: object) -> None:
        answer(attempt, welcome=True)  # type: ignore[operator]

    def rights(self, user: str, host: str) -> GrantedRights | None:
        return GrantedRights(user=user, host=host, grants=self._grants) if self._grants else None
