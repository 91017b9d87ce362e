"""A queue: messages ordered by priority and age, consumers in turn, and the declared limits.

The messages of one priority are in a `Lane`:

    head        in memory, next to be delivered
    on disk     only counted here; loaded in pieces when the head runs out
    tail        in memory until the store has written it, then on disk

New messages go to the head as long as nothing is behind it and memory is not short. So a lane that is consumed as
fast as it is filled never uses the tail, and a lane that grows for days costs only its head.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from pulpit.broker.dead_letters import DeathReason
from pulpit.broker.message import OVERHEAD, Message, Row
from pulpit.broker.queue_arguments import QueueSettings
from pulpit.broker.resources import Timer, Timers
from pulpit.broker.schema import TOUCH_QUEUE
from pulpit.broker.store import Store

LOAD_COUNT: Final = 256
LOAD_BYTES: Final = 1024 * 1024
WORTH_SHEDDING: Final = 1024
"""Bytes of a body from which it is dropped from memory once it is on disk.

Smaller ones cost less than the message object.
"""


class Entry(Row):
    """A message in a queue; `consumer` holds it unacknowledged under `tag`, None after a basic.get.

    If it is `shed`, the body is on disk only.
    """

    __slots__ = ("consumer", "queue", "returns", "shed", "tag")

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
        self.queue = queue
        self.returns = 0  # how often it came back from consumers
        self.consumer: Consumer | None = None
        self.tag = 0
        self.shed = False


class Consumer:
    """One basic.consume; `prefetch` limits its unacknowledged messages, 0 is no limit.

    `deliver` sends a message and, unless the consumer does not acknowledge, remembers it; `has_room` says whether the
    channel accepts another one now, and `cancelled` is called when the queue is deleted.
    """

    __slots__ = (
        "cancelled",
        "deliver",
        "exclusive",
        "has_room",
        "no_ack",
        "prefetch",
        "priority",
        "queue",
        "start",
        "tag",
        "unacknowledged",
        "unacknowledged_bytes",
    )

    def __init__(
        self,
        *,
        tag: str,
        queue: "Queue",
        deliver: "Callable[[Consumer, Entry], None]",
        has_room: Callable[[], bool],
        cancelled: "Callable[[Consumer], None]",
        start: bytes,
        no_ack: bool = False,
        exclusive: bool = False,
        prefetch: int = 0,
        priority: int = 0,
    ) -> None:
        self.tag = tag
        self.queue = queue
        self.deliver = deliver
        self.has_room = has_room
        self.cancelled = cancelled
        self.start = start  # of its deliveries, encoded
        self.no_ack = no_ack
        self.exclusive = exclusive
        self.prefetch = 0 if no_ack else prefetch
        self.priority = priority
        self.unacknowledged = 0
        self.unacknowledged_bytes = 0  # bodies kept in memory for it

    def can_take(self) -> bool:
        """Whether it accepts one more message."""
        if self.prefetch and self.unacknowledged >= self.prefetch:
            return False
        return self.unacknowledged_bytes <= self.queue.store.memory.consumer_limit and self.has_room()


class Queue:
    """`id` is its number in the store; `owner` the connection of an exclusive one.

    The counts are updated incrementally: `ready_bytes` are ready bodies, `resident_bytes` what the queue holds in
    memory, `unacknowledged` what consumers hold. `dead_letter` publishes dead messages, `drop` deletes the queue.
    """

    __slots__ = (
        "_dead_letter",
        "_expiry_at",
        "_expiry_timer",
        "_has_expiry",
        "_idle_timer",
        "_lane",
        "_lanes",
        "_limited",
        "_measured",
        "_recovered_up_to",
        "_timers",
        "acknowledged",
        "arguments",
        "auto_delete",
        "consumers",
        "deleted",
        "delivered",
        "drop",
        "durable",
        "id",
        "name",
        "owner",
        "published",
        "rates",
        "ready_bytes",
        "resident_bytes",
        "settings",
        "store",
        "touched",
        "unacknowledged",
    )

    def __init__(
        self,
        *,
        id: int,  # noqa: A002 - the column's name
        name: str,
        durable: bool,
        auto_delete: bool,
        owner: object | None,
        arguments: bytes,
        settings: QueueSettings,
        store: Store,
        timers: Timers,
        dead_letter: "Callable[[Queue, Entry, DeathReason], None]",
        drop: "Callable[[Queue], int]",
    ) -> None:
        self.id: Final = id
        self.name: Final = name
        self.durable: Final = durable
        self.auto_delete: Final = auto_delete
        self.owner: Final = owner
        self.arguments: Final = arguments
        self.settings: Final = settings
        self.store: Final = store
        self.drop: Final = drop
        self.consumers: list[Consumer] = []
        self.touched = not durable
        self.deleted = False
        self.ready_bytes = 0
        self.resident_bytes = 0
        self.unacknowledged = 0
        self.published = 0
        self.delivered = 0
        self.acknowledged = 0
        self.rates = (0.0, 0.0, 0.0)
        self._measured = (0, 0, 0)
        self._timers: Final = timers
        self._dead_letter: Final = dead_letter
        self._recovered_up_to = 0  # entries up to here count as redelivered
        self._limited: Final = settings.max_length is not None or settings.max_bytes is not None
        self._has_expiry = settings.ttl is not None
        self._lane: Final = Lane(queue=self, priority=0)
        self._lanes: dict[int, Lane] = {0: self._lane}
        self._expiry_timer: Timer | None = None
        self._expiry_at = 0
        self._idle_timer: Timer | None = None
        self.used()

    # -- what comes in

    def push(self, message: Message) -> bool:
        """Add a message, deliver it at once if possible; False if the queue is full."""
        limited = self._limited
        if limited and self.settings.overflow != "drop-head" and self._is_full(message):
            if self.settings.overflow == "reject-publish-dlx":
                self._dead_letter(self, self._entry(message), DeathReason.MAXLEN)
            return False
        entry = self._entry(message)
        self.published += 1
        self._account(entry, 1)
        if self.consumers and not len(self) and (consumer := self._next_consumer()):
            if entry.durable and not consumer.no_ack:
                self.store.insert(entry)
            self._hand_to(consumer, entry)
            return True
        self._lane_of(entry.priority).push(entry)
        self.ready_bytes += entry.size
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
                self._forget(entry)
            return
        by_lane: dict[int, list[Entry]] = {}
        limit = self.settings.delivery_limit
        for entry in entries:
            entry.redelivered = True
            entry.returns += 1
            entry.consumer = None
            if limit is not None and entry.returns > limit:
                self.reject(entry, DeathReason.DELIVERY_LIMIT)
                continue
            self.unacknowledged -= 1
            self.ready_bytes += entry.size
            by_lane.setdefault(entry.priority, []).append(entry)
        for priority, members in by_lane.items():
            self._lane_of(priority).give_back(members)
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
        entry = self._pop(lane)
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
        self._hand_to(consumer, self._pop(lane))
        self._popped()
        return True

    def settle(self, entry: Entry) -> None:
        """Remove a message that was acknowledged, or delivered without acknowledgement."""
        self.unacknowledged -= 1
        self.acknowledged += 1
        self._forget(entry)

    def reject(self, entry: Entry, reason: DeathReason = DeathReason.REJECTED) -> None:
        """Remove a message that consumers do not want, dead-lettering it."""
        self.unacknowledged -= 1
        if entry.shed and self.settings.dead_letter_exchange is not None:
            self.restore((entry,))
        self._dead_letter(self, entry, reason)
        self._forget(entry)

    def purge(self) -> int:
        """Delete all ready messages; return their number."""
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
        """Whether one consumer has the queue exclusively."""
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
                self._account(entry, -1)
                entry.message = entry.message.without_body()  # loaded from disk if needed again
                entry.shed = True
                self._account(entry, 1)
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

        self._idle_timer = self._timers.after(self.settings.expires / 1000, idle)

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

    # -- memory and disk

    def evicted(self, entry: Entry) -> None:
        """Account for an entry that is now on disk only."""
        self._account(entry, -1)

    def loaded(self, entry: Entry) -> None:
        """Account for an entry that was loaded from disk."""
        self._account(entry, 1)
        entry.redelivered = entry.redelivered or entry.id <= self._recovered_up_to
        entry.returns = int(entry.redelivered)

    def recover(self, priority: int, count: int, size: int, last_id: int, *, redelivered: bool) -> None:
        """Add entries found on disk when the broker starts."""
        lane = self._lane_of(priority)
        lane.on_disk, lane.last_loaded = count, 0
        self.ready_bytes += size
        self._has_expiry = True  # their expiry is unknown
        if redelivered:
            self._recovered_up_to = max(self._recovered_up_to, last_id)
        self._watch_expiry()

    def resident_entries(self) -> Iterable[Entry]:
        """Return the entries waiting in memory, for a clean shutdown."""
        return (entry for lane in self._lanes.values() for entry in lane.head)

    def restore(self, entries: Iterable[Entry]) -> None:
        """Load the shed bodies of these entries."""
        shed = {entry.id: entry for entry in entries if entry.shed}
        for number, message in self.store.load_messages(list(shed)):
            entry = shed[number]
            self._account(entry, -1)
            entry.message, entry.shed = message, False
            self._account(entry, 1)

    def _account(self, entry: Entry, sign: int) -> None:
        size = sign * (OVERHEAD + len(entry.message.body) // entry.message.fanout)
        self.resident_bytes += size
        self.store.memory.used += size

    def _forget(self, entry: Entry) -> None:
        self._account(entry, -1)
        self.store.remove(entry)

    # -- order, limits and expiry

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
        expires_at = None if ttl is None else self._timers.now() + ttl
        return Entry(self.store.next_id(), message, self, self.durable and properties.persistent, priority, expires_at)

    def _lane_of(self, priority: int) -> "Lane":
        lane = self._lanes.get(priority)
        if lane is None:
            lane = Lane(queue=self, priority=priority)
            self._lanes = dict(sorted({**self._lanes, priority: lane}.items(), reverse=True))
        return lane

    def _first_lane(self) -> "Lane | None":
        """Return the highest-priority lane with a message; its head is then in memory."""
        if len(self._lanes) == 1:
            return self._lane if self._lane.first() else None
        return next((lane for lane in self._lanes.values() if lane.first()), None)

    def _next_lane(self) -> "Lane | None":
        """Return the lane with the next message to deliver, after discarding expired ones in front of it."""
        if self._has_expiry:
            self._expire()
        return self._first_lane()

    def _pop(self, lane: "Lane") -> Entry:
        entry = lane.head.popleft()
        self.ready_bytes -= entry.size
        return entry

    def _popped(self) -> None:
        """Check the message behind the one that was taken: it may have expired, or be the next that will."""
        if self._has_expiry and not self.deleted:
            self._expire()
            self._watch_expiry()

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
            assert lane is not None  # noqa: S101 - above a limit there is a message
            self._discard(lane, DeathReason.MAXLEN)

    def _discard(self, lane: "Lane", reason: DeathReason) -> None:
        entry = self._pop(lane)
        self._dead_letter(self, entry, reason)
        self._forget(entry)

    def _expire(self) -> None:
        """Discard expired messages at the head of each lane."""
        now = self._timers.now()
        for lane in list(self._lanes.values()):
            while (entry := lane.first()) is not None and entry.expires_at is not None and entry.expires_at <= now:
                self._discard(lane, DeathReason.EXPIRED)

    def _watch_expiry(self) -> None:
        """Keep a timer for the earliest head that will expire."""
        heads = [lane.first() for lane in self._lanes.values()] if self._has_expiry else []
        times = [head.expires_at for head in heads if head is not None and head.expires_at is not None]
        if not times or self.deleted:
            return
        earliest = min(times)
        if self._expiry_timer is not None:
            if self._expiry_at <= earliest:
                return
            self._expiry_timer.cancel()
        self._expiry_at = earliest
        delay = max(0, earliest - self._timers.now()) / 1000

        def due() -> None:
            self._expiry_timer = None
            if not self.deleted:
                self._expire()
                self._watch_expiry()

        self._expiry_timer = self._timers.after(delay, due)


class Lane:
    """Entries sorted by id; requeued ones return to their places."""

    __slots__ = ("_queue", "_store", "_waits", "head", "last_loaded", "on_disk", "priority", "tail")

    def __init__(self, *, queue: Queue, priority: int) -> None:
        self._queue: Final = queue
        self._store: Final = queue.store
        self._waits = False
        self.priority: Final = priority
        self.head: deque[Entry] = deque()
        self.tail: deque[Entry] = deque()
        self.on_disk = 0
        self.last_loaded = 0

    def __len__(self) -> int:
        return len(self.head) + self.on_disk + len(self.tail)

    def push(self, entry: Entry) -> None:
        """Append a new entry."""
        if self.on_disk or self.tail or self._store.memory.is_short_for(self._queue.resident_bytes):
            if not self.on_disk and not self.tail:
                self.last_loaded = entry.id - 1
            self._store.insert(entry)
            self.tail.append(entry)
            if not self._waits:
                self._waits = True
                self._store.after(self._written)
        else:
            if entry.durable:
                self._store.insert(entry)
            self.head.append(entry)

    def first(self) -> Entry | None:
        """Return the next entry without removing it, with its body loaded if needed."""
        if self.head:
            entry = self.head[0]
            if entry.shed:
                self._restore()
            return entry
        return self.head[0] if self._refill() else None

    def give_back(self, entries: Iterable[Entry]) -> None:
        """Return entries to their places; everything behind the head is younger than they are."""
        entries = sorted(entries, key=_by_id)
        if not entries:
            return
        if not self.head or entries[-1].id < self.head[0].id:
            self.head.extendleft(reversed(entries))
        else:
            self.head = deque(sorted([*self.head, *entries], key=_by_id))

    def clear(self) -> list[Entry]:
        """Remove everything; return what was in memory, so that it can be settled. The rest is deleted in the store."""
        entries = [*self.head, *self.tail]
        if self.on_disk:
            last = self.tail[0].id - 1 if self.tail else self._store.last_id
            self._store.wipe(self._queue.id, self.priority, self.last_loaded, last)
        self.head.clear()
        self.tail.clear()
        self.on_disk = 0
        return entries

    def _written(self) -> None:
        """Release what the store has written by now."""
        self._waits = False
        while self.tail and self._store.is_written(self.tail[0]):
            entry = self.tail.popleft()
            self.on_disk += 1
            self._queue.evicted(entry)
        if self.tail:
            self._waits = True
            self._store.after(self._written)

    def _refill(self) -> bool:
        """Load the next piece from disk, or move the tail to the head if nothing is there."""
        if self.on_disk:
            queue, priority = self._queue, self.priority

            def make(number: int, message: Message, expires_at: int | None) -> Entry:
                return Entry(number, message, queue, True, priority, expires_at)

            entries = self._store.load(make, queue.id, priority, self.last_loaded, LOAD_COUNT, LOAD_BYTES)
            for entry in entries:
                queue.loaded(entry)
            self.head.extend(entries)
            self.on_disk -= len(entries)
            if entries:
                self.last_loaded = entries[-1].id
            else:
                self.on_disk = 0
        if not self.head and self.tail:
            self.head, self.tail = self.tail, deque()
            self.last_loaded = self.head[-1].id
        return bool(self.head)

    def _restore(self) -> None:
        """Load the bodies of the next entries, as many as one piece from disk has."""
        entries: list[Entry] = []
        size = 0
        for entry in self.head:
            if len(entries) >= LOAD_COUNT or size >= LOAD_BYTES:
                break
            entries.append(entry)
            size += entry.size
        self._queue.restore(entries)


def _by_id(entry: Entry) -> int:
    return entry.id
