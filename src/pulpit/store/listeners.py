"""Listeners: what an administrator asked for, how far in the log each one is, and the latest attempts at delivery."""

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
"""Seconds for which an event is tried unless the listener says otherwise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ahead:
    """What a listener with lanes has settled beyond its position: everything up to `to`, but for some repositories.

    A repository's events are settled in order, so that one number says which are left; "" stands for the events
    without a repository.
    """

    to: int
    held: Mapping[str, int]
    """The first number from which a repository's events are not settled."""
    failing: Mapping[str, tuple[int, datetime]]
    """Failures in a row of those of them that fail, and since when they do."""

    def as_json(self) -> dict[str, Any]:
        """As it is kept."""
        failing = {repo_id: [attempts, iso_micro(since)] for repo_id, (attempts, since) in self.failing.items()}
        return {"to": self.to, "held": dict(self.held), "failing": failing}


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """A listener is through up to a position, and has settled something beyond it if it has lanes."""

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
    """Attempts of one listener in a row that failed, since the first of them and up to the last."""

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
    """Grows with every change that an administrator makes, so that a running delivery notices."""
    repo_ids: list[str] | None
    """Shell patterns of the repositories whose events are wanted; null is every event."""
    results: list[str] | None
    """Results of the finish events that are wanted; null is every event."""
    packages: list[str] | None
    """Shell patterns of the units of which a wanted event must have changed one; null is every event."""
    give_up_after: int
    """Seconds for which one event is tried before it is a dead letter."""
    paused: bool
    pause_reason: str | None
    """Why Pulpit paused it by itself; null if a person did."""
    position: int
    """Every event up to this number is settled: delivered, refused into the dead letters, or not wanted."""
    epoch: int
    """Grows with every replay, so that a delivery of before cannot move the position that the replay has set."""
    replay_from: int | None
    """A replay that was asked for and has not begun."""
    replay_to: int | None
    """Up to this number only `replay_types` are wanted, by a replay of some types."""
    replay_types: list[str] | None
    attempts: int
    """Failures in a row since the last delivery."""
    failing_since: datetime | None
    last_error: str | None
    last_error_at: datetime | None
    lease_owner: str | None
    """The server that delivers, where several share a database; null where one is alone."""
    lease_until: datetime | None
    owner: str | None
    """The login of the operator who made it; null for those of administrators."""
    visible: list[list[str] | None] | None
    """Shell patterns of the repositories whose events may be told: of the owner, then of the token that made it."""
    ahead: dict[str, Any] | None
    """`Ahead` as it is kept; see `settled_ahead`."""

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
    """Create a listener that begins with the next event to be fired."""
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
    """One listener.

    Raises:
        MissingResource: `event_listener`; a malformed id is simply unknown (Pulp 2's rule).
    """
    row = connection.execute(select(listeners).where(listeners.c.id == listener_id)).mappings().one_or_none()
    if row is None:
        raise MissingResource(event_listener=listener_id)
    return Listener(**row)


def every(
    connection: Connection, *, after: str = "", limit: int | None = None, owner: str | None = None
) -> list[Listener]:
    """All listeners or those of one owner, oldest first, or a page of those behind an id."""
    wanted = select(listeners).where(listeners.c.id > after).order_by(listeners.c.id).limit(limit)
    if owner is not None:
        wanted = wanted.where(listeners.c.owner == owner)
    return [Listener(**row) for row in connection.execute(wanted).mappings()]


def those(connection: Connection, listener_ids: Collection[str]) -> list[Listener]:
    """Those of some listeners that exist, oldest first; a few hundred at most."""
    wanted = select(listeners).where(listeners.c.id.in_(listener_ids)).order_by(listeners.c.id)
    return [Listener(**row) for row in connection.execute(wanted).mappings()]


def existing(connection: Connection, listener_ids: Collection[str]) -> set[str]:
    """Which of a few hundred listeners at most there are."""
    return set(connection.execute(select(listeners.c.id).where(listeners.c.id.in_(listener_ids))).scalars())


