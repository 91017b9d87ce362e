"""The links of one connection: attached, fed with what the engine tells of them, and ended."""

from typing import Final, Protocol

from pulpit.amqp.amqp10 import events, words
from pulpit.amqp.amqp10.links import Link, Receiver, Sender, Session
from pulpit.amqp.amqp10.words import NOWHERE, Condition
from pulpit.broker import refusals
from pulpit.broker.dialect10.management import NODE
from pulpit.broker.dialect10.nodes import find_source, find_target
from pulpit.broker.dialect10.office import Answers, Client, Requests
from pulpit.broker.dialect10.receiving import Publisher, Receiving
from pulpit.broker.dialect10.refusals import LinkRefusal, Refusal, translated
from pulpit.broker.dialect10.sending import Sending, Subscriber
from pulpit.broker.permissions import EXCHANGE, WRITE
from pulpit.broker.queue import Queue

MAX_LINKS: Final = 2047
"""Links of one connection."""
PRIORITY: Final = "rabbitmq:priority"
"""The property of a link that says how urgent its consumer is, as in RabbitMQ 4."""


End = Receiving | Sending | Requests | Answers


class Host(Publisher, Subscriber, Client, Protocol):
    """What the links need of their connection."""

    @property
    def is_running(self) -> bool:
        """Whether links may be attached."""


class Links:
    """Both directions, by the engine's links; `stalled` are those that a peer holds up which does not read."""

    def __init__(self, host: Host) -> None:
        self._host: Final = host
        self._ends: dict[Link, End] = {}
        self._owned: dict[Queue, None] = {}
        self._stalled: dict[Sending, None] = {}

    def owns(self, queue: Queue) -> None:
        """Remember an exclusive queue, which goes with the connection or with its link."""
        self._owned[queue] = None

    @property
    def counts(self) -> tuple[int, int]:
        """Consumers and unacknowledged messages."""
        ends = self._senders()
        return len(ends), sum(len(end.unacknowledged) for end in ends)

    # -- what the engine tells

    def attached(self, event: events.Attached) -> None:
        """Answer a link that the client asks for, or refuse it in words."""
        link = event.link
        try:
            if not self._host.is_running:
                raise LinkRefusal(words.NOT_ALLOWED, "the connection is not open")
            if len(self._ends) >= MAX_LINKS:
                raise LinkRefusal(words.RESOURCE_LIMIT, f"one connection has at most {MAX_LINKS} links")
            if isinstance(link, Sender):
                self._attach_sending(link)
            elif isinstance(link, Receiver):
                self._attach_receiving(link)
        except Refusal as refusal:
            link.refuse(refusal.condition)
        except refusals.Refusal as refusal:
            link.refuse(translated(refusal).condition)

    def _attach_receiving(self, link: Receiver) -> None:
        if link.target is not None and link.target.address == NODE:
            self._ends[link] = requests = Requests(self._host, link)
            link.attach(source=link.source, target=link.target)
            requests.grant()
            return
        way, target = find_target(self._host, link.target or NOWHERE)
        if way is not None and way.key is not None:
            self._host.rights.require(WRITE, EXCHANGE, way.exchange, way.key)
        self._ends[link] = receiving = Receiving(self._host, link, way)
        link.attach(source=link.source, target=target, largest_message=self._host.max_message_size)
        receiving.grant()

    def _attach_sending(self, link: Sender) -> None:
        if link.source is not None and link.source.address == NODE:
            self._ends[link] = Answers(link)
            link.attach(source=link.source, target=link.target)
            return
        spring = find_source(self._host, link.source, link.name)
        asked = link.properties.get(PRIORITY)
        priority = int(asked) if isinstance(asked, int) else 0
        self._ends[link] = sending = Sending(self._host, link, spring, settled=link.settles_first, priority=priority)
        link.attach(source=spring.terminus, target=link.target)
        sending.start()

    def detached(self, event: events.Detached) -> None:
        """The client left; for good if it closed the link."""
        end = self._ends.pop(event.link, None)
        if isinstance(end, Sending) and event.closed:
            end.forget()
        self._leave(end)

    def session_ended(self, session: Session) -> None:
        """All links of a session are gone."""
        for link in [link for link in self._ends if link.session is session]:
            self._leave(self._ends.pop(link))

    def credit_changed(self, event: events.CreditChanged) -> None:
        """The client takes more, or wants its credit back."""
        end = self._ends.get(event.link)
        if isinstance(end, Sending | Answers):
            end.credit_changed()

    def arrived(self, event: events.Arrived) -> None:
        """A message came."""
        end = self._ends.get(event.link)
        if isinstance(end, Requests):
            end.arrived(event.number, event.message, self._answers_on(event.link.session))
        if not isinstance(end, Receiving):
            return
        try:
            end.arrived(event.number, event.message, settled=event.settled)
        except LinkRefusal as refusal:
            self.detach(event.link, refusal.condition)
        except refusals.Refusal as refusal:
            self.detach(event.link, translated(refusal).condition)

    def decided(self, event: events.Decided) -> None:
        """The client said what became of a message."""
        end = self._ends.get(event.link)
        if isinstance(end, Sending):
            end.decided(event.number, event.outcome)

    # -- flow

    def stall(self, sending: Sending) -> None:
        """Remember a link that its peer holds up."""
        self._stalled[sending] = None

    def resume_stalled(self) -> None:
        """Go on with those whose peer has opened its window, at the end of the turn; `resume` comes for the others."""
        if not self._host.outbox.writable:
            return
        for end in [end for end in self._stalled if end.has_room()]:
            del self._stalled[end]
            self._host.outbox.soon(end.credit_changed)

    def resume(self) -> None:
        """Go on with all: the socket takes more."""
        for end in self._senders():
            end.credit_changed()

    def grant(self) -> None:
        """Let all publishers go on, after they had to wait."""
        for end in self._ends.values():
            if isinstance(end, Receiving | Requests):
                end.grant()

    # -- ends

    def detach(self, link: Link, condition: Condition) -> None:
        """End a link from the broker's side."""
        self._leave(self._ends.pop(link, None))
        if link.alive:
            link.detach(condition)

    def drop(self) -> None:
        """Leave all queues, then delete those that nobody else may use."""
        ends, self._ends = self._ends, {}
        for end in ends.values():
            self._leave(end)
        for queue in list(self._owned):
            queue.host.drop_queue(queue)
        self._owned.clear()
        self._stalled.clear()

    def _answers_on(self, session: Session) -> Answers | None:
        found = (end for link, end in self._ends.items() if link.session is session and isinstance(end, Answers))
        return next(found, None)

    def _leave(self, end: End | None) -> None:
        if isinstance(end, Sending):
            self._stalled.pop(end, None)
            end.close()
            if end.queue.deleted:
                self._owned.pop(end.queue, None)

    def _senders(self) -> list[Sending]:
        return [end for end in list(self._ends.values()) if isinstance(end, Sending)]
