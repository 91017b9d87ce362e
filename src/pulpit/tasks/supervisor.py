"""Keeps the worker processes running, sends them orders and ends the tasks of dead ones.

The task of a dead worker is ended at once. The worker's successor has another name, so that a write that the dead one
still had in progress can never take effect.
"""

import asyncio
import contextlib
import json
import logging
import secrets
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Final

from pulpit.clock import Clock
from pulpit.events import MOST_CHANGES
from pulpit.store import servers, tasks
from pulpit.store.database import Database, when_available
from pulpit.store.wakeups import Wakeup
from pulpit.tasks import watchdog
from pulpit.tasks.recovery import SilentServers, sweep

RESTART_PAUSE: Final = 1.0
"""Seconds before a dead worker is replaced."""
LOOK_AROUND: Final = 20.0
"""Seconds between looks at the tasks without a wakeup from this machine."""
LOOK_AT_OTHERS: Final = 1.0
"""The same if other servers share the database: they send no wakeups here."""
STOP_PATIENCE: Final = 5.0
"""Seconds that workers have to end their tasks when the server stops."""
SWEEP_PATIENCE: Final = 2.0
"""Seconds that the stopping server waits for the database to end the tasks that they did not."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Worker:
    """One running process."""

    name: str
    process: Process
    told_to_cancel: set[str] = field(default_factory=set)

    def tell(self, order: str) -> None:
        if self.process.stdin and not self.process.stdin.is_closing():
            self.process.stdin.write(f"{order}\n".encode())


@dataclass(eq=False, repr=False)
class Supervisor:
    """The server's side of the worker processes."""

    database: Database
    clock: Clock
    node: str
    """This server's name, the part of its workers' names after the `@`."""
    count: int
    """Number of workers."""
    module: str
    """What a worker runs (`python -m`)."""
    briefing: dict[str, Any]
    """The first line that a worker reads, as JSON; it carries secrets, which never go on the command line."""
    stop_timeout: float
    """Seconds that a cancelled task has before its worker is killed."""
    recover: Callable[[tasks.Task], None]
    """Repairs what a task of a dead worker left behind."""
    _workers: dict[str, _Worker] = field(init=False, default_factory=dict)
    _woken: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _insisting: set[asyncio.Task[None]] = field(init=False, default_factory=set)
    _silent: SilentServers = field(init=False, default_factory=SilentServers)

    @property
    def wakeup_handlers(self) -> dict[Wakeup, Callable[[], None]]:
        """The handler of each wakeup."""
        return {Wakeup.TASKS: self._woken.set}

    @property
    def names(self) -> list[str]:
        """Return the names of the running workers."""
        return sorted(self._workers)

    async def run(self) -> None:
        """Supervise until cancelled; on return every worker is gone and all their tasks are ended."""
        places = [asyncio.create_task(self._keep(place)) for place in range(self.count)]
        try:
            while True:
                self._woken.clear()
                for worker in self._workers.values():
                    worker.tell("wake")
                await self._pass_cancellations()
                await self._end_dead_servers()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_AROUND if self.database.is_sqlite else LOOK_AT_OTHERS):
                        await self._woken.wait()
        finally:
            for ending in (*places, *self._insisting):
                ending.cancel()
            await asyncio.gather(*places, return_exceptions=True)

    async def _keep(self, place: int) -> None:
        """Keep one worker running, restarting it when it dies."""
        while True:
            name = f"worker-{place}.{secrets.token_hex(4)}@{self.node}"
            worker = _Worker(name=name, process=await self._spawn(name))
            self._workers[name] = worker
            try:
                code = await worker.process.wait()
            except asyncio.CancelledError:
                await self._dismiss(worker)
                raise
            finally:
                del self._workers[name]
            _log.error("worker died", extra={"action": "worker_died", "worker": name, "code": code})
            cause = f"signal {-code}" if code < 0 else f"exit code {code}"
            reason = watchdog.reason_of(code, self.briefing.get("native_limit", watchdog.LIMIT))
            reason = reason or f"The worker {name} died ({cause}) while it did this task."
            await self._sweep(name, reason, self.recover)
            await asyncio.sleep(RESTART_PAUSE)

    async def _spawn(self, name: str) -> Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", self.module, stdin=PIPE, start_new_session=True
        )
        if process.stdin:
            process.stdin.write(json.dumps({**self.briefing, "name": name}).encode() + b"\n")
        return process

    async def _dismiss(self, worker: _Worker) -> None:
        worker.tell("stop")
        try:
            async with asyncio.timeout(STOP_PATIENCE):
                await worker.process.wait()
        except TimeoutError:
            worker.process.kill()
            await worker.process.wait()
        try:
            async with asyncio.timeout(SWEEP_PATIENCE):
                await self._sweep(worker.name, "The server was stopped.", self.recover)
        except TimeoutError:  # the database is unavailable; the next start, or another server, ends what ran here
            _log.warning("what ran here has no end yet", extra={"action": "sweep_put_off", "worker": worker.name})

    async def _pass_cancellations(self) -> None:
        for task in await when_available(self._running):
            worker = self._workers.get(task.worker_name or "")
            if worker and task.cancel_requested and task.id not in worker.told_to_cancel:
                worker.told_to_cancel.add(task.id)
                worker.tell(f"cancel {task.id}")
                insisting = asyncio.create_task(self._insist(worker, task.id))
                self._insisting.add(insisting)
                insisting.add_done_callback(self._insisting.discard)

    async def _sweep(self, worker_pattern: str, reason: str, recover: Callable[[tasks.Task], None]) -> None:
        most = self.briefing.get("most_changes", MOST_CHANGES)
        await when_available(
            lambda: sweep(self.database, worker_pattern, reason, self.clock, recover, most_changes=most)
        )

    async def _end_dead_servers(self) -> None:
        """End the tasks of dead servers that share the database."""
        if self.database.is_sqlite:
            return

        def of_others() -> dict[str, datetime | None]:
            with self.database.read() as connection:
                return {node: beat for node, beat in servers.heartbeats(connection).items() if node != self.node}

        def strike_off(node: str) -> None:
            with self.database.write() as tx:
                servers.strike_off(tx, node, seen_at=heartbeats[node])

        heartbeats = await when_available(of_others)
        for node in self._silent.dead(heartbeats):
            _log.error("a server is dead", extra={"action": "server_dead", "node": node})
            reason = f"The server {node} died while this task ran."
            await self._sweep(f"@{node}", reason, lambda _: None)  # its data folder is not ours
            await when_available(partial(strike_off, node))  # last: if this server dies, another retries

    async def _insist(self, worker: _Worker, task_id: str) -> None:
        """Kill a worker that does not stop a cancelled task."""
        await asyncio.sleep(self.stop_timeout)
        running = await when_available(self._running)
        if worker.name in self._workers and any(task.id == task_id for task in running):
            _log.error("worker does not stop", extra={"action": "worker_killed", "worker": worker.name})
            with contextlib.suppress(ProcessLookupError):
                worker.process.kill()

    def _running(self) -> list[tasks.Task]:
        with self.database.read() as connection:
            return tasks.running_at(connection, f"@{self.node}")
