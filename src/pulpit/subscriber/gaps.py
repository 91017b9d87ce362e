# SPDX-License-Identifier: Apache-2.0
"""Missing events of a repository, detected by the counter that each event carries.

The counter of a repository has no gaps in what a listener's `*` matches. So a subscriber that gets all of these events
and sees a number above the next one misses those between: they may still come (a dead letter that is redelivered, a
message that the broker refused at first), or they were lost between broker and subscriber.

A counter that goes back with an event newer than all before has restarted: the server's database was restored from a
backup, or recreated. What was missing before that will never come.

The log's number proves nothing of the kind: events that a listener does not match have numbers too.
"""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from pulpit.events import SUBJECT_PREFIX
from pulpit.topics import matches, words

_MOST_REPOSITORIES: Final = 100_000
_MOST_GAPS: Final = 1000
_CLOCKS_DIFFER: Final = timedelta(minutes=1)
"""How far the server's clock may be ahead of the subscriber's."""
_ANY: Final = "\0"
"""A word that no pattern contains, so only wildcards match it."""


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Gap:
    """Missing events of one repository: the first and the last of their numbers."""

    repo_id: str
    first: int
    last: int

    @property
    def count(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True, kw_only=True, slots=True)
class BegunAnew:
    """A repository's counter restarted: its number now, and the highest before."""

    repo_id: str
    number: int
    highest: int


@dataclass(slots=True)
class _Count:
    """One repository: its highest number, and the missing ranges below it in order, the newest `_MOST_GAPS`."""

    highest: int
    latest: datetime
    """The time of its newest event."""
    missing: list[tuple[int, int]] = field(default_factory=list)


class Gaps:
    """Tracks the counters of up to 100,000 repositories; beyond, the least recently seen is forgotten."""

    def __init__(self, last_numbers: Mapping[str, int], now: datetime) -> None:
        self._counts: OrderedDict[str, _Count] = OrderedDict(
            (repo_id, _Count(number, now + _CLOCKS_DIFFER)) for repo_id, number in last_numbers.items()
        )

    def note(self, repo_id: str, number: int, at: datetime) -> Gap | BegunAnew | None:
        """Record the number and time of an event; return what it reveals.

        The first number of a repository reveals nothing: what was before it is unknown. A lower number was missing, or
        is a duplicate, unless its event is newer than all others.
        """
        count = self._counts.get(repo_id)
        if count is None:
            self._counts[repo_id] = _Count(number, at)
            if len(self._counts) > _MOST_REPOSITORIES:
                self._counts.popitem(last=False)
            return None
        self._counts.move_to_end(repo_id)
        newest, count.latest = at > count.latest, max(at, count.latest)
        if number <= count.highest:
            if _fill(count.missing, number) or not newest:
                return None
            anew = BegunAnew(repo_id=repo_id, number=number, highest=count.highest)
            self._counts[repo_id] = _Count(number, at)
            return anew
        expected, count.highest = count.highest + 1, number
        if number == expected:
            return None
        count.missing.append((expected, number - 1))
        del count.missing[:-_MOST_GAPS]
        return Gap(repo_id=repo_id, first=expected, last=number - 1)

    @property
    def last_numbers(self) -> dict[str, int]:
        """Return the highest number of each repository, for use by a later subscription."""
        return {repo_id: count.highest for repo_id, count in self._counts.items()}

    @property
    def open(self) -> tuple[Gap, ...]:
        """Return what is still missing, by repository and number."""
        return tuple(
            Gap(repo_id=repo_id, first=first, last=last)
            for repo_id, count in sorted(self._counts.items())
            for first, last in count.missing
        )


def _fill(missing: list[tuple[int, int]], number: int) -> bool:
    """Remove a number from the missing ranges; return whether it was in one."""
    at = bisect_left(missing, (number + 1,)) - 1
    if at < 0 or missing[at][1] < number:
        return False
    first, last = missing[at]
    missing[at : at + 1] = [part for part in ((first, number - 1), (number + 1, last)) if part[0] <= part[1]]
    return True


def leaves_nothing_out(pattern: str) -> bool:
    """Whether a pattern matches every event, whatever its type: `#`, `pulp.server.#` and the like.

    Types have at least two words; the hardest to match is one longer than the pattern, made of words that the pattern
    does not contain, but shorter ones must match too.
    """
    return all(
        matches(pattern, SUBJECT_PREFIX + ".".join([_ANY] * count)) for count in range(2, len(words(pattern)) + 3)
    )
