"""`repo publications`, `repo places`, `repo promote` and `repo rollback`: what readers see, and alternatives."""

from collections.abc import Mapping
from typing import Any, Final

import click

from pulpit.admin.grammar import BACKGROUND, TABLE, Command, Group
from pulpit.admin.repo import REPO_ID
from pulpit.admin.session import Session, with_session
from pulpit.client.server import v1_path

_COLUMNS: Final = ("number", "created_at", "places", "pinned", "file_count", "byte_count")
_PLACE_COLUMNS: Final = ("path", "repo_id", "publication", "shown_at", "promoted", "only_promoted")
_MARKS: Final = {"added": "+", "removed": "-", "changed": "~"}

NUMBER: Final = click.option(
    "--publication", "number", type=click.IntRange(min=1), required=True, help="The publication's number."
)
PLACE: Final = click.option("--place", "path", required=True, help="The place's path below /pulp/, such as repos/zoo.")


@click.group("publications", cls=Group)
def publications() -> None:
    """The publications of a repository."""


@publications.command("list")
@REPO_ID
@TABLE
@with_session
def list_publications(session: Session, /, *, repo_id: str) -> None:
    """List the publications that are kept, the newest first, and the places that show them."""
    answer = session.server.get(v1_path("repositories", repo_id, "publications"))
    session.screen.show(answer, answer["publications"], _COLUMNS, nothing="The repository has no publications.")


@publications.command("show")
@REPO_ID
@NUMBER
@click.option("--files", is_flag=True, help="List its files, too.")
@with_session
def show(session: Session, /, *, repo_id: str, number: int, files: bool) -> None:
    """Show one publication."""
    path = v1_path("repositories", repo_id, "publications", str(number))
    document = dict(session.server.get(path))
    found: list[Mapping[str, Any]] = []
    while files and (
        page := session.server.get(f"{path}/files", {"after": found[-1]["path"] if found else ""})["files"]
    ):
        found += page
    session.screen.show(document | {"files": found} if files else document, [document])
    for file in found:
        session.screen.say(f"{file['sha256']}  {file['size']:>12}  {file['path']}")


@publications.command("diff")
@REPO_ID
@click.option("--from", "earlier", type=click.IntRange(min=1), required=True, help="The publication to begin with.")
@click.option("--to", "later", type=click.IntRange(min=1), required=True, help="The publication to end with.")
@click.option("--limit", type=click.IntRange(0, 10_000), default=1000, show_default=True, help="Show at most so many.")
@with_session
def diff(session: Session, /, *, repo_id: str, earlier: int, later: int, limit: int) -> None:
    """Show which units and files were added (+), removed (-) and changed (~) between two publications."""
    path = v1_path("repositories", repo_id, "publications", str(earlier), "diff")
    found = session.server.get(path, {"to": later, "limit": limit})
    if session.screen.as_json:
        session.screen.data(found)
        return
    for word in ("removed", "added"):
        for unit in found[f"units_{word}"]:
            key = ", ".join(f"{name}={value}" for name, value in unit["unit_key"].items())
            session.screen.say(f"{_MARKS[word]} {unit['type_id']} {key}")
    for file in found["files"]:
        word = "added" if file["before"] is None else "removed" if file["after"] is None else "changed"
        session.screen.say(f"{_MARKS[word]} {file['path']}")
    counts = ", ".join(f"{name.replace('_', ' ')}: {count}" for name, count in found["counts"].items())
    session.screen.say(f"{counts}{'; not all are shown' if found['truncated'] else ''}")


@publications.command("pin")
@REPO_ID
@NUMBER
@with_session
def pin(session: Session, /, *, repo_id: str, number: int) -> None:
    """Keep a publication forever."""
    answer = session.server.post(v1_path("repositories", repo_id, "publications", str(number), "pin"), {})
    session.screen.succeeded(f"Publication {number} stays.", answer)


