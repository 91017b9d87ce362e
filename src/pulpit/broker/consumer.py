"""A consumer: one basic.consume, from the side of the queue."""

from typing import Any, Protocol

from pulpit.broker.message import Entry


class Outlet(Protocol):
    """The channel behind a consumer."""

    def takes_deliveries(self, *, counted: bool) -> bool:
        """Whether the channel may be given another message now: a peer that reads, and the global prefetch.

        What is not acknowledged is not `counted`.
        """

    def deliver(self, consumer: "Consumer", entry: Entry) -> None:
        """Send the message and, unless the consumer does not acknowledge, remember it."""

    def cancelled(self, consumer: "Consumer") -> None:
        """The queue is gone; tell the client, if it wants to know."""


class Consumer:
    """`prefetch` is how many unacknowledged messages it may hold; 0 is no limit."""

    __slots__ = (
        "exclusive",
        "no_ack",
        "outlet",
        "prefetch",
        "priority",
        "queue",
        "start",
        "tag",
        "unacknowledged",
    )

    def __init__(
        self, *, tag: str, queue: Any, outlet: Outlet, no_ack: bool, exclusive: bool, prefetch: int, priority: int
    ) -> None:
        self.tag = tag
        self.queue = queue
        self.outlet = outlet
        self.no_ack = no_ack
        self.exclusive = exclusive
        self.prefetch = 0 if no_ack else prefetch
        self.priority = priority
        self.unacknowledged = 0
        self.start = b""  # the beginning of its deliveries, prepared by the channel

    def can_take(self) -> bool:
        """Whether it has room for one more message."""
        return (not self.prefetch or self.unacknowledged < self.prefetch) and self.outlet.takes_deliveries(
            counted=not self.no_ack
        )
