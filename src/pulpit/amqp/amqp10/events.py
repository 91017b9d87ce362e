"""What the engine tells: each event is a value that says what the peer did."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pulpit.amqp.amqp10.links import Link, Receiver, Sender, Session
from pulpit.amqp.amqp10.words import Condition, Outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """The peer has opened the connection; a server answers by `Engine.open` or `Engine.close`."""

    container: str
    hostname: str
    """The host that a client asks for; some clients mean a virtual host by it."""
    properties: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Closed:
    """The peer has closed the connection, which is answered; no event follows."""

    condition: Condition | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Broken:
    """The protocol was broken, or the peer was silent for too long: nothing can be sent or received any more."""

    condition: Condition


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionBegun:
    """The peer began a session, which is answered, or answered one of ours."""

    session: Session


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionEnded:
    """The peer ended a session, which is answered; the session and its links are dead."""

    session: Session
    condition: Condition | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Attached:
    """The peer answered a link of ours, or asks for one (`asked`): answer by `Link.attach` or `Link.refuse`."""

    link: Link
    asked: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Detached:
    """The peer detached a link, which is answered; the link is dead."""

    link: Link
    closed: bool
    """Whether it means for ever, not just for now."""
    condition: Condition | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CreditChanged:
    """The peer of a sender said how much it takes (`Sender.credit`), or that it drains (`Sender.draining`)."""

    link: Sender


@dataclass(frozen=True, kw_only=True, slots=True)
class CreditReturned:
    """The peer of a receiver used or gave back all credit after a drain."""

    link: Receiver


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrived:
    """A whole message came; unless it is settled, `Receiver.settle` must be called with its number."""

    link: Receiver
    number: int
    message: bytes
    settled: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Decided:
    """The peer decided about a message that was sent; no outcome means that it forgot the message without a word."""

    link: Sender
    number: int
    outcome: Outcome | None


Event = (
    Opened
    | Closed
    | Broken
    | SessionBegun
    | SessionEnded
    | Attached
    | Detached
    | CreditChanged
    | CreditReturned
    | Arrived
    | Decided
)
