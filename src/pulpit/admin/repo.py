"""`repo`: commands for repositories of every type; and `orphan`, for content that no repository holds any more."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import click

from pulpit.admin.grammar import BACKGROUND, TABLE, Group, LazyGroup
from pulpit.admin.session import Session, with_session
from pulpit.admin.tasks import cancel, details, show_tasks
from pulpit.client.failures import WrongUse
from pulpit.client.options import connect
from pulpit.client.server import path_of
from pulpit.client.settings import Options
from pulpit.errors import PulpitError

SHOWN: Final = ("id", "display_name", "description", "content_unit_counts", "last_unit_added", "last_unit_removed")

_SUMMARY: Final = ("id", "display_name")
_ALWAYS_WITH_FIELDS: Final = "id"
_SYNC_SHOWN: Final = ("repo_id", "started", "result", "added_count", "removed_count", "updated_count", "completed")
_PUBLISH_SHOWN: Final = ("repo_id", "started", "result", "distributor_id", "completed")
_WHY: Final = ("error_message",)
_MORE: Final = ("summary", "details")


def complete_repository(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Complete repository ids, if the server can be asked without a password prompt."""
    said = {name: value for name, value in ctx.find_root().params.items() if name in Options.__dataclass_fields__}
    try:
        found = connect(Options(**said), lambda _: "").get(path_of("repositories"))
        return [item["id"] for item in found if item["id"].startswith(incomplete)]
    except (PulpitError, KeyError, TypeError):
        return []


REPO_ID: Final = click.option(
    "--repo-id", required=True, help="The repository's id.", shell_complete=complete_repository
)


_COMMANDS: Final = {
    "diff": ("repo_diff", "Show which packages were added, removed and replaced between two moments."),
    "export": (
        "publications",
        "Let the server write a publication as a plain tree or a tar, for web servers, rsync and `pulpit import`.",
    ),
    "places": ("publications", "The URLs at which publications are served."),
    "promote": ("publications", "Show a publication at a further place; no file is copied."),
    "publications": ("publications", "The publications of a repository."),
    "rollback": (
        "publications",
        "Roll the repository's place back to an earlier publication; the next publish shows the newest content again.",
    ),
}
"""The module of each further command, and the sentence that the list of commands shows."""


@click.group("repo", cls=LazyGroup, package="pulpit.admin", modules=_COMMANDS)
def repo() -> None:
    """Repositories of every type."""


def listing(wanted: Callable[[Mapping[str, Any]], bool]) -> Callable[..., None]:
    """Return a `list` command for the repositories that are `wanted`."""

    @click.option("--details", is_flag=True, help="Also show importers, distributors and notes.")
    @click.option("--fields", help="Show only these keys (and the id), separated by commas.")
    @click.option("--summary", is_flag=True, help="Show only ids and names, one line each.")
    @click.option("--repo-id", help="Only this repository.")
    @TABLE
    @with_session
    def list_repositories(
        session: Session, /, *, details: bool, fields: str | None, summary: bool, repo_id: str | None
    ) -> None:
        """List repositories."""
        query = {"importers": "True", "distributors": "True"} if details or fields else None
        if repo_id:
            found = [session.server.get(path_of("repositories", repo_id), query)]
        else:
            found = session.server.get(path_of("repositories"), query)
        chosen = [item for item in found if wanted(item)]
        if summary and not session.screen.as_json:
            session.screen.table(_only(chosen, _SUMMARY))
        else:
            show(session, chosen, details=details, fields=fields)

    return list_repositories


def show(session: Session, found: list[Mapping[str, Any]], *, details: bool, fields: str | None) -> None:
    """Show repositories with the requested keys."""
    shown: Iterable[Mapping[str, Any]] = found if details else _only(found, SHOWN)
    if fields:
        shown = _only(found, dict.fromkeys([_ALWAYS_WITH_FIELDS, *(field.strip() for field in fields.split(","))]))
    session.screen.show(found, shown, nothing="There are no such repositories.")


def _only(found: Iterable[Mapping[str, Any]], keys: Iterable[str]) -> Iterable[dict[str, Any]]:
    wanted = list(keys)
    return ({key: item[key] for key in wanted if key in item} for item in found)


repo.command("list")(listing(lambda _: True))


@repo.group("history")
def history() -> None:
    """The history of syncs and publishes."""


