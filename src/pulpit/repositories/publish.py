"""Publish: lay out a repository's content beside what readers see, then switch over at once."""

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, Final, Literal

from sqlalchemy import Connection

from pulpit.clock import iso_micro
from pulpit.content import access
from pulpit.content.port import Config, ContentType, Phase, Progress, StoredUnit
from pulpit.errors import InvalidValue, MissingResource, PulpitError, WorkFailed
from pulpit.repositories.concurrency import in_stoppable_thread, in_thread
from pulpit.repositories.context import TaskContext
from pulpit.repositories.tree import NewTree, Shelf, go_on
from pulpit.storage.disk import disk_errors
from pulpit.store import repositories, units
from pulpit.store.repositories import Distributor
from pulpit.store.units import Held

Report = Callable[[dict[str, Any]], None]

_REPORT_EVERY: Final = 0.5  # seconds
_NO_CONTENT: Final = frozenset({"force_full"})


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishOutcome:
    """How a publish ended; `skipped` if the published tree is up to date."""

    result: Literal["success", "failed", "skipped"]
    summary: dict[str, Any] | None
    details: dict[str, Any] | None
    error_message: str | None


async def publish(
    context: TaskContext, repo_id: str, distributor_id: str, override_config: dict[str, Any] | None, report: Report
) -> PublishOutcome:
    """Publish a repository; the last `report` comes right before the return.

    Raises:
        MissingResource: the repository or the distributor does not exist.
    """
    distributor = await in_thread(_distributor, context, repo_id, distributor_id)
    config = {**distributor.config, **(override_config or {})}
    run = _Run(context, distributor, config, report)
    try:
        run.refuse_what_publishes_nothing()
        if await in_thread(run.is_up_to_date):
            return PublishOutcome(result="skipped", summary=None, details=None, error_message=None)
        run.enter(Phase.CONTENT)
        await in_stoppable_thread(run.everything)
    except asyncio.CancelledError:
        run.enter(Phase.CANCELLED)
        raise
    except PulpitError as error:
        return run.failed(str(error))
    return run.succeeded()


async def unpublish(context: TaskContext, repo_id: str, distributor_id: str) -> None:
    """Take away what a distributor published; nothing happens if it does not exist."""
    with suppress(MissingResource):
        distributor = await in_thread(_distributor, context, repo_id, distributor_id)
        await in_thread(_Run(context, distributor, distributor.config, lambda _: None).undo)