def change(tx: Transaction, listener_id: str, **columns: Any) -> Listener:
    """Write what an administrator changed, and have the delivery take notice.

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
    """Id and revision of every listener: enough to see whether any was made, changed or deleted."""
    rows = connection.execute(select(listeners.c.id, listeners.c.revision))
    return {row.id: row.revision for row in rows}


def pause(tx: Transaction, listener_id: str, reason: str | None = None) -> Listener:
    """Keep a listener where it is until it is resumed.

    Raises:
        MissingResource: there is no such listener.
    """
    return change(tx, listener_id, paused=True, pause_reason=reason)


def resume(tx: Transaction, listener_id: str) -> Listener:
    """Let a listener go on from where it is.

    Raises:
        MissingResource: there is no such listener.
    """
    return change(tx, listener_id, paused=False, pause_reason=None)


def replay(tx: Transaction, listener_id: str, number: int, event_types: list[str] | None) -> Listener:
    """Ask that a listener is sent back to before an event, for all that it wants or for the types given.

    It happens when whoever delivers has stopped and written how far it was (`go_back`), a moment later.

    Raises:
        MissingResource: there is no such listener.
    """
    return change(tx, listener_id, replay_from=number, replay_types=event_types)


def go_back(tx: Transaction, listener: Listener) -> None:
    """Do what `replay` asked for; the stored position is exact, nobody delivers."""
    if listener.replay_from is None:
        return
    back = min(listener.replay_from - 1, listener.position)
    this = update(listeners).where(listeners.c.id == listener.id)
    to = listener.position if listener.replay_types else None
    ahead = listener.settled_ahead
    if ahead is not None:  # what a replay is about counts as not settled
        ahead = replace(ahead, to=min(ahead.to, listener.replay_from - 1)) if listener.replay_from > back + 1 else None
    values = {"position": back, "replay_to": to, "ahead": ahead and ahead.as_json(), "epoch": listener.epoch + 1}
    tx.connection.execute(this.values(replay_from=None, **values))


def settle(tx: Transaction, moves: Iterable[Move]) -> None:
    """Record how far listeners are; a position never moves back by this, nor past a replay."""
    in_order = sorted(moves, key=lambda move: move.listener_id)  # the one order in which their rows are locked
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
    """Let the listeners of an owner tell what that one may see from now on."""
    for listener in every(tx.connection, owner=owner):
        change(tx, listener.id, visible=[patterns, *(listener.visible or [None])[1:]])


def disown(tx: Transaction, owner: str, reason: str) -> None:
    """Pause the listeners of somebody who may have none any more; an administrator deletes them or lets them go on."""
    for listener in every(tx.connection, owner=owner):
        pause(tx, listener.id, reason)


def recover(tx: Transaction, listener_id: str) -> None:
    """Record that a listener takes events again."""
    well = {"attempts": 0, "failing_since": None, "last_error": None, "last_error_at": None}
    tx.connection.execute(update(listeners).where(listeners.c.id == listener_id).values(**well))


def fail(tx: Transaction, failures: Iterable[Failure]) -> set[str]:
    """Record failed attempts of a few hundred listeners at most, and return whose are the first; positions stay."""
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
    """One attempt; those of bulk transports are summed up, so it may be about many events."""

    listener_id: str
    at: datetime
    duration_ms: int
    outcome: str
    """`delivered`, `retry`, `refused` or `gone`."""
    first_event: int
    last_event: int
    event_count: int
    answer: str
    """What the far side said, or why it did not work."""


def add_deliveries(tx: Transaction, attempts: Sequence[Delivery]) -> None:
    """Write attempts down."""
    if attempts:
        tx.connection.execute(insert(deliveries), [asdict(attempt) for attempt in attempts])


def recent_deliveries(connection: Connection, listener_id: str, *, limit: int) -> list[Delivery]:
    """The latest attempts of a listener, newest first."""
    wanted = select(deliveries).where(deliveries.c.listener_id == listener_id)
    rows = connection.execute(wanted.order_by(deliveries.c.number.desc()).limit(limit)).mappings()
    return [Delivery(**{name: row[name] for name in Delivery.__dataclass_fields__}) for row in rows]


def deliveries_of_event(
    connection: Connection, event_number: int, listener_ids: Collection[str], *, limit: int
) -> list[Delivery]:
    """The attempts of some listeners that one event was among, newest first."""
    columns = deliveries.c
    about = (columns.first_event <= event_number) & (columns.last_event >= event_number)
    wanted = select(deliveries).where(columns.listener_id.in_(listener_ids) & about)
    rows = connection.execute(wanted.order_by(columns.number.desc()).limit(limit)).mappings()
    return [Delivery(**{name: row[name] for name in Delivery.__dataclass_fields__}) for row in rows]


def remove_old_deliveries(tx: Transaction, listener_id: str) -> None:
    """Keep the latest attempts of a listener."""
    mine = deliveries.c.listener_id == listener_id
    oldest_kept = (
        select(deliveries.c.number).where(mine).order_by(deliveries.c.number.desc()).offset(DELIVERIES_KEPT).limit(1)
    )
    limit = tx.connection.execute(oldest_kept).scalar()
    if limit is not None:
        tx.connection.execute(delete(deliveries).where(mine & (deliveries.c.number <= limit)))


def count_deliveries(connection: Connection, listener_id: str) -> int:
    """How many attempts of a listener are kept."""
    wanted = select(func.count()).select_from(deliveries).where(deliveries.c.listener_id == listener_id)
    return connection.execute(wanted).scalar_one()
