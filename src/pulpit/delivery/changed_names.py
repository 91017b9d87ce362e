"""Which events changed a package that a listener subscribes to, judged by all their changes, however many.

The names of an event are read once for all listeners, off the event loop, and each pattern is matched against them
once. Listeners without package patterns never come here.
"""

import asyncio
import re
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import translate
from functools import partial
from typing import Final

from pulpit.events import TELLING_CHANGES, Event
from pulpit.store import changes
from pulpit.store.database import Database, when_available

MOST_NAMES: Final = 500_000
"""Names kept in memory, of all events together, and match results about them."""
MOST_EVENTS: Final = 1_000
_EVENTS_AT_ONCE: Final = 10
_FEW: Final = 2_000
"""Names that are matched without leaving the event loop."""
_WILD: Final = re.compile(r"[*?\[]")


class Names:
    """The names of all units that one event lists; `None` if there are too many to know, so it may be any."""

    def __init__(self, names: Iterable[str] | None) -> None:
        self._any: Final = names is None
        self._sorted: Final = sorted({name.casefold() for name in names or ()})
        self._known: Final[dict[str, bool]] = {}

    @property
    def size(self) -> int:
        """Memory that it takes, in names."""
        return 1 + len(self._sorted) + len(self._known)

    def any_like(self, patterns: Iterable[str]) -> bool:
        """Whether one of the names matches one of the patterns, ignoring case."""
        return self._any or any(self._has(pattern.casefold()) for pattern in patterns)

    def _has(self, pattern: str) -> bool:
        found = self._known.get(pattern)
        if found is None:
            wild = _WILD.search(pattern)
            prefix = pattern[: wild.start()] if wild else pattern
            at = bisect_left(self._sorted, prefix)
            matches = re.compile(translate(pattern)).match
            found = False
            while not found and at < len(self._sorted) and self._sorted[at].startswith(prefix):
                found = matches(self._sorted[at]) is not None
                at += 1
            self._known[pattern] = found
        return found


class ChangedNames:
    """The names of the events that were asked about last."""

    def __init__(self, database: Database) -> None:
        self._database: Final = database
        self._kept: Final[OrderedDict[int, Names]] = OrderedDict()
        self._reading: Final = asyncio.Lock()

    async def having(self, events: Sequence[Event], patterns: Collection[str], limit: int) -> list[Event]:
        """Return the first events that changed a unit whose name matches one of the patterns."""
        telling = [event for event in events if event.event_type in TELLING_CHANGES]
        found: list[Event] = []
        for start in range(0, len(telling), _EVENTS_AT_ONCE):
            portion = telling[start : start + _EVENTS_AT_ONCE]
            async with self._reading:  # so that a thousand listeners read the same names once
                names = await self._of([event.number for event in portion])
                like = partial(_like, portion, names, patterns)
                few = sum(of_event.size for of_event in names.values()) <= _FEW
                found += like() if few else await asyncio.to_thread(like)
            if len(found) >= limit:
                break
        return found

    async def _of(self, numbers: Sequence[int]) -> dict[int, Names]:
        missing = [number for number in numbers if number not in self._kept]
        if missing:
            self._kept.update(await when_available(lambda: self._read(missing)))
        found = {number: self._kept[number] for number in numbers}
        for number in numbers:
            self._kept.move_to_end(number)
        size = sum(names.size for names in self._kept.values())
        while len(self._kept) > len(numbers) and (size > MOST_NAMES or len(self._kept) > MOST_EVENTS):
            size -= self._kept.popitem(last=False)[1].size
        return found

    def _read(self, numbers: Sequence[int]) -> dict[int, Names]:
        with self._database.read() as connection:
            found = changes.names(connection, numbers)
        return {number: Names(found.get(number, ())) for number in numbers}


def _like(events: Sequence[Event], names: Mapping[int, Names], patterns: Collection[str]) -> list[Event]:
    return [event for event in events if names[event.number].any_like(patterns)]
