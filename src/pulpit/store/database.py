"""Opens the database and hands out its transactions.

SQLite runs in WAL mode with `synchronous=FULL`: a commit that returned is on the disk. A writing transaction takes the
write lock at its first statement (`BEGIN IMMEDIATE`), so that it can never fail half-way for want of it.
"""

import asyncio
import contextlib
import errno
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, func, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from pulpit.clock import system_clock
from pulpit.errors import ConfigurationError, DatabaseUnavailable, StorageFull
from pulpit.events import Event
from pulpit.store.migrations import UnusableTables, check_current, upgrade
from pulpit.store.prepared import commit, execute
from pulpit.store.wakeups import Wakeup, WakeupSocket

LOCK_WAIT_MS: Final = 30_000
"""How long a transaction waits for another one's lock, in milliseconds."""

FROZEN_MS: Final = 600_000
"""After how long PostgreSQL takes the locks of a transaction away whose process says nothing: it may be frozen."""

CONNECT_SECONDS: Final = 10
"""How long connecting to PostgreSQL may take."""

HANDED_OVER: Final = 50
"""Events of one transaction that are handed to who delivers; of more it is woken to read them."""

KEPT: Final = 8
"""Connections that stay open between transactions, ready to begin the next one."""

FRESH: Final = 1.0
"""Seconds for which a kept connection is taken without asking whether its server is still there."""

RETRY_PAUSE: Final = 2.0
"""Seconds between two tries of `when_available`."""

FILE_NAME: Final = "pulpit.db"

_UNAVAILABLE: Final = (OperationalError, InterfaceError, InternalError)
"""Of PostgreSQL too: a connection that broke, a server that stops or only reads, a deadlock, a lock held too long."""
_WRONG_LOGIN: Final = ("28000", "28P01", "3D000")
"""SQLSTATE of PostgreSQL: the user may not connect, the password is wrong, there is no such database."""
_FULL: Final = ("disk is full", "disk I/O error", "No space left on device", "could not extend file")

_TRY_TO_WRITE: Final = text("DELETE FROM alembic_version WHERE 0")
_DATABASE_TIME: Final = select(func.clock_timestamp())

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Transaction:
    """A transaction that writes; its wakeups are sent once it is committed."""

    connection: Connection
    wakeups: set[Wakeup] = field(default_factory=set)
    events: list[Event] = field(default_factory=list)
    """What it enters into the log, in order."""


