"""Copies the rows of one database into an empty one of the other kind: SQLite's file into a PostgreSQL."""

from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection, Table, func, insert, literal, select, text

from pulpit.errors import ConfigurationError
from pulpit.store.database import Database
from pulpit.store.schema import listeners, metadata, servers

ROWS_AT_ONCE: Final = 1000
_LEASES: Final = {"lease_owner": None, "lease_until": None}
_NO_SERVER_STARTS: Final = text("LOCK TABLE servers IN ACCESS EXCLUSIVE MODE")
"""A starting server writes itself into this table first, and waits."""


def copy_all(source: Database, target: Database, say: Callable[[str, int], None]) -> int:
    """Copy every row in one transaction; return how many there were.

    Servers, and their leases of listeners, are left out: they belong to running servers.

    Args:
        source: what is read; it does not change.
        target: its tables exist, of the same version, and are empty.
        say: called with the name and the number of rows of each table that has some.

    Raises:
        ConfigurationError: the target has rows already.
    """
    total = 0
    with source.read() as reading, target.write() as tx:
        tx.connection.execute(_NO_SERVER_STARTS)
        for table in metadata.sorted_tables:
            if tx.connection.scalar(select(literal(1)).select_from(table).limit(1)):
                raise ConfigurationError("[database] url", "the database has data already; name an empty one.")
        for table in metadata.sorted_tables:
            if table is not servers:
                count = _copy(table, reading, tx.connection)
                total += count
                if count:
                    say(table.name, count)
    return total


def _copy(table: Table, reading: Connection, writing: Connection) -> int:
    replaced = _LEASES if table is listeners else {}
    count = 0
    rows = reading.execute(select(table), execution_options={"yield_per": ROWS_AT_ONCE}).mappings()
    for portion in rows.partitions():
        writing.execute(insert(table), [{**row, **replaced} for row in portion])
        count += len(portion)
    number = table.autoincrement_column
    if number is not None and count:
        sequence = select(func.pg_get_serial_sequence(table.name, number.name)).scalar_subquery()
        highest = select(func.max(number)).scalar_subquery()
        writing.execute(select(func.setval(sequence, highest)))
    return count
