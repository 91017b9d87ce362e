"""Sync: make a repository hold the content of its upstream.

The upstream's catalogue is read batch by batch: missing files are downloaded, all files of the batch are fsynced, then
one transaction adds the units to the repository. So memory stays bounded, and a sync that ends early leaves whole
batches behind. A file that cannot be downloaded fails alone; the sync then ends as failed and removes nothing.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from sqlalchemy import Connection

from pulpit.clock import iso_micro
from pulpit.content import feed
from pulpit.content.feed import Feed
from pulpit.content.port import (
    Catalogue,
    ContentType,
    FileFailure,
    LeftOut,
    Phase,
    Progress,
    StoredFile,
    WantedFile,
    WantedUnit,
)
from pulpit.errors import PulpitError, StorageFull, WorkFailed
from pulpit.repositories.concurrency import in_parallel, in_thread
from pulpit.repositories.context import TaskContext
from pulpit.repositories.download import Downloads
from pulpit.repositories.exchange import DownloadFailed, public
from pulpit.repositories.planning import Planned, Planning, ahead, portions
from pulpit.repositories.publish import stored, summary_of
from pulpit.repositories.withdrawals import Withdrawals
from pulpit.storage.disk import disk_errors
from pulpit.store import holdings, repositories, units
from pulpit.store.holdings import Saved
from pulpit.store.repositories import Importer

Report = Callable[[dict[str, Any]], None]

_REPORT_EVERY: Final = 0.2  # seconds, while bytes come
_NO_CONTENT: Final = feed.SECRET_KEYS | {"allow_empty"}
"""Configuration keys that do not affect the upstream's content."""
_COMMIT_TRIES: Final = 3
_EXAMINERS: Final = 4
_EXAMINED: Final = 100  # units that each examining task checks, one after another


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncOutcome:
    """The result of a sync; counts are of units."""

    result: Literal["success", "failed"]
    added_count: int
    updated_count: int
    removed_count: int
    summary: dict[str, Any] | None
    details: dict[str, Any] | None
    error_message: str | None


async def sync(
    context: TaskContext, repo_id: str, override_config: dict[str, Any] | None, report: Report
) -> SyncOutcome:
    """Sync a repository; `report` is called with the task's whole progress report whenever it changes.

    Raises:
        MissingResource: the repository or its importer does not exist.
    """
    importer = await in_thread(_importer, context, repo_id)
    config = {**importer.config, **(override_config or {})}
    run = _Run(context, importer, config, report)
    try:
        await run.everything()
    except asyncio.CancelledError:
        run.enter(Phase.CANCELLED)
        raise
    except PulpitError as error:
        run.fail(str(error))
    try:
        await in_thread(run.remember)
    except StorageFull as error:
        run.fail(str(error))
    return run.outcome()


def _importer(context: TaskContext, repo_id: str) -> Importer:
    with context.database.read() as connection:
        return repositories.importer(connection, repo_id)


