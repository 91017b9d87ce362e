"""A queue: lanes of messages, consumers that take turns, and the limits that were declared."""

from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from pulpit.broker.consumer import Consumer
from pulpit.broker.lane import Lane
from pulpit.broker.message import OVERHEAD, Entry, Message
from pulpit.broker.queue_arguments import QueueSettings
from pulpit.broker.schema import TOUCH_QUEUE
from pulpit.broker.store import Store
from pulpit.broker.timers import Timer, Timers


class Host(Protocol):
    """What a queue needs of the virtual host that it stands in."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def store(self) -> Store:
        """Where durable things are written."""

    @property
    def timers(self) -> Timers:
        """Its clock."""

    def dead_letter(self, queue: "Queue", entry: Entry, reason: str) -> None:
        """Publish to the dead-letter exchange of the queue, if it has one."""

    def drop_queue(self, queue: "Queue") -> int:
        """Delete a queue that has outlived its use."""


class Queue:
    """`id` is its number in the store; `owner` the connection of an exclusive one.

    The counts are kept, never counted: `ready_bytes` are bodies that wait, `resident_bytes` what the queue holds in
    memory, `unacknowledged` what consumers have.
    """

    def __init__(
        self,
        *,
        id: int,  # noqa: A002 - the row's name
        name: str,
        host: Host,
        durable: bool,
        auto_delete: bool,
        owner: Any,
        arguments: bytes,
        settings: QueueSettings,
    ) -> None:
        self.id: Final = id
        self.name = name
        self.host: Final = host
        self.durable: Final = durable
        self.auto_delete: Final = auto_delete
        self.owner: Final = owner
        self.arguments: Final = arguments
        self.settings: Final = settings
        self.consumers: list[Consumer] = []
        self.touched = not durable
        self.recovered_up_to = 0  # entries up to here count as redelivered
        self.deleted = False
        self.ready_bytes = 0
        self.resident_bytes = 0
        self.unacknowledged = 0
        self.published = 0
        self.delivered = 0
        self.acknowledged = 0
        self._lanes: dict[int, Lane] = {}
        self._lane = self._lane_of(0)
        self._expiry_timer: Timer | None = None
        self._expiry_at = 0
        self._idle_timer: Timer | None = None
        self.used()

    # -- what comes in

    def push(self, message: Message) -> bool:
        """Take a message, give it to a consumer at once if that is possible; False when the queue is full."""
        settings = self.settings
        limited = settings.max_length is not None or settings.max_bytes is not None
        if limited and settings.overflow != "drop-head" and self._is_full(message):
            if settings.overflow == "reject-publish-dlx":
                self.host.dead_letter(self, self._entry(message), "maxlen")
            return False
        entry = self._entry(message)
        self.published += 1
        self._account(entry, 1)
        if self.consumers and not len(self) and (consumer := self._next_consumer()):
            if self.durable and not consumer.no_ack and message.properties.persistent:
                self.host.store.insert(entry, durable=True)
            self._hand_to(consumer, entry)
            return True
        self._lane_of(entry.priority).push(entry, durable=self.durable and message.properties.persistent)
        self.ready_bytes += len(message.body)
        if limited:
            self._drop_surplus()
        if entry.expires_at is not None:
            self._watch_expiry()
        return True

    def give_back(self, entries: Iterable[Entry], *, failed: bool = True) -> None:
        """Put unacknowledged entries back to their places, to be delivered again; `failed` if somebody tried them."""
        if self.deleted:
            for entry in entries:
                self.unacknowledged -= 1
                self._forget(entry)
            return
        by_lane: dict[int, list[Entry]] = {}
        for entry in entries:
            entry.redelivered = True
            entry.failures += failed
            entry.consumer = None
            self.unacknowledged -= 1
            self.ready_bytes += len(entry.message.body)
            by_lane.setdefault(entry.priority, []).append(entry)
        for priority, members in by_lane.items():
            self._lane_of(priority).give_back(members)
        self._drop_surplus()
        self.drain()
        self._watch_expiry()

    # -- what goes out

    def touch(self) -> bool:
        """Write down that messages may be delivered; True if that must be on the disk before the first one is."""
        if self.touched:
            return False
        self.touched = True
        self.host.store.execute(TOUCH_QUEUE, self.id)
        return True

    def take(self) -> Entry | None:
        """Take the next message for basic.get; it counts as unacknowledged."""
        self.used()
        self._expire()
        lane = self._first_lane()
        if lane is None:
            return None
        self.unacknowledged += 1
        self.delivered += 1
        return self._pop(lane)

    def settle(self, entry: Entry) -> None:
        """Forget a message that was acknowledged, or delivered to somebody who does not acknowledge."""
        self.unacknowledged -= 1
        self.acknowledged += 1
        self._forget(entry)

    def reject(self, entry: Entry) -> None:
        """Forget an unacknowledged message that nobody wants, by way of the dead letters."""
        self.unacknowledged -= 1
        self.host.dead_letter(self, entry, "rejected")
        self._forget(entry)

    def drain(self) -> None:
        """Deliver as long as there are messages and consumers with room."""
        if not self.consumers or self.deleted:
            return
        self._expire()
        while (lane := self._first_lane()) is not None and (consumer := self._next_consumer()) is not None:
            self._hand_to(consumer, self._pop(lane))

    def purge(self) -> int:
        """Throw away what is ready; answers how much that was."""
        count = len(self)
        for lane in self._lanes.values():
            for entry in lane.clear():
                self._forget(entry)
        self.ready_bytes = 0
        return count

    def __len__(self) -> int:
        if len(self._lanes) == 1:
            lane = self._lane
            return len(lane.head) + lane.on_disk + len(lane.tail)
        return sum(map(len, self._lanes.values()))

    # -- consumers

    def add_consumer(self, consumer: Consumer) -> None:
        """Let a consumer take part; those with a higher priority come first, equal ones take turns."""
        self.consumers.append(consumer)
        self.consumers.sort(key=_by_priority) if not self.settings.single_active_consumer else None
        self.used()

    def remove_consumer(self, consumer: Consumer) -> None:
        """Let a consumer go; an auto-deleted queue goes with its last one."""
        if consumer not in self.consumers:
            return
        self.consumers.remove(consumer)
        self.used()
        if self.consumers:
            self.drain()
        elif self.auto_delete and not self.deleted:
            self.host.drop_queue(self)

    @property
    def exclusive_consumer(self) -> bool:
        """Whether one consumer has the queue to itself."""
        return any(consumer.exclusive for consumer in self.consumers)

    def _next_consumer(self) -> Consumer | None:
        """The next one with room, moved behind those of its own priority."""
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
        consumer.outlet.deliver(consumer, entry)

    # -- life and death

    def used(self) -> None:
        """Start the time after which an unused queue expires anew."""
        if self.settings.expires is None:
            return
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self._idle_timer = self.host.timers.after(self.settings.expires / 1000, self._idle)

    def _idle(self) -> None:
        self._idle_timer = None
        if self.consumers:
            self.used()
        elif not self.deleted:
            self.host.drop_queue(self)

    def close(self) -> None:
        """Stop the timers; the queue is deleted or the broker ends."""
        self.deleted = True
        for timer in (self._idle_timer, self._expiry_timer):
            if timer is not None:
                timer.cancel()
        self._idle_timer = self._expiry_timer = None

    # -- memory, as the lanes tell it

    def evicted(self, entry: Entry) -> None:
        """An entry is on the disk only from now on."""
        self._account(entry, -1)

    def loaded(self, entry: Entry) -> None:
        """An entry came back from the disk."""
        self._account(entry, 1)
        if entry.id <= self.recovered_up_to:
            entry.redelivered = True
            entry.failures = 1

    def recover(self, priority: int, count: int, size: int, last_id: int, *, redelivered: bool) -> None:
        """Find entries on the disk when the broker starts."""
        lane = self._lane_of(priority)
        lane.on_disk, lane.last_loaded = count, 0
        self.ready_bytes += size
        if redelivered:
            self.recovered_up_to = max(self.recovered_up_to, last_id)
        self._watch_expiry()

    def resident_entries(self) -> Iterable[Entry]:
        """What waits in memory, for the last words of a clean end."""
        return (entry for lane in self._lanes.values() for entry in lane.head)

    def _account(self, entry: Entry, sign: int) -> None:
        size = sign * (OVERHEAD + len(entry.message.body) // entry.message.fanout)
        self.resident_bytes += size
        self.host.store.memory.used += size

    def _forget(self, entry: Entry) -> None:
        self._account(entry, -1)
        self.host.store.remove(entry)

    # -- order, limits and expiry

    def _entry(self, message: Message) -> Entry:
        properties = message.properties
        ttl = self.settings.ttl
        if properties.expiration is not None:
            own = int(properties.expiration)
            ttl = own if ttl is None else min(own, ttl)
        priority = 0
        if self.settings.max_priority is not None:
            priority = min(properties.priority, self.settings.max_priority)
        return Entry(
            id=self.host.store.next_id(),
            message=message,
            queue=self,
            priority=priority,
            expires_at=None if ttl is None else self.host.timers.now() + ttl,
        )

    def _lane_of(self, priority: int) -> Lane:
        lane = self._lanes.get(priority)
        if lane is None:
            lane = Lane(queue=self, priority=priority, store=self.host.store)
            self._lanes = dict(sorted({**self._lanes, priority: lane}.items(), reverse=True))
        return lane

    def _first_lane(self) -> Lane | None:
        """The lane with the highest priority that has a message; its head is then in memory."""
        if len(self._lanes) == 1:
            return self._lane if self._lane.head or self._lane.first() else None
        return next((lane for lane in self._lanes.values() if lane.first()), None)

    def _pop(self, lane: Lane) -> Entry:
        entry = lane.pop()
        self.ready_bytes -= len(entry.message.body)
        return entry

    def _is_full(self, message: Message) -> bool:
        length, size = self.settings.max_length, self.settings.max_bytes
        return (length is not None and len(self) >= length) or (
            size is not None and self.ready_bytes + len(message.body) > size
        )

    def _drop_surplus(self) -> None:
        """Drop from the head until the limits hold; as in RabbitMQ that is the most urgent message."""
        length, size = self.settings.max_length, self.settings.max_bytes
        if self.settings.overflow != "drop-head" or (length is None and size is None):
            return
        while (length is not None and len(self) > length) or (size is not None and self.ready_bytes > size):
            lane = self._first_lane()
            assert lane is not None  # noqa: S101 - there is too much, so there is something
            self._discard(lane, "maxlen")

    def _discard(self, lane: Lane, reason: str) -> None:
        entry = self._pop(lane)
        self.host.dead_letter(self, entry, reason)
        self._forget(entry)

    def _expire(self) -> None:
        """Discard what has expired at the head of each lane."""
        now: Callable[[], int] = self.host.timers.now
        for lane in list(self._lanes.values()):
            while (
                (lane.head or lane.on_disk)
                and (entry := lane.first()) is not None
                and entry.expires_at is not None
                and entry.expires_at <= now()
            ):
                self._discard(lane, "expired")

    def _watch_expiry(self) -> None:
        """Keep a timer for the earliest head that will expire."""
        heads = [lane.first() for lane in self._lanes.values() if len(lane)]
        times = [head.expires_at for head in heads if head is not None and head.expires_at is not None]
        if not times or self.deleted:
            return
        earliest = min(times)
        if self._expiry_timer is not None:
            if self._expiry_at <= earliest:
                return
            self._expiry_timer.cancel()
        self._expiry_at = earliest
        delay = max(0, earliest - self.host.timers.now()) / 1000
        self._expiry_timer = self.host.timers.after(delay, self._expiry_due)

    def _expiry_due(self) -> None:
        self._expiry_timer = None
        if not self.deleted:
            self._expire()
            self._watch_expiry()


def _by_priority(consumer: Consumer) -> int:
    return -consumer.priority