@publications.command("unpin")
@REPO_ID
@NUMBER
@with_session
def unpin(session: Session, /, *, repo_id: str, number: int) -> None:
    """Unpin a publication; if it is not needed any more, it is removed."""
    answer = session.server.post(v1_path("repositories", repo_id, "publications", str(number), "unpin"), {})
    went = "is not needed any more and was removed" if answer["removed"] else "goes when its time comes"
    session.screen.succeeded(f"Publication {number} {went}.", answer)


@publications.command("remove")
@REPO_ID
@NUMBER
@with_session
def remove(session: Session, /, *, repo_id: str, number: int) -> None:
    """Remove a publication that no place shows and that is not pinned."""
    answer = session.server.delete(v1_path("repositories", repo_id, "publications", str(number)))
    session.screen.succeeded(f"Publication {number} is removed.", answer)


@click.command("promote", cls=Command)
@REPO_ID
@NUMBER
@click.option("--to", required=True, help="The place below the repository's kind, such as prod/zoo.")
@click.option("--protect", is_flag=True, help="Protect the place: from now on only promotions change it.")
@BACKGROUND
@with_session
def promote(session: Session, /, *, repo_id: str, number: int, to: str, protect: bool, in_background: bool) -> None:
    """Show a publication at a further place; no file is copied."""
    path = v1_path("repositories", repo_id, "publications", str(number), "promote")
    report = session.server.post(path, {"to": to, "protect": protect})
    session.follow_report(report, in_background=in_background)


@click.command("export", cls=Command)
@REPO_ID
@NUMBER
@click.option("--to", required=True, help="Path below the server's [publish] export_dir; with the ending .tar a tar.")
@click.option("--since", type=click.IntRange(min=1), help="Omit the files of this publication.")
@BACKGROUND
@with_session
def export(session: Session, /, *, repo_id: str, number: int, to: str, since: int | None, in_background: bool) -> None:
    """Let the server write a publication as a plain tree or a tar, for web servers, rsync and `pulpit import`."""
    path = v1_path("repositories", repo_id, "publications", str(number), "export")
    report = session.server.post(path, {"to": to, "since": since})
    session.follow_report(report, in_background=in_background)


@click.command("rollback", cls=Command)
@REPO_ID
@click.option("--to", type=click.IntRange(min=1), help="The publication's number; the one before otherwise.")
@click.option("--distributor-id", help="Which distributor's place, if several publish the repository.")
@click.option("--hold", is_flag=True, help="Protect the place: publishes leave it as it is until it is unprotected.")
@BACKGROUND
@with_session
def rollback(session: Session, /, *, repo_id: str, in_background: bool, **order: Any) -> None:
    """Roll the repository's place back to an earlier publication; the next publish shows the newest content again."""
    body = {name: value for name, value in order.items() if value is not None}
    report = session.server.post(v1_path("repositories", repo_id, "rollback"), body)
    session.follow_report(report, in_background=in_background)


@click.group("places", cls=Group)
def places() -> None:
    """The URLs at which publications are served."""


@places.command("list")
@TABLE
@with_session
def list_places(session: Session, /) -> None:
    """List all places and what they show."""
    answer = session.server.get(v1_path("places"))
    session.screen.show(answer, answer["places"], _PLACE_COLUMNS, nothing="Nothing is published.")


@places.command("protect")
@PLACE
@with_session
def protect(session: Session, /, *, path: str) -> None:
    """Protect a place: only promotions and rollbacks change what it shows."""
    answer = session.server.put(_path_of(path), {"only_promoted": True})
    session.screen.succeeded("Only promotions change the place from now on.", answer)


@places.command("unprotect")
@PLACE
@with_session
def unprotect(session: Session, /, *, path: str) -> None:
    """Unprotect a place: publishes change what it shows again."""
    answer = session.server.put(_path_of(path), {"only_promoted": False})
    session.screen.succeeded("Publishes change the place again.", answer)


@places.command("remove")
@PLACE
@with_session
def remove_place(session: Session, /, *, path: str) -> None:
    """Remove a place that was created by a promotion."""
    answer = session.server.delete(_path_of(path))
    session.screen.succeeded("The place shows nothing any more.", answer)


def _path_of(place: str) -> str:
    return v1_path("places", *place.strip("/").split("/"))
