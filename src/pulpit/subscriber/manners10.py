"""How each broker wants to be asked for messages over AMQP 1.0: one small description for each.

| broker | an exchange | a durable queue |
|---|---|---|
| Pulpit's own | its name, with a topic filter | made over AMQP 0-9-1, then `/queues/NAME` |
| RabbitMQ 3 | a queue made over AMQP 0-9-1, because that of its plug-in stays for ever | the same, `/amq/queue/NAME` |
| RabbitMQ 4 | the same, `/queues/NAME` | the same |
| Qpid and any other | its name, with a topic filter | a durable subscription: name of the container and of the link |
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from pulpit.amqp.amqp10.codec import Described, Symbol
from pulpit.amqp.amqp10.events import Opened
from pulpit.amqp.amqp10.makes import Make, make_of
from pulpit.amqp.amqp10.words import TOPIC_FILTER, Terminus
from pulpit.subscriber.wish import Wish

_UNSETTLED_STATE: Final = 2
"""A terminus that lasts with what is unsettled (section 3.5.5)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a receiver attaches."""

    source: Terminus
    name: str = ""
    """Of the link; empty is one that is made up."""
    unfiltered: bool
    """Whether the broker may send what does not match."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Broker:
    """The manners of one make."""

    queue_prefix: str = ""
    """Before the name of a queue."""
    decodes: bool = False
    """Whether names in addresses are percent-encoded."""
    binds_exchanges: bool = True
    """Whether an exchange can be received from, by a queue that goes again."""
    speaks_091: bool = False
    """On the same port, so that queues can be made and bound."""
    marks_first: bool = False
    """Whether `first-acquirer` is set on what is handed out for the first time, as the specification wishes."""

    def declares(self, wish: Wish) -> bool:
        """Whether a queue must be made over AMQP 0-9-1 first."""
        return self.speaks_091 and (wish.stays or not self.binds_exchanges)

    def queue(self, name: str) -> Place:
        """A queue that is there."""
        address = self.queue_prefix + (quote(name, safe="") if self.decodes else name)
        return Place(source=Terminus(address=address), unfiltered=False)

    def exchange(self, wish: Wish) -> Place:
        """An exchange with a filter; for a durable queue the broker keeps the subscription under its name."""
        filters: dict[str, Any] = {"topic": Described(Symbol(TOPIC_FILTER), wish.subject)}
        if wish.stays:
            source = Terminus(
                address=wish.exchange, filters=filters, durability=_UNSETTLED_STATE, expiry="never", copies=True
            )
            return Place(source=source, name=wish.queue or "", unfiltered=True)
        return Place(source=Terminus(address=wish.exchange, filters=filters, copies=True), unfiltered=True)


PULPIT: Final = Broker(queue_prefix="/queues/", decodes=True, speaks_091=True, marks_first=True)
RABBITMQ_3: Final = Broker(queue_prefix="/amq/queue/", binds_exchanges=False, speaks_091=True, marks_first=True)
RABBITMQ_4: Final = Broker(
    queue_prefix="/queues/", decodes=True, binds_exchanges=False, speaks_091=True, marks_first=True
)
OTHER: Final = Broker()


_BY_MAKE: Final = {
    Make.PULPIT: PULPIT,
    Make.RABBITMQ_3: RABBITMQ_3,
    Make.RABBITMQ_4: RABBITMQ_4,
    Make.QPID: OTHER,
    Make.OTHER: OTHER,
}


Recognize = Callable[[Opened | None], Broker]


def recognize(remote: Opened | None) -> Broker:
    """The manners of a broker, by what it says about itself when it opens the connection."""
    return _BY_MAKE[make_of(remote)]
