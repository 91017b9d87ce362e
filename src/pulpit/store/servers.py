"""Who delivers to which listener, where several servers share a PostgreSQL.

A server that is alive says so in its row and renews its leases; what a dead one held is free when its time is over.
Each takes its fair share, so listeners spread over the servers by themselves.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, delete, func, or_, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from pulpit.store.database import Transaction
from pulpit.store.schema import listeners, servers

LEASE: Final = timedelta(seconds=15)
"""For how long a listener is a server's own without renewal."""
GONE_AFTER: Final = timedelta(seconds=60)
"""After how long a silent server counts as dead, and its tasks as lost."""

_POSTGRESQL_LOCK: Final = text("SELECT pg_advisory_xact_lock(7085749)")


def renew(tx: Transaction, node: str, *, now: datetime) -> set[str]:
    """Say that a server is alive and return the ids of the listeners that are its own until `now + LEASE`."""
    if tx.connection.dialect.name == "postgresql":
        tx.connection.execute(_POSTGRESQL_LOCK)
    _say_alive(tx, node, now)
    mine = listeners.c.lease_owner == node
    share = _fair_share(tx.connection, now)
    held = list(tx.connection.execute(select(listeners.c.id).where(mine).order_by(listeners.c.id)).scalars())
    tx.connection.execute(update(listeners).where(listeners.c.id.in_(held[share:])).values(lease_owner=None))
    free = or_(listeners.c.lease_owner.is_(None), listeners.c.lease_until < now)
    wanted = select(listeners.c.id).where(free).order_by(listeners.c.id).limit(max(share - len(held), 0))
    taken = list(tx.connection.execute(wanted).scalars()) if len(held) < share else []
    kept = [*held[:share], *taken]
    tx.connection.execute(
        update(listeners).where(listeners.c.id.in_(kept)).values(lease_owner=node, lease_until=now + LEASE)
    )
    return set(kept)


def leave(tx: Transaction, node: str) -> None:
    """Let go of everything that a server holds, as it stops."""
    tx.connection.execute(update(listeners).where(listeners.c.lease_owner == node).values(lease_owner=None))
    tx.connection.execute(delete(servers).where(servers.c.node == node))


def bury_silent(tx: Transaction, *, now: datetime) -> Sequence[str]:
    """Strike the servers off that have said nothing for too long, and return them."""
    silent = servers.c.seen_at < now - GONE_AFTER
    return list(tx.connection.execute(delete(servers).where(silent).returning(servers.c.node)).scalars())


def _say_alive(tx: Transaction, node: str, now: datetime) -> None:
    dialect = postgresql if tx.connection.dialect.name == "postgresql" else sqlite
    row = dialect.insert(servers).values(node=node, seen_at=now)
    tx.connection.execute(row.on_conflict_do_update(index_elements=["node"], set_={"seen_at": now}))


def _fair_share(connection: Connection, now: datetime) -> int:
    alive = connection.execute(select(func.count()).where(servers.c.seen_at >= now - LEASE)).scalar_one()
    every = connection.execute(select(func.count()).select_from(listeners)).scalar_one()
    return -(-every // max(alive, 1))
