"""Publish: write a repository's content as files of the storage, then show them to readers in one transaction."""

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from threading import Event
from typing import Any, Final, Literal

from sqlalchemy import Connection

from pulpit.clock import iso_micro
from pulpit.content import access
from pulpit.content.port import Config, ContentType, Phase, Progress, StoredFile, StoredUnit
from pulpit.errors import InvalidValue, PulpitError, WorkFailed
from pulpit.repositories import inventory
from pulpit.repositories.concurrency import in_stoppable_thread, in_thread
from pulpit.repositories.context import TaskContext
from pulpit.repositories.differences import ChangesAtPlace, Show, Snapshot, publications_shown
from pulpit.repositories.exporting import export_as_pulp_2
from pulpit.repositories.promotion import refuse_protected
from pulpit.repositories.staging import Earlier, Staging, go_on
from pulpit.storage.disk import disk_errors
from pulpit.store import event_log, holdings, publications, repositories, snapshots, units
from pulpit.store.database import Transaction
from pulpit.store.repositories import Distributor
from pulpit.store.units import Held

Report = Callable[[dict[str, Any]], None]

UNCHANGED: Final = "Skipped: Repository content has not changed since last publish."
"""The summary of a publish that had nothing to do; clients of Pulp 2 compare it word for word."""
_REPORT_EVERY: Final = 0.5  # seconds
_NO_CONTENT: Final = frozenset({"force_full"})


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishOutcome:
    """The result of a publish; `skipped` if the current publication is up to date."""

    result: Literal["success", "failed", "skipped"]
    summary: dict[str, Any] | str
    details: dict[str, Any] | list[dict[str, Any]] | None
    error_message: str | None
    show: Show | None = None
    """Shows the publication to readers; for the transaction that ends the task."""


async def publish(
    context: TaskContext, repo_id: str, distributor_id: str, override_config: dict[str, Any] | None, report: Report
) -> PublishOutcome:
    """Publish a repository except for the last step, `show`; the last `report` comes right before the return.

    Raises:
        MissingResource: the repository or the distributor does not exist.
    """
    distributor = await in_thread(_distributor, context, repo_id, distributor_id)
    config = {**distributor.config, **(override_config or {})}
    run = _Run(context, distributor, config, report)
    try:
        if not context.publishes(distributor.distributor_type_id):
            run.enter(Phase.CONTENT)
            return run.exported(await in_stoppable_thread(run.export))
        if await in_thread(run.is_up_to_date):
            return PublishOutcome(result="skipped", summary=UNCHANGED, details=run.steps(), error_message=None)
        await in_thread(run.refuse_protected_place)
        run.enter(Phase.CONTENT)
        show = await in_stoppable_thread(run.everything)
    except asyncio.CancelledError:
        run.enter(Phase.CANCELLED)
        raise
    except PulpitError as error:
        return run.failed(str(error))
    return run.succeeded(show)


def check_place(
    connection: Connection, content_type: ContentType, repo_id: str, distributor: tuple[str, str], config: Config
) -> None:
    """Reject a distributor (type, id) whose configuration publishes at, above or below another's place.

    Raises:
        InvalidValue: `relative_url` is taken.
    """
    type_id, distributor_id = distributor
    publishing = content_type.distributor_type_ids[0]
    if type_id != publishing:
        return
    wanted = content_type.relative_url(repo_id, config)
    for other in repositories.distributors_of(connection):
        if other.distributor_type_id != publishing or ((other.repo_id, other.id) == (repo_id, distributor_id)):
            continue
        taken = content_type.relative_url(other.repo_id, other.config)
        if f"{wanted}/".startswith(f"{taken}/") or f"{taken}/".startswith(f"{wanted}/"):
            raise InvalidValue("relative_url", f"{wanted!r} collides with {taken!r} of repository {other.repo_id}.")


def _distributor(context: TaskContext, repo_id: str, distributor_id: str) -> Distributor:
    with context.database.read() as connection:
        return repositories.distributor(connection, repo_id, distributor_id)


