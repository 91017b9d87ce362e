"""`iso repo`: repositories of files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from pulpit.admin.commands.repo import REPO_ID, listing
from pulpit.admin.commands.uploads import uploads
from pulpit.admin.following import spawned
from pulpit.admin.grammar import BOOLEAN, COUNT, NOTHING_TO_CHANGE, PEM, PORT, TEXT, Group, given, note_pairs, secret
from pulpit.admin.session import Session, with_session
from pulpit.client.server import path_of

IMPORTER: Final = "iso_importer"
DISTRIBUTOR: Final = "iso_distributor"
NOTE: Final = {"_repo-type": "iso-repo"}

_BACKGROUND: Final = click.option("--bg", "in_background", is_flag=True, help="Do not wait for the end.")
_ENDED: Final = ["finished", "error", "canceled", "skipped"]

_REPOSITORY: Final = (
    click.option("--display-name", type=TEXT, help="Name for people."),
    click.option("--description", type=TEXT, help="What it is for."),
    click.option("--note", "notes", multiple=True, metavar="KEY=VALUE", help="A note of your own; may be repeated."),
)
_IMPORTER: Final = (
    click.option("--feed", type=TEXT, metavar="URL", help="Folder upstream that holds the files and a PULP_MANIFEST."),
    click.option("--validate", type=BOOLEAN, help="Check size and checksum of every file (true or false)."),
    click.option("--feed-ca-cert", "ssl_ca_cert", type=PEM, help="File: authority to trust for the feed."),
    click.option("--feed-cert", "ssl_client_cert", type=PEM, help="File: certificate to show to the feed."),
    click.option("--feed-key", "ssl_client_key", type=PEM, help="File: its private key."),
    click.option("--verify-feed-ssl", "ssl_validation", type=BOOLEAN, help="Check the feed's certificate."),
    click.option("--proxy-host", type=TEXT, help="Proxy on the way to the feed."),
    click.option("--proxy-port", type=PORT, help="Its port."),
    click.option("--proxy-user", "proxy_username", type=TEXT, help="User at the proxy."),
    click.option(
        "--proxy-pass", "proxy_password", type=TEXT, help="Password there, visible to others; better --proxy-pass-file."
    ),
    click.option("--proxy-pass-file", type=click.Path(path_type=Path), help="File (mode 0600, or - ) with it."),
    click.option("--basicauth-user", "basic_auth_username", type=TEXT, help="User at the feed."),
    click.option(
        "--basicauth-pass",
        "basic_auth_password",
        type=TEXT,
        help="Password there, visible to others; better --basicauth-pass-file.",
    ),
    click.option("--basicauth-pass-file", type=click.Path(path_type=Path), help="File (mode 0600, or - ) with it."),
    click.option("--max-downloads", type=COUNT, help="At most so many downloads at once."),
    click.option("--max-speed", type=COUNT, help="At most so many bytes a second in all."),
    click.option("--remove-missing", type=BOOLEAN, help="Remove files that the feed no longer has (true or false)."),
)
_DISTRIBUTOR: Final = (
    click.option("--relative-url", type=TEXT, help="Path below /pulp/isos/; the repository's id otherwise."),
    click.option("--serve-http", type=BOOLEAN, help="Serve over HTTP (true or false)."),
    click.option("--serve-https", type=BOOLEAN, help="Serve over HTTPS (true or false)."),
    click.option("--auth-ca", "ssl_auth_ca_cert", type=PEM, help="File: authority whose clients alone are served."),
)
_IMPORTER_KEYS: Final = frozenset(
    {
        "feed",
        "validate",
        "ssl_ca_cert",
        "ssl_client_cert",
        "ssl_client_key",
        "ssl_validation",
        "proxy_host",
        "proxy_port",
        "proxy_username",
        "proxy_password",
        "basic_auth_username",
        "basic_auth_password",
        "max_downloads",
        "max_speed",
        "remove_missing",
    }
)
_DISTRIBUTOR_KEYS: Final = frozenset({"relative_url", "serve_http", "serve_https", "ssl_auth_ca_cert"})


@click.group("iso", cls=Group)
def iso() -> None:
    """Repositories of files."""


@iso.group("repo")
def repo() -> None:
    """Manage repositories of files."""


def _settings(function: Callable[..., None]) -> Callable[..., None]:
    for option in reversed((*_REPOSITORY, *_IMPORTER, *_DISTRIBUTOR)):
        function = option(function)
    return function


@repo.command("create")
@REPO_ID
@_settings
@with_session
def create(session: Session, /, *, repo_id: str, notes: tuple[str, ...], **options: Any) -> None:
    """Create a repository; every sync of it is followed by a publish."""
    importer, distributor, delta = _divided(options)
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
@_settings
@with_session
def update(session: Session, /, *, repo_id: str, notes: tuple[str, ...], **options: Any) -> None:
    """Change a repository; an option given as "" is taken away."""
    importer, distributor, delta = _divided(options)
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


def _divided(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The options as those of the importer, of the distributor, and of the repository itself."""
    options["proxy_password"] = secret(options["proxy_password"], options.pop("proxy_pass_file"))
    options["basic_auth_password"] = secret(options["basic_auth_password"], options.pop("basicauth_pass_file"))
    used = given(**options)
    importer = {key: value for key, value in used.items() if key in _IMPORTER_KEYS}
    distributor = {key: value for key, value in used.items() if key in _DISTRIBUTOR_KEYS}
    return importer, distributor, {key: used[key] for key in used.keys() - importer.keys() - distributor.keys()}


repo.command("list")(listing(lambda item: (item.get("notes") or {}).get("_repo-type") == NOTE["_repo-type"]))


@repo.command("delete")
@REPO_ID
@_BACKGROUND
@with_session
def delete(session: Session, /, *, repo_id: str, in_background: bool) -> None:
    """Delete a repository and what it published."""
    report = session.server.delete(path_of("repositories", repo_id))
    session.follow_report(report, in_background=in_background)
    if not in_background:
        session.screen.say(f"Repository {repo_id} deleted.")


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


@repo.group("sync")
def sync() -> None:
    """Fetch what the feed has."""


@repo.group("publish")
def publish() -> None:
    """Serve what the repository has."""


_FORCE_FULL: Final = click.option("--force-full", is_flag=True, help="Do all the work, also where nothing changed.")


@sync.command("run")
@REPO_ID
@_FORCE_FULL
@_BACKGROUND
@with_session
def run_sync(session: Session, /, *, repo_id: str, force_full: bool, in_background: bool) -> None:
    """Sync now, or follow the sync that runs already."""
    body = {"override_config": {"force_full": True} if force_full else None}
    _run(session, repo_id, "sync", body, in_background=in_background)


@sync.command("status")
@REPO_ID
@with_session
def sync_status(session: Session, /, *, repo_id: str) -> None:
    """Follow the sync that runs."""
    _status(session, repo_id, "sync")


@publish.command("run")
@REPO_ID
@_FORCE_FULL
@_BACKGROUND
@with_session
def run_publish(session: Session, /, *, repo_id: str, force_full: bool, in_background: bool) -> None:
    """Publish now, or follow the publish that runs already."""
    body = {"id": DISTRIBUTOR, "override_config": {"force_full": True} if force_full else None}
    _run(session, repo_id, "publish", body, in_background=in_background)


@publish.command("status")
@REPO_ID
@with_session
def publish_status(session: Session, /, *, repo_id: str) -> None:
    """Follow the publish that runs."""
    _status(session, repo_id, "publish")


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
