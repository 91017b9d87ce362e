"""The servers that share a PostgreSQL: which are alive, and which delivers to which listener.

A live server renews its row and its leases; the leases of a dead one expire and become free. Each takes its fair share,
so listeners spread over the servers by themselves. All times are the database's, so no server is declared dead, and no
lease expired, because a machine's clock is wrong.

Locks are taken in one order: the advisory one, then the row of a server, then rows of listeners by their ids.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, Connection, delete, func, insert, or_, select, text, update

from pulpit import __version__
from pulpit.clock import system_clock
from pulpit.store.database import Transaction, database_time
from pulpit.store.driver import inserting
from pulpit.store.schema import listeners, servers, shared_secrets, tasks
from pulpit.store.tasks import RUNNING

LEASE: Final = timedelta(seconds=15)
"""How long a server holds a listener without renewal."""

CLOCK_SKEW: Final = timedelta(seconds=5)
"""From which difference on between a machine's clock and the database's an administrator is told."""

_log = logging.getLogger(__name__)

_POSTGRESQL_LOCK: Final = text(
    "SELECT set_config('idle_in_transaction_session_timeout', '5000', true), pg_advisory_xact_lock(7085749)"
)
"""A server that is frozen or cut off while it has the lock must not keep the others from renewing their leases."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Instance:
    """One process that serves under a name; `node` is the server's name, which survives restarts."""

    node: str = ""
    id: str = ""
    """Unique to this process."""
    home: str = ""
    """The folder and machine that it serves."""
    storage: str = ""
    """Identity of the shared storage; empty if its files are its own."""
    delivers: bool = True
    """Whether it takes listeners, instead of only working on tasks."""


def enter(tx: Transaction, me: Instance) -> datetime | None:
    """Register this process under its server name.

    Returns:
        `None` if the name is taken. If a process of another folder holds it and was seen recently, nothing is changed,
        and this is the time when it was seen.
    """
    _lock(tx)
    row = tx.connection.execute(select(servers).where(servers.c.node == me.node)).one_or_none()
    is_anothers = row is not None and row.instance is not None and row.home != me.home
    if row is not None and is_anothers and row.seen_at >= database_time(tx.connection) - LEASE:
        seen_at: datetime = row.seen_at
        return seen_at
    _say_alive(tx, me)
    return None


def take_over(tx: Transaction, me: Instance, *, seen_at: datetime) -> bool:
    """Take a name from a process that has not been seen since; false if it has been."""
    _lock(tx)
    now_at = tx.connection.execute(select(servers.c.seen_at).where(servers.c.node == me.node)).scalar()
    if now_at not in (None, seen_at):
        return False
    _say_alive(tx, me)
    return True


def rivals(tx: Transaction, me: Instance) -> dict[str, datetime]:
    """Return the live servers that keep their files elsewhere, and when each was last seen."""
    _lock(tx)
    other = (servers.c.node != me.node) & (servers.c.seen_at >= database_time(tx.connection) - LEASE)
    if me.storage:
        other &= func.coalesce(servers.c.storage, "") != me.storage
    return {row.node: row.seen_at for row in tx.connection.execute(select(servers).where(other))}


def say_storage(tx: Transaction, me: Instance) -> None:
    """Store where a server's files are, and whether it delivers."""
    values = {"storage": me.storage, "delivers": me.delivers}
    tx.connection.execute(update(servers).where(servers.c.node == me.node).values(**values))


def beat(tx: Transaction, me: Instance) -> bool:
    """Send the heartbeat of a server without listeners; false if another process has its name by now."""
    _lock(tx)
    row = tx.connection.execute(select(servers.c.instance).where(servers.c.node == me.node)).one_or_none()
    if row is not None and row.instance not in (None, me.id):
        return False
    _say_alive(tx, me)
    return True


def shared_secret(tx: Transaction, name: str, mine: str) -> str:
    """Return the named secret that all servers share: the first one stored wins."""
    _lock(tx)
    found = known_secret(tx.connection, name)
    if found is None:
        tx.connection.execute(insert(shared_secrets).values(name=name, content=mine))
    return found or mine


def known_secret(connection: Connection, name: str) -> str | None:
    """Return the named secret that all servers share, if there is one yet."""
    content: str | None = connection.execute(
        select(shared_secrets.c.content).where(shared_secrets.c.name == name)
    ).scalar()
    return content


def change_secret(tx: Transaction, name: str, content: str) -> None:
    """Replace a secret that the same transaction has got from `shared_secret`, whose lock keeps others waiting."""
    tx.connection.execute(update(shared_secrets).where(shared_secrets.c.name == name).values(content=content))