class _Run:
    """One publish."""

    def __init__(self, context: TaskContext, distributor: Distributor, config: dict[str, Any], report: Report) -> None:
        self._context: Final = context
        self._database: Final = context.database
        self._distributor: Final = distributor
        self._config: Final = access.of_type(config)
        self._report: Final = report
        self._type: Final[ContentType] = context.content_type(distributor.distributor_type_id)
        self._progress: Final = Progress(clock=context.clock)
        self._said_at = time.monotonic()

    def export(self, stop: Event) -> dict[str, Any]:
        """Write a plain tree, for export distributors, which publish nothing; return the report."""
        repo_id = self._distributor.repo_id
        return export_as_pulp_2(
            self._context, repo_id, self._config, self._type.relative_url(repo_id, self._config), stop
        )

    def refuse_protected_place(self) -> None:
        """Reject the publish if only promotions may change the place.

        Raises:
            WorkFailed: the place is protected.
        """
        with self._database.read() as connection:
            refuse_protected(connection, self._path())

    def is_up_to_date(self) -> bool:
        """Whether the current publication is up to date."""
        self._type.check_distributor_config(self._config)
        if self._config.get("force_full"):
            return False
        with self._database.read() as connection:
            shown = publications.at(connection, self._path())
            mine = shown is not None and shown.distributor_object_id == self._distributor.object_id
            return shown is not None and mine and shown.made_of == self._made_of(connection)

    def everything(self, stop: Event) -> Show:
        """Write all files of a publication; return the function that shows it."""
        with disk_errors("The publication"), self._context.scratch.folder() as scratch:
            with self._database.read() as connection:
                last_event = event_log.head(connection)
                earlier = self._earlier(connection)
                made_of = self._made_of(connection)
                content = HeldContent(connection, self._distributor.repo_id, self._counted)

                @cache
                def compared() -> tuple[Sequence[bytes], ChangesAtPlace]:
                    """Return the snapshot of the content, and what it changes for readers."""
                    lines = snapshots.snapshot(connection, content.ids, earlier.content)
                    held = Snapshot(repo_id=self._distributor.repo_id, lines=frozenset(lines), last_event=last_event)
                    return lines, ChangesAtPlace.prepared(self._context, connection, self._path(), held)

                staging = Staging(self._context.storage, scratch, earlier, stop, meanwhile=compared)
                self._lay_out(content, staging)
                lines, seen = compared()
            listing, snapshot, *layout = staging.keep(
                staging.document(), b"".join(lines), *([] if staging.memory is None else [staging.memory])
            )
        go_on(stop)
        needed = [*staging.new(), listing, snapshot, *layout]
        columns = {
            "distributor_id": self._distributor.id,
            "distributor_object_id": self._distributor.object_id,
            "inventory": listing.sha256,
            "content": snapshot.sha256,
            "layout": layout[0].sha256 if layout else None,
            "file_count": staging.file_count,
            "byte_count": staging.byte_count,
            "unit_counts": dict(content.counts),
            "made_of": made_of,
            "last_event": last_event,
        }
        return lambda tx: self._show(tx, needed, columns, seen)

    def _earlier(self, connection: Connection) -> Earlier:
        """Return the current publication, unless everything must be rebuilt."""
        shown, storage = publications.at(connection, self._path()), self._context.storage
        if shown is None or shown.made_of is None:
            return Earlier()
        try:
            lines = frozenset(inventory.lines(storage, shown.inventory))
            with storage.open(shown.content) as content:
                held = tuple(content)
        except (FileNotFoundError, ValueError):
            return Earlier()
        layout = None if self._config.get("force_full") else shown.layout
        return Earlier(lines=lines, content=held if shown.repo_id == self._distributor.repo_id else (), layout=layout)

    def _lay_out(self, content: "HeldContent", staging: Staging) -> None:
        self._progress.totals = dict(content.counts)
        self._progress.units_total = sum(content.counts.values())
        self._type.publish(content, staging, self._config)

    def _show(
        self, tx: Transaction, needed: Sequence[StoredFile], columns: Mapping[str, Any], seen: ChangesAtPlace
    ) -> dict[str, Any]:
        """Store and show the publication, if all its files still exist."""
        now, path = self._context.clock(), self._path()
        holdings.lock_artifacts(tx)
        refuse_protected(tx.connection, path)
        new = publications.unrecorded(tx.connection, needed)
        if len(self._context.storage.present([(file.sha256, file.size) for file in new])) < len(new):
            raise WorkFailed("Files of the publication were removed while it was made; publish it again.")
        publication = publications.add(tx, self._distributor.repo_id, new, now=now, **columns)
        for other in publications.places_of(tx.connection, self._distributor.object_id):
            if other.path != path and not other.promoted:
                publications.hide(tx, other.path)
        before = publications.show(tx, path, publication, now=now)
        seen.write(tx, before)
        publications.prune(tx, path, keep=self._context.keep_publications, hidden_before=now - self._context.grace)
        repositories.change_distributor(tx, self._distributor.repo_id, self._distributor.id, last_publish=now)
        return publications_shown(before, publication)

    def enter(self, phase: Phase) -> None:
        """Enter a phase and report it."""
        self._progress.enter(phase)
        self._say()

    def succeeded(self, show: Show) -> PublishOutcome:
        """Return a successful outcome."""
        self.enter(Phase.COMPLETE)
        return PublishOutcome(
            result="success", summary=self._summary(), details=self.steps(), error_message=None, show=show
        )

    def exported(self, said: dict[str, Any]) -> PublishOutcome:
        """Return a successful outcome without a change for readers."""
        self.enter(Phase.COMPLETE)
        return PublishOutcome(result="success", summary=self._summary(), details={"export": said}, error_message=None)

    def failed(self, sentence: str) -> PublishOutcome:
        """Return a failed outcome."""
        self._progress.error_message = sentence
        self.enter(Phase.CONTENT_FAILED)
        return PublishOutcome(result="failed", summary=self._summary(), details=self.steps(), error_message=sentence)

    def steps(self) -> list[dict[str, Any]] | None:
        """Return the report as history keeps it in full, for content types that report steps."""
        report = self._type.publish_report(self._progress)
        return report if isinstance(report, list) else None

    def _counted(self, type_id: str, count: int) -> None:
        self._progress.units_came(type_id, count)
        now = time.monotonic()
        if now - self._said_at >= _REPORT_EVERY:
            self._said_at = now
            self._say()

    def _path(self) -> str:
        """The path of the place."""
        return f"{self._type.published_under}/{self._type.relative_url(self._distributor.repo_id, self._config)}"

    def _made_of(self, connection: Connection) -> dict[str, Any]:
        """Return what the publication depends on."""
        repository = repositories.get(connection, self._distributor.repo_id)
        relevant = {key: value for key, value in self._config.items() if key not in _NO_CONTENT and value is not None}
        digest = hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()
        changes = (repository.last_unit_added, repository.last_unit_removed)
        state: dict[str, Any] = {"config": digest, "changes": [moment and iso_micro(moment) for moment in changes]}
        if (signed_by := self._type.signed_by(self._config)) is not None:
            state["signed_by"] = signed_by
        if (form := self._type.published_form) > 1:  # publications from before there were forms have none
            state["form"] = form
        return state

    def _summary(self) -> dict[str, Any]:
        return summary_of(self._type.publish_report(self._progress))

    def _say(self) -> None:
        self._report({self._distributor.id: self._type.publish_report(self._progress)})


