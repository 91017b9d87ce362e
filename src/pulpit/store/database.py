"""Opens the database and hands out its transactions.

SQLite runs in WAL mode with `synchronous=FULL`: a commit that returned is on the disk. A writing transaction takes the
write lock at its first statement (`BEGIN IMMEDIATE`), so that it can never fail half-way for want of it.
"""

import asyncio
import contextlib
import errno
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self, TypeVar
from urllib.parse import urlsplit

from sqlalchemy import Connection, func, inspect, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from pulpit.clock import system_clock
from pulpit.errors import ConfigurationError, DatabaseUnavailable, StorageFull
from pulpit.events import Event
from pulpit.store.connections import Connections, Reading, Transaction, Writing, first_line, in_words
from pulpit.store.migrations import UnusableTables, check_current, is_older, upgrade
from pulpit.store.schema import servers
from pulpit.store.wakeups import Wakeup, WakeupSocket

__all__ = ("FILE_NAME", "RETRY_PAUSE", "Database", "Transaction", "database_time", "when_available")

HANDED_OVER: Final = 50
"""Events of one transaction that are handed to the dispatcher directly; for more it is woken to read them."""

RETRY_PAUSE: Final = 2.0
"""Seconds between two tries of `when_available`."""

FILE_NAME: Final = "pulpit.db"

_WRONG_LOGIN: Final = ("28000", "28P01", "3D000")
"""PostgreSQL's SQLSTATEs for: user not allowed to connect, wrong password, no such database."""
_TRY_TO_WRITE: Final = text("DELETE FROM alembic_version WHERE 0")
_ENCODING: Final = text("SHOW server_encoding")
_DATABASE_TIME: Final = select(func.clock_timestamp())

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Database:
    """One database, SQLite by default; safe to use from several threads and processes."""

    def __init__(self, data_dir: Path, wakeups: WakeupSocket, *, url: str = "") -> None:
        """Create the object without connecting: by URL, or SQLite in the data folder.

        Raises:
            ConfigurationError: the URL is invalid.
        """
        self._key: Final = "[database] url" if url else "[server] data_dir"
        self._connections: Final = Connections(
            _parse(url) if url else URL.create("sqlite", database=str(data_dir / FILE_NAME))
        )
        self.is_sqlite: Final = self._connections.is_sqlite
        """Whether one file is the whole database."""
        self._wakeups: Final = wakeups
        self.on_events: Callable[[Sequence[Event]], None] | None = None
        """Called with the events of each committed transaction of this process, instead of a wakeup.

        From any thread.
        """

    @classmethod
    def open(cls, data_dir: Path, wakeups: WakeupSocket, *, url: str = "") -> Self:
        """Open the configured database and migrate its tables; raises what `prepare` raises."""
        database = cls(data_dir, wakeups, url=url)
        database.prepare()
        return database

    @classmethod
    def look_into(cls, data_dir: Path, wakeups: WakeupSocket, *, url: str = "") -> Self:
        """Open a database as it is, without migrating it.

        Raises:
            ConfigurationError: it does not exist, has another version, or cannot be reached.
        """
        if not url and not (data_dir / FILE_NAME).exists():
            raise ConfigurationError("[server] data_dir", f"there is no database in {data_dir}.")
        database = cls(data_dir, wakeups, url=url)
        with database._opening() as connection:
            check_current(connection)
        return database

    def prepare(self) -> None:
        """Create the database if it does not exist, and migrate its tables.

        Raises:
            ConfigurationError: this version cannot use the existing one.
            DatabaseUnavailable: its server does not respond now.
            StorageFull: its disk is full.
        """
        if self.is_sqlite:
            self._make_file()
        with self._opening() as connection:
            if not self.is_sqlite and (encoding := connection.execute(_ENCODING).scalar_one()) != "UTF8":
                raise UnusableTables(f"keeps text in {encoding}; create it with ENCODING 'UTF8' TEMPLATE template0.")
            upgrade(connection)
            if self.is_sqlite:
                # Report a read-only file now, not at the first event.
                connection.execution_options(pulpit_writes=True).execute(_TRY_TO_WRITE)
                connection.rollback()

    def servers_of_older_tables(self, node: str) -> dict[str, datetime]:
        """Return the other servers of a PostgreSQL whose tables `prepare` would migrate, and when each was last seen.

        Raises:
            ConfigurationError, DatabaseUnavailable: as `prepare`.
        """
        if self.is_sqlite:
            return {}
        with self._opening() as connection:
            if not is_older(connection) or not inspect(connection).has_table(servers.name):
                return {}
            wanted = select(servers.c.node, servers.c.seen_at).where(servers.c.node != node)
            return {row.node: row.seen_at for row in connection.execute(wanted)}

    def _make_file(self) -> None:
        """Create an empty file with mode 0600; SQLite would use the umask."""
        path = Path(self._connections.engine.url.database or "")
        if self._connections.engine.url.query or path.exists():
            return
        try:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull(f"The disk of {path} is full; make room and try again.") from None
            raise ConfigurationError(self._key, f"{path} cannot be opened ({error.strerror}).") from None

    @contextlib.contextmanager
    def _opening(self) -> Iterator[Connection]:
        """Yield the first connection; an error becomes a sentence, and closes the database."""
        place = self._connections.engine.url
        key = self._key
        name = (
            str(place.database)
            if self.is_sqlite
            else f"the database {place.database} at {_hosts(place) or 'this host'}"
        )
        try:
            with in_words(), self._connections.engine.connect() as connection:
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
                raise ConfigurationError(key, f"{name} cannot be opened ({first_line(cause)}).") from None
            raise
        except DBAPIError as error:
            self.close()
            raise ConfigurationError(key, f"{name} cannot be opened ({first_line(error.orig)}).") from None

    def read(self) -> AbstractContextManager[Connection]:
        """Open a connection to read from; on SQLite it is one snapshot.

        Raises:
            DatabaseUnavailable: the database does not respond.
        """
        return Reading(self._connections)

    def write(self, *, is_one_statement: bool = False) -> AbstractContextManager[Transaction]:
        """Open a transaction that commits when the block ends and rolls back if it raises.

        Args:
            is_one_statement: it executes no more than one on the driver, which then commits by itself: on PostgreSQL
                one round trip instead of three.

        Raises:
            StorageFull: the disk is full; nothing was written.
            DatabaseUnavailable: the database does not respond; as far as is known nothing was written.
        """
        return Writing(self._connections, self._committed, is_one_statement=is_one_statement)

    def _committed(self, transaction: Transaction) -> None:
        if transaction.events:
            if self.on_events and len(transaction.events) <= HANDED_OVER:
                self.on_events(transaction.events)
            else:
                self._wakeups.send(Wakeup.EVENTS)
        for wakeup in transaction.wakeups:
            self._wakeups.send(wakeup)

    def clock(self) -> datetime:
        """Return the database's time, by which servers that share it compare."""
        if self.is_sqlite:
            return system_clock()
        with self.read() as connection:
            return database_time(connection)

    def close(self) -> None:
        """Close every connection."""
        self._connections.close()