class _Run:
    """One sync."""

    def __init__(self, context: TaskContext, importer: Importer, config: dict[str, Any], report: Report) -> None:
        self._context: Final = context
        self._database: Final = context.database
        self._importer: Final = importer
        self._repo_id: Final = importer.repo_id
        self._config: Final = config
        self._report: Final = report
        self._type: Final[ContentType] = context.content_type(importer.importer_type_id)
        self._storage: Final = context.storage
        self._progress: Final = Progress(clock=context.clock)
        self._memory: dict[str, Any] | None = None
        self._fresh: Final[set[str]] = set()
        self._withdrawals: Final = Withdrawals(context, importer.repo_id)
        self._planning: Final = Planning(self._database, self._storage, self._repo_id, self._fresh)
        self._given_up: WorkFailed | None = None
        self._total: Final = Saved()
        self._removed = 0
        self._failed_files = 0
        self._failed_in_a_row = 0
        self._left_out: list[LeftOut] = []
        self._gone: Final[list[tuple[Planned, DownloadFailed]]] = []
        self._reported_at = 0.0
        self._say()

    async def everything(self) -> None:
        """Read the catalogue and save what it lists."""
        self._type.check_importer_config(self._config)
        upstream = Feed.of(self._config)
        if upstream is None:
            raise WorkFailed(f"The repository {self._repo_id} has no feed to sync from.")
        with disk_errors("The storage folder"):
            await in_thread(self._storage.prepare)
            self._context.scratch.prepare()
        self.enter(Phase.METADATA)
        async with Downloads(upstream, self._storage, self._context.scratch, self._context.limits) as downloads:
            catalogue = await self._type.read(downloads, self._config, await in_thread(self._known))
            if catalogue is None:
                self.enter(Phase.COMPLETE)
                return
            self._progress.units_total, self._progress.bytes_total = catalogue.unit_count, catalogue.byte_count
            self._progress.totals = dict(catalogue.counts)
            self._progress.files_total = dict(catalogue.files)
            self._left_out = list(catalogue.left_out)
            self.enter(Phase.CONTENT)
            await self._take_over(downloads, catalogue)

    async def _take_over(self, downloads: Downloads, catalogue: Catalogue) -> None:
        async with ahead(portions(catalogue.batches)) as batches:
            async for batch in batches:
                await self._one_batch(downloads, batch)
                if self._given_up is not None:
                    raise self._given_up
        await in_thread(self._withdrawals.tell, catalogue, self._total.unit_ids)
        if self._failed_files:
            first = self._progress.failures[0].error
            if self._failed_files == 1:
                raise WorkFailed(first)
            raise WorkFailed(f"{self._failed_files} files could not be downloaded, the first one: {first}")
        if self._config.get("remove_missing"):
            self._removed = await in_thread(self._remove_missing, catalogue)
        self._removed += await in_thread(self._remove_surplus)
        self._memory = catalogue.memory
        self.enter(Phase.COMPLETE)

    async def _one_batch(self, downloads: Downloads, batch: Sequence[WantedUnit]) -> None:
        for _ in range(_COMMIT_TRIES):
            before = self._progress.units_done, self._progress.bytes_done, self._failed_files
            done, files_done = dict(self._progress.done), dict(self._progress.files_done)
            planned, coming = list[Planned](), await in_thread(self._planning.of, batch)
            while coming:
                await self._download(downloads, coming)
                planned += coming
                coming = await in_thread(self._planning.of, self._instead())
            complete, refused = await in_thread(self._examined, [plan for plan in planned if not plan.missing])
            if await in_thread(self._commit, complete):
                self._left_out += refused
                self._progress.refused += len(refused)
                return
            self._progress.units_done, self._progress.bytes_done, self._failed_files = before
            self._progress.done, self._progress.files_done = done, files_done
        raise WorkFailed("Files vanished from the storage while they were synced; sync again.")

    async def _download(self, downloads: Downloads, planned: list[Planned]) -> None:
        """Download what is missing and fsync it."""
        waiting: dict[str, list[tuple[Planned, WantedFile]]] = {}
        for plan in planned:
            self._progress.bytes_done += sum(file.size for file in plan.files.values())
            self._progress.files_came(plan.unit.type_id, len(plan.files))
            for file in plan.missing:
                waiting.setdefault(f"{file.checksum.algorithm}:{file.checksum.digest}", []).append((plan, file))
            if not plan.missing:
                self._progress.unit_done(plan.unit.type_id)
        await in_parallel(downloads.at_once, [self._one_file(downloads, group) for group in waiting.values()])
        with disk_errors("The new files"):
            await in_thread(self._storage.flush, self._fresh)
        self._fresh.clear()
        self._say()

    async def _one_file(self, downloads: Downloads, group: list[tuple[Planned, WantedFile]]) -> None:
        plan, wanted = group[0]
        if self._given_up is not None:
            return
        try:
            stored = await downloads.file(wanted, self._bytes_came)
        except DownloadFailed as error:
            others = [] if error.transient else [(plan, error) for plan, _ in group if plan.unit.instead is not None]
            self._gone.extend(others)
            if len(others) == len(group):
                return
            self._count_failure(wanted, error.url, f"{error} {plan.unit.way_past}".rstrip())
            self._failed_in_a_row += 1
            self._say()
            if self._failed_in_a_row >= self._context.limits.failures_in_a_row:
                self._given_up = WorkFailed(f"{self._failed_in_a_row} files in a row failed, the last one so: {error}")
            return
        self._failed_in_a_row = 0
        self._fresh.add(stored.sha256)
        for plan, file in group:
            path = file.relative_path
            plan.files[path] = StoredFile(relative_path=path, sha256=stored.sha256, size=stored.size)
            self._progress.files_came(plan.unit.type_id, 1)
            if not plan.missing:
                self._progress.unit_done(plan.unit.type_id)
        self._bytes_came(stored.size * (len(group) - 1))

    def _instead(self) -> list[WantedUnit]:
        """Return replacements for units that the upstream lists but does not have."""
        others = list[WantedUnit]()
        for plan, error in self._gone:
            unit = plan.unit
            stands_for_it = next((entry for entry in self._left_out if entry.slot and entry.slot == unit.slot), None)
            if stands_for_it is not None:
                self._left_out.remove(stands_for_it)
            reason = f"is not there, so another one is taken: {error}"
            self._left_out.append(LeftOut(name=unit.slot or unit.type_id, reason=reason))
            others += [unit.instead] if unit.instead is not None else []
        self._gone.clear()
        return others

    def _examined(self, complete: list[Planned]) -> tuple[list[Planned], list[LeftOut]]:
        """Return the units whose files the content type accepts, and those that are left out.

        Concurrently, because a check may run other programs.
        """
        portions = [complete[start : start + _EXAMINED] for start in range(0, len(complete), _EXAMINED)]
        with ThreadPoolExecutor(_EXAMINERS) as pool:
            judged = pool.map(lambda portion: [self._flaw(plan) for plan in portion], portions)
            flaws = [flaw for portion in judged for flaw in portion]
        for flaw in flaws:
            if isinstance(flaw, tuple):
                self._count_failure(*flaw)
        accepted = [plan for plan, flaw in zip(complete, flaws, strict=True) if flaw is None]
        return accepted, [flaw for flaw in flaws if isinstance(flaw, LeftOut)]

    def _flaw(self, plan: Planned) -> tuple[WantedFile, str, str] | LeftOut | None:
        """Return a rejected file of a unit, its URL and the reason; `None` if all are accepted."""
        sha256s = [plan.files[wanted.relative_path].sha256 for wanted in plan.unit.files]
        files = [partial(self._storage.local, sha256) for sha256 in sha256s]
        with suppress(FileNotFoundError):  # an orphan, removed since: the commit notices, and it is downloaded again
            for wanted, local in zip(plan.unit.files, files, strict=True):
                flaw = self._type.flaw(plan.unit, local, self._config)
                if isinstance(flaw, LeftOut):
                    return flaw
                if flaw:
                    url = public(wanted.urls[0])
                    return wanted, url, f"{url} {flaw}."
            plan.unit = self._type.described(plan.unit, files, plan.known)
        return None

    def _count_failure(self, wanted: WantedFile, url: str, error: str) -> None:
        self._failed_files += 1
        if len(self._progress.failures) < self._context.limits.reported_failures:
            self._progress.failures.append(FileFailure(name=wanted.relative_path, url=url, error=error))

    def _commit(self, complete: list[Planned]) -> bool:
        """Add units to the repository; false if some of their files were removed meanwhile."""
        with self._database.write() as tx:
            holdings.lock_artifacts(tx)
            batch = [plan.stored() for plan in complete]
            files = {(file.sha256, file.size) for unit in batch for file in unit.files}
            if len(self._storage.present(files)) < len(files):
                return False
            self._withdrawals.take(tx.connection, [plan.unit for plan in complete])
            saved = holdings.save(tx, self._repo_id, batch, now=self._context.clock(), recorder=self._context.recorder)
        self._total.added += saved.added
        self._total.updated += saved.updated
        self._total.unit_ids |= saved.unit_ids
        return True

    def _remove_missing(self, catalogue: Catalogue) -> int:
        with self._database.write() as tx:
            gone = units.held_ids(tx.connection, self._repo_id) - self._total.unit_ids
            gone -= units.in_slots(tx.connection, self._repo_id, [entry.slot for entry in self._left_out if entry.slot])
            if gone and catalogue.keeps is not None:
                held = (stored(unit) for unit in units.held(tx.connection, self._repo_id))
                gone -= {unit.id for unit in held if unit.id in gone and catalogue.keeps(unit)}
            if not (catalogue.proves_empty or self._config.get("allow_empty")):
                self._refuse_emptying(tx.connection, gone)
            return holdings.let_go(tx, self._repo_id, gone, now=self._context.clock(), recorder=self._context.recorder)

    def _refuse_emptying(self, connection: Connection, gone: set[str]) -> None:
        """Refuse to remove everything, or all units of the main type, because of an empty list.

        Raises:
            WorkFailed: the feed does not prove that it is empty on purpose.
        """
        for type_ids in (None, self._type.unit_type_ids[:1]):
            held = units.held_ids(connection, self._repo_id, type_ids)
            if held and held <= gone:
                raise WorkFailed(
                    f"The feed has nothing of what {self._repo_id} holds ({len(held)} units), and nothing in it proves "
                    "that this is meant, so everything stays. If it is meant, sync once with --allow-empty "
                    "(allow_empty of the importer)."
                )

    def _remove_surplus(self) -> int:
        """Remove the units that the content type no longer wants."""
        with self._database.read() as connection:
            held = (stored(unit) for unit in units.held(connection, self._repo_id))
            surplus = self._type.surplus(held, self._config)
        if not surplus:
            return 0
        with self._database.write() as tx:
            return holdings.let_go(
                tx, self._repo_id, surplus, now=self._context.clock(), recorder=self._context.recorder
            )

    def _known(self) -> dict[str, Any] | None:
        """Return the state that the content type kept, if neither configuration nor content changed since."""
        memory = (self._importer.scratchpad or {}).get("upstream")
        if memory is None or self._config.get("force_full"):
            return None
        with self._database.read() as connection:
            same = memory["state"] == self._state(connection)
        return dict(memory["memory"]) if same else None

    def remember(self) -> None:
        """Store the time of the sync, and the content type's state if it succeeded."""
        now = self._context.clock()
        with self._database.write() as tx:
            scratchpad = dict(self._importer.scratchpad or {})
            if self._progress.phase is not Phase.COMPLETE:
                scratchpad["upstream"] = None
            elif self._memory is not None:
                scratchpad["upstream"] = {"state": self._state(tx.connection), "memory": self._memory}
            repositories.change_importer(tx, self._repo_id, last_sync=now, scratchpad=scratchpad)

    def _state(self, connection: Connection) -> dict[str, Any]:
        """Return what must be unchanged for that state to be valid."""
        repository = repositories.get(connection, self._repo_id)
        public = {key: value for key, value in self._config.items() if key not in _NO_CONTENT and value is not None}
        digest = hashlib.sha256(json.dumps(public, sort_keys=True).encode()).hexdigest()
        changes = (repository.last_unit_added, repository.last_unit_removed)
        return {"config": digest, "changes": [moment and iso_micro(moment) for moment in changes]}

    def enter(self, phase: Phase) -> None:
        """Enter a phase and report it."""
        self._progress.enter(phase)
        self._say()

    def fail(self, sentence: str) -> None:
        """Mark the sync as failed."""
        early = self._progress.phase in (Phase.NOT_STARTED, Phase.METADATA)
        self._progress.error_message = sentence
        self.enter(Phase.METADATA_FAILED if early else Phase.CONTENT_FAILED)

    def outcome(self) -> SyncOutcome:
        """Return the result."""
        return SyncOutcome(
            result="success" if self._progress.phase is Phase.COMPLETE else "failed",
            added_count=self._total.added,
            updated_count=self._total.updated,
            removed_count=self._removed,
            summary=summary_of(self._type.sync_report(self._progress)),
            details=self._details(),
            error_message=self._progress.error_message,
        )

    def _details(self) -> dict[str, Any] | None:
        """Return the failed files and skipped entries: the first of each, and their number."""
        most = self._context.limits.reported_failures
        details: dict[str, Any] = {}
        if self._progress.failures:
            details["failed_count"] = self._failed_files
            details["errors"] = [
                {"name": failure.name, "url": failure.url, "error": failure.error}
                for failure in self._progress.failures
            ]
        if self._left_out:
            details["left_out_count"] = len(self._left_out)
            details["left_out"] = [{"name": entry.name, "reason": entry.reason} for entry in self._left_out[:most]]
        return details or None

    def _bytes_came(self, count: int) -> None:
        self._progress.bytes_done += count
        now = asyncio.get_running_loop().time()
        if now - self._reported_at >= _REPORT_EVERY:
            self._reported_at = now
            self._say()

    def _say(self) -> None:
        self._report({self._importer.id: self._type.sync_report(self._progress)})
