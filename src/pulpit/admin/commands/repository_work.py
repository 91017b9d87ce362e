"""`sync run|status` and `publish run|status`, the same for every type of repository."""

from typing import Any, Final

import click

from pulpit.admin.commands.repo import REPO_ID
from pulpit.admin.commands.schedules import schedules_group
from pulpit.admin.grammar import Group
from pulpit.admin.session import Session, with_session
from pulpit.client.server import path_of

BACKGROUND: Final = click.option("--bg", "in_background", is_flag=True, help="Do not wait for the end.")
_ENDED: Final = ["finished", "error", "canceled", "skipped"]
_FORCE_FULL: Final = click.option("--force-full", is_flag=True, help="Do all the work, also where nothing changed.")


def sync_group(importer_id: str) -> click.Group:
    """The section `sync`, for the importer of this id."""

    @click.group("sync", cls=Group, help="Fetch what the feed has.")
    def sync() -> None:
        """Hold the commands."""

    @sync.command("run", help="Sync now, or follow the sync that runs already.")
    @REPO_ID
    @_FORCE_FULL
    @BACKGROUND
    @with_session
    def run_sync(session: Session, /, *, repo_id: str, force_full: bool, in_background: bool) -> None:
        body = {"override_config": {"force_full": True} if force_full else None}
        _run(session, repo_id, "sync", body, in_background=in_background)

    @sync.command("status", help="Follow the sync that runs.")
    @REPO_ID
    @with_session
    def sync_status(session: Session, /, *, repo_id: str) -> None:
        _status(session, repo_id, "sync")

    sync.add_command(schedules_group("sync", "importers", importer_id))
    return sync


def publish_group(distributor_id: str) -> click.Group:
    """The section `publish`, for the distributor of this id."""

    @click.group("publish", cls=Group, help="Serve what the repository has.")
    def publish() -> None:
        """Hold the commands."""

    @publish.command("run", help="Publish now, or follow the publish that runs already.")
    @REPO_ID
    @_FORCE_FULL
    @BACKGROUND
    @with_session
    def run_publish(session: Session, /, *, repo_id: str, force_full: bool, in_background: bool) -> None:
        body = {"id": distributor_id, "override_config": {"force_full": True} if force_full else None}
        _run(session, repo_id, "publish", body, in_background=in_background)

    @publish.command("status", help="Follow the publish that runs.")
    @REPO_ID
    @with_session
    def publish_status(session: Session, /, *, repo_id: str) -> None:
        _status(session, repo_id, "publish")

    publish.add_command(schedules_group("publish", "distributors", distributor_id))
    return publish


def delete_command() -> click.Command:
    """The command `delete`."""

    @click.command("delete", cls=Group.command_class, help="Delete a repository and what it published.")
    @REPO_ID
    @BACKGROUND
    @with_session
    def delete(session: Session, /, *, repo_id: str, in_background: bool) -> None:
        report = session.server.delete(path_of("repositories", repo_id))
        session.follow_report(report, in_background=in_background)
        if not in_background:
            session.screen.say(f"Repository {repo_id} deleted.")

    return delete


def _run(session: Session, repo_id: str, action: str, body: dict[str, Any], *, in_background: bool) -> None:
    running = _running(session, repo_id, action)
    if running:
        session.screen.say(f"A {action} of {repo_id} is under way already.")
        report = {"spawned_tasks": [{"task_id": task_id} for task_id in running]}
    else:
        report = session.server.post(path_of("repositories", repo_id, "actions", action), body)
    session.follow_report(report, in_background=in_background)


def _status(session: Session, repo_id: str, action: str) -> None:
    session.server.get(path_of("repositories", repo_id))
    running = _running(session, repo_id, action)
    if running or session.screen.as_json:
        session.follow(running)
    else:
        session.screen.say(f"No {action} of {repo_id} is under way.")


def _running(session: Session, repo_id: str, action: str) -> list[str]:
    filters = {
        "state": {"$nin": _ENDED},
        "tags": {"$all": [f"pulp:repository:{repo_id}", f"pulp:action:{action}"]},
    }
    found = session.server.post(path_of("tasks", "search"), {"criteria": {"filters": filters}})
    return [str(task["task_id"]) for task in sorted(found, key=lambda task: str(task.get("id") or ""))]
