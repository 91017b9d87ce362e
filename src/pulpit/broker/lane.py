"""A lane: the messages of one queue that have the same priority, in order.

    head        in memory, next to be delivered
    on disk     only counted here; loaded in pieces when the head runs out
    tail        in memory until the store has written it, then on disk

New messages go to the head as long as nothing stands behind it and memory is not short. So a lane that is consumed as
fast as it is filled never touches the tail, and a lane that grows for days costs what its head costs.
"""

from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from pulpit.broker.message import Entry
from pulpit.broker.store import Store

LOAD_COUNT: Final = 256
LOAD_BYTES: Final = 1024 * 1024


class Lane:
    """Entries sorted by id; those that were given back come first again by the same rule."""

    __slots__ = ("_queue", "_store", "_waits", "head", "last_loaded", "on_disk", "priority", "tail")

    def __init__(self, *, queue: Any, priority: int, store: Store) -> None:
        self._queue: Final = queue
        self._store: Final = store
        self._waits = False
        self.priority: Final = priority
        self.head: deque[Entry] = deque()
        self.tail: deque[Entry] = deque()
        self.on_disk = 0
        self.last_loaded = 0

    def __len__(self) -> int:
        return len(self.head) + self.on_disk + len(self.tail)

    def push(self, entry: Entry, *, durable: bool) -> None:
        """Add a new entry at the end."""
        if self.on_disk or self.tail or self._store.memory.is_short_for(self._queue.resident_bytes):
            if not self.on_disk and not self.tail:
                self.last_loaded = entry.id - 1
            self._store.insert(entry, durable=durable)
            self.tail.append(entry)
            if not self._waits:
                self._waits = True
                self._store.after(self._written)
        else:
            if durable:
                self._store.insert(entry, durable=True)
            self.head.append(entry)

    def first(self) -> Entry | None:
        """The next entry, which stays where it is."""
        if self.head or self._refill():
            return self.head[0]
        return None

    def pop(self) -> Entry:
        """Take the next entry; only after `first` found one."""
        return self.head.popleft()

    def give_back(self, entries: Iterable[Entry]) -> None:
        """Put entries where they came from; everything behind the head is younger than they are."""
        entries = sorted(entries, key=_by_id)
        if not entries:
            return
        if not self.head or entries[-1].id < self.head[0].id:
            self.head.extendleft(reversed(entries))
        else:
            self.head = deque(sorted([*self.head, *entries], key=_by_id))

    def clear(self) -> list[Entry]:
        """Forget everything; answers what was in memory, so that it can be settled. The rest is wiped in the store."""
        entries = [*self.head, *self.tail]
        if self.on_disk:
            self._store.wipe(self._queue.id, self.priority, self.last_loaded, self._last_on_disk())
        self.head.clear()
        self.tail.clear()
        self.on_disk = 0
        return entries

    def _last_on_disk(self) -> int:
        return self.tail[0].id - 1 if self.tail else self._store.last_id

    def _written(self) -> None:
        """Let go of what the store has written by now."""
        self._waits = False
        while self.tail and self._store.is_written(self.tail[0]):
            entry = self.tail.popleft()
            self.on_disk += 1
            self._queue.evicted(entry)
        if self.tail:
            self._waits = True
            self._store.after(self._written)

    def _refill(self) -> bool:
        """Load the next piece from the disk, or take the tail over if nothing is there."""
        if self.on_disk:
            rows = self._store.load(self._queue.id, self.priority, self.last_loaded, LOAD_COUNT, LOAD_BYTES)
            for entry in rows:
                entry.queue = self._queue
                self._queue.loaded(entry)
            self.on_disk -= len(rows)
            self.head.extend(rows)
            if rows:
                self.last_loaded = rows[-1].id
            else:
                self.on_disk = 0
        if not self.head and self.tail:
            self.head, self.tail = self.tail, deque()
            self.last_loaded = self.head[-1].id
        return bool(self.head)


def _by_id(entry: Entry) -> int:
    return entry.id