class Database:
    """One database, SQLite by default; safe to use from several threads and processes."""

    def __init__(self, data_dir: Path, wakeups: WakeupSocket, *, url: str = "") -> None:
        """Name a database without looking at it: by its URL, or SQLite in the data folder.

        Raises:
            ConfigurationError: the URL cannot be read.
        """
        self._key: Final = "[database] url" if url else "[server] data_dir"
        self._engine: Final = _engine(_parse(url) if url else URL.create("sqlite", database=str(data_dir / FILE_NAME)))
        self.is_sqlite: Final = self._engine.dialect.name == "sqlite"
        """Whether one file is the whole database."""
        self._kept: Final[list[tuple[float, Connection]]] = []
        self._closed = False
        self._wakeups: Final = wakeups
        self.on_events: Callable[[Sequence[Event]], None] | None = None
        """Takes the events of a transaction of this process that was committed, instead of a wakeup; in any thread."""

    @classmethod
    def open(cls, data_dir: Path, wakeups: WakeupSocket, *, url: str = "") -> Self:
        """The configured database, with its tables up to date; raises what `prepare` raises."""
        database = cls(data_dir, wakeups, url=url)
        database.prepare()
        return database

    @classmethod
    def look_into(cls, data_dir: Path, wakeups: WakeupSocket, *, url: str = "") -> Self:
        """A database as it is, without bringing it up to date.

        Raises:
            ConfigurationError: there is none, it is of another version, or it cannot be reached.
        """
        if not url and not (data_dir / FILE_NAME).exists():
            raise ConfigurationError("[server] data_dir", f"there is no database in {data_dir}.")
        database = cls(data_dir, wakeups, url=url)
        with database._opening() as connection:
            check_current(connection)
        return database

    def prepare(self) -> None:
        """Make the database if there is none, and bring its tables up to date.

        Raises:
            ConfigurationError: what stands there cannot be used by this version.
            DatabaseUnavailable: its server does not answer now.
            StorageFull: its disk is full.
        """
        if self.is_sqlite:
            self._make_file()
        with self._opening() as connection:
            upgrade(connection)
            if self.is_sqlite:
                # A file that cannot be written is told now, and not at the first event.
                connection.execution_options(pulpit_writes=True).execute(_TRY_TO_WRITE)
                connection.rollback()

    def _make_file(self) -> None:
        """Make an empty file that its owner alone can read; SQLite would ask the umask."""
        path = Path(self._engine.url.database or "")
        if self._engine.url.query or path.exists():
            return
        try:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull(f"The disk of {path} is full; make room and try again.") from None
            raise ConfigurationError(self._key, f"{path} cannot be opened ({error.strerror}).") from None

    @contextlib.contextmanager
    def _opening(self) -> Iterator[Connection]:
        """The first connection; what keeps it from being used becomes a sentence, and closes the database."""
        place = self._engine.url
        key = self._key
        name = (
            str(place.database) if self.is_sqlite else f"the database {place.database} at {place.host or 'this host'}"
        )
        try:
            with _in_words(), self._engine.connect() as connection:
                yield connection
        except UnusableTables as error:
            self.close()
            raise ConfigurationError(key, f"{name} {error}") from None
        except StorageFull:
            self.close()
            raise
        except DatabaseUnavailable as error:
            self.close()
            cause = error.__cause__.orig if isinstance(error.__cause__, DBAPIError) else None
            if self.is_sqlite and "locked" not in str(cause):
                raise ConfigurationError(key, _why_not_sqlite(Path(name), cause)) from None
            if getattr(cause, "sqlstate", None) in _WRONG_LOGIN:
                raise ConfigurationError(key, f"{name} cannot be opened ({_first_line(cause)}).") from None
            raise
        except DBAPIError as error:
            self.close()
            raise ConfigurationError(key, f"{name} cannot be opened ({_first_line(error.orig)}).") from None

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A snapshot to read from.

        Raises:
            DatabaseUnavailable: the database does not answer.
        """
        with _in_words(), self._transaction("BEGIN") as connection:
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Transaction]:
        """A transaction that is committed when the block ends, and never happened if it raises.

        Raises:
            StorageFull: the disk has no room; nothing was written.
            DatabaseUnavailable: the database does not answer; nothing was written that we know of.
        """
        with _in_words(), self._transaction("BEGIN IMMEDIATE") as connection:
            transaction = Transaction(connection)
            yield transaction
        if self.on_events and 0 < len(transaction.events) <= HANDED_OVER:
            self.on_events(transaction.events)
            transaction.wakeups.discard(Wakeup.EVENTS)
        for wakeup in transaction.wakeups:
            self._wakeups.send(wakeup)

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[Connection]:
        """A transaction on the connection that was used last, or on one of SQLAlchemy's pool.

        To take one from there, to begin by SQLAlchemy and to give it back takes longer than SQLite's commit. So
        connections are kept, and transactions begun and ended on the driver; SQLAlchemy joins at the first statement
        of its own.
        """
        connection = self._take()
        driver: Any = connection.connection.dbapi_connection
        try:
            if self.is_sqlite:  # psycopg begins by itself
                execute(connection, begin)
            yield connection
            if connection.in_transaction():
                connection.commit()
            else:
                commit(connection)
        except BaseException:
            try:
                driver.rollback()
            except Exception:  # noqa: BLE001 - what broke it is told already
                connection.invalidate()
            connection.close()
            raise
        self._keep(connection)

    def _take(self) -> Connection:
        while self._kept:
            try:
                since, connection = self._kept.pop()  # the last used, whose pages are still in memory
            except IndexError:  # another thread was faster
                break
            if self.is_sqlite or time.monotonic() - since < FRESH:
                return connection
            connection.close()
        return self._engine.connect()

    def _keep(self, connection: Connection) -> None:
        pool: Any = self._engine.pool
        if self._closed or len(self._kept) >= KEPT or pool.checkedout() > KEPT:
            connection.close()  # who waits for one gets it from the pool
        else:
            self._kept.append((time.monotonic(), connection))

    def clock(self) -> datetime:
        """The time by which servers that share this database compare: its own."""
        if self.is_sqlite:
            return system_clock()
        with self.read() as connection:
            return database_time(connection)

    def close(self) -> None:
        """Close every connection."""
        self._closed = True
        while self._kept:
            self._kept.pop()[1].close()
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


def database_time(connection: Connection) -> datetime:
    """The time by which several servers compare: the database's own, whatever the clocks of their machines say."""
    if connection.dialect.name == "sqlite":
        return system_clock()
    moment: datetime = connection.execute(_DATABASE_TIME).scalar_one()
    return moment.astimezone(UTC)


