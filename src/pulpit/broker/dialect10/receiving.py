"""A link on which a client sends: credit, messages in, outcomes out.

Credit and messages whose fate is open make together at most WINDOW, or less where messages are large, so that a fast
client waits for the disk, and does not fill the memory. Outcomes collect during a turn, because Proton says many of
them in one frame.
"""

from typing import Final, Protocol

from pulpit.amqp.amqp10 import words
from pulpit.amqp.amqp10.codec import DecodeError
from pulpit.amqp.amqp10.links import Receiver
from pulpit.amqp.amqp10.words import ACCEPTED, RELEASED, Condition, Outcome, Rejected
from pulpit.broker.dialect10.arrival import Arrival, BadMessage
from pulpit.broker.dialect10.nodes import Guest, Way, find_way
from pulpit.broker.dialect10.refusals import LinkRefusal, translated
from pulpit.broker.exchanges.exchange import Exchange
from pulpit.broker.message import Message
from pulpit.broker.outbox import Outbox
from pulpit.broker.permissions import EXCHANGE, WRITE
from pulpit.broker.refusals import Refusal
from pulpit.broker.replies import PREFIX

WINDOW: Final = 500
"""Messages that a client may have sent without knowing what became of them."""
USUAL_SIZE: Final = 4096
"""Bytes of a message, as long as nothing is known."""
_MEMORY: Final = 16
"""Messages over which their size is averaged."""


class Publisher(Guest, Protocol):
    """What the link needs of its connection."""

    @property
    def outbox(self) -> Outbox:
        """Where its turns end."""

    @property
    def link_share(self) -> int:
        """Bytes that the messages may have that one link may send without knowing what became of them."""

    @property
    def alarmed(self) -> bool:
        """Whether publishers must wait."""

    def publishes(self) -> None:
        """The connection publishes, so it may be made to wait."""


class Receiving:
    """One link; `way` is where its messages go, None if each of them says so."""

    def __init__(self, guest: Publisher, link: Receiver, way: Way | None) -> None:
        self.link: Final = link
        self._guest: Final = guest
        self._way: Final = way
        self._waiting = 0  # for the disk
        self._decided: list[tuple[int, Outcome]] = []
        self._planned = False
        self._usual_size = USUAL_SIZE

    def arrived(self, number: int, data: bytes, *, settled: bool) -> None:
        """Take one message.

        Raises:
            LinkRefusal: the node of the link is gone.
            Refusal: the user may not publish this there.
        """
        self._guest.publishes()
        self._usual_size += (len(data) - self._usual_size) // _MEMORY
        try:
            outcome = self._publish(number, Arrival(data))
        except DecodeError as error:
            outcome = Rejected(Condition(words.DECODE_ERROR, str(error)))
        except BadMessage as error:
            outcome = Rejected(Condition(words.PRECONDITION_FAILED, str(error)))
        if outcome is not None and not settled:
            self._decided.append((number, outcome))
        self._plan()

    def grant(self) -> None:
        """Let the client send more, if nothing speaks against it."""
        if not self.link.alive or self._guest.alarmed:
            return
        used = self.link.credit + self._waiting + len(self._decided)
        window = max(1, min(WINDOW, self._guest.link_share // max(self._usual_size, 1)))
        if used <= window // 2:
            self.link.grant(window - used)

    def _publish(self, number: int, arrival: Arrival) -> Outcome | None:
        """Route a message; answers what became of it, or nothing as long as the disk has not got it."""
        user = arrival.user
        if user is not None and user != self._guest.user:
            reason = f"user-id is '{user}' but the authenticated user is '{self._guest.user}'"
            return Rejected(Condition(words.UNAUTHORIZED, reason))
        way = self._way
        if way is None:
            try:
                way = self._way_of(arrival)
            except LinkRefusal as refusal:
                return Rejected(refusal.condition)
        exchange = self._guest.host.exchanges.get(way.exchange)
        if exchange is None:
            raise LinkRefusal(words.NOT_FOUND, f"the exchange '{way.exchange}' is gone")
        key = way.key if way.key is not None else arrival.subject or ""
        self._guest.rights.require(WRITE, EXCHANGE, way.exchange, key)
        return self._route(number, exchange, arrival.message(way.exchange, key))

    def _way_of(self, arrival: Arrival) -> Way:
        """Where a message of a link without a target goes; a mistake in it is the message's alone."""
        try:
            way = find_way(self._guest, arrival.to or "")
            self._guest.rights.require(WRITE, EXCHANGE, way.exchange, way.key or arrival.subject or "")
        except Refusal as refusal:
            raise translated(refusal) from None
        return way

    def _route(self, number: int, exchange: Exchange, message: Message) -> Outcome | None:
        if not exchange.name and message.routing_key.startswith(PREFIX):
            asker = self._guest.replies.find(message.routing_key)
            if asker is not None:
                asker.answer(message)
                return ACCEPTED
        host = self._guest.host
        queues = host.route(exchange, message)
        if not queues:
            return RELEASED
        if not host.publish(message, queues):
            return Rejected(Condition(words.RESOURCE_LIMIT, "a queue is full"))
        if message.properties.persistent and host.store.has_unwritten and any(each.durable for each in queues):
            self._waiting += 1
            host.store.confirm(self._written, number)
            return None
        return ACCEPTED

    def _written(self, number: int) -> None:
        self._waiting -= 1
        self._decided.append((number, ACCEPTED))
        self._plan()

    def _plan(self) -> None:
        if not self._planned:
            self._planned = True
            self._guest.outbox.soon(self._flush)

    def _flush(self) -> None:
        """Say what was decided, and let the client send on."""
        self._planned = False
        decided, self._decided = self._decided, []
        if self.link.alive:
            for number, outcome in decided:
                self.link.settle(number, outcome)
            self.grant()