def _history_options(function: Callable[..., None]) -> Callable[..., None]:
    for option in (
        TABLE,
        click.option("--details", is_flag=True, help="Also show summary and details."),
        click.option("--end-date", help="Only what began before this ISO 8601 time."),
        click.option("--start-date", help="Only what began after this ISO 8601 time."),
        click.option("--sort", type=click.Choice(["ascending", "descending"]), help="By time; newest first otherwise."),
        click.option("--limit", type=click.IntRange(min=1), default=5, show_default=True, help="At most so many."),
    ):
        function = option(function)
    return function


@history.command("sync")
@REPO_ID
@_history_options
@with_session
def sync_history(session: Session, /, *, repo_id: str, details: bool, **query: Any) -> None:
    """Show the syncs of a repository."""
    _history(session, path_of("repositories", repo_id, "history", "sync"), _SYNC_SHOWN, query, details=details)


@history.command("publish")
@REPO_ID
@click.option("--distributor-id", help="The distributor's id.  [default: the one that publishes after a sync]")
@_history_options
@with_session
def publish_history(
    session: Session, /, *, repo_id: str, distributor_id: str | None, details: bool, **query: Any
) -> None:
    """Show the publishes of a repository."""
    chosen = distributor_id or _own_distributor(session, repo_id)
    path = path_of("repositories", repo_id, "history", "publish", chosen)
    _history(session, path, _PUBLISH_SHOWN, query, details=details)


def _own_distributor(session: Session, repo_id: str) -> str:
    """Return the id of the distributor that publishes automatically, or of the only one."""
    found = session.server.get(path_of("repositories", repo_id, "distributors"))
    likely = [item for item in found if item.get("auto_publish")] if len(found) > 1 else found
    if len(likely) != 1:
        ids = ", ".join(str(item.get("id")) for item in found) or "none"
        raise WrongUse(f"Give --distributor-id; the repository has {ids}.")
    return str(likely[0]["id"])


def _history(session: Session, path: str, shown: tuple[str, ...], query: dict[str, Any], *, details: bool) -> None:
    found = session.server.get(path, {key: value for key, value in query.items() if value is not None})
    keys = [*shown, *(_MORE if details else ())]
    documents = []
    for entry in found:
        why = [key for key in _WHY if entry.get(key)]
        documents.append({key: entry[key] for key in (*keys, *why) if key in entry})
    session.screen.show(found, documents, [*shown[1:], *_WHY], nothing="Nothing has happened yet.")


@repo.group("tasks")
def tasks() -> None:
    """The tasks of a repository."""


@tasks.command("list")
@REPO_ID
@TABLE
@with_session
def list_tasks(session: Session, /, *, repo_id: str) -> None:
    """List the tasks of a repository, ended ones too."""
    show_tasks(session, session.server.get(path_of("tasks"), {"tag": f"pulp:repository:{repo_id}"}))


for task_command in (details, cancel):
    tasks.add_command(task_command)


@click.group("orphan", cls=Group)
def orphan() -> None:
    """Content that no repository holds any more."""


@orphan.command("list")
@click.option("--type", "kind", help="List each one of this content type.")
@with_session
def list_orphans(session: Session, /, *, kind: str | None) -> None:
    """Count the orphans of every content type, or list those of one."""
    found = session.server.get(path_of("content", "orphans", *([kind] if kind else [])))
    if kind:
        session.screen.show(found, found)
    else:
        counts = {name: item.get("count") for name, item in found.items()}
        session.screen.show(found, [{**counts, "total": sum(count or 0 for count in counts.values())}])


@orphan.command("remove")
@click.option("--all", "everything", is_flag=True, help="Remove all orphans.")
@click.option("--type", "kind", help="Remove those of this content type.")
@click.option("--unit-id", help="Remove only this one of that type.")
@BACKGROUND
@with_session
def remove(
    session: Session, /, *, everything: bool, kind: str | None, unit_id: str | None, in_background: bool
) -> None:
    """Remove orphans and free their disk space."""
    if everything == bool(kind) or (unit_id and not kind):
        raise WrongUse("Give either --all, or --type (and perhaps --unit-id).")
    names = [name for name in (kind, unit_id) if name]
    report = session.server.delete(path_of("content", "orphans", *names))
    session.follow_report(report, in_background=in_background)
