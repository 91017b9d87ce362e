"""The messages of a queue that wait for a consumer, by priority and age, in memory and on disk.

The messages of one priority are in a `Lane`:

    head        in memory, next to be delivered
    on disk     only counted here; loaded in pieces when the head runs out
    tail        in memory until the store has written it, then on disk

New messages go to the head as long as nothing is behind it and memory is not short. So a lane that is consumed as
fast as it is filled never uses the tail, and a lane that grows for days costs only its head.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Generic, TypeVar

from pulpit.broker.message import OVERHEAD, Message, Row
from pulpit.broker.store import Store

LOAD_COUNT: Final = 256
LOAD_BYTES: Final = 1024 * 1024
E = TypeVar("E", bound=Row)


class Backlog(Generic[E]):
    """The lanes of one queue, and the memory that its messages take, updated with every one of them.

    `ready_bytes` are the bodies that wait; `resident_bytes` is the memory of all messages of the queue, also of those
    that consumers hold. `make` creates an entry for a row of the store.
    """

    __slots__ = (
        "_lane",
        "_make",
        "_recovered_up_to",
        "_store",
        "lanes",
        "queue_id",
        "ready_bytes",
        "resident_bytes",
    )

    def __init__(self, queue_id: int, store: Store, make: Callable[[int, Message, int, int | None], E]) -> None:
        self.queue_id: Final = queue_id
        self._store: Final = store
        self._make: Final = make
        self._recovered_up_to = 0  # entries up to here count as redelivered
        self._lane: Final[Lane[E]] = Lane(self, store, 0)
        self.lanes: dict[int, Lane[E]] = {0: self._lane}  # the highest priority first
        self.ready_bytes = 0
        self.resident_bytes = 0

    def __len__(self) -> int:
        if len(self.lanes) == 1:
            lane = self._lane
            return len(lane.head) + lane.on_disk + len(lane.tail)
        return sum(map(len, self.lanes.values()))

    def push(self, entry: E) -> None:
        """Add a new entry, which was accounted for."""
        lane = self._lane_of(entry.priority) if entry.priority else self._lane
        lane.push(entry)
        self.ready_bytes += entry.size

    def give_back(self, entries: Iterable[E]) -> None:
        """Return entries that consumers held to their places."""
        by_priority: dict[int, list[E]] = {}
        for entry in entries:
            self.ready_bytes += entry.size
            by_priority.setdefault(entry.priority, []).append(entry)
        for priority, members in by_priority.items():
            self._lane_of(priority).give_back(members)

    def first_lane(self) -> "Lane[E] | None":
        """Return the highest-priority lane with a message; its head is then in memory."""
        if len(self.lanes) == 1:
            return self._lane if self._lane.first() else None
        return next((lane for lane in self.lanes.values() if lane.first()), None)

    def pop(self, lane: "Lane[E]") -> E:
        """Remove the first entry of a lane whose head is in memory; it still takes memory until it is forgotten."""
        entry = lane.head.popleft()
        self.ready_bytes -= entry.size
        return entry

    def forget(self, entry: E) -> None:
        """Delete an entry that was removed from its lane."""
        self.account(entry, -1)
        self._store.remove(entry)

    def clear(self) -> int:
        """Delete all that wait; return their number."""
        count = len(self)
        for lane in self.lanes.values():
            for entry in lane.clear():
                self.forget(entry)
        self.ready_bytes = 0
        return count

    def _lane_of(self, priority: int) -> "Lane[E]":
        lane = self.lanes.get(priority)
        if lane is None:
            lane = Lane(self, self._store, priority)
            self.lanes = dict(sorted({**self.lanes, priority: lane}.items(), reverse=True))
        return lane

    # -- memory and disk

    def account(self, entry: E, sign: int) -> None:
        """Count an entry that is in memory from now on, or with -1 no longer."""
        size = sign * (OVERHEAD + len(entry.message.body) // entry.message.fanout)
        self.resident_bytes += size
        self._store.memory.used += size

    def shed(self, entry: E) -> None:
        """Drop the body of an entry whose row is written; it is loaded if it is needed again."""
        self.account(entry, -1)
        entry.message, entry.shed = entry.message.without_body(), True
        self.account(entry, 1)

    def restore(self, entries: Iterable[E]) -> None:
        """Load the shed bodies of these entries."""
        shed = {entry.id: entry for entry in entries if entry.shed}
        for number, message in self._store.load_messages(list(shed)):
            entry = shed[number]
            self.account(entry, -1)
            entry.message, entry.shed = message, False
            self.account(entry, 1)

    def load(self, priority: int, after: int) -> list[E]:
        """Load the next piece of a lane from the disk."""

        def make(number: int, message: Message, expires_at: int | None) -> E:
            return self._make(number, message, priority, expires_at)

        entries = self._store.load(make, self.queue_id, priority, after, LOAD_COUNT, LOAD_BYTES)
        for entry in entries:
            self.account(entry, 1)
            entry.redelivered = entry.redelivered or entry.id <= self._recovered_up_to
            entry.returns = int(entry.redelivered)
        return entries

    def recover(self, priority: int, count: int, size: int, last_id: int, *, redelivered: bool) -> None:
        """Count entries found on disk when the broker starts."""
        lane = self._lane_of(priority)
        lane.on_disk, lane.last_loaded = count, 0
        self.ready_bytes += size
        if redelivered:
            self._recovered_up_to = max(self._recovered_up_to, last_id)

    def redelivered_rows(self) -> list[int]:
        """Return the rows of waiting entries that came back from a consumer, to be marked at a clean shutdown."""
        heads = (entry for lane in self.lanes.values() for entry in lane.head)
        return [entry.id for entry in heads if entry.redelivered and entry.state > 0]


class Lane(Generic[E]):
    """The entries of one priority, sorted by id; requeued ones return to their places."""

    __slots__ = ("_backlog", "_store", "_waits", "head", "last_loaded", "on_disk", "priority", "tail")

    def __init__(self, backlog: Backlog[E], store: Store, priority: int) -> None:
        self._backlog: Final = backlog
        self._store: Final = store
        self._waits = False
        self.priority: Final = priority
        self.head: deque[E] = deque()
        self.tail: deque[E] = deque()
        self.on_disk = 0
        self.last_loaded = 0

    def __len__(self) -> int:
        return len(self.head) + self.on_disk + len(self.tail)

    def push(self, entry: E) -> None:
        """Append a new entry."""
        if self.on_disk or self.tail or self._store.memory.is_short_for(self._backlog.resident_bytes):
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

    def first(self) -> E | None:
        """Return the next entry without removing it, with its body loaded if needed."""
        if self.head:
            entry = self.head[0]
            if entry.shed:
                self._restore()
            return entry
        return self.head[0] if self._refill() else None

    def give_back(self, entries: Iterable[E]) -> None:
        """Return entries to their places; everything behind the head is younger than they are."""
        entries = sorted(entries, key=_by_id)
        if not entries:
            return
        if not self.head or entries[-1].id < self.head[0].id:
            self.head.extendleft(reversed(entries))
        else:
            self.head = deque(sorted([*self.head, *entries], key=_by_id))

    def clear(self) -> list[E]:
        """Remove everything; return what was in memory, so that it can be settled. The rest is deleted in the store."""
        entries = [*self.head, *self.tail]
        if self.on_disk:
            last = self.tail[0].id - 1 if self.tail else self._store.last_id
            self._store.wipe(self._backlog.queue_id, self.priority, self.last_loaded, last)
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
            self._backlog.account(entry, -1)
        if self.tail:
            self._waits = True
            self._store.after(self._written)

    def _refill(self) -> bool:
        """Load the next piece from disk, or move the tail to the head if nothing is there."""
        if self.on_disk:
            entries = self._backlog.load(self.priority, self.last_loaded)
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
        entries: list[E] = []
        size = 0
        for entry in self.head:
            if len(entries) >= LOAD_COUNT or size >= LOAD_BYTES:
                break
            entries.append(entry)
            size += entry.size
        self._backlog.restore(entries)


def _by_id(entry: Row) -> int:
    return entry.id
