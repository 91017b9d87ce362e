"""How tasks end: the final state, the history record, the finish event and the follow-up tasks, in one transaction.

Every task is ended here, by the worker that ran it or by the server that found the worker dead. The task must still be
running at that worker, and a history record can be closed only once: a start has exactly one finish, whatever crashes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pulpit.clock import Clock
from pulpit.errors import PulpitError, WorkFailed
from pulpit.events import CONTENT_UPDATE, MOST_CHANGES, PUBLISH_FINISH, SYNC_FINISH
from pulpit.fire import fire
from pulpit.repositories.differences import Show
from pulpit.repositories.promotion import summary_of
from pulpit.store import changes, event_log, history, tasks
from pulpit.store.database import Database, Transaction
from pulpit.store.history import Ending
from pulpit.store.tasks import EndedTask, Task
from pulpit.tasks import queue
from pulpit.tasks.queue import announce
from pulpit.tasks.reports import call_report, changes_report, history_report, hops_of, promotion_of
from pulpit.tasks.schedules import note_end

FINISH_EVENTS: Final = {history.SYNC: SYNC_FINISH, history.PUBLISH: PUBLISH_FINISH}

UPDATES: Final = {queue.IMPORT_UPLOAD: "upload", queue.COPY_UNITS: "copy", queue.REMOVE_UNITS: "remove"}
"""The `action` in `repo.content.update` for tasks that changed a repository and are not a sync."""

_NOTHING_SHOWN: Final[Mapping[str, Any]] = {}

FollowUps = Callable[[Transaction, Task], Sequence[Task]]
"""Queues what must follow a task, in the transaction that ends it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """The result of a task."""

    state: str
    ending: Ending | None = None
    """For the history record that the task opened, if any."""
    result: Any = None
    error: dict[str, Any] | None = None
    progress_report: dict[str, Any] | None = None
    follow_ups: FollowUps | None = None
    show: Show | None = None
    """The last step of the work itself; if it raises `WorkFailed`, the task has failed."""


class _NotMineAnymoreError(Exception):
    """Another process has ended the task; nothing of this ending may be written."""


def end(
    database: Database, task: Task, completion: Completion, clock: Clock, *, most_changes: int = MOST_CHANGES
) -> bool:
    """End a task that runs at `task.worker_name`; false and no change if it was ended before.

    `most_changes` is the number of changed units that its event lists.
    """
    try:
        with database.write() as tx:
            _end(tx, task, completion, clock, most_changes)
    except _NotMineAnymoreError:
        return False
    except WorkFailed as error:
        if completion.show is None:
            raise
        return end(database, task, _failed_at_last(completion, str(error)), clock, most_changes=most_changes)
    return True


def _failed_at_last(completion: Completion, sentence: str) -> Completion:
    """Turn the completion of a task that failed in its last step, `show`, into a failure."""
    ending = replace(completion.ending, result="failed", error_message=sentence) if completion.ending else None
    return replace(
        completion, state=tasks.ERROR, ending=ending, error=error_report(sentence), follow_ups=None, show=None
    )


def _end(tx: Transaction, task: Task, completion: Completion, clock: Clock, most_changes: int) -> None:
    ended = EndedTask(
        state=completion.state,
        progress_report=completion.progress_report,
        result=completion.result,
        error=completion.error,
    )
    final = tasks.end(tx, task.id, task.worker_name or "", ended, now=clock())
    if final is None:
        raise _NotMineAnymoreError
    shown = completion.show(tx) if completion.show else _NOTHING_SHOWN
    event_log.lock(tx)  # locks in order: the task's row, the log, a schedule's row
    followers = completion.follow_ups(tx, task) if completion.follow_ups else ()
    if followers:
        final = tasks.amend(tx, task.id, spawned=[follower.id for follower in followers])
    _close_records(tx, final, completion.ending, clock, most_changes, shown)
    _tell_of_updates(tx, final, clock, most_changes)
    note_end(tx, final, clock)
    announce(tx, final, clock)


def _close_records(  # noqa: PLR0917 - the parts of an ending
    tx: Transaction,
    final: Task,
    ending: Ending | None,
    clock: Clock,
    most_changes: int = MOST_CHANGES,
    shown: Mapping[str, Any] = _NOTHING_SHOWN,
) -> None:
    """Close the records that the task opened, firing a finish for each; `shown` describes the changes of a publish."""
    for record in history.open_records(tx.connection, final.id):
        closed = history.close(tx, record.id, ending or Ending(result="error"), now=final.finish_time or clock())
        if closed:
            report = history_report(closed)
            if final.task_type == queue.PROMOTE:
                report |= summary_of(promotion_of(final))
            made = changes.untold(tx.connection, final.id).get(closed.repo_id)
            told = report | {"changes": {**changes_report(tx.connection, made, most_changes), **shown}} | hops_of(final)
            event = fire(tx, FINISH_EVENTS[closed.kind], told, clock=clock, call_report=call_report(final))
            if made:
                changes.tell(tx, made.id, event.number)
            if final.state != tasks.ERROR:  # beside an error Pulp 2's client prints a result's message
                tasks.amend(tx, final.id, result=report)


def _tell_of_updates(tx: Transaction, final: Task, clock: Clock, most_changes: int) -> None:
    """Fire the content changes of uploads, copies and removals, even if the rest of the task failed."""
    for made in changes.untold(tx.connection, final.id).values():
        action = UPDATES.get(final.task_type, final.task_type)
        told = changes_report(tx.connection, made, most_changes)
        payload = {"repo_id": made.repo_id, "action": action, "changes": told}
        event = fire(tx, CONTENT_UPDATE, payload, clock=clock, call_report=call_report(final))
        changes.tell(tx, made.id, event.number)


def close_forgotten(database: Database, task_id: str, clock: Clock) -> None:
    """Repair records that an ended task left open, which should never happen.

    Raises:
        MissingResource: the task does not exist any more.
    """
    with database.write() as tx:
        _close_records(tx, tasks.get(tx.connection, task_id), None, clock)


def canceled(reason: str) -> Completion:
    """Return the completion of a task that was cancelled."""
    return Completion(
        state=tasks.CANCELED, ending=Ending(result="canceled", error_message=reason), error=error_report(reason)
    )


def lost(task: Task, reason: str) -> Completion:
    """Return the completion of a task whose worker is gone."""
    if task.cancel_requested:
        return canceled(reason)
    return Completion(
        state=tasks.ERROR, ending=Ending(result="error", error_message=reason), error=error_report(reason)
    )


def failed(error: Exception, trace: Sequence[str]) -> Completion:
    """Return the completion of a task that raised.

    Only unexpected errors carry a traceback, for the log and the record.
    """
    foreseen = isinstance(error, PulpitError)
    sentence = str(error) if foreseen else f"Internal error: {type(error).__name__}: {error}"
    ending = Ending(
        result="error",
        error_message=sentence,
        exception=repr(error),
        traceback=None if foreseen else list(trace),
    )
    code = error.code if isinstance(error, PulpitError) else PulpitError.code
    data = dict(error.data) if isinstance(error, PulpitError) else {}
    return Completion(state=tasks.ERROR, ending=ending, error=error_report(sentence, code=code, data=data))


def error_report(
    description: str, *, code: str = PulpitError.code, data: dict[str, Any] | None = None, causes: Sequence[str] = ()
) -> dict[str, Any]:
    """Write an error as task reports and REST responses contain it; clients list the causes below it."""
    sub_errors = [error_report(cause) for cause in causes]
    return {"code": code, "description": description, "data": data or {}, "sub_errors": sub_errors}
