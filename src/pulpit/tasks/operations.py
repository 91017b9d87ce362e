"""What each kind of task does: a table maps kinds to functions, and each returns a `Completion`."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from pulpit.errors import MissingResource
from pulpit.events import HOPS, PUBLISH_START, REPO_DELETE, REPO_UPDATE, SYNC_START
from pulpit.fire import fire
from pulpit.repositories.concurrency import in_stoppable_thread, in_thread
from pulpit.repositories.context import TaskContext
from pulpit.repositories.copies import copy_units, remove_units
from pulpit.repositories.exporting import ExportOrder, export
from pulpit.repositories.orphans import remove_orphans
from pulpit.repositories.promotion import Promotion, check, promote, summary_of
from pulpit.repositories.publish import PublishOutcome, publish
from pulpit.repositories.sync import SyncOutcome, sync
from pulpit.repositories.uploads import handed_over, import_file
from pulpit.store import history, publications, repositories, tasks
from pulpit.store.database import Transaction
from pulpit.store.history import Ending
from pulpit.store.repositories import Distributor
from pulpit.store.tasks import Task
from pulpit.store.units import Unit
from pulpit.tasks import queue
from pulpit.tasks.completion import Completion, error_report
from pulpit.tasks.reports import call_report, hops_of, promotion_of

MOST_CAUSES: Final = 20
"""Sub-errors of one task error; the details have them all."""
_PRINTED: Final = {"python_package": ("name", "version")}


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """A running task and its dependencies."""

    task: Task
    context: TaskContext
    report: Callable[[dict[str, Any]], None]
    """Called with the whole progress report whenever it has changed."""


Operation = Callable[[Work], Awaitable[Completion]]


async def run_sync(work: Work) -> Completion:
    """Sync a repository from its feed; if it succeeds, queue its automatic publishes."""
    arguments = work.task.arguments
    await in_thread(_begin_sync, work)  # not abandoned when cancelled, or the finish would precede the start
    outcome = await sync(work.context, arguments["repo_id"], arguments["override_config"], work.report)
    ending = Ending(
        result=outcome.result,
        added_count=outcome.added_count,
        updated_count=outcome.updated_count,
        removed_count=outcome.removed_count,
        summary=outcome.summary,
        details=outcome.details,
        error_message=outcome.error_message,
    )
    return _completion(outcome, ending, lambda tx, task: _queue_auto_publishes(tx, task, work.context))


async def run_publish(work: Work) -> Completion:
    """Publish a repository by one of its distributors."""
    arguments = work.task.arguments
    await in_thread(_begin_publish, work)
    outcome = await publish(
        work.context, arguments["repo_id"], arguments["distributor_id"], arguments["override_config"], work.report
    )
    ending = Ending(
        result=outcome.result,
        summary=outcome.summary,
        details=outcome.details,
        error_message=outcome.error_message,
    )
    return replace(_completion(outcome, ending, None), show=outcome.show)


async def run_promotion(work: Work) -> Completion:
    """Let a place show a publication."""
    promotion = promotion_of(work.task)
    await in_thread(_begin_promotion, work, promotion)
    show = await in_thread(promote, work.context, promotion)
    ending = Ending(result="success", details=summary_of(promotion))
    return Completion(state=tasks.FINISHED, ending=ending, show=show)


async def run_export(work: Work) -> Completion:
    """Write a publication as a plain tree or a tar below the export folder."""
    order = ExportOrder(**work.task.arguments)
    said = await in_stoppable_thread(lambda stop: export(work.context, order, stop))
    return Completion(state=tasks.FINISHED, result=said)


async def delete_repository(work: Work) -> Completion:
    """Remove what a repository published, then the repository."""
    repo_id = work.task.arguments["repo_id"]
    with work.context.database.write() as tx:
        repositories.remove(tx, repo_id)
        fire(tx, REPO_DELETE, {"repo_id": repo_id}, clock=work.context.clock, call_report=call_report(work.task))
    return Completion(state=tasks.FINISHED)


async def update_distributor(work: Work) -> Completion:
    """Merge a change into a distributor's configuration."""
    arguments = work.task.arguments
    repo_id, distributor_id = arguments["repo_id"], arguments["distributor_id"]
    with work.context.database.write() as tx:
        current = repositories.distributor(tx.connection, repo_id, distributor_id)
        config = merged(current.config, arguments["delta"])
        now = work.context.clock()
        repositories.change_distributor(tx, repo_id, distributor_id, config=config, last_updated=now)
        payload = {"repo_id": repo_id, "changed": [f"distributors.{distributor_id}"]}
        fire(tx, REPO_UPDATE, payload, clock=work.context.clock, call_report=call_report(work.task))
    return Completion(state=tasks.FINISHED)


