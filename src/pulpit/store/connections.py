"""A small pool of database connections, and how a transaction on one begins and ends.

Checking out of SQLAlchemy's pool, beginning through SQLAlchemy and returning the connection takes longer than SQLite's
commit. So some connections are kept, and transactions begin and end on the driver; SQLAlchemy joins at the first
statement of its own.
"""

import contextlib
import select
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DatabaseError, DBAPIError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from pulpit.errors import ConfigurationError, DatabaseUnavailable, StorageFull
from pulpit.events import Event
from pulpit.store.driver import commit, execute
from pulpit.store.wakeups import Wakeup

LOCK_WAIT_MS: Final = 30_000
"""How long a transaction waits for another one's lock, in milliseconds."""

FROZEN_MS: Final = 20_000
"""Milliseconds after which PostgreSQL ends a transaction that waits for its client, to free its locks.

The client may be frozen or cut off; less than `LOCK_WAIT_MS`, so that those who wait for the locks get them.
"""

_PREPARE: Final = f"SET lock_timeout = {LOCK_WAIT_MS}; SET idle_in_transaction_session_timeout = {FROZEN_MS}"

NOTICE_LOST_CLIENTS: Final = """
SELECT set_config(name, value, false)
FROM (VALUES ('tcp_keepalives_idle', '10'), ('tcp_keepalives_interval', '5'), ('tcp_keepalives_count', '2'),
    ('tcp_user_timeout', '20000'), ('client_connection_check_interval', '5000')) AS wanted (name, value)
JOIN pg_settings USING (name)
"""
"""Has PostgreSQL notice within half a minute that a client has vanished, even while its statement waits for a lock.

Otherwise each of its statements would get its lock in turn, and keep it for `FROZEN_MS`. Older versions lack the last
two settings.
"""

