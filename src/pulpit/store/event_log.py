"""The event log: append-only, numbered in commit order, read on from a position.

On SQLite the single writer determines the order. On PostgreSQL a transaction takes the log's advisory lock before it
draws a number and holds it until it has committed, so no reader can skip a number that is not committed yet.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, delete, func, or_, select, update

from pulpit.events import Event
from pulpit.store.columns import read_time, stored_time
from pulpit.store.database import Transaction
from pulpit.store.driver import execute, execute_all, inserting
from pulpit.store.schema import dead_letters, events, idempotency_keys, listeners

SCANNED_AT_ONCE: Final = 20_000
"""Events that one search examines."""
MOST_CHARACTERS: Final = 8 * 2**20
"""Characters of bodies in one result, unless a single event has more."""
_BUFFERED: Final = 50
_TIMES_AT_ONCE: Final = 500

KEYS_KEPT_FOR: Final = timedelta(hours=24)
LONGEST_KEY: Final = 255


_LOCK: Final = 7085747
_POSTGRESQL_LOCK: Final = f"SELECT pg_advisory_xact_lock({_LOCK})"

_ENTERED: Final = "id, event_type, repo_id, result, occurred_at, traceparent, body"
"""The columns that the caller knows, in the order of the statements' parameters."""

# An event is one statement on both databases: on SQLite a trigger keeps the counter from which the next event of the
# repository draws its number, on PostgreSQL each step selects from the one before, so that the lock is taken before a
# number is drawn.
_SQLITE_APPEND: Final = f"""
INSERT INTO events ({_ENTERED}) VALUES (?, ?, ?, ?, ?, ?, ?)
RETURNING number, repo_number
"""  # noqa: S608 - our own names
_SQLITE_COUNT_AND_APPEND: Final = f"""
INSERT INTO events ({_ENTERED}, repo_number) VALUES (?, ?, ?, ?, ?, ?, ?,
    ifnull((SELECT last_number FROM event_counters WHERE repo_id = ?), 0) + 1)
RETURNING number, repo_number
"""  # noqa: S608 - our own names
_POSTGRESQL_APPEND: Final = f"""
WITH locked AS ({_POSTGRESQL_LOCK})
INSERT INTO events ({_ENTERED}) SELECT %s, %s, %s, %s, %s, %s, %s FROM locked
RETURNING number, repo_number
"""  # noqa: S608 - our own names
_POSTGRESQL_COUNT_AND_APPEND: Final = f"""
WITH locked AS ({_POSTGRESQL_LOCK}),
    entered ({_ENTERED}) AS (SELECT %s, %s, %s, %s, %s, %s, %s FROM locked),
    counted AS (
        INSERT INTO event_counters (repo_id, last_number) SELECT repo_id, 1 FROM entered
        ON CONFLICT (repo_id) DO UPDATE SET last_number = event_counters.last_number + 1
        RETURNING last_number)
INSERT INTO events ({_ENTERED}, repo_number) SELECT entered.*, last_number FROM entered, counted
RETURNING number, repo_number
"""  # noqa: S608 - our own names
_SQLITE_READ_AFTER: Final = f"SELECT {', '.join(Event._fields)} FROM events WHERE number > ? ORDER BY number LIMIT ?"  # noqa: S608
_POSTGRESQL_READ_AFTER: Final = _SQLITE_READ_AFTER.replace("?", "%s")
_HEAD: Final = select(func.max(events.c.number))


def lock(tx: Transaction) -> None:
    """Take the exclusive right to write to the log until the transaction ends; SQLite's write lock implies it.

    Locks are taken in one order: rows of tasks and listeners, this one, then rows of schedules. A transaction that
    fires and then writes tasks or listeners locks those first; one that writes a schedule and may fire later takes
    this lock before.
    """
    if tx.connection.dialect.name == "postgresql":
        execute(tx.connection, _POSTGRESQL_LOCK)


class Entry(NamedTuple):
    """What the log does not know of an event that is to be appended."""

    event_id: str
    event_type: str
    repo_id: str | None
    result: str | None
    occurred_at: datetime
    traceparent: str
    body: str
    counted: bool
    """Whether it draws the next number of its repository."""


def append(tx: Transaction, entries: Sequence[Entry]) -> list[Event]:
    """Append events to the log; they exist if and only if the transaction commits.

    On PostgreSQL many cost one round trip, during which nobody else can write to the log.
    """
    statements = [_appending(tx.connection, entry) for entry in entries]
    rows = execute_all(tx.connection, statements)
    appended = [
        Event(number, entry.event_id, entry.event_type, entry.repo_id, repo_number, *entry[3:7])
        for entry, (number, repo_number) in zip(entries, rows, strict=True)
    ]
    tx.events += appended
    return appended


