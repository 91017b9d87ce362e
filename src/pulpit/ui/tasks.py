"""Tasks: waiting, running and ended ones, their progress and errors, and cancelling."""

from itertools import islice
from typing import Final

from starlette.responses import Response

from pulpit.admin import progress
from pulpit.api.v2 import tasks as v2
from pulpit.store import tasks
from pulpit.store.tasks import Task
from pulpit.tasks.reports import task_report
from pulpit.ui.now import bar
from pulpit.ui.visits import Visit, done

PAGE: Final = 50
MOST_PAGES: Final = 200
"""Older tasks are found by their state or repository."""
SPAWNED: Final = 50


def show_all(visit: Visit) -> Response:
    """Show a page of tasks, the newest first."""
    state, repo_id = visit.asked("state"), visit.asked("repo")
    page = min(visit.page_number, MOST_PAGES)
    states = [state] if state in tasks.STATES else None
    tags = [f"pulp:repository:{repo_id}"] if repo_id else []
    with visit.services.database.read() as connection:
        found = tasks.each(connection, states=states, tags=tags, newest_first=True)
        shown = list(islice(found, (page - 1) * PAGE, page * PAGE + 1))
        counts = tasks.counts(connection)
    asked = {"state": state if states else "", "repo": repo_id}
    return visit.page(
        "tasks.html",
        title="Tasks",
        items=[(task, title(task), bar(task)) for task in shown[:PAGE]],
        counts=[(word, counts[word]) for word in tasks.STATES],
        asked=asked,
        **visit.neighbours(page, asked, is_last=len(shown) <= PAGE or page == MOST_PAGES),
    )


def show(visit: Visit) -> Response:
    with visit.services.database.read() as connection:
        task = tasks.get(connection, visit.path("id"))
        spawned = [tasks.find(connection, task_id) for task_id in task.spawned[:SPAWNED]]
    return visit.page(
        "task.html",
        title=f"Task {title(task)}",
        task=task,
        name=title(task),
        steps=progress.steps(task.progress_report),
        running=progress.Stage.RUNNING,
        spawned=[(other, title(other)) for other in spawned if other],
        report=task_report(task),
        is_over=task.state in tasks.ENDED,
    )


def cancel(visit: Visit) -> Response:
    v2.cancel_task(visit.path("id"), visit.services)
    return done(f"/tasks/{visit.path('id')}", "canceled")


def title(task: Task) -> str:
    """Describe a task in two words."""
    return f"{task.task_type.rpartition('.')[2].replace('_', ' ')} {task.arguments.get('repo_id') or ''}".strip()
