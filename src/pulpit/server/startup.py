"""Startup checks of a server: tables, storage, the server's name, an administrator, recovery.

Several servers share a PostgreSQL. Each has a name of its own; they share one storage, and one CA for users'
certificates: a server with another storage is rejected.
"""

import asyncio
import contextlib
import logging
import secrets
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

from pulpit.api.auth.rights import ADMIN
from pulpit.clock import Clock, system_clock
from pulpit.errors import ConfigurationError, DatabaseUnavailable, StorageFull, StorageUnavailable
from pulpit.net.config_files import ADMIN_PASSWORD_FILE, ADMINISTRATOR
from pulpit.net.passwords import hash_password
from pulpit.repositories import recovery
from pulpit.repositories.context import TaskContext
from pulpit.server import data_folder, process
from pulpit.settings import Settings
from pulpit.storage.disk import disk_errors
from pulpit.storage.port import Storage
from pulpit.store import servers, units, users
from pulpit.store.database import FILE_NAME, RETRY_PAUSE, Database
from pulpit.store.servers import Instance
from pulpit.tasks.recovery import sweep, sweep_uploads

_log = logging.getLogger(__name__)


class Startup:
    """The first steps of a server.

    A full disk or an unavailable storage does not prevent the start: the server answers requests, so that users see the
    problem, and runs tasks once it is solved.
    """

    def __init__(self, settings: Settings, database: Database, storage: Storage, me: Instance) -> None:
        self._settings: Final = settings
        self._data_dir: Final = settings.data_dir
        self._database: Final = database
        self._storage: Final = storage
        self._context: Final = TaskContext(
            database=database,
            storage=storage,
            data_dir=settings.data_dir,
            content_types={},  # cleaning up needs none, and importing them takes a fifth of a start
        )
        self.me = me
        """This process, and the location of its files once that is known."""
        self._password: str | None = None
        self._is_done = False

    async def attempt(self) -> None:
        """Try it once.

        Raises:
            ConfigurationError: it can never succeed.
            DatabaseUnavailable: the database does not respond.
        """
        try:
            await _refuse_older_servers(self._database, self.me)
            await asyncio.to_thread(self._database.prepare)
            await asyncio.to_thread(self._refuse_to_forget)
            identity = await asyncio.to_thread(self._begun_storage)
            if not self._database.is_sqlite:
                self.me = replace(self.me, storage=identity)
                await _join(self._database, self.me)
                await asyncio.to_thread(self._share_authority)
            await asyncio.to_thread(self._put_right)
        except StorageFull as error:
            _log.error("no work until there is room: %s", error, extra={"action": "server_without_room"})
        except StorageUnavailable as error:
            _log.error("no work until the storage is there: %s", error, extra={"action": "server_without_storage"})
        else:
            self._is_done = True

    async def finish(self) -> None:
        """Retry until it succeeds."""
        while not self._is_done:
            await asyncio.sleep(RETRY_PAUSE)
            with contextlib.suppress(DatabaseUnavailable):
                await self.attempt()
            self.say_password()

    def say_password(self) -> None:
        """Show a new administrator's password once, to whoever started the server."""
        if self._password is not None:
            where = self._data_dir / ADMIN_PASSWORD_FILE
            process.say(f"The administrator is admin, the password {self._password} (also in {where}).")
            self._password = None

    def _refuse_to_forget(self) -> None:
        """Begin no new database beside the old one, whose password and files it would take over."""
        old = self._data_dir / FILE_NAME
        if self._database.is_sqlite or not old.exists():
            return
        with self._database.read() as connection:
            if not users.every(connection):
                why = f"this database is empty, and {old} is not; run `pulpit copy-database`, or move that file away."
                raise ConfigurationError("[database] url", why)

    def _begun_storage(self) -> str:
        """Return the identity of the storage, initialised only while no file is recorded: later it must exist."""
        with self._database.read() as connection:
            is_new = not units.any_kept(connection)
        with disk_errors("The storage folder"):
            if is_new:
                self._storage.begin()
            self._storage.prepare()
            return self._storage.identity()

    def _share_authority(self) -> None:
        """Use the CA for users' certificates that the first server created."""
        from pulpit.api.auth import certificates  # noqa: PLC0415 - only servers with a shared storage need cryptography

        path = certificates.ClientCertificates(self._data_dir, system_clock).authority_file()
        mine = path.read_text(encoding="ascii")
        with self._database.write() as tx:
            shared = servers.shared_secret(tx, certificates.FILE_NAME, mine)
        if shared != mine:
            data_folder.write_secret(path, shared)

    def _put_right(self) -> None:
        if self.me.delivers:
            self._password = _ensure_admin(self._database, self._data_dir, system_clock) or self._password
        recovery.recover(self._context)
        reason, most = "The server ended while this task ran.", self._settings.events.changes
        sweep(self._database, f"@{self.me.node}", reason, system_clock, most_changes=most)
        sweep_uploads(self._database, self._data_dir)


