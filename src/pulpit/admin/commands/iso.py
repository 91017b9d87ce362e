"""`iso repo`: repositories of files."""

from typing import Any, Final

import click

from pulpit.admin.commands.repo import REPO_ID, listing
from pulpit.admin.commands.repository_options import (
    IMPORTER_KEYS,
    IMPORTER_OPTIONS,
    REPOSITORY_OPTIONS,
    divided,
    with_options,
)
from pulpit.admin.commands.repository_work import delete_command, publish_group, sync_group
from pulpit.admin.commands.uploads import uploads
from pulpit.admin.following import spawned
from pulpit.admin.grammar import BOOLEAN, NOTHING_TO_CHANGE, PEM, TEXT, Group, given, note_pairs
from pulpit.admin.session import Session, with_session
from pulpit.client.server import path_of

IMPORTER: Final = "iso_importer"
DISTRIBUTOR: Final = "iso_distributor"
NOTE: Final = {"_repo-type": "iso-repo"}

_FEED: Final = click.option(
    "--feed", type=TEXT, metavar="URL", help="Folder upstream that holds the files and a PULP_MANIFEST."
)
_DISTRIBUTOR: Final = (
    click.option("--relative-url", type=TEXT, help="Path below /pulp/isos/; the repository's id otherwise."),
    click.option("--serve-http", type=BOOLEAN, help="Serve over HTTP (true or false)."),
    click.option("--serve-https", type=BOOLEAN, help="Serve over HTTPS (true or false)."),
    click.option("--auth-ca", "ssl_auth_ca_cert", type=PEM, help="File: authority whose clients alone are served."),
)
_DISTRIBUTOR_KEYS: Final = frozenset({"relative_url", "serve_http", "serve_https", "ssl_auth_ca_cert"})
_SETTINGS: Final = with_options(*REPOSITORY_OPTIONS, _FEED, *IMPORTER_OPTIONS, *_DISTRIBUTOR)


@click.group("iso", cls=Group)
def iso() -> None:
    """Repositories of files."""


@iso.group("repo")
def repo() -> None:
    """Manage repositories of files."""


@repo.command("create")
@REPO_ID
@_SETTINGS
@with_session
def create(session: Session, /, *, repo_id: str, notes: tuple[str, ...], **options: Any) -> None:
    """Create a repository; every sync of it is followed by a publish."""
    importer, distributor, delta = divided(options, IMPORTER_KEYS, _DISTRIBUTOR_KEYS)
    body = {
        "id": repo_id,
        **delta,
        "notes": {**(note_pairs(notes) or {}), **NOTE},
        "importer_type_id": IMPORTER,
        "importer_config": importer,
        "distributors": [
            {
                "distributor_id": DISTRIBUTOR,
                "distributor_type_id": DISTRIBUTOR,
                "auto_publish": True,
                "distributor_config": distributor,
            }
        ],
    }
    answer = session.server.post(path_of("repositories"), body)
    session.screen.succeeded(f"Repository {repo_id} created.", answer)


@repo.command("update")
@REPO_ID
@_SETTINGS
@with_session
def update(session: Session, /, *, repo_id: str, notes: tuple[str, ...], **options: Any) -> None:
    """Change a repository; an option given as "" is taken away."""
    importer, distributor, delta = divided(options, IMPORTER_KEYS, _DISTRIBUTOR_KEYS)
    delta |= given(notes=note_pairs(notes))
    if not (importer or distributor or delta):
        session.screen.warn(NOTHING_TO_CHANGE)
        return
    body = {
        "delta": delta,
        "importer_config": importer,
        "distributor_configs": {DISTRIBUTOR: distributor} if distributor else {},
    }
    answer = session.server.call("PUT", path_of("repositories", repo_id), body=body)
    if answer.status == 202:  # noqa: PLR2004 - HTTP's "accepted"
        session.follow(spawned(answer.body))
    session.screen.succeeded(f"Repository {repo_id} updated.", answer.body)


repo.command("list")(listing(lambda item: (item.get("notes") or {}).get("_repo-type") == NOTE["_repo-type"]))


repo.add_command(delete_command())
repo.add_command(uploads)


@repo.command("isos")
@REPO_ID
@click.option("--limit", type=click.IntRange(min=1), help="At most so many.")
@click.option("--skip", type=click.IntRange(min=0), help="Leave out so many at the beginning.")
@click.option("--name", help="Only the file of this name.")
@with_session
def isos(session: Session, /, *, repo_id: str, name: str | None, **bounds: int | None) -> None:
    """List the files of a repository."""
    criteria: dict[str, Any] = {"type_ids": ["iso"], "filters": {"unit": {"name": name} if name else {}}}
    criteria |= {key: value for key, value in bounds.items() if value}
    found = session.server.post(path_of("repositories", repo_id, "search", "units"), {"criteria": criteria})
    if session.screen.as_json:
        session.screen.data(found)
    else:
        session.screen.documents(item["metadata"] for item in found)


repo.add_command(sync_group(IMPORTER))
repo.add_command(publish_group(DISTRIBUTOR))