def _appending(connection: Connection, entry: Entry) -> tuple[str, Sequence[Any]]:
    """Return the statement that appends an event, and its parameters."""
    row = (*entry[:4], stored_time(entry.occurred_at), entry.traceparent, entry.body)
    is_counted = entry.counted and entry.repo_id is not None
    if connection.dialect.name == "sqlite":
        return (_SQLITE_COUNT_AND_APPEND, (*row, entry.repo_id)) if is_counted else (_SQLITE_APPEND, row)
    return _POSTGRESQL_COUNT_AND_APPEND if is_counted else _POSTGRESQL_APPEND, row


def head(connection: Connection) -> int:
    """Return the highest number in the log, 0 if it has never held an event."""
    return connection.execute(_HEAD).scalar() or 0


def oldest(connection: Connection) -> int:
    """Return the lowest number from which on nothing was deleted, 0 for an empty log.

    Older dead letters do not count.
    """
    is_letter = events.c.number.in_(select(dead_letters.c.event_number))
    return (
        connection.execute(select(events.c.number).where(~is_letter).order_by(events.c.number).limit(1)).scalar() or 0
    )


def read_after(connection: Connection, number: int, *, limit: int) -> Sequence[Event]:
    """Return the next events after a position, at most `limit`, in order."""
    statement = _SQLITE_READ_AFTER if connection.dialect.name == "sqlite" else _POSTGRESQL_READ_AFTER
    return [  # `_make` takes less time than a call
        Event._make((number, id_, event_type, repo_id, repo_number, result, read_time(at), traceparent, body))
        for number, id_, event_type, repo_id, repo_number, result, at, traceparent, body in execute(
            connection, statement, (number, limit)
        )
    ]


def get(connection: Connection, number: int) -> Event | None:
    """Return one event, or `None` if retention has deleted it."""
    row = connection.execute(select(events).where(events.c.number == number)).mappings().one_or_none()
    return None if row is None else Event(**row)


def forget(tx: Transaction, *, older_than: datetime | None, beyond: int | None, past_cursors: bool, limit: int) -> int:
    """Delete the oldest events that need not be kept, at most `limit`, and return how many.

    The newest event and events of dead letters are always kept, and, unless `past_cursors`, those that a listener has
    not settled.

    Args:
        tx: the transaction.
        older_than: delete events from before this moment; `None` for no limit of age.
        beyond: delete events until this many are left; `None` for no limit of number.
        past_cursors: delete events even if a listener has not settled them.
        limit: most events in one call.
    """
    number = events.c.number
    rules: list[ColumnElement[bool]] = []
    if older_than and (end := number_at(tx.connection, older_than)) > 1:
        # Time grows with numbers: nothing after the first event that is young enough needs to be examined.
        rules.append((number < end) & (events.c.occurred_at < older_than))
    if beyond:
        newest = select(number).order_by(number.desc()).offset(beyond).limit(1)
        rules.append(number <= (tx.connection.execute(newest).scalar() or 0))
    if not rules:
        return 0
    bounds = [number < head(tx.connection), number.not_in(select(dead_letters.c.event_number))]
    slowest = None if past_cursors else tx.connection.execute(select(func.min(listeners.c.position))).scalar()
    if slowest is not None:
        bounds.append(number <= slowest)
    old = select(number).where(or_(*rules), *bounds).order_by(number).limit(limit)
    return tx.connection.execute(delete(events).where(number.in_(old))).rowcount


class Outline(NamedTuple):
    """The fields of an event without its body."""

    number: int
    event_type: str
    repo_id: str | None
    result: str | None