def check_place(
    connection: Connection, content_type: ContentType, repo_id: str, distributor: tuple[str, str], config: Config
) -> None:
    """Refuse the configuration of a distributor (type, id) that would publish where another does, or in or around it.

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
        self._storage: Final = context.storage
        self._shelf: Final = Shelf(context.data_dir, distributor.object_id)
        self._progress: Final = Progress(clock=context.clock)
        self._said_at = time.monotonic()

    def refuse_what_publishes_nothing(self) -> None:
        """Return if the distributor lays out trees.

        Raises:
            WorkFailed: it does not.
        """
        if not self._context.publishes(self._distributor.distributor_type_id):
            raise WorkFailed(
                f"The distributor {self._distributor.id} publishes nothing and is there for clients that create it. "
                f"Publish a distributor of type {self._type.distributor_type_ids[0]}."
            )

    def is_up_to_date(self) -> bool:
        """Whether readers see what they should."""
        self._type.check_distributor_config(self._config)
        before = (self._distributor.scratchpad or {}).get("published")
        if before is None or self._config.get("force_full"):
            return False
        tree = self._shelf.shown_at(before["place"])
        with self._database.read() as connection:
            same = before["place"] == self._place() and before["state"] == self._state(connection)
        return same and tree is not None and tree.name == before["tree"]

    def everything(self, stop: Event) -> None:
        """Build a tree and show it."""
        place, before = self._place(), self._before()
        visible = self._shelf.shown_at(before or place)
        self._shelf.sweep(visible)  # whatever a killed publish left was put right before this one could begin
        with disk_errors("The published tree"):
            tree = self._shelf.new()
            try:
                state = self._build(tree, stop)
                self._shelf.flush()
                go_on(stop)
                self._switch(tree, place, before, state)
            except BaseException:
                self._shelf.sweep(self._shelf.shown_at(place), visible)
                raise
        self._shelf.sweep(tree, visible)

    def _build(self, tree: Path, stop: Event) -> dict[str, Any]:
        """Lay out one snapshot of the content, and answer what it is a snapshot of."""
        with self._database.read() as connection:
            state = self._state(connection)
            content = HeldContent(connection, self._distributor.repo_id, self._counted)
            self._progress.totals = dict(content.counts)
            self._progress.units_total = sum(content.counts.values())
            new = NewTree(tree, self._storage, stop)
            self._type.publish(content, new, self._config)
        new.finish()
        return state

    def _switch(self, tree: Path, place: str, before: str | None, state: dict[str, Any]) -> None:
        """Write down and show the tree in one transaction; of a broken one `recovery` believes what was committed."""
        published = {"place": place, "tree": tree.name, "state": state}
        scratchpad = {**(self._distributor.scratchpad or {}), "published": published}
        now = self._context.clock()
        with self._database.write() as tx:
            which = (self._distributor.repo_id, self._distributor.id)
            repositories.change_distributor(tx, *which, last_publish=now, scratchpad=scratchpad)
            self._shelf.show(tree, place)
            if before not in (None, place):
                self._shelf.hide(before)

    def undo(self) -> None:
        """Show nothing, and keep no tree."""
        with self._database.write() as tx:
            scratchpad = {**(self._distributor.scratchpad or {}), "published": None}
            which = (self._distributor.repo_id, self._distributor.id)
            repositories.change_distributor(tx, *which, scratchpad=scratchpad)
            for place in {self._before() or self._place(), self._place()}:
                self._shelf.hide(place)
        self._shelf.remove()

    def enter(self, phase: Phase) -> None:
        """Go on to a phase and say so."""
        self._progress.enter(phase)
        self._say()

    def succeeded(self) -> PublishOutcome:
        """End as success."""
        self.enter(Phase.COMPLETE)
        return PublishOutcome(result="success", summary=self._summary(), details=None, error_message=None)

    def failed(self, sentence: str) -> PublishOutcome:
        """End as failed."""
        self._progress.error_message = sentence
        self.enter(Phase.CONTENT_FAILED)
        return PublishOutcome(result="failed", summary=self._summary(), details=None, error_message=sentence)

    def _counted(self, held: Iterator[Held]) -> Iterator[StoredUnit]:
        for one in held:
            yield stored(one)
            self._progress.unit_done(one.unit.type_id)
            now = time.monotonic()
            if now - self._said_at >= _REPORT_EVERY:
                self._said_at = now
                self._say()

    def _place(self) -> str:
        """Where readers come by, beneath the folder of everything published."""
        return f"{self._type.published_under}/{self._type.relative_url(self._distributor.repo_id, self._config)}"

    def _before(self) -> str | None:
        """Where they came by until now."""
        published = (self._distributor.scratchpad or {}).get("published")
        return published["place"] if published else None

    def _state(self, connection: Connection) -> dict[str, Any]:
        """What a published tree depends on."""
        repository = repositories.get(connection, self._distributor.repo_id)
        relevant = {key: value for key, value in self._config.items() if key not in _NO_CONTENT and value is not None}
        digest = hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()
        changes = (repository.last_unit_added, repository.last_unit_removed)
        state = {"config": digest, "changes": [moment and iso_micro(moment) for moment in changes]}
        signed_by = self._type.signed_by(self._config)
        return state | ({"signed_by": signed_by} if signed_by else {})

    def _summary(self) -> dict[str, Any] | None:
        return summary_of(self._type.publish_report(self._progress))

    def _say(self) -> None:
        self._report({self._distributor.id: self._type.publish_report(self._progress)})


def summary_of(report: Any) -> dict[str, Any]:
    """A report as history and events carry it: an object."""
    return report if isinstance(report, dict) else {"steps": report}


class HeldContent:
    """What a repository holds; it is the `Content` of the port."""

    def __init__(
        self,
        connection: Connection,
        repo_id: str,
        counted: Callable[[Iterator[Held]], Iterator[StoredUnit]] = lambda every: map(stored, every),
    ) -> None:
        self._connection: Final = connection
        self._repo_id: Final = repo_id
        self._counted: Final = counted
        self.counts: Final[Mapping[str, int]] = repositories.unit_counts(connection, repo_id).get(repo_id, {})

    def of(self, *type_ids: str) -> Iterator[StoredUnit]:
        """The units of these types."""
        for type_id in type_ids:
            yield from self._counted(units.held(self._connection, self._repo_id, [type_id], with_detail=True))


def stored(held: Held) -> StoredUnit:
    """A unit out of the tables as content types know it."""
    unit = held.unit
    return StoredUnit(
        id=unit.id, type_id=unit.type_id, key=unit.key, metadata=unit.metadata, files=unit.files, detail=unit.detail
    )
