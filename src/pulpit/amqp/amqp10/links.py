# SPDX-License-Identifier: Apache-2.0
"""The engine's sessions and links, and the events that report what the peer did with them.

Sessions and links become dead when the peer or this side ends them. Every call on a dead one raises `Ended`, and never
reaches Proton, whose memory may belong to another link by then.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pulpit.amqp.amqp10 import proton
from pulpit.amqp.amqp10.types import NOWHERE, Condition, Outcome, Terminus


class Ended(Exception):
    """The connection, session or link is over; nothing was done."""


class Session:
    def __init__(self, pointer: Any) -> None:
        self._pn: Final = proton.load()
        self._pointer = pointer

    @property
    def alive(self) -> bool:
        return self._pointer is not None

    def pointer(self) -> Any:
        """For the engine only.

        Raises:
            Ended: it is over.
        """
        if self._pointer is None:
            raise Ended("The session is over.")
        return self._pointer

    def end(self, condition: Condition | None = None) -> None:
        """End it, with all its links.

        Raises:
            Ended: it is over already.
        """
        pointer = self.pointer()
        proton.set_condition(self._pn.pn_session_condition(pointer), condition)
        self._pn.pn_session_close(pointer)

    def forget(self) -> None:
        self._pointer = None


class Link:
    """One direction of messages on a session; `Sender` or `Receiver`."""

    def __init__(self, pointer: Any, session: Session, name: str) -> None:
        self._pn: Final = proton.load()
        self._pointer = pointer
        self._detaching = False
        self.session: Final = session
        self.name: Final = name

    @property
    def alive(self) -> bool:
        return self._pointer is not None and not self._detaching

    def pointer(self) -> Any:
        """For the engine only.

        Raises:
            Ended: it is over.
        """
        if not self.alive:
            raise Ended("The link is over.")
        return self._pointer

    @property
    def source(self) -> Terminus | None:
        """The source as the peer describes it."""
        return proton.get_terminus(self._pn.pn_link_remote_source(self.pointer()))

    @property
    def target(self) -> Terminus | None:
        """The target as the peer describes it."""
        return proton.get_terminus(self._pn.pn_link_remote_target(self.pointer()))

    @property
    def largest_message(self) -> int:
        """Maximum size in bytes of a message that the peer accepts; 0 is unlimited."""
        return int(self._pn.pn_link_remote_max_message_size(self.pointer()))

    def attach(
        self, *, source: Terminus | None = NOWHERE, target: Terminus | None = NOWHERE, largest_message: int = 0
    ) -> None:
        """Request this link from the peer.

        Raises:
            Ended: it is over.
        """
        pn, pointer = self._pn, self.pointer()
        if source is not None:
            proton.set_terminus(pn.pn_link_source(pointer), source, pn.PN_SOURCE)
        if target is not None:
            proton.set_terminus(pn.pn_link_target(pointer), target, pn.PN_TARGET)
        pn.pn_link_set_snd_settle_mode(pointer, pn.PN_SND_MIXED)
        pn.pn_link_set_max_message_size(pointer, largest_message)
        pn.pn_link_open(pointer)

    def detach(self, condition: Condition | None = None) -> None:
        """Close it permanently.

        Raises:
            Ended: it is over.
        """
        pointer = self.pointer()
        self._detaching = True
        proton.set_condition(self._pn.pn_link_condition(pointer), condition)
        self._pn.pn_link_close(pointer)

    def forget(self) -> None:
        self._pointer = None


class Sender(Link):
    """A sending link; deliveries are numbered from 1."""

    def __init__(self, pointer: Any, session: Session, name: str) -> None:
        super().__init__(pointer, session, name)
        self._sent = 0
        self._unsettled: dict[Any, int] = {}

    @property
    def credit(self) -> int:
        """Messages that the peer accepts now."""
        return int(self._pn.pn_link_credit(self.pointer()))

    @property
    def draining(self) -> bool:
        """Whether the peer is draining: it waits until its credit is used or returned."""
        return bool(self._pn.pn_link_get_drain(self.pointer()))

    def drained(self) -> None:
        """Return the remaining credit to a draining peer.

        Raises:
            Ended: the link is over.
        """
        self._pn.pn_link_drained(self.pointer())

    def send(self, message: bytes) -> int:
        """Send one encoded message and return the delivery's number; without credit it is buffered.

        Raises:
            Ended: the link is over.
        """
        pn, pointer = self._pn, self.pointer()
        self._sent += 1
        delivery = pn.pn_delivery(pointer, self._sent.to_bytes(8, "big"))
        pn.pn_link_send(pointer, message)
        pn.pn_link_advance(pointer)
        self._unsettled[delivery] = self._sent
        return self._sent

    def decided(self, delivery: Any) -> tuple[int, Outcome | None] | None:
        """For the engine only: return the outcome of a delivery, if it has one, and settle it."""
        pn = self._pn
        number = self._unsettled.get(delivery)
        if number is None:
            return None
        outcome = proton.get_outcome(delivery)
        if outcome is None and not pn.pn_delivery_settled(delivery):
            return None
        del self._unsettled[delivery]
        pn.pn_delivery_settle(delivery)
        return number, outcome

    def forget(self) -> None:
        super().forget()
        self._unsettled.clear()


class Receiver(Link):
    """A receiving link; deliveries are numbered from 1."""

    def __init__(self, pointer: Any, session: Session, name: str) -> None:
        super().__init__(pointer, session, name)
        self._arrived = 0
        self._unsettled: dict[int, Any] = {}
        self._partial = bytearray()

    @property
    def credit(self) -> int:
        """Messages that the peer may still send."""
        return int(self._pn.pn_link_credit(self.pointer()))

    def grant(self, count: int) -> None:
        """Grant credit for so many further messages.

        Raises:
            Ended: the link is over.
        """
        pointer = self.pointer()
        self._pn.pn_link_set_drain(pointer, False)
        self._pn.pn_link_flow(pointer, count)

    def settle(self, number: int, outcome: Outcome) -> None:
        """Settle a delivery with an outcome; does nothing if it is settled already, by either side.

        Raises:
            Ended: the link is over.
        """
        self.pointer()
        delivery = self._unsettled.pop(number, None)
        if delivery is not None:
            proton.set_outcome(delivery, outcome)
            self._pn.pn_delivery_settle(delivery)

    def read(self, largest: int) -> tuple[int, bytes, bool] | None:
        """For the engine only: return the next whole message with its number and whether it was sent settled.

        Messages that arrive on a link being detached are read too, or Proton would keep them.

        Raises:
            OverflowError: it is larger than allowed; the received part is discarded.
        """
        pn, pointer = self._pn, self._pointer
        while not pn.isnull(delivery := pn.pn_link_current(pointer)) and pn.pn_delivery_readable(delivery):
            size = pn.pn_delivery_pending(delivery)
            length, data = pn.pn_link_recv(pointer, size) if size else (0, b"")
            if length > 0:
                self._partial += data
            if pn.pn_delivery_aborted(delivery):
                self._partial.clear()
                pn.pn_delivery_settle(delivery)
            elif len(self._partial) > largest:
                self._partial.clear()
                raise OverflowError
            elif pn.pn_delivery_partial(delivery):
                return None
            else:
                return self._complete(pointer, delivery)
        return None

    def _complete(self, pointer: Any, delivery: Any) -> tuple[int, bytes, bool]:
        self._arrived += 1
        data = bytes(self._partial)
        self._partial.clear()
        self._pn.pn_link_advance(pointer)
        settled = bool(self._pn.pn_delivery_settled(delivery))
        if settled:
            self._pn.pn_delivery_settle(delivery)
        else:
            self._unsettled[self._arrived] = delivery
        return self._arrived, data, settled

    def forget(self) -> None:
        super().forget()
        self._unsettled.clear()
        self._partial.clear()


# The engine's events -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    container: str
    properties: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Closed:
    """The peer has closed the connection, and was answered; no event follows."""

    condition: Condition | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Broken:
    """The protocol was violated, or the peer was silent for too long: nothing can be sent or received any more."""

    condition: Condition


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionEnded:
    """The peer ended a session, and was answered; the session and its links are dead."""

    session: Session
    condition: Condition | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Attached:
    """The peer attached a link of ours; without a terminus it refuses it, and detaches it next (section 2.6.3)."""

    link: Link


@dataclass(frozen=True, kw_only=True, slots=True)
class Detached:
    """The peer detached a link, and was answered; the link is dead."""

    link: Link
    closed: bool
    """Whether the link is closed permanently, not only detached."""
    condition: Condition | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CreditChanged:
    """The credit of a sender has changed (`Sender.credit`)."""

    link: Sender


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrived:
    """A whole message has arrived; unless it is settled, `Receiver.settle` must be called with its number."""

    link: Receiver
    number: int
    message: bytes
    settled: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Decided:
    """The peer settled a sent message; no outcome means that it gave none."""

    link: Sender
    number: int
    outcome: Outcome | None


Event = Opened | Closed | Broken | SessionEnded | Attached | Detached | CreditChanged | Arrived | Decided