async def when_available(work: Callable[[], T]) -> T:
    """Run a query or a transaction in a thread and retry until the database is available.

    It waits out a full disk and the restart of a database server.
    """
    while True:
        try:
            return await asyncio.to_thread(work)
        except (StorageFull, DatabaseUnavailable) as error:
            _log.warning("waiting for the database: %s", error, extra={"action": "database_waited_for"})
            await asyncio.sleep(RETRY_PAUSE)


def database_time(connection: Connection) -> datetime:
    """Return the database's time, by which several servers compare, whatever their machines' clocks say."""
    if connection.dialect.name == "sqlite":
        return system_clock()
    moment: datetime = connection.execute(_DATABASE_TIME).scalar_one()
    return moment.astimezone(UTC)


def _why_not_sqlite(path: Path, cause: BaseException | None) -> str:
    """Say why a file cannot be used as SQLite's database."""
    if path.is_dir():
        return f"{path} is a folder; the database must be a file."
    if "readonly" in str(cause) or (path.exists() and not os.access(path, os.R_OK | os.W_OK)):
        return f"{path} cannot be written; look at its owner and mode, and whether its disk is mounted read-only."
    if "not a database" in str(cause) or "malformed" in str(cause):
        return f"{path} is damaged or no database ({cause}); restore a backup, or move it away to begin anew."
    return f"{path} cannot be opened ({cause})."


def _hosts(url: URL) -> str:
    several = url.query.get("host", ())
    return url.host or (several if isinstance(several, str) else ", ".join(several))


def _by_query(url: str) -> str:
    """Name several hosts, which libpq writes `host1:5432,host2:5433`, as SQLAlchemy wants them: in the query."""
    parts = urlsplit(url)
    login, at, hosts = parts.netloc.rpartition("@")
    if "," not in hosts:
        return url
    query = "&".join([*(f"host={host}" for host in hosts.split(",")), *filter(None, [parts.query])])
    return f"{parts.scheme}://{login}{at}{parts.path}?{query}"


def _parse(url: str) -> URL:
    """Parse a database URL; an invalid one is not quoted, because it may hold a password."""
    try:
        parsed = make_url(_by_query(url))
        is_usable = "@" not in (parsed.host or "")  # else part of the password became the host
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
