"""A published message, shared by all queues that it was routed to, and its stored state in each of them."""

from pulpit.amqp.amqp091 import tables
from pulpit.broker.properties import Properties, read_properties, with_part, write_header

OVERHEAD = 600
"""Memory of a message in bytes besides its body, as measured with `tracemalloc`."""
DELIVERY_COUNT = b"x-delivery-count"


class Message:
    """The content of one publish; `address` is exchange and routing key as encoded in the method."""

    __slots__ = ("_properties", "address", "body", "exchange", "fanout", "header", "id", "routing_key")

    def __init__(  # noqa: PLR0917 - every message is created here, and keyword arguments are slower
        self,
        exchange: str,
        routing_key: str,
        address: bytes,
        header: bytes,
        body: bytes,
        properties: Properties | None,
    ) -> None:
        self.exchange = exchange
        self.routing_key = routing_key
        self.address = address
        self.header = header
        self.body = body
        self._properties = properties
        self.fanout = 1  # queues that share it
        self.id = 0  # its row in the store, if it is shared

    @property
    def properties(self) -> Properties:
        """The properties; decoded at first use, because a message from the disk may never need them."""
        if self._properties is None:
            self._properties = read_properties(self.header)
        return self._properties

    def replace_properties(self, properties: Properties) -> None:
        self._properties = properties
        self.header = write_header(len(self.body), properties)

    def without_body(self) -> "Message":
        """Return what stays in memory of a message whose body is on disk."""
        message = Message("", "", b"", b"", b"", None)
        message.id = self.id
        return message

    def counted(self, returns: int) -> "Message":
        """Return the message as a quorum queue delivers it: with the number of times that it came back."""
        headers = [header for header in self.properties.raw_headers() if header[0] != DELIVERY_COUNT]
        headers.append((DELIVERY_COUNT, tables.long(returns)))
        properties = with_part(self.properties, "headers", tables.join(headers))
        header = write_header(len(self.body), properties)
        return Message(self.exchange, self.routing_key, self.address, header, self.body, properties)


class Row:
    """A message in one queue, as stored; `id` grows with every row of the broker and orders every queue.

    If it is `shed`, its body is on disk only.
    """

    __slots__ = (
        "durable",
        "expires_at",
        "id",
        "message",
        "priority",
        "queue_id",
        "redelivered",
        "returns",
        "shed",
        "size",
        "state",
    )

    def __init__(
        self,
        *,
        id: int,  # noqa: A002 - the column's name
        queue_id: int,
        message: Message,
        durable: bool,
        priority: int,
        expires_at: int | None,
    ) -> None:
        self.id = id
        self.queue_id = queue_id
        self.message = message
        self.size = len(message.body)
        self.priority = priority
        self.expires_at = expires_at  # milliseconds since 1970
        self.redelivered = False
        self.durable = durable
        self.state = 0  # the batch of the store that holds it, see store.py
        self.returns = 0  # how often it came back from consumers
        self.shed = False
