"""The workers of a machine: their supervisor in a server, and `pulpit worker`, which runs them without one."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Coroutine
from dataclasses import asdict, replace
from typing import Any, Final

from pulpit.clock import system_clock
from pulpit.content.rpm.signing import Signer
from pulpit.errors import ConfigurationError, DatabaseUnavailable, StorageFull
from pulpit.repositories import recovery
from pulpit.server import data_folder, process
from pulpit.server.process import ServiceManager
from pulpit.server.startup import Startup
from pulpit.settings import Settings
from pulpit.storage.opening import open_storage
from pulpit.storage.scratch import Scratch
from pulpit.store import servers
from pulpit.store.database import Database, when_available
from pulpit.store.servers import Instance
from pulpit.store.wakeups import WakeupSocket
from pulpit.tasks.supervisor import Supervisor

BEAT: Final = servers.LEASE.total_seconds() / 3
"""Seconds between two heartbeats."""

_log = logging.getLogger(__name__)


def supervisor_of(settings: Settings, database: Database, node: str) -> Supervisor:
    if settings.signing.is_wanted:
        Signer(settings.signing).check()
    briefing: dict[str, Any] = {
        "data_dir": str(settings.data_dir),
        "database_url": settings.database.url,
        "storage": asdict(settings.storage),
        "log_level": settings.server.log_level,
        "log_format": settings.server.log_format,
        "stall_timeout": settings.tasks.stall_timeout,
        "download_tries": settings.tasks.download_tries,
        "least_speed": settings.tasks.least_speed,
        "signing": asdict(settings.signing),
        "native_limit": settings.tasks.native_limit,
        "most_changes": settings.events.changes,
        "keep_publications": settings.publish.keep,
        "grace": settings.publish.grace,
        "export_dir": settings.publish.export_dir,
    }
    return Supervisor(
        database,
        system_clock,
        node=node,
        count=settings.tasks.workers,
        module="pulpit.server.worker",
        briefing=briefing,
        stop_timeout=settings.tasks.stop_timeout,
        recover=lambda _: recovery.sweep(Scratch(settings.data_dir)),
    )


def work(settings: Settings, warnings: list[str]) -> None:
    """Run workers until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: they cannot start; the text names the key.
    """
    process.begin(settings, warnings)
    if not settings.database.url.startswith("postgresql"):
        raise ConfigurationError("[database] url", "workers without a server need the PostgreSQL of their servers.")
    if not settings.storage.url:
        raise ConfigurationError("[storage] url", "workers without a server need the storage of their servers.")
    data_folder.prepare(settings.data_dir)
    process.raise_open_files()
    with data_folder.locked(settings.data_dir):
        process.run(_work(settings, ServiceManager(os.environ)))


async def _work(settings: Settings, manager: ServiceManager) -> None:
    stop = process.end_wanted()
    async with contextlib.AsyncExitStack() as stack:
        me = replace(data_folder.instance(settings.data_dir), delivers=False)
        wakeups = stack.enter_context(WakeupSocket(settings.data_dir))
        database = Database(settings.data_dir, wakeups, url=settings.database.url)
        stack.callback(database.close)
        startup = Startup(settings, database, open_storage(settings.storage, settings.data_dir), me)
        await startup.attempt()
        supervisor = supervisor_of(settings, database, me.node)
        stack.enter_context(wakeups.handled_by(supervisor.wakeup_handlers))
        process.say("ready")  # scripts wait for it
        manager.say("READY=1", f"STATUS=Works with {settings.tasks.workers} workers")
        parts = [
            manager.keep_telling(),
            _beat(database, startup.me),
            _begin(startup, supervisor.run()),
            stop.wait(),
        ]
        running = [asyncio.ensure_future(part) for part in parts]
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        manager.say("STOPPING=1")
        _log.info("stopping", extra={"action": "server_stopping"})
        ended = [part for part in running if part.done()]
        for part in running:
            part.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await asyncio.to_thread(_leave, database, me)
        for part in ended:
            part.result()


async def _begin(startup: Startup, supervised: Coroutine[None, None, None]) -> None:
    await startup.finish()
    await supervised


async def _beat(database: Database, me: Instance) -> None:
    """Send heartbeats to the database until another process has these workers' name."""
    clock_watch = servers.ClockWatch()

    def beat() -> bool:
        with database.write() as tx:
            clock_watch.look(tx.connection)
            return servers.beat(tx, me)

    while await when_available(beat):  # noqa: ASYNC110 - only the database tells
        await asyncio.sleep(BEAT)
    _log.error("other workers have the name of these", extra={"action": "server_superseded", "node": me.node})


def _leave(database: Database, me: Instance) -> None:
    with contextlib.suppress(StorageFull, DatabaseUnavailable), database.write() as tx:
        servers.leave(tx, me)