def _ensure_admin(database: Database, data_dir: Path, clock: Clock) -> str | None:
    """Create the administrator if there is no user yet, and return the new password, to be shown once.

    The file is written before the row is committed: there is never an administrator whose password is unknown.
    """
    with database.write() as tx:
        if users.every(tx.connection):
            return None
        password = secrets.token_urlsafe(18)
        data_folder.write_secret(data_dir / ADMIN_PASSWORD_FILE, password + "\n")
        digest = hash_password(password)
        users.add(tx, ADMINISTRATOR, name="Administrator", password_hash=digest, role=ADMIN, now=clock())
    return password


async def _refuse_older_servers(database: Database, me: Instance) -> None:
    """Migrate no tables under servers that still run, whose version knows only the older ones.

    Raises:
        ConfigurationError: there are such servers.
    """
    seen = await asyncio.to_thread(database.servers_of_older_tables, me.node)
    if not seen:
        return
    names = ", ".join(sorted(seen))
    _log.warning("waiting whether servers of an older version run", extra={"action": "server_older", "nodes": names})
    await asyncio.sleep(servers.LEASE.total_seconds())
    again = await asyncio.to_thread(database.servers_of_older_tables, me.node)
    alive = sorted(node for node, seen_at in again.items() if seen.get(node) != seen_at)
    if alive:
        sentence = (
            f"this version changes the tables, and {', '.join(alive)} still run on them with an older one; "
            "stop all servers and workers of this database, back it up, and start this one first."
        )
        raise ConfigurationError("[database] url", sentence)


async def _join(database: Database, me: Instance) -> None:
    """Register as the only server of this name, with the shared storage, in a database that several servers share.

    Raises:
        ConfigurationError: a live server of another folder has the name, so one of the folders is a copy; or
            a live server keeps its files elsewhere.
    """
    seen = await asyncio.to_thread(_enter, database, me, None)
    if not seen:
        return
    _log.warning(
        "waiting whether other servers are alive", extra={"action": "server_name_taken", "nodes": ", ".join(seen)}
    )
    await asyncio.sleep(servers.LEASE.total_seconds())
    alive = await asyncio.to_thread(_enter, database, me, seen)
    if me.node in alive:
        sentence = (
            f"another server with the name {me.node} uses the same database, so this folder is a copy of its folder; "
            f"stop that server, or remove the file {data_folder.NAME_FILE} here, and this one gets a name of its own."
        )
        raise ConfigurationError("[server] data_dir", sentence)
    if alive:
        sentence = (
            f"the server {min(alive)} uses the same database and keeps its files elsewhere; set it, for all servers, "
            "to one object store or to one folder that each of them mounts."
        )
        raise ConfigurationError("[storage] url", sentence)


def _enter(database: Database, me: Instance, before: dict[str, datetime] | None) -> dict[str, datetime]:
    """Take the name, unless conflicting servers are alive: these are returned, with the time when each was seen.

    Args:
        database: the shared database.
        me: this server.
        before: the conflicting servers some time ago; those not seen since are dead.
    """
    with database.write() as tx:
        namesake = servers.enter(tx, me) if before is None else None
        if before is not None and me.node in before and not servers.take_over(tx, me, seen_at=before[me.node]):
            return {me.node: before[me.node]}
        if namesake is not None:
            return {me.node: namesake}
        rivals = servers.rivals(tx, me)
        if before is not None:
            rivals = {node: seen_at for node, seen_at in rivals.items() if before.get(node) != seen_at}
        if rivals and before is not None:
            servers.leave(tx, me)
        if not rivals:
            servers.say_storage(tx, me)
        return rivals