Wanted = Callable[[Outline], bool]


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Events in order, and the number to continue from."""

    events: Sequence[Event]
    through: int


def time_after(connection: Connection, position: int) -> datetime | None:
    """Return the time of the first event after a position, if there is one."""
    return times_after(connection, {position}).get(position)


def times_after(connection: Connection, positions: Collection[int]) -> dict[int, datetime]:
    """Return the time of the first event after each position; positions without a later event are absent."""
    following = {position + 1: position for position in positions}
    times: dict[int, datetime] = {}
    numbers = sorted(following)
    for start in range(0, len(numbers), _TIMES_AT_ONCE):
        some = events.c.number.in_(numbers[start : start + _TIMES_AT_ONCE])
        for number, moment in connection.execute(select(events.c.number, events.c.occurred_at).where(some)):
            times[following[number]] = moment
    for position in set(positions) - times.keys():  # the next number was rolled back, or its event deleted
        wanted = select(events.c.occurred_at).where(events.c.number > position).order_by(events.c.number).limit(1)
        moment = connection.execute(wanted).scalar()
        if moment is not None:
            times[position] = moment
    return times


def first_since(connection: Connection, moment: datetime) -> int | None:
    """Return the number of the first event at or after a moment."""
    wanted = select(events.c.number).where(events.c.occurred_at >= moment).order_by(events.c.number).limit(1)
    return connection.execute(wanted).scalar()


def number_at(connection: Connection, moment: datetime) -> int:
    """Return the number from which on events are not older than a moment, by binary search; time grows with numbers."""
    columns = events.c
    low, high = max(1, oldest(connection)), head(connection) + 1
    while low < high:
        middle = (low + high) // 2
        wanted = select(columns.number, columns.occurred_at).where(columns.number >= middle)
        row = connection.execute(wanted.order_by(columns.number).limit(1)).one_or_none()
        if row is None or row.occurred_at >= moment:
            high = middle
        else:
            low = row.number + 1
    return low


def outlines_after(connection: Connection, number: int, *, limit: int) -> list[Outline]:
    """Return the next events after a number, without their bodies."""
    columns = events.c
    outline = select(columns.number, columns.event_type, columns.repo_id, columns.result)
    rows = connection.execute(outline.where(columns.number > number).order_by(columns.number).limit(limit))
    return [Outline._make(row) for row in rows]  # can be thousands at once


def page_before(
    connection: Connection, before: int | None, wanted: Wanted | None, *, text_in_body: str = "", limit: int
) -> Page:
    """Return the events before a number, or the newest, that match a filter and whose bodies contain a text; in order.

    `through` is the number to continue before; the search ends after some thousand events.
    """
    columns = events.c
    end = head(connection) + 1 if before is None else before
    begin = end - (SCANNED_AT_ONCE // 4 if text_in_body else SCANNED_AT_ONCE)
    outline = select(columns.number, columns.event_type, columns.repo_id, columns.result)
    looked_at = outline.where((columns.number < end) & (columns.number >= begin)).order_by(columns.number.desc())
    if text_in_body:
        looked_at = looked_at.where(columns.body.icontains(text_in_body, autoescape=True))
    elif wanted is None:
        looked_at = looked_at.limit(limit)
    numbers: list[int] = []
    for row in connection.execute(looked_at).mappings():
        if wanted is None or wanted(Outline(**row)):
            numbers.append(row["number"])
            if len(numbers) == limit:
                break
    through = numbers[-1] if len(numbers) == limit else max(0, begin)
    return Page(events=those(connection, sorted(numbers)).events, through=through)


def those(connection: Connection, numbers: Sequence[int]) -> Page:
    """Return the events with some numbers in order, fewer if they are very large."""
    return _those(connection, numbers, numbers[-1] if numbers else 0)


def page(connection: Connection, after: int, wanted: Wanted | None, *, limit: int) -> Page:
    """Return the next events after a number; with a filter, the matching ones among the next few thousand."""
    columns = events.c
    if wanted is None:
        following = select(columns.number).where(columns.number > after).order_by(columns.number).limit(limit)
        every = connection.execute(following).scalars().all()
        return _those(connection, every, every[-1] if every else after)
    outline = select(columns.number, columns.event_type, columns.repo_id, columns.result)
    looked_at = outline.where(columns.number > after).order_by(columns.number).limit(SCANNED_AT_ONCE)
    numbers: list[int] = []
    through = after
    for row in connection.execute(looked_at).mappings():
        through = row["number"]
        if wanted(Outline(**row)):
            numbers.append(through)
            if len(numbers) == limit:
                break
    return _those(connection, numbers, through)


def _those(connection: Connection, numbers: Sequence[int], through: int) -> Page:
    """Return the events with some numbers, fewer if they are very large."""
    found: list[Event] = []
    characters = 0
    for start in range(0, len(numbers), _BUFFERED):
        portion = numbers[start : start + _BUFFERED]
        rows = connection.execute(select(events).where(events.c.number.in_(portion)).order_by(events.c.number))
        for row in rows.mappings():
            characters += len(row["body"])
            if found and characters > MOST_CHARACTERS:
                return Page(events=found, through=found[-1].number)
            found.append(Event(**row))
    return Page(events=found, through=through)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """An earlier request with the same idempotency key."""

    request_digest: str
    answer: Any


def take_key(tx: Transaction, key: str, request_digest: str, *, now: datetime) -> Answered | None:
    """Reserve an idempotency key for this transaction, or return the earlier response.

    Waits for a transaction that holds it.
    """
    tx.connection.execute(delete(idempotency_keys).where(idempotency_keys.c.created_at < now - KEYS_KEPT_FOR))
    row = {"key": key, "request_digest": request_digest, "answer": [], "created_at": now}
    insert_key = inserting(tx.connection.dialect)(idempotency_keys)
    take = insert_key.values(row).on_conflict_do_nothing().returning(idempotency_keys.c.key)
    if tx.connection.execute(take).scalar() is not None:
        return None
    wanted = select(idempotency_keys.c.request_digest, idempotency_keys.c.answer)
    found = tx.connection.execute(wanted.where(idempotency_keys.c.key == key)).one()
    return Answered(request_digest=found.request_digest, answer=found.answer)


def note_answer(tx: Transaction, key: str, answer: Any) -> None:
    """Store the response for a key that this transaction has reserved."""
    tx.connection.execute(update(idempotency_keys).where(idempotency_keys.c.key == key).values(answer=answer))