def renew(tx: Transaction, me: Instance) -> set[str] | None:
    """Send a heartbeat and return the ids of the listeners leased to the server until the lease expires.

    `None` if another process has its name by now: it holds no leases any more.
    """
    _lock(tx)
    row = tx.connection.execute(select(servers.c.instance).where(servers.c.node == me.node)).one_or_none()
    if row is not None and row.instance not in (None, me.id):
        return None
    now = _say_alive(tx, me)
    delivering = servers.c.delivers & (servers.c.seen_at >= now - LEASE)
    alive = tx.connection.execute(select(func.count()).where(delivering)).scalar_one()
    every = tx.connection.execute(select(func.count()).select_from(listeners)).scalar_one()
    share = -(-every // max(alive, 1))
    held = _locked_ids(tx, listeners.c.lease_owner == me.node)
    free = or_(listeners.c.lease_owner.is_(None), listeners.c.lease_until < now)
    taken = _locked_ids(tx, free, limit=share - len(held)) if len(held) < share else []
    kept = [*held[:share], *taken]
    let_go = listeners.c.id.in_(held[share:])
    tx.connection.execute(update(listeners).where(let_go).values(lease_owner=None))
    mine = update(listeners).where(listeners.c.id.in_(kept))
    tx.connection.execute(mine.values(lease_owner=me.node, lease_until=now + LEASE))
    return set(kept)


def leave(tx: Transaction, me: Instance) -> None:
    """Release everything that a stopping server holds, unless another process has its name by now."""
    _lock(tx)
    gone = delete(servers).where((servers.c.node == me.node) & (servers.c.instance == me.id))
    if tx.connection.execute(gone).rowcount:
        held = _locked_ids(tx, listeners.c.lease_owner == me.node)
        tx.connection.execute(update(listeners).where(listeners.c.id.in_(held)).values(lease_owner=None))


def heartbeats(connection: Connection) -> dict[str, datetime | None]:
    """Return when each server was last seen; `None` for one of which only running tasks are left."""
    owners = connection.execute(select(tasks.c.worker_name).where(tasks.c.state == RUNNING).distinct()).scalars()
    only_tasks: dict[str, datetime | None] = {(owner or "").rpartition("@")[2]: None for owner in owners}
    return only_tasks | {row.node: row.seen_at for row in connection.execute(select(servers.c.node, servers.c.seen_at))}


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A server, as it described itself when last seen."""

    node: str
    seen_at: datetime
    delivers: bool
    """False if it only runs workers."""
    version: str | None
    """`None` if it is older than this column."""
    clock_ahead: float | None
    """Seconds by which its clock was ahead of the database's."""


class ClockWatch:
    """Logs when this machine's clock begins to differ from the database's, and when it no longer does."""

    def __init__(self) -> None:
        self._is_wrong = False

    def look(self, connection: Connection) -> None:
        ahead = (system_clock() - database_time(connection)).total_seconds()
        is_wrong = abs(ahead) > CLOCK_SKEW.total_seconds()
        if is_wrong and not self._is_wrong:
            way = "ahead of" if ahead > 0 else "behind"
            sentence = "the clock of this machine is %.0f s %s that of the database; run a time service"
            _log.warning(sentence, abs(ahead), way, extra={"action": "clock_wrong"})
        elif self._is_wrong and not is_wrong:
            _log.info("the clock of this machine agrees with the database's again", extra={"action": "clock_right"})
        self._is_wrong = is_wrong


def members(connection: Connection) -> list[Member]:
    """Return every known server, by name."""
    columns = servers.c
    wanted = select(columns.node, columns.seen_at, columns.delivers, columns.version, columns.clock_ahead)
    return [Member(**row) for row in connection.execute(wanted.order_by(columns.node)).mappings()]


def strike_off(tx: Transaction, node: str, *, seen_at: datetime | None) -> None:
    """Delete a server that has not been seen since; call it when its tasks have been ended."""
    tx.connection.execute(delete(servers).where((servers.c.node == node) & (servers.c.seen_at == seen_at)))


def _lock(tx: Transaction) -> None:
    if tx.connection.dialect.name == "postgresql":
        tx.connection.execute(_POSTGRESQL_LOCK)


def _say_alive(tx: Transaction, me: Instance) -> datetime:
    now = database_time(tx.connection)
    ahead = (system_clock() - now).total_seconds()
    values = {"seen_at": now, "instance": me.id, "home": me.home, "version": __version__, "clock_ahead": ahead}
    row = inserting(tx.connection.dialect)(servers).values(
        node=me.node, storage=me.storage, delivers=me.delivers, **values
    )
    tx.connection.execute(row.on_conflict_do_update(index_elements=["node"], set_=values))
    return now


def _locked_ids(tx: Transaction, which: ColumnElement[bool], *, limit: int | None = None) -> list[str]:
    wanted = select(listeners.c.id).where(which).order_by(listeners.c.id).limit(limit).with_for_update()
    return list(tx.connection.execute(wanted).scalars())