async def remove_distributor(work: Work) -> Completion:
    """Remove what a distributor published, then the distributor."""
    repo_id, distributor_id = work.task.arguments["repo_id"], work.task.arguments["distributor_id"]
    with suppress(MissingResource), work.context.database.write() as tx:
        repositories.remove_distributor(tx, repo_id, distributor_id)
    return Completion(state=tasks.FINISHED)


async def import_upload(work: Work) -> Completion:
    """Create a unit from an uploaded file, which the task owns and deletes; publish it if requested."""
    arguments = work.task.arguments
    key, metadata = arguments["unit_key"], arguments["unit_metadata"]
    with handed_over(work.context, arguments["path"]) as path:
        await in_thread(
            import_file,
            work.context,
            arguments["repo_id"],
            arguments["unit_type_id"],
            key,
            metadata,
            path,
            everywhere=arguments.get("everywhere", False),
        )
    result = {"success_flag": True, "summary": "", "details": {}}
    if not arguments.get("publishes"):
        return Completion(state=tasks.FINISHED, result=result)
    follow_ups = partial(_queue_auto_publishes, context=work.context)
    return Completion(state=tasks.FINISHED, result=result, follow_ups=follow_ups)


async def copy_chosen_units(work: Work) -> Completion:
    """Add units of another repository to a repository."""
    arguments, wanted = work.task.arguments, frozenset(work.task.arguments["unit_ids"])
    source_id, target_id = arguments["source_repo_id"], arguments["repo_id"]
    options = arguments.get("override_config") or {}
    copied = await in_thread(
        copy_units, work.context, source_id, target_id, None, lambda held: held.unit.id in wanted, options
    )
    return Completion(state=tasks.FINISHED, result=successful(target_id, copied))


async def remove_chosen_units(work: Work) -> Completion:
    """Remove units from a repository."""
    wanted = frozenset(work.task.arguments["unit_ids"])
    repo_id = work.task.arguments["repo_id"]
    removed = await in_thread(remove_units, work.context, repo_id, None, lambda held: held.unit.id in wanted)
    return Completion(state=tasks.FINISHED, result=successful(repo_id, removed))


async def remove_unheld_units(work: Work) -> Completion:
    """Remove orphans; the result counts them, by type unless only one type was asked for."""
    type_id, unit_ids = work.task.arguments["type_id"], work.task.arguments["unit_id"]
    if isinstance(unit_ids, str):  # a task that was queued by an older version
        unit_ids = [unit_ids]
    removed = await remove_orphans(work.context, type_id, unit_ids)
    of_one_type = type_id is not None and unit_ids is None
    return Completion(state=tasks.FINISHED, result=sum(removed.values()) if of_one_type else removed)


def successful(repo_id: str, found: Sequence[Unit]) -> dict[str, Any]:
    """Return Pulp 2's result of copies and removals."""
    entries = []
    for unit in found:
        # The unit's key, and those fields that Pulp 2's clients print and that were part of the key there.
        key = {name: unit.metadata[name] for name in _PRINTED.get(unit.type_id, ()) if name in unit.metadata}
        key |= unit.key
        if "repo_id" in unit.key:
            key["repo_id"] = repo_id
        entries.append({"type_id": unit.type_id, "unit_key": key})
    return {"units_successful": entries}


def merged(config: Mapping[str, Any], delta: Mapping[str, Any]) -> dict[str, Any]:
    """Apply Pulp 2's delta: given keys overwrite, null removes, absent keys stay."""
    both = {**config, **delta}
    return {key: value for key, value in both.items() if value is not None}


