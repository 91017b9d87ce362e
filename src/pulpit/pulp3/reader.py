"""Moves rows from the outbox in a Pulp's database to the log, each exactly once, as long as the server runs.

    trigger ─▶ outbox ─NOTIFY─▶ reader ─▶ events + pulp3_work, one transaction of Pulpit's ─▶ outbox: processed

If the server dies between the last two steps, the rows are read again, and `pulp3_work` says that their events were
fired. Notifications are only hints; the reader also looks every few seconds. Pulp's database may be down, restored
from a backup or replaced after a failover: the reader logs this once and reconnects.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, TypeVar

import psycopg

from pulpit.backoff import delay
from pulpit.clock import Clock
from pulpit.fire import fire
from pulpit.pulp3 import attachment, outbox
from pulpit.pulp3.outbox import Connection, NotAttached
from pulpit.pulp3.progress import Progress, State
from pulpit.pulp3.translation import FINISH, PUBLICATION, START, WAITING, NewEvent, Row, RowEvents, Translator, api_root
from pulpit.settings import Pulp3Settings
from pulpit.store import event_log, pulp3_work
from pulpit.store.connections import NOTICE_LOST_CLIENTS
from pulpit.store.database import Database, Transaction, when_available
from pulpit.store.pulp3_work import Work

LOOK_SECONDS: Final = 3.0
"""Between two looks without a notification."""
FIRST_PAUSE: Final = timedelta(seconds=0.5)
LONGEST_PAUSE: Final = timedelta(seconds=15)
STATEMENT_SECONDS: Final = 30
ANSWER_PATIENCE: Final = timedelta(seconds=45)
"""Timeout for Pulp's database, which cancels its own statements before; a suspended server does not."""
NAMES_SECONDS: Final = 2
"""Timeout for reading the names that a version has changed."""
OPEN_AT_ONCE: Final = 500
OPEN_PATIENCE: Final = timedelta(seconds=10)
WORK_KEPT: Final = timedelta(days=30)
"""How long ended tasks are remembered; longer than rows stay in any outbox."""
FULL_ROUND_SECONDS: Final = 3600.0
_POOLED: Final = (
    f"a pool that works by transactions stands between, so it is looked at every {LOOK_SECONDS:.0f} s instead of when "
    "something happens; connect past the pool"
)
_GIVEN_UP: Final = "The publication was given up before it was complete."
_GONE: Final = "Pulp does not know this task any more: it was deleted, or the database was restored from a backup."

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Reader:
    def __init__(
        self,
        name: str,
        section: Pulp3Settings,
        database: Database,
        clock: Clock,
        *,
        patience: timedelta = ANSWER_PATIENCE,
    ) -> None:
        """Create the reader without connecting; `patience` is the timeout for Pulp's database.

        Raises:
            ConfigurationError: the URL or the password file is invalid.
        """
        self._section: Final = section
        self._conninfo: Final = attachment.conninfo(section, f"[pulp3:{name}]" if name else "[pulp3]")
        self._database: Final = database
        self._clock: Final = clock
        self._patience: Final = patience
        self._failures = 0
        self._translator = Translator(pulp=name, root=api_root(section.api_url), every_task=section.tasks)
        self.progress: Final = Progress(name=name, place=attachment.place(section.database_url))

    async def run(self) -> None:
        while True:
            try:
                await self._session()
            except NotAttached as reason:
                self._become(State.NOT_ATTACHED, str(reason))
            except psycopg.errors.UndefinedTable:
                self._become(State.NOT_ATTACHED, "it was detached; run: pulpit pulp3 attach")
            except psycopg.Error as error:
                self._become(State.DOWN, attachment.sentence(error))
            except Exception as error:  # noqa: BLE001 - an unexpected error must not stop the server
                _log.exception("a reader failed", extra=self._extra("pulp3_bug"))
                self._become(State.DOWN, f"Internal error: {type(error).__name__}")
            self._failures += 1
            pause = delay(self._failures, first=FIRST_PAUSE, longest=LONGEST_PAUSE, random=random.random())  # noqa: S311 - a pause
            await asyncio.sleep(pause.total_seconds() if self.progress.state is State.DOWN else LOOK_SECONDS)

    async def _session(self) -> None:
        """Connect and read until something fails."""
        async with await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True) as connection:
            await self._in_time(outbox.check_attached(connection))
            has_session = await self._in_time(outbox.has_session(connection, self._conninfo))
            if has_session:
                with contextlib.suppress(psycopg.Error):  # a system that cannot watch connections
                    await self._in_time(
                        connection.execute(NOTICE_LOST_CLIENTS.encode())
                    )  # to release the reader's lock
                await self._in_time(connection.execute(f"SET statement_timeout = '{STATEMENT_SECONDS}s'".encode()))
                while not await self._in_time(outbox.become_reader(connection)):
                    self._become(State.STANDBY, "another server reads it")
                    await asyncio.sleep(LOOK_SECONDS)
                await self._in_time(connection.execute(f"LISTEN {outbox.CHANNEL}".encode()))
            else:
                connection.prepare_threshold = None
            await self._in_time(outbox.want_every_task(connection, wanted=self._section.tasks))
            self._become(State.READING, None if has_session else _POOLED)
            self._failures = 0
            await self._read(connection)

    async def _read(self, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        reconcile_at = full_round_at = check_at = loop.time()
        while True:
            await self._take_all(connection)
            now = loop.time()
            if now >= reconcile_at:
                await self._reconcile(connection, is_full=now >= full_round_at)
                reconcile_at = loop.time() + self._section.reconcile_seconds
                full_round_at = now + FULL_ROUND_SECONDS if now >= full_round_at else full_round_at
                continue
            if now >= check_at:
                await self._in_time(outbox.check_attached(connection))
                check_at = now + LOOK_SECONDS
            async for _ in connection.notifies(timeout=LOOK_SECONDS, stop_after=1):
                pass

    async def _in_time(self, statement: Awaitable[T]) -> T:
        """Await Pulp's database with a timeout."""
        try:
            async with asyncio.timeout(self._patience.total_seconds()):
                return await statement
        except TimeoutError:
            raise psycopg.errors.ConnectionTimeout("it does not answer") from None

    async def _take_all(self, connection: Connection) -> None:
        progress = self.progress
        while rows := await self._in_time(outbox.waiting(connection)):
            progress.waiting, progress.oldest_at = len(rows), rows[0].at
            if len(rows) == outbox.AT_ONCE:
                progress.waiting = await self._in_time(outbox.depth(connection))
            if not self._translator.has_domains and await self._in_time(outbox.has_domains(connection)):
                self._translator = replace(self._translator, has_domains=True)
            changed = await self._changed(connection, rows)
            problems = await when_available(partial(self._enter, rows, changed))
            await self._in_time(outbox.taken(connection, rows, problems))
            progress.rows += len(rows)
            progress.refused += len(problems)
            progress.last_row_at = rows[-1].at
            if len(rows) < outbox.AT_ONCE:
                break
        progress.waiting, progress.oldest_at = 0, None

    async def _changed(self, connection: Connection, rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
        """Return what the versions of some rows have changed by name; events are complete without."""
        versions = {
            str(item["version"]["id"]): item["version"]
            for row in rows
            for item in row.data.get("created") or ()
            if item.get("version")
        }
        found = {}
        try:
            async with asyncio.timeout(NAMES_SECONDS * len(versions) if versions else None):
                for version_id, version in versions.items():
                    if names := await outbox.changed(connection, version):
                        found[version_id] = names
        except (psycopg.ProgrammingError, psycopg.errors.QueryCanceled, TimeoutError) as error:
            _log.warning("changes are not named: %s", error, extra=self._extra("pulp3_names_missing"))
        return found

    def _enter(self, rows: Sequence[Row], changed: Mapping[str, dict[str, Any]]) -> dict[int, str]:
        """Fire the events of rows that were not fired; return the rows that could not be translated, with reasons."""
        problems: dict[int, str] = {}
        fired = 0
        with self._database.write() as tx:
            event_log.lock(tx)
            for row in rows:
                known = pulp3_work.get(tx.connection, self.progress.name, row.object)
                try:
                    events = self._translator.translate(row, known.data if known else None, changed)
                except Exception as error:  # noqa: BLE001 - one row must not block the others
                    problems[row.id] = f"{type(error).__name__}: {error}"
                    _log.exception("a row tells nothing", extra=self._extra("pulp3_row_refused"))
                    continue
                fired += self._fire(tx, row, known, events)
        self.progress.events += fired
        return problems

    def _fire(self, tx: Transaction, row: Row, known: Work | None, events: RowEvents) -> int:
        """Fire the events of a row that were not fired yet."""
        now = self._clock()
        wanted: list[NewEvent] = []
        work = known
        if work is None:
            data = {**row.data, "begun_at": row.at.isoformat()}
            work = Work(
                source=self.progress.name,
                object_id=row.object,
                task_id=row.task,
                data=data,
                seen_at=now,
                started_at=None,
                ended_at=None,
            )
            pulp3_work.add(tx, work)
            wanted += events.waiting if row.phase == WAITING else ()
        if row.phase in (START, FINISH) and work.started_at is None:
            begun = {**row.data, "begun_at": row.at.isoformat()}
            pulp3_work.start(tx, work, begun, now=now)
            wanted += events.start
        if row.phase == FINISH and work.ended_at is None:
            pulp3_work.end(tx, self.progress.name, row.object, now=now)
            wanted += events.finish
        for event in wanted:
            fire(
                tx,
                event.event_type,
                event.payload,
                clock=self._clock,
                call_report=event.call_report,
                repo_id=event.repo_id,
                traceparent=event.traceparent,
                event_id=event.event_id,
            )
        return len(wanted)

    async def _reconcile(self, connection: Connection, *, is_full: bool) -> None:
        """Recover what was lost: rows that no trigger wrote, and finishes of objects that Pulp no longer knows."""
        period = outbox.RECONCILED if is_full else outbox.RECONCILED_AFTERWARDS
        try:
            made = await self._in_time(outbox.reconcile(connection, period))
        except psycopg.errors.QueryCanceled:
            made = 0
            _log.warning("Pulp's tasks were too many to be compared", extra=self._extra("pulp3_not_reconciled"))
        made += await self._close_open(connection)
        await self._in_time(outbox.forget(connection))
        await when_available(self._forget)
        if made:
            self.progress.reconciled += made
            _log.warning("%d rows made up for", made, extra=self._extra("pulp3_reconciled"))

    async def _close_open(self, connection: Connection) -> int:
        """Finish tasks that began long enough ago and have ended in Pulp, or are unknown there."""
        before = self._clock() - OPEN_PATIENCE
        still_open = await when_available(lambda: self._still_open(before))
        if not still_open:
            return 0
        tasks = sorted({work.task_id for work in still_open})
        has_ended = await self._in_time(outbox.renote(connection, tasks))
        await self._take_all(connection)  # rows written just now
        still_open = await when_available(lambda: self._still_open(before))
        # An abandoned publication leaves nothing from which a row could be made.
        gone = [work for work in still_open if has_ended.get(work.task_id, True)]
        if gone:
            await when_available(lambda: self._enter([self._as_ended(work) for work in gone], {}))
        return len(gone)

    def _still_open(self, before: datetime) -> list[Work]:
        with self._database.read() as connection:
            return pulp3_work.open_since(connection, self.progress.name, before, limit=OPEN_AT_ONCE)

    def _as_ended(self, work: Work) -> Row:
        """Return the finish of an object that Pulp no longer knows."""
        now = self._clock()
        subject = "task" if work.object_id == work.task_id else PUBLICATION
        error = {"description": _GONE if subject == "task" else _GIVEN_UP}
        task = {**work.data["task"], "state": "failed", "error": error, "finished_at": now.isoformat()}
        return Row(
            id=0,
            subject=subject,
            object=work.object_id,
            phase=FINISH,
            task=work.task_id,
            at=now,
            data={**work.data, "task": task, "state": "failed"},
            made_up=True,
        )

    def _forget(self) -> None:
        with self._database.write() as tx:
            pulp3_work.forget(tx, ended_before=self._clock() - WORK_KEPT, limit=OPEN_AT_ONCE)

    def _become(self, state: State, reason: str | None) -> None:
        """Record the state, and log it when it has changed."""
        progress = self.progress
        if (progress.state, progress.reason) == (state, reason):
            return
        progress.state, progress.reason, progress.since = state, reason, self._clock()
        is_well = state is State.STANDBY or (state is State.READING and reason is None)
        level = logging.INFO if is_well else logging.WARNING
        action = f"pulp3_{state.value.replace(' ', '_')}"
        _log.log(level, "Pulp 3 %s: %s", state.value, reason or progress.place, extra=self._extra(action))

    def _extra(self, action: str) -> dict[str, Any]:
        return {"action": action, "pulp": self.progress.name or "pulp3"}
