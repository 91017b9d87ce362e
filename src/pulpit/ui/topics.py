"""The topic tester: patterns against the known types, and against the latest events of the log."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response

from pulpit.errors import InvalidValue
from pulpit.events import EVENT_TYPES, SUBJECT_PREFIX, as_topic, check_event_types, star_covers
from pulpit.store import event_log
from pulpit.topics import ANY_WORD, matches
from pulpit.ui.visits import Visit

LATEST: Final = 1_000
"""Events of the log that patterns are tested with."""
MOST_PATTERNS: Final = 8
LONGEST_PATTERN: Final = 255
MOST_TYPES: Final = 200
QUEUE: Final = "queue"
LISTENER: Final = "listener"
EXAMPLES: Final = {
    QUEUE: ("pulp.server.#", "pulp.server.repo.publish.*", "pulp.server.repo.*.finish"),
    LISTENER: ("*", "repo.publish.*", "repo.*.finish"),
}
"""The three example subscriptions of Pulp 2's announcement, and the same as event types of a listener."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tried:
    """A pattern and what it matches; a `complaint` says why it can never match."""

    pattern: str
    types: frozenset[str]
    events: int
    complaint: str = ""


def show(visit: Visit) -> Response:
    kind = LISTENER if visit.asked("kind") == LISTENER else QUEUE
    patterns = visit.asked("patterns").split() or list(EXAMPLES[kind])
    with visit.services.database.read() as connection:
        head = event_log.head(connection)
        latest = Counter(
            outline.event_type for outline in event_log.outlines_after(connection, head - LATEST, limit=LATEST)
        )
    types = [*sorted(EVENT_TYPES), *sorted(latest.keys() - EVENT_TYPES)][:MOST_TYPES]
    return visit.page(
        "topics.html",
        title="Topics",
        kind=kind,
        patterns=patterns,
        tried=[_try(pattern, kind, types, latest) for pattern in patterns[:MOST_PATTERNS]],
        left_out=max(0, len(patterns) - MOST_PATTERNS),
        types=types,
        latest=latest,
        latest_total=latest.total(),
        subject=SUBJECT_PREFIX if kind == QUEUE else "",
        examples=EXAMPLES,
    )


def _try(pattern: str, kind: str, types: list[str], latest: Counter[str]) -> Tried:
    if len(pattern) > LONGEST_PATTERN:
        complaint = f"A pattern has at most {LONGEST_PATTERN} characters."
        return Tried(pattern=pattern, types=frozenset(), events=0, complaint=complaint)
    complaint = ""
    if kind == LISTENER:
        try:
            check_event_types([pattern])
        except InvalidValue as error:
            complaint = str(error).partition(": ")[2]
    fits = _test(pattern, kind)
    matched = frozenset(event_type for event_type in types if not complaint and fits(event_type))
    return Tried(
        pattern=pattern,
        types=matched,
        events=0 if complaint else sum(count for event_type, count in latest.items() if fits(event_type)),
        complaint=complaint,
    )


def _test(pattern: str, kind: str) -> Callable[[str], bool]:
    """Return a test whether a pattern matches a type: as an event type of a listener, or as a queue's binding."""
    if kind == QUEUE:
        return lambda event_type: matches(pattern, SUBJECT_PREFIX + event_type)
    if pattern == ANY_WORD:
        return star_covers
    return lambda event_type: matches(as_topic(pattern), event_type)