def _begin_sync(work: Work) -> None:
    repo_id, now = work.task.arguments["repo_id"], work.context.clock()
    with work.context.database.write() as tx:
        importer = repositories.importer(tx.connection, repo_id)
        _open_record(tx, work, history.SYNC, importer.id, importer.importer_type_id)
        report = call_report(work.task)
        fire(tx, SYNC_START, {"repo_id": repo_id} | hops_of(work.task), clock=lambda: now, call_report=report)


def _begin_publish(work: Work) -> None:
    repo_id, distributor_id = work.task.arguments["repo_id"], work.task.arguments["distributor_id"]
    payload = {"repo_id": repo_id, "distributor_id": distributor_id} | hops_of(work.task)
    with work.context.database.write() as tx:
        distributor = repositories.distributor(tx.connection, repo_id, distributor_id)
        _open_record(tx, work, history.PUBLISH, distributor.id, distributor.distributor_type_id)
        fire(tx, PUBLISH_START, payload, clock=work.context.clock, call_report=call_report(work.task))


def _begin_promotion(work: Work, promotion: Promotion) -> None:
    with work.context.database.write() as tx:
        publication = check(tx.connection, promotion)
        distributor = repositories.distributor(tx.connection, promotion.repo_id, publication.distributor_id)
        _open_record(tx, work, history.PUBLISH, distributor.id, distributor.distributor_type_id)
        payload = {"repo_id": promotion.repo_id, "distributor_id": distributor.id, **summary_of(promotion)}
        fire(tx, PUBLISH_START, payload, clock=work.context.clock, call_report=call_report(work.task))


def _open_record(tx: Transaction, work: Work, kind: str, plugin_id: str, plugin_type_id: str) -> None:
    history.begin(
        tx,
        kind,
        repo_id=work.task.arguments["repo_id"],
        plugin_id=plugin_id,
        plugin_type_id=plugin_type_id,
        task_id=work.task.id,
        now=work.context.clock(),
    )


def _completion(
    outcome: SyncOutcome | PublishOutcome,
    ending: Ending,
    follow_ups: Callable[[Transaction, Task], Sequence[Task]] | None,
) -> Completion:
    if outcome.result != "failed":
        return Completion(state=tasks.FINISHED, ending=ending, follow_ups=follow_ups)
    sentence = outcome.error_message or "It failed."
    errors = outcome.details.get("errors", ()) if isinstance(outcome.details, dict) else ()
    texts = dict.fromkeys(cause["error"] for cause in errors)
    causes = [text for text in texts if text not in sentence][:MOST_CAUSES]  # clients print both
    return Completion(state=tasks.ERROR, ending=ending, error=error_report(sentence, causes=causes))


def _queue_auto_publishes(tx: Transaction, task: Task, context: TaskContext) -> Sequence[Task]:
    repo_id = task.arguments["repo_id"]
    return [
        queue.publish(
            tx,
            repo_id,
            distributor.id,
            None,
            login=task.principal_login,
            clock=context.clock,
            parent_id=task.id,
            hops=task.arguments.get(HOPS, 0),
        )
        for distributor in repositories.distributors_of(tx.connection, repo_id)
        if distributor.auto_publish
        and context.publishes(distributor.distributor_type_id)
        and not _is_held(tx, repo_id, distributor, context)
    ]


def _is_held(tx: Transaction, repo_id: str, distributor: Distributor, context: TaskContext) -> bool:
    """Whether only promotions may change the place of a distributor; then no publish is queued."""
    content_type = context.content_type(distributor.distributor_type_id)
    path = f"{content_type.published_under}/{content_type.relative_url(repo_id, distributor.config)}"
    place = publications.place(tx.connection, path)
    return place is not None and place.only_promoted


OPERATIONS: Final[Mapping[str, Operation]] = {
    queue.SYNC: run_sync,
    queue.PUBLISH: run_publish,
    queue.PROMOTE: run_promotion,
    queue.EXPORT: run_export,
    queue.DELETE_REPOSITORY: delete_repository,
    queue.UPDATE_DISTRIBUTOR: update_distributor,
    queue.REMOVE_DISTRIBUTOR: remove_distributor,
    queue.IMPORT_UPLOAD: import_upload,
    queue.COPY_UNITS: copy_chosen_units,
    queue.REMOVE_UNITS: remove_chosen_units,
    queue.REMOVE_ORPHANS: remove_unheld_units,
}
