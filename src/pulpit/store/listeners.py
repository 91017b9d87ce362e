"""Listeners: their configuration, their position in the log, and their latest delivery attempts."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from pulpit.clock import iso_micro
from pulpit.errors import MissingResource
from pulpit.ids import object_id
from pulpit.store import event_log
from pulpit.store.database import Transaction
from pulpit.store.schema import deliveries, listeners
from pulpit.store.wakeups import Wakeup

DELIVERIES_KEPT: Final = 500
"""Attempts of each listener that are kept."""

GIVE_UP_AFTER: Final = 3 * 24 * 3600
"""Default time, in seconds, after which delivery of an event is given up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ahead:
    """What a listener with lanes has settled beyond its position: everything up to `to`, except for some repositories.

    A repository's events are settled in order, so one number says which are left; "" stands for events without a
    repository.
    """

    to: int
    held: Mapping[str, int]
    """The first number from which a repository's events are not settled."""
    failing: Mapping[str, tuple[int, datetime]]
    """For the failing ones: consecutive failures, and the time of the first."""

    def as_json(self) -> dict[str, Any]:
        """Return the stored form."""
        failing = {repo_id: [attempts, iso_micro(since)] for repo_id, (attempts, since) in self.failing.items()}
        return {"to": self.to, "held": dict(self.held), "failing": failing}


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """Progress of a listener: its position, and what it has settled beyond it if it has lanes."""

    listener_id: str
    epoch: int
    position: int
    ahead: Ahead | None = None


