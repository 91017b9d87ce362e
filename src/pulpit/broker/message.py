"""One published message, shared by all queues that it was routed to, and what the store knows of it in each of them."""

from pulpit.broker.properties import Properties, read_properties, write_header

OVERHEAD = 600
"""Bytes of memory that a message costs beside its body, as measured with `tracemalloc`."""


class Message:
    """What came with one publish; `address` is exchange and routing key as they stood in the method."""

    __slots__ = ("_properties", "address", "body", "exchange", "fanout", "header", "id", "routing_key")

    def __init__(  # noqa: PLR0917 - of every message one is made, and names cost more than values
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
        self.id = 0  # where the store keeps it, if it is shared

    @property
    def properties(self) -> Properties:
        """The properties; read when first asked for, because a message from the disk may never need them."""
        if self._properties is None:
            self._properties = read_properties(self.header)
        return self._properties

    def replace_properties(self, properties: Properties) -> None:
        """Give the message other properties than those it came with."""
        self._properties = properties
        self.header = write_header(len(self.body), properties)

    def without_body(self) -> "Message":
        """What is kept in memory of a message whose body is on the disk."""
        message = Message("", "", b"", b"", b"", None)
        message.id = self.id
        return message


class Row:
    """A message in one queue, as the store keeps it; `id` grows with every row of the broker and orders every queue."""

    __slots__ = ("durable", "expires_at", "id", "message", "priority", "queue_id", "redelivered", "size", "state")

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
        self.state = 0  # which batch of the store holds it, see store.py