@contextlib.contextmanager
def _in_words() -> Iterator[None]:
    """Turn what a database says when it cannot go on into an error of ours."""
    try:
        yield
    except PoolTimeout as error:
        raise DatabaseUnavailable("All connections to the database are in use; try again.") from error
    except DBAPIError as error:
        if any(sign in str(error.orig) for sign in _FULL):
            raise StorageFull("The disk of the database is full; make room and try again.") from error
        if isinstance(error, _UNAVAILABLE) or type(error) is DatabaseError:  # the latter: SQLite's for a damaged file
            raise DatabaseUnavailable(
                f"The database cannot be used now ({_first_line(error.orig)}); try again."
            ) from error
        raise


def _first_line(error: BaseException | None) -> str:
    return str(error).strip().partition("\n")[0]


def _why_not_sqlite(path: Path, cause: BaseException | None) -> str:
    """Why a file cannot be used as SQLite's database."""
    if path.is_dir():
        return f"{path} is a folder, where the database should be a file."
    if "readonly" in str(cause) or (path.exists() and not os.access(path, os.R_OK | os.W_OK)):
        return f"{path} cannot be written; look at its owner and mode, and whether its disk is mounted read-only."
    if "not a database" in str(cause) or "malformed" in str(cause):
        return f"{path} is damaged or no database ({cause}); restore a backup, or move it away to begin anew."
    return f"{path} cannot be opened ({cause})."


def _parse(url: str) -> URL:
    """Read a database's URL; what cannot be read is not repeated, for it may hold a password."""
    try:
        parsed = make_url(url)
        is_usable = "@" not in (parsed.host or "")  # which would be a piece of the password
    except (ArgumentError, ValueError):
        is_usable = False
    if not is_usable:
        reason = (
            "it is not a URL such as postgresql://user@host/name; in a password write / as %2F, @ as %40, : as %3A."
        )
        raise ConfigurationError("[database] url", reason)
    if parsed.drivername in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername != "sqlite":
        raise ConfigurationError("[database] url", f"{parsed.drivername} is unknown; use postgresql or sqlite.")
    if parsed.database in (None, "", ":memory:"):
        raise ConfigurationError("[database] url", "SQLite needs a path, such as sqlite:////var/lib/pulpit/pulpit.db.")
    return parsed


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
    try:
        engine = create_engine(
            url, pool_size=8, max_overflow=32, pool_pre_ping=True, connect_args={"connect_timeout": CONNECT_SECONDS}
        )
    except ModuleNotFoundError:
        raise ConfigurationError("[database] url", "PostgreSQL needs: pip install 'pulpit[postgresql]'.") from None

    @event.listens_for(engine, "connect")
    def prepare(raw: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        cursor = raw.cursor()
        cursor.execute(f"SET lock_timeout = {LOCK_WAIT_MS}")
        cursor.execute(f"SET idle_in_transaction_session_timeout = {FROZEN_MS}")
        cursor.close()
        raw.commit()

    return engine