CLIENT_OPTIONS: Final[dict[str, Any]] = {
    "application_name": "pulpit",
    "client_encoding": "UTF8",  # else psycopg returns bytes where the database is in SQL_ASCII
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""libpq options unless the URL sets them, so that a PostgreSQL that has vanished is noticed within half a minute.

TCP alone would wait for a quarter of an hour. Times are seconds, the last one milliseconds.
"""

KEPT: Final = 8
"""Connections that stay open between transactions."""

FRESH: Final = 1.0
"""Seconds for which a kept connection is used without asking its server whether it is still there.

If that server was restarted, it has closed the connection, which shows without asking.
"""

_UNAVAILABLE: Final = (OperationalError, InterfaceError, InternalError)
"""Also PostgreSQL's: a lost connection, a server that stops or is read-only, a deadlock, a lock timeout."""
_FULL: Final = ("disk is full", "disk I/O error", "No space left on device", "could not extend file")
_POOLED: Final = ("26000", "42P05")
"""PostgreSQL's SQLSTATEs for a prepared statement that is missing or there already: another session was given."""


class Connections:
    """The open connections to one database; any thread may take one."""

    def __init__(self, url: URL) -> None:
        """Prepare without connecting.

        Raises:
            ConfigurationError: the driver for the URL is not installed.
        """
        self.engine: Final = _engine(url)
        self.is_sqlite: Final = url.get_backend_name() == "sqlite"
        self._kept: Final[list[tuple[float, Connection]]] = []
        self._in_use: Final[set[Connection]] = set()
        self._closed = False

    def take(self) -> Connection:
        """Take the most recently used connection, whose pages are still cached, or one from the pool."""
        while self._kept:
            try:
                since, connection = self._kept.pop()
            except IndexError:  # another thread was faster
                break
            if self.is_sqlite or (time.monotonic() - since < FRESH and not _was_spoken_to(connection)):
                self._in_use.add(connection)
                return connection
            connection.close()
        connection = self.engine.connect()
        self._in_use.add(connection)
        return connection

    def keep(self, connection: Connection) -> None:
        """Return a connection whose transaction has ended."""
        if self._closed or len(self._kept) + len(self._in_use) > KEPT:
            self.drop(connection)  # a waiting thread gets it from the pool
        else:
            self._in_use.discard(connection)
            self._kept.append((time.monotonic(), connection))

    def drop(self, connection: Connection) -> None:
        """Return a connection to the pool."""
        self._in_use.discard(connection)
        connection.close()

    def close(self) -> None:
        """Close them all; those in use are closed when they are returned."""
        self._closed = True
        while self._kept:
            self._kept.pop()[1].close()
        self.engine.dispose()


def _was_spoken_to(connection: Connection) -> bool:
    """Whether PostgreSQL has sent something unasked: usually that it shuts down, and then the end of the stream."""
    driver: Any = connection.connection.dbapi_connection
    if driver.closed:
        return True
    waiting = select.poll()
    waiting.register(driver.fileno(), select.POLLIN)
    return bool(waiting.poll(0))


@dataclass(slots=True)
class Transaction:
    """A transaction that writes; readers are woken once it is committed."""

    connection: Connection
    wakeups: set[Wakeup] = field(default_factory=set)
    """What readers are to look for besides its events."""
    events: list[Event] = field(default_factory=list)
    """Events that it appended to the log, in order."""


class _Begun:
    """A transaction begun on the driver; a class, because a generator-based context manager is slower."""

    __slots__ = ("_connection", "_connections", "_driver", "_statement")

    def __init__(self, connections: Connections, statement: str | None) -> None:
        """Prepare without beginning.

        Args:
            connections: where it takes its connection.
            statement: what begins it on SQLite, psycopg does so by itself; `None` if each statement is a transaction
                of its own.
        """
        self._connections = connections
        self._statement = statement

    def begin(self) -> Connection:
        try:
            self._connection = self._connections.take()
        except (DBAPIError, PoolTimeout) as error:
            raise _told(error) from error
        driver: Any = self._connection.connection.dbapi_connection
        self._driver = driver
        try:
            if not self._connections.is_sqlite:
                if driver.autocommit is not (self._statement is None):
                    driver.autocommit = self._statement is None
            elif self._statement is not None:
                execute(self._connection, self._statement)
        except BaseException as error:
            self.give_up(error)
            raise
        return self._connection

    def end(self, error: BaseException | None) -> None:
        """Commit, or roll back if there is an error; database errors are translated by `in_words`."""
        if error is not None:
            self.give_up(error)
            return
        try:
            if self._connection.in_transaction():
                self._connection.commit()
            elif self._statement is not None:
                commit(self._connection)
        except BaseException as failure:
            self.give_up(failure)
            raise
        self._connections.keep(self._connection)

    def give_up(self, error: BaseException) -> None:
        """Roll back and return the connection to the pool; raises the translation of a database error."""
        try:
            self._driver.rollback()
        except Exception:  # noqa: BLE001 - the first error has been reported already
            self._connection.invalidate()
        self._connections.drop(self._connection)
        if isinstance(error, DBAPIError | PoolTimeout):
            told = _told(error)
            if told is not error:
                raise told from error


class Reading(_Begun):
    """A transaction that reads; the block gets its connection.

    At PostgreSQL's level READ COMMITTED each statement has a snapshot of its own, in a transaction or not.
    """

    __slots__ = ()

    def __init__(self, connections: Connections) -> None:
        super().__init__(connections, "BEGIN" if connections.is_sqlite else None)

    def __enter__(self) -> Connection:
        return self.begin()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end(error)


class Writing(_Begun):
    """A transaction that writes, and wakes waiting readers once it is committed."""

    __slots__ = ("_committed", "_transaction")

    def __init__(
        self, connections: Connections, committed: Callable[[Transaction], None], *, is_one_statement: bool
    ) -> None:
        super().__init__(connections, None if is_one_statement else "BEGIN IMMEDIATE")
        self._committed = committed

    def __enter__(self) -> Transaction:
        self._transaction = Transaction(self.begin())
        return self._transaction

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end(error)
        if error is None:
            self._committed(self._transaction)


@contextlib.contextmanager
def in_words() -> Iterator[None]:
    """Translate database errors that make it unavailable into `PulpitError`s."""
    try:
        yield
    except (DBAPIError, PoolTimeout) as error:
        told = _told(error)
        if told is error:
            raise
        raise told from error


def _told(error: DBAPIError | PoolTimeout) -> Exception:
    """Return a `PulpitError` for an error that is not the statement's fault, and any other unchanged."""
    if isinstance(error, PoolTimeout):
        return DatabaseUnavailable("All connections to the database are in use; try again.")
    if getattr(error.orig, "sqlstate", None) in _POOLED:
        return DatabaseUnavailable(
            "The pool before the database works by transactions; set it to work by sessions (pgbouncer: pool_mode)."
        )
    if any(sign in str(error.orig) for sign in _FULL):
        return StorageFull("The disk of the database is full; make room and try again.")
    if isinstance(error, _UNAVAILABLE) or type(error) is DatabaseError:  # the latter: a damaged SQLite file
        return DatabaseUnavailable(f"The database cannot be used now ({first_line(error.orig)}); try again.")
    return error


def first_line(error: BaseException | None) -> str:
    """Return the first line of an error, without its details."""
    return str(error).strip().partition("\n")[0]


def _engine(url: URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        return _postgresql(url)
    engine = create_engine(url, connect_args={"isolation_level": None}, pool_size=8, max_overflow=32)

    @event.listens_for(engine, "connect")
    def prepare(raw: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        cursor = raw.cursor()
        for pragma in (f"busy_timeout={LOCK_WAIT_MS}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        driver: Any = connection.connection.dbapi_connection
        if not driver.in_transaction:
            writes = connection.get_execution_options().get("pulpit_writes", False)
            execute(connection, "BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql(url: URL) -> Engine:
    several = {"target_session_attrs": "read-write"} if "host" in url.query else {}
    options = {name: value for name, value in {**CLIENT_OPTIONS, **several}.items() if name not in url.query}
    try:
        engine = create_engine(url, pool_size=8, max_overflow=32, pool_pre_ping=True, connect_args=options)
    except ModuleNotFoundError:
        raise ConfigurationError("[database] url", "PostgreSQL needs: pip install 'pulpit[postgresql]'.") from None

    @event.listens_for(engine, "connect")
    def prepare(raw: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        cursor = raw.cursor()
        cursor.execute(_PREPARE)
        raw.commit()
        try:
            cursor.execute(NOTICE_LOST_CLIENTS)
            raw.commit()
        except engine.dialect.loaded_dbapi.Error:  # PostgreSQL on a system that cannot watch connections
            raw.rollback()
        cursor.close()

    return engine
