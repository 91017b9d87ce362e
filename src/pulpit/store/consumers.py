"""Consumers: named positions in the log of pulling clients, advanced by acknowledgements."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, func, insert, select, update

from pulpit.errors import MissingResource
from pulpit.store.database import Transaction
from pulpit.store.schema import consumers


@dataclass(frozen=True, kw_only=True, slots=True)
class Consumer:
    """One position. It keeps no event from retention: a consumer that falls too far behind is told about the gap."""

    login: str
    """Its owner; names are unique per user."""
    name: str
    position: int
    """Every event up to this number is acknowledged."""
    created_at: datetime
    acknowledged_at: datetime | None


def add(tx: Transaction, login: str, name: str, position: int, *, now: datetime) -> None:
    """Create a consumer at a position."""
    row = {"login": login, "name": name, "position": position, "created_at": now}
    tx.connection.execute(insert(consumers).values(**row))


def find(connection: Connection, login: str, name: str) -> Consumer | None:
    """One consumer, or none."""
    wanted = select(consumers).where(consumers.c.login == login, consumers.c.name == name)
    row = connection.execute(wanted).mappings().one_or_none()
    return None if row is None else Consumer(**row)


def get(connection: Connection, login: str, name: str) -> Consumer:
    """One consumer.

    Raises:
        MissingResource: `consumer`.
    """
    found = find(connection, login, name)
    if found is None:
        raise MissingResource(consumer=name)
    return found


def every(connection: Connection, login: str | None = None) -> list[Consumer]:
    """All consumers, or those of one user, by user and name."""
    wanted = select(consumers).order_by(consumers.c.login, consumers.c.name)
    if login is not None:
        wanted = wanted.where(consumers.c.login == login)
    return [Consumer(**row) for row in connection.execute(wanted).mappings()]


def count(connection: Connection, login: str) -> int:
    """How many consumers a user has."""
    return connection.execute(select(func.count()).where(consumers.c.login == login)).scalar_one()


def acknowledge(tx: Transaction, login: str, name: str, number: int, *, now: datetime) -> None:
    """Advance to a number; this never moves a position back."""
    columns = consumers.c
    this = update(consumers).where(columns.login == login, columns.name == name, columns.position <= number)
    tx.connection.execute(this.values(position=number, acknowledged_at=now))


def move(tx: Transaction, login: str, name: str, number: int) -> None:
    """Set the position to a number, back or forward."""
    this = update(consumers).where(consumers.c.login == login, consumers.c.name == name)
    tx.connection.execute(this.values(position=number))


def remove_all(tx: Transaction, login: str) -> None:
    """Delete the consumers of a user."""
    tx.connection.execute(delete(consumers).where(consumers.c.login == login))


def remove(tx: Transaction, login: str, name: str) -> None:
    """Delete a consumer.

    Raises:
        MissingResource: there is no such consumer.
    """
    get(tx.connection, login, name)
    tx.connection.execute(delete(consumers).where(consumers.c.login == login, consumers.c.name == name))