_SETTLE: Final = (
    update(listeners)
    .where(listeners.c.id == bindparam("of"))
    .where(listeners.c.epoch == bindparam("in_epoch"))
    .where(listeners.c.position <= bindparam("to"))
    .values(position=bindparam("to"), ahead=bindparam("beyond", type_=listeners.c.ahead.type))
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Consecutive failed attempts of one listener, with the times of the first and the last."""

    listener_id: str
    count: int
    error: str
    since: datetime
    at: datetime


_FAIL: Final = (
    update(listeners)
    .where(listeners.c.id == bindparam("of"))
    .values(
        attempts=listeners.c.attempts + bindparam("count"),
        last_error=bindparam("error"),
        last_error_at=bindparam("at"),
        failing_since=func.coalesce(
            listeners.c.failing_since, bindparam("since", type_=listeners.c.failing_since.type)
        ),
    )
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Listener:
    """One subscriber of the log: a filter, a notifier with its configuration, and a cursor."""

    id: str
    notifier_type_id: str
    notifier_config: dict[str, Any]
    event_types: list[str]
    created_at: datetime
    revision: int
    """Grows with every change by an administrator, so that running deliveries notice."""
    repo_ids: list[str] | None
    """Shell patterns of repositories; only their events match; null is every event."""
    results: list[str] | None
    """Results of finish events that match; null is every event."""
    packages: list[str] | None
    """Shell patterns of units; an event matches if it changed one of them; null is every event."""
    give_up_after: int
    """Seconds for which one event is tried before it becomes a dead letter."""
    paused: bool
    pause_reason: str | None
    """Why Pulpit paused it; null if a user did."""
    position: int
    """Every event up to this number is settled: delivered, dead-lettered, or not matching."""
    epoch: int
    """Grows with every replay, so that an older delivery cannot overwrite the position that the replay has set."""
    replay_from: int | None
    """A replay that was requested and has not begun."""
    replay_to: int | None
    """During a replay of some types: up to this number only `replay_types` match."""
    replay_types: list[str] | None
    attempts: int
    """Consecutive failures since the last delivery."""
    failing_since: datetime | None
    last_error: str | None
    last_error_at: datetime | None
    lease_owner: str | None
    """The server that delivers, where several share a database; null on a single server."""
    lease_until: datetime | None
    owner: str | None
    """The login of the operator who created it; null for administrators' listeners."""
    visible: list[list[str] | None] | None
    """Shell patterns of the repositories whose events it may see: the owner's, then those of the token that created
    it.
    """
    ahead: dict[str, Any] | None
    """`Ahead` in its stored form; see `settled_ahead`."""

    @property
    def settled_ahead(self) -> Ahead | None:
        """What is settled beyond the position; `None` if nothing is."""
        if self.ahead is None or self.ahead["to"] <= self.position:
            return None
        failing = self.ahead["failing"].items()
        return Ahead(
            to=self.ahead["to"],
            held=self.ahead["held"],
            failing={repo_id: (attempts, datetime.fromisoformat(since)) for repo_id, (attempts, since) in failing},
        )


def add(
    tx: Transaction,
    notifier_type_id: str,
    notifier_config: dict[str, Any],
    event_types: list[str],
    *,
    now: datetime,
    give_up_after: int = GIVE_UP_AFTER,
    repo_ids: list[str] | None = None,
    results: list[str] | None = None,
    packages: list[str] | None = None,
    owner: str | None = None,
    visible: list[list[str] | None] | None = None,
) -> Listener:
    """Create a listener that starts with the next event to be fired."""
    listener_id = object_id()
    new = insert(listeners).values(
        id=listener_id,
        notifier_type_id=notifier_type_id,
        notifier_config=notifier_config,
        event_types=event_types,
        created_at=now,
        give_up_after=give_up_after,
        repo_ids=repo_ids,
        results=results,
        packages=packages,
        owner=owner,
        visible=visible,
        position=event_log.head(tx.connection),
    )
    tx.connection.execute(new)
    tx.wakeups.add(Wakeup.LISTENERS)
    return get(tx.connection, listener_id)


def get(connection: Connection, listener_id: str) -> Listener:
    """Return one listener.

    Raises:
        MissingResource: `event_listener`; a malformed id is treated as unknown (Pulp 2's rule).
    """
    row = connection.execute(select(listeners).where(listeners.c.id == listener_id)).mappings().one_or_none()
    if row is None:
        raise MissingResource(event_listener=listener_id)
    return Listener(**row)


def every(
    connection: Connection, *, after: str = "", limit: int | None = None, owner: str | None = None
) -> list[Listener]:
    """Return all listeners or one owner's, oldest first, or a page of those after an id."""
    wanted = select(listeners).where(listeners.c.id > after).order_by(listeners.c.id).limit(limit)
    if owner is not None:
        wanted = wanted.where(listeners.c.owner == owner)
    return [Listener(**row) for row in connection.execute(wanted).mappings()]


def those(connection: Connection, listener_ids: Collection[str]) -> list[Listener]:
    """Return those of the listeners that exist, oldest first; takes a few hundred ids at most."""
    wanted = select(listeners).where(listeners.c.id.in_(listener_ids)).order_by(listeners.c.id)
    return [Listener(**row) for row in connection.execute(wanted).mappings()]


def existing(connection: Connection, listener_ids: Collection[str]) -> set[str]:
    """Return those of the ids that exist; takes a few hundred at most."""
    return set(connection.execute(select(listeners.c.id).where(listeners.c.id.in_(listener_ids))).scalars())


def change(tx: Transaction, listener_id: str, **columns: Any) -> Listener:
    """Store an administrator's change, which restarts the delivery.

    Raises:
        MissingResource: there is no such listener.
    """
    get(tx.connection, listener_id)
    changed = update(listeners).where(listeners.c.id == listener_id)
    tx.connection.execute(changed.values(revision=listeners.c.revision + 1, **columns))
    tx.wakeups.add(Wakeup.LISTENERS)
    return get(tx.connection, listener_id)


def remove(tx: Transaction, listener_id: str) -> None:
    """Delete a listener with its dead letters.

    Raises:
        MissingResource: there is no such listener.
    """
    get(tx.connection, listener_id)
    tx.connection.execute(delete(listeners).where(listeners.c.id == listener_id))
    tx.wakeups.add(Wakeup.LISTENERS)


def revisions(connection: Connection) -> dict[str, int]:
    """Return id and revision of every listener: enough to notice that one was created, changed or deleted."""
    rows = connection.execute(select(listeners.c.id, listeners.c.revision))
    return {row.id: row.revision for row in rows}


def pause(tx: Transaction, listener_id: str, reason: str | None = None) -> Listener:
    """Pause a listener at its position until it is resumed.

    Raises:
        MissingResource: there is no such listener.
    """
    return change(tx, listener_id, paused=True, pause_reason=reason)


def resume(tx: Transaction, listener_id: str) -> Listener:
    """Let a listener continue from its position.

    Raises:
        MissingResource: there is no such listener.
    """
    return change(tx, listener_id, paused=False, pause_reason=None)


def replay(tx: Transaction, listener_id: str, number: int, event_types: list[str] | None) -> Listener:
    """Request a replay from before an event, for everything that matches or for the given types.

    It happens a moment later, when the running delivery has stopped and stored its position (`go_back`).

    Raises:
        MissingResource: there is no such listener.
    """
    return change(tx, listener_id, replay_from=number, replay_types=event_types)


def go_back(tx: Transaction, listener: Listener) -> None:
    """Carry out the replay that was requested; the stored position is exact because no delivery is running."""
    if listener.replay_from is None:
        return
    back = min(listener.replay_from - 1, listener.position)
    this = update(listeners).where(listeners.c.id == listener.id)
    to = listener.position if listener.replay_types else None
    ahead = listener.settled_ahead
    if ahead is not None:  # the events of the replay count as unsettled
        ahead = replace(ahead, to=min(ahead.to, listener.replay_from - 1)) if listener.replay_from > back + 1 else None
    values = {"position": back, "replay_to": to, "ahead": ahead and ahead.as_json(), "epoch": listener.epoch + 1}
    tx.connection.execute(this.values(replay_from=None, **values))


def settle(tx: Transaction, moves: Iterable[Move]) -> None:
    """Store the progress of listeners; this never moves a position back, nor past a replay."""
    in_order = sorted(moves, key=lambda move: move.listener_id)  # rows are always locked in this order
    rows = [
        {
            "of": move.listener_id,
            "in_epoch": move.epoch,
            "to": move.position,
            "beyond": move.ahead and move.ahead.as_json(),
        }
        for move in in_order
    ]
    if rows:
        tx.connection.execute(_SETTLE, rows)


def narrow(tx: Transaction, owner: str, patterns: list[str] | None) -> None:
    """Restrict an owner's listeners to what the owner may see from now on."""
    for listener in every(tx.connection, owner=owner):
        change(tx, listener.id, visible=[patterns, *(listener.visible or [None])[1:]])


def disown(tx: Transaction, owner: str, reason: str) -> None:
    """Pause the listeners of an owner who may no longer have any; an administrator deletes or resumes them."""
    for listener in every(tx.connection, owner=owner):
        pause(tx, listener.id, reason)


def recover(tx: Transaction, listener_id: str) -> None:
    """Record that a listener takes events again."""
    well = {"attempts": 0, "failing_since": None, "last_error": None, "last_error_at": None}
    tx.connection.execute(update(listeners).where(listeners.c.id == listener_id).values(**well))


def fail(tx: Transaction, failures: Iterable[Failure]) -> set[str]:
    """Record failed attempts of at most a few hundred listeners, and return those failing for the first time."""
    in_order = {failure.listener_id: failure for failure in sorted(failures, key=lambda failure: failure.listener_id)}
    if not in_order:
        return set()
    row = listeners.c
    locked = select(row.id, row.failing_since).where(row.id.in_(in_order)).order_by(row.id).with_for_update()
    first = {listener_id for listener_id, since in tx.connection.execute(locked) if since is None}
    rows = [
        {
            "of": failure.listener_id,
            "count": failure.count,
            "error": failure.error,
            "since": failure.since,
            "at": failure.at,
        }
        for failure in in_order.values()
    ]
    tx.connection.execute(_FAIL, rows)
    return first


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """One attempt; those of batch transports are summed up, so it may cover many events."""

    listener_id: str
    at: datetime
    duration_ms: int
    outcome: str
    """`delivered`, `retry`, `refused` or `gone`."""
    first_event: int
    last_event: int
    event_count: int
    answer: str
    """The receiver's answer, or the reason of the failure."""


def add_deliveries(tx: Transaction, attempts: Sequence[Delivery]) -> None:
    """Store attempts."""
    if attempts:
        tx.connection.execute(insert(deliveries), [asdict(attempt) for attempt in attempts])


def recent_deliveries(connection: Connection, listener_id: str, *, limit: int) -> list[Delivery]:
    """Return the latest attempts of a listener, newest first."""
    wanted = select(deliveries).where(deliveries.c.listener_id == listener_id)
    rows = connection.execute(wanted.order_by(deliveries.c.number.desc()).limit(limit)).mappings()
    return [Delivery(**{name: row[name] for name in Delivery.__dataclass_fields__}) for row in rows]


def deliveries_of_event(
    connection: Connection, event_number: int, listener_ids: Collection[str], *, limit: int
) -> list[Delivery]:
    """Return the attempts of some listeners that included one event, newest first."""
    columns = deliveries.c
    about = (columns.first_event <= event_number) & (columns.last_event >= event_number)
    wanted = select(deliveries).where(columns.listener_id.in_(listener_ids) & about)
    rows = connection.execute(wanted.order_by(columns.number.desc()).limit(limit)).mappings()
    return [Delivery(**{name: row[name] for name in Delivery.__dataclass_fields__}) for row in rows]


def remove_old_deliveries(tx: Transaction, listener_id: str) -> None:
    """Delete all but the latest attempts of a listener."""
    mine = deliveries.c.listener_id == listener_id
    oldest_kept = (
        select(deliveries.c.number).where(mine).order_by(deliveries.c.number.desc()).offset(DELIVERIES_KEPT).limit(1)
    )
    limit = tx.connection.execute(oldest_kept).scalar()
    if limit is not None:
        tx.connection.execute(delete(deliveries).where(mine & (deliveries.c.number <= limit)))
