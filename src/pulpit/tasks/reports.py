"""Reports about tasks and their history: the documents of Pulp 2's API and the parts of an event."""

from typing import Any, Final

from sqlalchemy import Connection

from pulpit.clock import iso
from pulpit.events import HOPS
from pulpit.repositories.promotion import Promotion
from pulpit.store import changes, history
from pulpit.store.changes import ChangeSet, Counts, UnitChange
from pulpit.store.history import Record
from pulpit.store.tasks import Task

API: Final = "/pulp/api/v2"
_NAMESPACES: Final = {history.SYNC: "repo_sync_results", history.PUBLISH: "repo_publish_results"}
_PLUGIN_WORD: Final = {history.SYNC: "importer", history.PUBLISH: "distributor"}
_COUNTS: Final = ("added_count", "updated_count", "removed_count")


def task_report(task: Task) -> dict[str, Any]:
    """Write a task as `GET /pulp/api/v2/tasks/<id>/` returns it in the last releases of Pulp 2."""
    return {
        "_href": f"{API}/tasks/{task.id}/",
        "task_id": task.id,
        "task_type": task.task_type,
        "state": task.state,
        "tags": task.tags,
        "worker_name": task.worker_name,
        "queue": f"{task.worker_name}.dq" if task.worker_name else None,
        "start_time": iso(task.start_time),
        "finish_time": iso(task.finish_time),
        "progress_report": task.progress_report,
        "result": task.result,
        "error": task.error,
        "exception": None,
        "traceback": None,
        "spawned_tasks": [spawned_task(task_id) for task_id in task.spawned],
        "id": task.object_id,
        "_id": {"$oid": task.object_id},
        "_ns": "task_status",
    }


def spawned_task(task_id: str) -> dict[str, str]:
    """Write a reference to another task."""
    return {"_href": f"{API}/tasks/{task_id}/", "task_id": task_id}


def accepted(*tasks: Task) -> dict[str, Any]:
    """Write the body of a 202: what was queued."""
    return {"result": None, "error": None, "spawned_tasks": [spawned_task(task.id) for task in tasks]}


def hops_of(task: Task) -> dict[str, Any]:
    """Return what a task's events say about the hooks that led to it: nothing if there were none."""
    return {HOPS: task.arguments[HOPS]} if HOPS in task.arguments else {}


def call_report(task: Task) -> dict[str, Any]:
    """Write the third key of an event: the task report, plus the key names of early Pulp 2.

    Consumers of either era find their keys: `progress`, `principal_login`, `call_request_id` and the like are those of
    2012, the others those of the last releases.
    """
    return task_report(task) | {
        "call_request_id": task.id,
        "call_request_group_id": None,
        "call_request_tags": task.tags,
        "task_group_id": None,
        "schedule_id": task.schedule_id,
        "principal_login": task.principal_login,
        "response": "accepted",
        "reasons": [],
        "progress": task.progress_report,
        "dependency_failures": {},
    }


def task_event(task: Task) -> dict[str, Any]:
    """Write the payload of an event about a task's state."""
    return {
        "task_id": task.id,
        "task_type": task.task_type,
        "state": task.state,
        "tags": task.tags,
        "repo_id": task.arguments.get("repo_id"),
    }


def changes_report(connection: Connection, made: ChangeSet | None, most: int) -> dict[str, Any]:
    """Write what an event says about changes: how many there are, and the first `most` of them."""
    counts = made.counts if made else Counts()
    first = changes.first_of(connection, made.id, most) if made else []
    return {
        "added": counts.added,
        "removed": counts.removed,
        "replaced": counts.replaced,
        "truncated": counts.total > len(first),
        "units": [change_document(change) for change in first],
    }


def change_document(change: UnitChange) -> dict[str, Any]:
    """Write one change as events and the API do."""
    document = {"change": str(change.change), **change.unit}
    return document | {"before": change.before} if change.before else document


def promotion_of(task: Task) -> Promotion:
    """Return the promotion that a task carries out."""
    arguments = task.arguments
    return Promotion(
        repo_id=arguments["repo_id"],
        number=arguments["publication"],
        path=arguments["path"],
        protect=arguments["protect"],
    )


def history_report(record: Record) -> dict[str, Any]:
    """Write a history record as the API lists it, as a task's result and as the payload of a finish event."""
    word = _PLUGIN_WORD[record.kind]
    report: dict[str, Any] = {
        "repo_id": record.repo_id,
        f"{word}_id": record.plugin_id,
        f"{word}_type_id": record.plugin_type_id,
        "started": iso(record.started),
        "completed": iso(record.completed),
        "result": record.result,
        "summary": record.summary,
        "details": record.details,
        "error_message": record.error_message,
        "exception": record.exception,
        "traceback": record.traceback,
        "id": record.id,
        "_ns": _NAMESPACES[record.kind],
    }
    if record.kind == history.SYNC:
        report |= {name: getattr(record, name) for name in _COUNTS}
    return report
