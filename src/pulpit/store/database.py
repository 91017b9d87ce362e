"""Opens the database and hands out its transactions.

SQLite runs in WAL mode with `synchronous=FULL`: a commit that returned is on the disk. A writing transaction takes the
write lock at its first statement (`BEGIN IMMEDIATE`), so that it can never fail half-way for want of it.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from pulpit.errors import ConfigurationError, DatabaseUnavailable, StorageFull
from pulpit.store.migrations import is_current, upgrade
from pulpit.store.wakeups import Wakeup, WakeupSocket

LOCK_WAIT_MS: Final = 30_000
"""How long a transaction waits for another one's write lock on SQLite, in milliseconds."""

RETRY_PAUSE: Final = 2.0
"""Seconds between two tries of `when_available`."""

FILE_NAME: Final = "pulpit.db"

_FULL: Final = ("disk is full", "disk I/O error", "No space left on device", "could not extend file")

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Transaction:
    """A transaction that writes; its wakeups are sent once it is committed."""

    connection: Connection
    wakeups: set[Wakeup] = field(default_factory=set)


class Database:
    """One database, SQLite by default; safe to use from several threads and processes."""

    def __init__(self, url: URL, wakeups: WakeupSocket) -> None:
        self._engine: Final = _engine(url)
        self._wakeups: Final = wakeups

    @classmethod
    def open(cls, data_dir: Path, wakeups: WakeupSocket, *, url: str = "") -> "Database":
        """Open the configured database, or SQLite in the data folder, and bring its tables up to date.

        Raises:
            ConfigurationError: the URL cannot be read, or the database cannot be reached.
        """
        database = cls(_parse(url) if url else _sqlite_url(data_dir / FILE_NAME), wakeups)
        try:
            with database._engine.connect() as connection:
                upgrade(connection)
        except DBAPIError as error:
            database.close()
            raise ConfigurationError("[database] url", f"the database cannot be opened ({error.orig}).") from None
        return database

    @classmethod
    def look_into(cls, data_dir: Path, wakeups: WakeupSocket, *, url: str = "") -> "Database":
        """Open a database as it is, without bringing it up to date.

        Raises:
            ConfigurationError: there is none, it is of another version, or it cannot be reached.
        """
        if not url and not (data_dir / FILE_NAME).is_file():
            raise ConfigurationError("[server] data_dir", f"there is no database in {data_dir}.")
        database = cls(_parse(url) if url else _sqlite_url(data_dir / FILE_NAME), wakeups)
        try:
            with database._engine.connect() as connection:
                current = is_current(connection)
        except DBAPIError as error:
            database.close()
            raise ConfigurationError("[database] url", f"the database cannot be opened ({error.orig}).") from None
        if not current:
            database.close()
            raise ConfigurationError("[database] url", "its tables are of another version; start the server once.")
        return database

    @property
    def is_sqlite(self) -> bool:
        """Whether one file is the whole database."""
        return self._engine.dialect.name == "sqlite"

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A snapshot to read from.

        Raises:
            DatabaseUnavailable: the database does not answer.
        """
        with _in_words(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Transaction]:
        """A transaction that is committed when the block ends, and never happened if it raises.

        Raises:
            StorageFull: the disk has no room; nothing was written.
            DatabaseUnavailable: the database does not answer; nothing was written that we know of.
        """
        with _in_words(), self._engine.connect() as plain:
            connection = plain.execution_options(pulpit_writes=True)
            with connection.begin():
                transaction = Transaction(connection)
                yield transaction
        for wakeup in transaction.wakeups:
            self._wakeups.send(wakeup)

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


async def when_available(work: Callable[[], T]) -> T:
    """Run a query or a transaction in a thread, again and again until the database can be used.

    A full disk and a database server that is being restarted are waited out.
    """
    while True:
        try:
            return await asyncio.to_thread(work)
        except (StorageFull, DatabaseUnavailable) as error:
            _log.warning("waiting for the database: %s", error, extra={"action": "database_waited_for"})
            await asyncio.sleep(RETRY_PAUSE)


@contextlib.contextmanager
def _in_words() -> Iterator[None]:
    """Turn what a database says when it cannot go on into an error of the house."""
    try:
        yield
    except OperationalError as error:
        if any(sign in str(error.orig) for sign in _FULL):
            raise StorageFull("The disk of the database is full; make room and try again.") from error
        first_line = str(error.orig).partition("\n")[0]
        raise DatabaseUnavailable(f"The database cannot be used now ({first_line}); try again.") from error


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigurationError("[database] url", "it is not a URL such as postgresql://user@host/name.") from None
    if parsed.drivername in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername != "sqlite":
        raise ConfigurationError("[database] url", f"{parsed.drivername} is unknown; use postgresql or sqlite.")
    return parsed


def _sqlite_url(path: Path) -> URL:
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    return URL.create("sqlite", database=str(path))


def _engine(url: URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        return _postgresql(url)
    engine = create_engine(url, connect_args={"isolation_level": None}, pool_size=8, max_overflow=32)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _postgresql(url: URL) -> Engine:
    try:
        return create_engine(url, pool_size=8, max_overflow=32, pool_pre_ping=True)
    except ModuleNotFoundError:
        raise ConfigurationError("[database] url", "PostgreSQL needs: pip install 'pulpit[postgresql]'.") from None


def _prepare_sqlite(raw: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    cursor = raw.cursor()
    for pragma in (f"busy_timeout={LOCK_WAIT_MS}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("pulpit_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
