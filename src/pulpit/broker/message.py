"""One published message, shared by all queues that it was routed to, and its entry in each of them."""

from typing import Any, Final

from pulpit.broker.properties import Properties, read_properties, write_header

OVERHEAD: Final = 600
"""Bytes of memory that a message costs beside its body, as measured with `tracemalloc`."""


class Message:
    """What came with one publish; `address` is exchange and routing key as they stood in the method."""

    __slots__ = ("_properties", "address", "body", "exchange", "fanout", "header", "id", "routing_key")

    def __init__(
        self,
        *,
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


class Entry:
    """One message in one queue; `id` grows with every entry of the broker and is the order of every queue."""

    __slots__ = (
        "consumer",
        "durable",
        "expires_at",
        "failures",
        "id",
        "message",
        "priority",
        "queue",
        "redelivered",
        "state",
        "tag",
    )

    def __init__(self, *, id: int, message: Message, queue: Any, priority: int, expires_at: int | None) -> None:  # noqa: A002 - the row's name
        self.id = id
        self.message = message
        self.queue = queue
        self.priority = priority
        self.expires_at = expires_at  # milliseconds since 1970
        self.redelivered = False
        self.failures = 0  # attempts to process it that did not end well
        self.durable = False
        self.consumer: Any = None  # who holds it unacknowledged; None for basic.get
        self.tag = 0  # under which its consumer holds it
        self.state = 0  # which batch of the store holds its row, see store.py
