"""`orphan`: content that no repository holds any more."""

import click

from pulpit.admin.grammar import Group
from pulpit.admin.session import Session, with_session
from pulpit.client.failures import WrongUse
from pulpit.client.server import path_of


@click.group("orphan", cls=Group)
def orphan() -> None:
    """Content that no repository holds any more."""


@orphan.command("list")
@click.option("--type", "kind", help="List each one of this content type.")
@with_session
def list_orphans(session: Session, /, *, kind: str | None) -> None:
    """Count the orphans of every content type, or list those of one."""
    found = session.server.get(path_of("content", "orphans", *([kind] if kind else [])))
    if session.screen.as_json:
        session.screen.data(found)
    elif kind:
        session.screen.documents(found)
    else:
        counts = {name: item.get("count") for name, item in found.items()}
        session.screen.documents([{**counts, "total": sum(count or 0 for count in counts.values())}])


@orphan.command("remove")
@click.option("--all", "everything", is_flag=True, help="Remove all orphans.")
@click.option("--type", "kind", help="Remove those of this content type.")
@click.option("--unit-id", help="Remove only this one of that type.")
@click.option("--bg", "in_background", is_flag=True, help="Do not wait for the end.")
@with_session
def remove(
    session: Session, /, *, everything: bool, kind: str | None, unit_id: str | None, in_background: bool
) -> None:
    """Remove orphans and free their room."""
    if everything == bool(kind) or (unit_id and not kind):
        raise WrongUse("Give either --all, or --type (and perhaps --unit-id).")
    names = [name for name in (kind, unit_id) if name]
    report = session.server.delete(path_of("content", "orphans", *names))
    session.follow_report(report, in_background=in_background)