def summary_of(report: Any) -> dict[str, Any]:
    """Write a report as the summary of history and events: an object, of steps their states."""
    return report if isinstance(report, dict) else {step["step_type"]: step["state"] for step in report}


class HeldContent:
    """The content of a repository; implements the port's `Content`."""

    def __init__(
        self, connection: Connection, repo_id: str, counted: Callable[[str, int], None] = lambda _type_id, _count: None
    ) -> None:
        self._connection: Final = connection
        self._repo_id: Final = repo_id
        self.laid_out: Final = counted
        self.counts: Final[Mapping[str, int]] = repositories.unit_counts(connection, repo_id).get(repo_id, {})

    def of(self, *type_ids: str) -> Iterator[StoredUnit]:
        """Yield the units of these types."""
        for type_id in type_ids:
            for held in units.held(self._connection, self._repo_id, [type_id], with_detail=True):
                yield stored(held)
                self.laid_out(type_id, 1)

    @cached_property
    def _versions(self) -> Sequence[str]:
        return snapshots.versions(self._connection, self._repo_id)

    @property
    def ids(self) -> list[str]:
        """Return the ids of all units, in order."""
        return [version.partition("\t")[0] for version in self._versions]

    def versions(self, type_id: str) -> list[str]:
        """Return for each unit of a type its id, a tab, and when it was added or changed."""
        ending = f"\t{type_id}"
        return [version.removesuffix(ending) for version in self._versions if version.endswith(ending)]

    def keys(self, *type_ids: str) -> Iterator[dict[str, Any]]:
        """Yield the keys of the units of these types."""
        return snapshots.keys(self._connection, self._repo_id, type_ids)

    def files(self, unit_ids: Sequence[str]) -> Iterator[tuple[StoredFile, ...]]:
        """Yield the files of some units."""
        for portion in units.portions(unit_ids):
            yield from units.files_of(self._connection, portion).values()

    def details(self, unit_ids: Sequence[str]) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Yield key and detail of some units."""
        return snapshots.details(self._connection, unit_ids)


def stored(held: Held) -> StoredUnit:
    """Convert a stored unit for content types."""
    unit = held.unit
    return StoredUnit(
        id=unit.id, type_id=unit.type_id, key=unit.key, metadata=unit.metadata, files=unit.files, detail=unit.detail
    )
