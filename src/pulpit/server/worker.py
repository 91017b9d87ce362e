"""Composes a worker process; the server starts it and sends its briefing over standard input."""

import asyncio
import json
import logging
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import uvloop

from pulpit import logs
from pulpit.clock import system_clock
from pulpit.content.limits import Limits
from pulpit.content.rpm.signing import Signer
from pulpit.errors import PulpitError
from pulpit.repositories.context import TaskContext
from pulpit.server import data_folder
from pulpit.server.content_types import content_types
from pulpit.settings import SigningSettings, StorageSettings
from pulpit.storage.opening import open_storage
from pulpit.store.database import Database
from pulpit.store.wakeups import WakeupSocket
from pulpit.tasks.operations import OPERATIONS
from pulpit.tasks.watchdog import watch
from pulpit.tasks.worker import Worker

_log = logging.getLogger(__name__)


def main() -> None:
    """Read the briefing and work until told to stop."""
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as unbuffered:  # the orders follow the first line
        line = unbuffered.readline()
    if not line:
        return  # the server died before the briefing
    briefing = json.loads(line)
    logs.configure(briefing["log_level"], briefing["log_format"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_work(briefing))
    except PulpitError as error:
        _log.error("the worker cannot begin: %s", error, extra={"action": "worker_failed"})
        sys.exit(1)


async def _work(briefing: dict[str, Any]) -> None:
    data_dir = Path(briefing["data_dir"])
    data_folder.prepare(data_dir)
    with data_folder.worked_in(data_dir), WakeupSocket(data_dir) as wakeups:
        database = Database.open(data_dir, wakeups, url=briefing["database_url"])
        limits = Limits(
            stall_timeout=briefing["stall_timeout"],
            slow_bytes_per_second=briefing["least_speed"],
            tries=briefing["download_tries"],
        )
        signing = SigningSettings(**briefing["signing"])
        context = TaskContext(
            database=database,
            storage=open_storage(StorageSettings(**briefing["storage"]), data_dir),
            data_dir=data_dir,
            clock=system_clock,
            content_types=content_types(Signer(signing) if signing.is_wanted else None),
            limits=limits,
            keep_publications=briefing["keep_publications"],
            grace=timedelta(seconds=briefing["grace"]),
            export_dir=Path(briefing["export_dir"]) if briefing["export_dir"] else None,
        )
        most = briefing["most_changes"]
        worker = Worker(briefing["name"], database, context, OPERATIONS, system_clock, most_changes=most)
        watching = asyncio.create_task(watch(briefing["native_limit"]))
        loop, orders = asyncio.get_running_loop(), asyncio.StreamReader()
        pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
        try:
            await worker.run(orders)
        finally:
            pipe.close()
            watching.cancel()
            database.close()


if __name__ == "__main__":
    main()
