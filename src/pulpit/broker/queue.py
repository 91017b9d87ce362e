"""A queue: who gets its messages, and the declared limits. How they wait for that is in `backlog.py`."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from pulpit.broker.backlog import Backlog, Lane
from pulpit.broker.dead_letters import DeathReason
from pulpit.broker.message import Message, Row
from pulpit.broker.queue_arguments import QueueSettings
from pulpit.broker.resources import Timer, Timers
from pulpit.broker.schema import TOUCH_QUEUE
from pulpit.broker.store import Store

WORTH_SHEDDING: Final = 1024
"""Bytes of a body from which it is dropped from memory once it is on disk.

Smaller ones cost less than the message object.
"""

DEAD_AT_ONCE: Final = 200
"""Messages that are dead-lettered in one turn of the loop: ten thousand would hold up everything else."""


class Entry(Row):
    """A message in a queue; `consumer` holds it unacknowledged under `tag`, None after a basic.get."""

    __slots__ = ("consumer", "queue", "tag")

    def __init__(  # noqa: PLR0917 - as of a Message
        self,
        id: int,  # noqa: A002 - the column's name
        message: Message,
        queue: "Queue",
        durable: bool,
        priority: int,
        expires_at: int | None,
    ) -> None:
        self.id = id  # copied from Row, because a call per message is measurable
        self.queue_id = queue.id
        self.message = message
        self.size = len(message.body)
        self.priority = priority
        self.expires_at = expires_at
        self.redelivered = False
        self.durable = durable
        self.state = 0
        self.returns = 0
        self.shed = False
        self.queue = queue
        self.consumer: Consumer | None = None
        self.tag = 0


@dataclass(kw_only=True, slots=True, eq=False)
class Consumer:
    """One basic.consume; `prefetch` limits its unacknowledged messages, 0 is no limit.

    `deliver` sends a message and, unless the consumer does not acknowledge, remembers it; `has_room` says whether the
    channel accepts another one now, and `cancelled` is called when the queue is deleted.
    """

    tag: str
    queue: "Queue"
    deliver: "Callable[[Consumer, Entry], None]"
    has_room: Callable[[], bool]
    cancelled: "Callable[[Consumer], None]"
    start: bytes
    """The start of its deliveries, encoded."""
    no_ack: bool = False
    exclusive: bool = False
    prefetch: int = 0
    priority: int = 0
    unacknowledged: int = 0
    unacknowledged_bytes: int = 0
    """Of the bodies that are kept in memory for it."""

    def can_take(self) -> bool:
        if self.prefetch and self.unacknowledged >= self.prefetch:  # nothing of `no_ack` is
            return False
        return self.unacknowledged_bytes <= self.queue.store.memory.consumer_limit and self.has_room()


@dataclass(kw_only=True, slots=True, eq=False)
class Queue:
    """Who may consume it, and what its arguments ask for; a message is in its `backlog`, or a consumer holds it."""

    id: int
    """Its number in the store."""
    name: str
    durable: bool
    auto_delete: bool
    owner: object | None
    """The connection of an exclusive queue."""
    arguments: bytes
    settings: QueueSettings
    store: Store
    timers: Timers
    dead_letter: "Callable[[Queue, Entry, DeathReason], None]"
    """Publishes a dead message."""
    drop: "Callable[[Queue], int]"
    """Deletes the queue."""
    backlog: Backlog[Entry] = field(init=False)
    consumers: list[Consumer] = field(default_factory=list)
    touched: bool = field(init=False)
    """Whether the store knows that messages may have been delivered."""
    deleted: bool = False
    unacknowledged: int = 0
    published: int = 0
    delivered: int = 0
    acknowledged: int = 0
    rates: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Published, delivered and acknowledged a second."""
    _measured: tuple[int, int, int] = (0, 0, 0)
    _limited: bool = field(init=False)
    _has_expiry: bool = field(init=False)
    _expiry_timer: Timer | None = None
    _expiry_at: int = 0
    _idle_timer: Timer | None = None

    def __post_init__(self) -> None:
        self.backlog = Backlog(self.id, self.store, self._stored)
        self.touched = not self.durable
        self._limited = self.settings.max_length is not None or self.settings.max_bytes is not None
        self._has_expiry = self.settings.ttl is not None
        self.used()

    # -- what comes in

    def push(self, message: Message) -> bool:
        """Add a message, deliver it at once if possible; False if the queue is full."""
        limited = self._limited
        if limited and self.settings.overflow != "drop-head" and self._is_full(message):
            if self.settings.overflow == "reject-publish-dlx":
                self.dead_letter(self, self._entry(message), DeathReason.MAXLEN)
            return False
        entry = self._entry(message)
        self.published += 1
        self.backlog.account(entry, 1)
        if self.consumers and not len(self.backlog) and (consumer := self._next_consumer()):
            if entry.durable and not consumer.no_ack:
                self.store.insert(entry)
            self._hand_to(consumer, entry)
            return True
        self.backlog.push(entry)
        if limited:
            self._drop_surplus()
        if entry.expires_at is not None:
            self._watch_expiry()
        return True

    def give_back(self, entries: Iterable[Entry]) -> None:
        """Return unacknowledged entries to their places, to be redelivered, unless they came back too often."""
        if self.deleted:
            for entry in entries:
                self.unacknowledged -= 1
                self.backlog.forget(entry)
            return
        returned: list[Entry] = []
        limit = self.settings.delivery_limit
        for entry in entries:
            entry.redelivered = True
            entry.returns += 1
            entry.consumer = None
            if limit is not None and entry.returns > limit:
                self.reject(entry, DeathReason.DELIVERY_LIMIT)
                continue
            self.unacknowledged -= 1
            returned.append(entry)
        self.backlog.give_back(returned)
        self._drop_surplus()
        self.drain()
        self._watch_expiry()

    # -- what goes out

    def touch(self) -> bool:
        """Record that messages may be delivered; True if that must be on disk before the first one is."""
        if self.touched:
            return False
        self.touched = True
        self.store.execute(TOUCH_QUEUE, self.id)
        return True

    def take(self) -> Entry | None:
        """Take the next message for basic.get; it counts as unacknowledged."""
        self.used()
        lane = self._next_lane()
        if lane is None:
            return None
        self.unacknowledged += 1
        self.delivered += 1
        entry = self.backlog.pop(lane)
        self._popped()
        return entry

    def drain(self) -> None:
        """Deliver as long as there are messages and consumers with room."""
        while self.deliver_next():
            pass

    def deliver_next(self) -> bool:
        """Deliver one message; False if there is none, or no consumer with room."""
        if not self.consumers or self.deleted:
            return False
        lane = self._next_lane()
        if lane is None:
            return False
        consumer = self._next_consumer()
        if consumer is None:
            return False
        self._hand_to(consumer, self.backlog.pop(lane))
        self._popped()
        return True

    def settle(self, entry: Entry) -> None:
        """Remove a message that was acknowledged, or delivered without acknowledgement."""
        self.unacknowledged -= 1
        self.acknowledged += 1
        self.backlog.forget(entry)

    def reject(self, entry: Entry, reason: DeathReason = DeathReason.REJECTED) -> None:
        """Remove a message that consumers do not want, dead-lettering it."""
        self.unacknowledged -= 1
        if entry.shed and self.settings.dead_letter_exchange is not None:
            self.backlog.restore((entry,))
        self.dead_letter(self, entry, reason)
        self.backlog.forget(entry)

    def purge(self) -> int:
        """Delete all ready messages; return their number."""
        return self.backlog.clear()

    def __len__(self) -> int:
        return len(self.backlog)

    # -- consumers

    def add_consumer(self, consumer: Consumer) -> None:
        """Add a consumer; higher priorities come first, equal ones take turns."""
        self.consumers.append(consumer)
        if not self.settings.single_active_consumer:
            self.consumers.sort(key=lambda consumer: -consumer.priority)
        self.used()

    def remove_consumer(self, consumer: Consumer) -> None:
        """Remove a consumer; an auto-delete queue is deleted with its last one."""
        if consumer not in self.consumers:
            return
        self.consumers.remove(consumer)
        self.used()
        if self.consumers:
            self.drain()
        elif self.auto_delete and not self.deleted:
            self.drop(self)

    @property
    def exclusive_consumer(self) -> bool:
        return any(consumer.exclusive for consumer in self.consumers)

    def _next_consumer(self) -> Consumer | None:
        """Return the next consumer with room, moving it behind those of its priority."""
        consumers = self.consumers
        if self.settings.single_active_consumer:
            return consumers[0] if consumers[0].can_take() else None
        for position, consumer in enumerate(consumers):
            if consumer.can_take():
                if len(consumers) > 1:
                    del consumers[position]
                    end = position
                    while end < len(consumers) and consumers[end].priority == consumer.priority:
                        end += 1
                    consumers.insert(end, consumer)
                return consumer
        return None

    def _hand_to(self, consumer: Consumer, entry: Entry) -> None:
        self.unacknowledged += 1
        self.delivered += 1
        consumer.deliver(consumer, entry)
        if entry.size >= WORTH_SHEDDING and not consumer.no_ack:
            if self.store.memory.used > self.store.memory.spare and self.store.is_written(entry):
                self.backlog.shed(entry)
            else:
                consumer.unacknowledged_bytes += entry.size

    # -- life and death

    def used(self) -> None:
        """Restart the time after which an unused queue expires."""
        if self.settings.expires is None:
            return
        if self._idle_timer is not None:
            self._idle_timer.cancel()

        def idle() -> None:
            self._idle_timer = None
            if self.consumers:
                self.used()
            elif not self.deleted:
                self.drop(self)

        self._idle_timer = self.timers.after(self.settings.expires / 1000, idle)

    def close(self) -> None:
        """Stop the timers; the queue is deleted or the broker stops."""
        self.deleted = True
        for timer in (self._idle_timer, self._expiry_timer):
            if timer is not None:
                timer.cancel()
        self._idle_timer = self._expiry_timer = None

    def measure(self, seconds: float) -> None:
        """Set `rates` to what was published, delivered and acknowledged per second since the last call."""
        counts = (self.published, self.delivered, self.acknowledged)
        published, delivered, acknowledged = (now - before for now, before in zip(counts, self._measured, strict=True))
        self.rates = (published / seconds, delivered / seconds, acknowledged / seconds)
        self._measured = counts

    def recover(self, priority: int, count: int, size: int, last_id: int, *, redelivered: bool) -> None:
        """Add messages found on disk when the broker starts."""
        self.backlog.recover(priority, count, size, last_id, redelivered=redelivered)
        self._has_expiry = True  # theirs is unknown
        self._watch_expiry()

    # -- limits and expiry

    def _entry(self, message: Message) -> Entry:
        properties = message.properties
        ttl = self.settings.ttl
        if properties.expiration is not None:
            own = int(properties.expiration)
            ttl = own if ttl is None else min(own, ttl)
            self._has_expiry = True
        priority = 0
        if self.settings.max_priority is not None:
            priority = min(properties.priority, self.settings.max_priority)
        expires_at = None if ttl is None else self.timers.now() + ttl
        return Entry(self.store.next_id(), message, self, self.durable and properties.persistent, priority, expires_at)

    def _stored(self, number: int, message: Message, priority: int, expires_at: int | None) -> Entry:
        return Entry(number, message, self, True, priority, expires_at)

    def _next_lane(self) -> Lane[Entry] | None:
        """Return the lane with the next message to deliver, after discarding expired ones in front of it.

        None if there are too many of these: what is behind them is delivered once they have been discarded.
        """
        if self._has_expiry and not self._expire():
            self._watch_expiry()
            return None
        return self.backlog.first_lane()

    def _popped(self) -> None:
        """Check the message behind the one that was taken: it may have expired, or be the next that will."""
        if self._has_expiry and not self.deleted:
            self._expire()
            self._watch_expiry()

    def _is_full(self, message: Message) -> bool:
        length, size = self.settings.max_length, self.settings.max_bytes
        return (length is not None and len(self.backlog) >= length) or (
            size is not None and self.backlog.ready_bytes + len(message.body) > size
        )

    def _drop_surplus(self) -> None:
        """Drop from the head until the limits hold; as in RabbitMQ that is the most urgent message."""
        length, size = self.settings.max_length, self.settings.max_bytes
        if self.settings.overflow != "drop-head" or (length is None and size is None):
            return
        while (length is not None and len(self.backlog) > length) or (
            size is not None and self.backlog.ready_bytes > size
        ):
            lane = self.backlog.first_lane()
            assert lane is not None  # noqa: S101 - above a limit there is a message
            self._discard(lane, DeathReason.MAXLEN)

    def _discard(self, lane: Lane[Entry], reason: DeathReason) -> None:
        entry = self.backlog.pop(lane)
        self.dead_letter(self, entry, reason)
        self.backlog.forget(entry)

    def _expire(self) -> bool:
        """Discard expired messages at the head of each lane, some at a time; return whether none is left there."""
        now, left = self.timers.now(), DEAD_AT_ONCE
        for lane in list(self.backlog.lanes.values()):
            while (entry := lane.first()) is not None and entry.expires_at is not None and entry.expires_at <= now:
                if not left:
                    return False
                self._discard(lane, DeathReason.EXPIRED)
                left -= 1
        return True

    def _watch_expiry(self) -> None:
        """Keep a timer for the earliest head that will expire."""
        heads = [lane.first() for lane in self.backlog.lanes.values()] if self._has_expiry else []
        times = [head.expires_at for head in heads if head is not None and head.expires_at is not None]
        if not times or self.deleted:
            return
        earliest = min(times)
        if self._expiry_timer is not None:
            if self._expiry_at <= earliest:
                return
            self._expiry_timer.cancel()
        self._expiry_at = earliest
        delay = max(0, earliest - self.timers.now()) / 1000

        def due() -> None:
            self._expiry_timer = None
            if not self.deleted:
                is_clear = self._expire()
                self._watch_expiry()
                if is_clear:
                    self.drain()

        self._expiry_timer = self.timers.after(delay, due)
