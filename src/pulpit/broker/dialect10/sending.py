"""A link on which a client receives: a consumer of a queue, messages out, outcomes in."""

from typing import Final, Protocol

from pulpit.amqp.amqp10.links import Sender
from pulpit.amqp.amqp10.words import (
    RESOURCE_DELETED,
    STOLEN,
    TOO_LARGE,
    Accepted,
    Condition,
    Modified,
    Outcome,
    Rejected,
    Released,
)
from pulpit.broker.consumer import Consumer
from pulpit.broker.dialect10.departure import Departures
from pulpit.broker.dialect10.nodes import Guest, Spring
from pulpit.broker.message import Entry
from pulpit.broker.outbox import Outbox

MAX_UNSENT: Final = 256 * 1024
"""Bytes of a session that wait for its peer's window; with more, no further message is handed to it."""


class Subscriber(Guest, Protocol):
    """What the link needs of its connection."""

    delivered: int

    @property
    def outbox(self) -> Outbox:
        """Where its turns end."""

    @property
    def departures(self) -> Departures:
        """Who writes messages."""

    def detach(self, link: Sender, condition: Condition) -> None:
        """End a link from the broker's side."""

    def stalled(self, sending: "Sending") -> None:
        """A link could send, but its peer does not read: `resume` is called when it may go on."""


class Sending:
    """One link; `unacknowledged` are the messages whose outcome is open, by the number of their delivery."""

    def __init__(self, guest: Subscriber, link: Sender, spring: Spring, *, settled: bool, priority: int) -> None:
        self.link: Final = link
        self.spring: Final = spring
        self.queue: Final = spring.queue
        self.unacknowledged: dict[int, Entry] = {}
        self._guest: Final = guest
        self._largest: Final = link.largest_message
        self._ending = False
        self._consumer: Final = Consumer(
            tag=link.name, queue=spring.queue, outlet=self, no_ack=settled, exclusive=False, prefetch=0,
            priority=priority,
        )  # fmt: skip

    def start(self) -> None:
        """Take part in the queue; a durable subscription is taken over from whoever had it."""
        if self.spring.private:
            for consumer in list(self.queue.consumers):
                if isinstance(consumer.outlet, Sending):
                    consumer.outlet.stolen()
        if self.queue.touch():
            self._guest.hold()
        self.queue.add_consumer(self._consumer)

    # -- what the queue asks

    def takes_deliveries(self, *, counted: bool) -> bool:  # noqa: ARG002 - credit counts for all
        """Whether there is credit, and a peer that reads."""
        if self._ending or not self.link.alive or self.link.credit <= 0:
            return False
        if self._guest.outbox.writable and self.has_room():
            return True
        self._guest.stalled(self)
        return False

    def has_room(self) -> bool:
        """Whether the peer's session takes more."""
        return self.link.alive and self.link.session.alive and self.link.session.unsent < MAX_UNSENT

    def deliver(self, consumer: Consumer, entry: Entry) -> None:
        """Send a message."""
        data = self._guest.departures.write(entry)
        if 0 < self._largest < len(data):
            self._refuse(entry)
            return
        number = self.link.send(data, settled=consumer.no_ack)
        self._guest.outbox.count(len(data))
        self._guest.delivered += 1
        if consumer.no_ack:
            entry.queue.settle(entry)
            return
        entry.consumer = consumer
        entry.tag = number
        consumer.unacknowledged += 1
        self.unacknowledged[number] = entry

    def _refuse(self, entry: Entry) -> None:
        """End the link at the end of the turn, because its client takes no message as large as the next one."""
        self._ending = True
        self._consumer.unacknowledged += 1
        self.unacknowledged[0] = entry
        reason = f"the next message of queue '{self.queue.name}' is larger than the {self._largest} bytes that you take"
        self._guest.outbox.soon(lambda: self._guest.detach(self.link, Condition(TOO_LARGE, reason)))

    def cancelled(self, consumer: Consumer) -> None:  # noqa: ARG002 - there is one
        """The queue is gone."""
        self._guest.detach(self.link, Condition(RESOURCE_DELETED, f"the queue '{self.queue.name}' was deleted"))

    # -- what the client says

    def credit_changed(self) -> None:
        """Use new credit, and give back what is left if the client wants that."""
        self.queue.drain()
        if self.link.alive and self.link.draining and self.link.credit > 0 and not self._has_more():
            self.link.drained()

    def _has_more(self) -> bool:
        """Whether messages wait that only a peer who does not read holds up."""
        return bool(len(self.queue)) and not self.takes_deliveries(counted=True)

    def decided(self, number: int, outcome: Outcome | None) -> None:
        """Do with a message what the client wants; one that it forgot without a word is tried again."""
        entry = self.unacknowledged.pop(number, None)
        if entry is None:
            return
        self._consumer.unacknowledged -= 1
        match outcome:
            case Accepted():
                self.queue.settle(entry)
            case Rejected() | Modified(undeliverable=True):
                self.queue.reject(entry)
            case Modified(failed=True):
                self.queue.give_back([entry])
            case Released() | Modified() | None:
                self.queue.give_back([entry], failed=False)

    # -- the end

    def stolen(self) -> None:
        """The same subscription is used elsewhere now."""
        self.close()
        self._guest.detach(self.link, Condition(STOLEN, "the subscription is used by another link now"))

    def close(self) -> None:
        """Leave the queue; what is not acknowledged goes back to it."""
        entries, self.unacknowledged = list(self.unacknowledged.values()), {}
        self._consumer.unacknowledged = 0
        self.queue.remove_consumer(self._consumer)
        self.queue.give_back(entries)

    def forget(self) -> None:
        """The client closed the link for good, so a subscription ends with it."""
        self.close()
        if self.spring.private and not self.queue.deleted:
            self.queue.host.drop_queue(self.queue)
