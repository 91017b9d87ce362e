"""What can be queued, with the tags and the reservation of each kind (Pulp 2's tags, word by word)."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Final

from pulpit.clock import Clock
from pulpit.events import HOPS
from pulpit.fire import fire
from pulpit.repositories.exporting import ExportOrder, check_target
from pulpit.repositories.promotion import Promotion, check
from pulpit.store import publications, repositories, tasks
from pulpit.store.database import Transaction
from pulpit.store.tasks import NewTask, Task
from pulpit.tasks.reports import call_report, task_event

SYNC: Final = "pulp.server.managers.repo.sync.sync"
PUBLISH: Final = "pulp.server.managers.repo.publish.publish"
PROMOTE: Final = "pulpit.repositories.promotion.promote"
EXPORT: Final = "pulpit.repositories.exporting.export"
DELETE_REPOSITORY: Final = "pulp.server.tasks.repository.delete"
UPDATE_DISTRIBUTOR: Final = "pulp.server.tasks.repository.distributor_update"
REMOVE_DISTRIBUTOR: Final = "pulp.server.tasks.repository.distributor_delete"
IMPORT_UPLOAD: Final = "pulp.server.managers.content.upload.import_uploaded_unit"
COPY_UNITS: Final = "pulp.server.managers.repo.unit_association.associate_from_repo"
REMOVE_UNITS: Final = "pulp.server.managers.repo.unit_association.unassociate_by_criteria"
REMOVE_ORPHANS: Final = "pulp.server.managers.content.orphan.delete_orphans"

ORPHANS: Final = "pulp:content_unit:orphans"
REPOSITORY_TAG: Final = "pulp:repository:"


def sync(
    tx: Transaction,
    repo_id: str,
    override_config: dict[str, Any] | None,
    *,
    login: str | None,
    clock: Clock,
    schedule_id: str | None = None,
    hops: int = 0,
) -> Task:
    """Queue a sync; `schedule_id` names the schedule whose slot it is, `hops` counts the hooks that led to it.

    Raises:
        MissingResource: the repository or its importer does not exist; nothing is queued and no event fires.
    """
    repositories.importer(tx.connection, repo_id)
    arguments = {"repo_id": repo_id, "override_config": override_config, **_led_by(hops)}
    new = _on_repository(SYNC, arguments, [action_tag("sync")])
    return _add(tx, clock, login, replace(new, schedule_id=schedule_id))


def publish(
    tx: Transaction,
    repo_id: str,
    distributor_id: str,
    override_config: dict[str, Any] | None,
    *,
    login: str | None,
    clock: Clock,
    parent_id: str | None = None,
    schedule_id: str | None = None,
    hops: int = 0,
) -> Task:
    """Queue a publish; `parent_id` names the sync that triggered it; the other arguments are those of `sync`.

    Raises:
        MissingResource: the repository or the distributor does not exist.
    """
    repositories.distributor(tx.connection, repo_id, distributor_id)
    arguments = {
        "repo_id": repo_id,
        "distributor_id": distributor_id,
        "override_config": override_config,
        **_led_by(hops),
    }
    tags = [action_tag("publish")] if parent_id is None else [action_tag("auto_publish"), action_tag("publish")]
    new = replace(_on_repository(PUBLISH, arguments, tags), parent_id=parent_id, schedule_id=schedule_id)
    return _add(tx, clock, login, new)


def promote(tx: Transaction, promotion: Promotion, *, login: str | None, clock: Clock) -> Task:
    """Queue a promotion.

    Raises:
        MissingResource: the repository or the publication does not exist.
        ConflictingOperation: the place belongs to another repository.
    """
    check(tx.connection, promotion)
    arguments = {
        "repo_id": promotion.repo_id,
        "publication": promotion.number,
        "path": promotion.path,
        "protect": promotion.protect,
    }
    tags = [action_tag("promote"), action_tag("publish")]
    return _add(tx, clock, login, _on_repository(PROMOTE, arguments, tags))


def export(tx: Transaction, order: ExportOrder, *, login: str | None, clock: Clock) -> Task:
    """Queue an export.

    Raises:
        MissingResource: the repository or a publication does not exist.
        InvalidValue: it cannot be written there.
    """
    check_target(order.to)
    for number in (order.number, order.since):
        if number is not None:
            publications.get(tx.connection, order.repo_id, number)
    return _add(tx, clock, login, _on_repository(EXPORT, asdict(order), [action_tag("export")]))


def delete_repository(tx: Transaction, repo_id: str, *, login: str | None, clock: Clock) -> Task:
    """Queue the deletion of a repository and of what it published.

    Raises:
        MissingResource: the repository does not exist.
    """
    repositories.get(tx.connection, repo_id)
    return _add(tx, clock, login, _on_repository(DELETE_REPOSITORY, {"repo_id": repo_id}, [action_tag("delete")]))


def update_distributor(
    tx: Transaction, repo_id: str, distributor_id: str, delta: dict[str, Any], *, login: str | None, clock: Clock
) -> Task:
    """Queue a change of a distributor's configuration; `delta` merges, null removes a key.

    Raises:
        MissingResource: the repository or the distributor does not exist.
    """
    repositories.distributor(tx.connection, repo_id, distributor_id)
    tags = [f"pulp:repository_distributor:{distributor_id}", action_tag("update_distributor")]
    arguments = {"repo_id": repo_id, "distributor_id": distributor_id, "delta": delta}
    return _add(tx, clock, login, _on_repository(UPDATE_DISTRIBUTOR, arguments, tags))


def remove_distributor(tx: Transaction, repo_id: str, distributor_id: str, *, login: str | None, clock: Clock) -> Task:
    """Queue the removal of a distributor and of what it published.

    Raises:
        MissingResource: the repository or the distributor does not exist.
    """
    repositories.distributor(tx.connection, repo_id, distributor_id)
    tags = [f"pulp:repository_distributor:{distributor_id}", action_tag("remove_distributor")]
    arguments = {"repo_id": repo_id, "distributor_id": distributor_id}
    return _add(tx, clock, login, _on_repository(REMOVE_DISTRIBUTOR, arguments, tags))


def import_upload(tx: Transaction, repo_id: str, unit: dict[str, Any], *, login: str | None, clock: Clock) -> Task:
    """Queue the import of an uploaded file.

    Args:
        tx: the transaction that creates the task.
        repo_id: the repository that gets the unit.
        unit: `unit_type_id`, `unit_key`, `unit_metadata`, `override_config`, and `path`: the file below the data
            folder, which the task owns from now on and deletes however it ends; `publishes` is true if the
            repository's automatic publishes are to follow, `everywhere` if the user may change every repository.
        login: the user who asked.
        clock: gives the time.

    Raises:
        MissingResource: the repository or its importer does not exist.
    """
    repositories.importer(tx.connection, repo_id)
    return _add(
        tx, clock, login, _on_repository(IMPORT_UPLOAD, {"repo_id": repo_id, **unit}, [action_tag("import_upload")])
    )


def copy_units(
    tx: Transaction,
    repo_id: str,
    source_repo_id: str,
    unit_ids: Sequence[str],
    override_config: dict[str, Any] | None,
    *,
    login: str | None,
    clock: Clock,
) -> Task:
    """Queue the copying of selected units into a repository.

    Raises:
        MissingResource: one of the repositories does not exist.
    """
    repositories.get(tx.connection, repo_id)
    repositories.get(tx.connection, source_repo_id)
    arguments = {
        "repo_id": repo_id,
        "source_repo_id": source_repo_id,
        "unit_ids": list(unit_ids),
        "override_config": override_config,
    }
    tags = [repository_tag(source_repo_id), action_tag("associate")]
    return _add(tx, clock, login, _on_repository(COPY_UNITS, arguments, tags))


def remove_units(tx: Transaction, repo_id: str, unit_ids: Sequence[str], *, login: str | None, clock: Clock) -> Task:
    """Queue the removal of selected units from a repository.

    Raises:
        MissingResource: the repository does not exist.
    """
    repositories.get(tx.connection, repo_id)
    arguments = {"repo_id": repo_id, "unit_ids": list(unit_ids)}
    return _add(tx, clock, login, _on_repository(REMOVE_UNITS, arguments, [action_tag("unassociate")]))


def remove_orphans(
    tx: Transaction, type_id: str | None, unit_ids: Sequence[str] | None, *, login: str | None, clock: Clock
) -> Task:
    """Queue the removal of units that no repository holds: all, those of one type, or some of one type."""
    arguments = {"type_id": type_id, "unit_id": unit_ids}
    new = NewTask(
        task_type=REMOVE_ORPHANS, arguments=arguments, tags=[ORPHANS], resource=ORPHANS, principal_login=login
    )
    return tasks.add(tx, new, now=clock())


def repository_tag(repo_id: str) -> str:
    """Return the tag of every task on a repository, which is also the resource that such tasks reserve."""
    return f"{REPOSITORY_TAG}{repo_id}"


def action_tag(action: str) -> str:
    """Return the tag of every task with this action."""
    return f"pulp:action:{action}"


def cancel(tx: Transaction, task_id: str, *, clock: Clock) -> None:
    """Cancel a waiting task at once, ask the worker of a running one to stop, leave an ended one as it is.

    Raises:
        MissingResource: there is no such task.
    """
    before = tasks.get(tx.connection, task_id)
    tasks.cancel(tx, task_id, now=clock())
    after = tasks.get(tx.connection, task_id)
    if after.state != before.state:
        announce(tx, after, clock)


def announce(tx: Transaction, task: Task, clock: Clock) -> None:
    """Fire the event for a task's new state."""
    fire(tx, f"tasks.{task.state}", task_event(task), clock=clock, call_report=call_report(task))


def _add(tx: Transaction, clock: Clock, login: str | None, new: NewTask) -> Task:
    task = tasks.add(tx, replace(new, principal_login=login), now=clock())
    announce(tx, task, clock)
    return task


def _led_by(hops: int) -> dict[str, Any]:
    return {HOPS: hops} if hops else {}


def _on_repository(task_type: str, arguments: dict[str, Any], tags: list[str]) -> NewTask:
    """Return a task that reserves the repository it works on."""
    repository = repository_tag(arguments["repo_id"])
    return NewTask(task_type=task_type, arguments=arguments, tags=[repository, *tags], resource=repository)
