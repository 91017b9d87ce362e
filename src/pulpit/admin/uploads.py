"""Uploads: files, and groups, categories, environments and language packs that are described by options."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from pulpit.admin.grammar import BACKGROUND, Group
from pulpit.admin.progress import Display, ProgressStep, Stage
from pulpit.admin.repo import REPO_ID
from pulpit.admin.session import Session, spawned, with_session
from pulpit.client.failures import Failure, ServerTrouble, WorkNotDone, WrongData, WrongUse
from pulpit.client.options import with_options
from pulpit.client.server import path_of

PIECE: Final = 1024 * 1024
_PATH: Final = click.Path(path_type=Path)


KeyOf = Callable[[str, int, str], dict[str, Any]]
"""Returns a unit's key from a file's name, size and SHA-256."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Target:
    repo_id: str
    type_id: str
    key_of: KeyOf


def uploads_group(commands: Mapping[str, str], key_of: KeyOf) -> click.Group:
    """Return the section `uploads`, with commands by name, each for units of one type."""
    group = Group("uploads", help="Upload files into a repository.")
    for name, type_id in commands.items():
        group.add_command(_uploads(name, type_id, key_of))
    return group


def _uploads(name: str, type_id: str, key_of: KeyOf) -> click.Command:
    summary = "Upload files, each under its own name; a failure of one does not stop the others."

    @click.command(name, cls=Group.command_class, help=summary)
    @REPO_ID
    @click.option("-f", "--file", "files", multiple=True, type=_PATH, help="A file; may be repeated.")
    @click.option("-d", "--dir", "folder", type=_PATH, help="A folder whose files are all sent.")
    @click.option("--bg", "in_background", is_flag=True, help="Do not wait until the server has imported the files.")
    @with_session
    def upload(
        session: Session, /, *, repo_id: str, files: tuple[Path, ...], folder: Path | None, in_background: bool
    ) -> None:
        target = _Target(repo_id=repo_id, type_id=type_id, key_of=key_of)
        try:
            inside = sorted(path for path in folder.iterdir() if path.is_file()) if folder else []
        except OSError as error:
            raise WrongData(f"--dir: {folder} cannot be read: {error.strerror}") from None
        _upload(session, target, [*files, *inside], in_background=in_background)

    return upload


def _upload(session: Session, target: _Target, paths: list[Path], *, in_background: bool) -> None:
    if not paths:
        raise WrongUse("Give at least one --file, or a --dir that has files.")
    session.server.get(path_of("repositories", target.repo_id))
    outcomes: list[Any] = []
    failures = list(_send_all(session, target, paths, outcomes, in_background=in_background))
    if session.screen.as_json:
        session.screen.data(outcomes)
    if failures:
        raise WorkNotDone("\n".join(failures))


def _send_all(
    session: Session, target: _Target, paths: list[Path], outcomes: list[Any], *, in_background: bool
) -> Iterator[str]:
    """Send files one after another and yield the failures of single files."""
    for path in paths:
        try:
            outcomes += _send(session, target, path, in_background=in_background)
        except (WrongData, WorkNotDone) as failure:
            yield f"{path.name}: {failure}"


def _send(session: Session, target: _Target, path: Path, *, in_background: bool) -> list[Any]:
    """Send a file and import it."""

    def key(upload_id: str) -> dict[str, Any]:
        return target.key_of(path.name, *_send_bytes(session, upload_id, path))

    report = _imported(session, target.repo_id, target.type_id, key, {})
    return [report] if in_background else session.watch(spawned(report))


def _imported(
    session: Session, repo_id: str, type_id: str, key: Callable[[str], dict[str, Any]], metadata: Mapping[str, Any]
) -> Any:
    """Begin an upload, import what `key` puts there, and delete the upload in any case, as Pulp 2's client does.

    The import has its own copy: the upload may be deleted before it runs.
    """
    begun = session.server.post(path_of("content", "uploads"))
    if not isinstance(begun, dict) or not begun.get("upload_id"):
        raise ServerTrouble("The server's answer has no upload_id.")
    upload_id = str(begun["upload_id"])
    try:
        body = {"upload_id": upload_id, "unit_type_id": type_id, "unit_key": key(upload_id), "unit_metadata": metadata}
        return session.server.post(path_of("repositories", repo_id, "actions", "import_upload"), body)
    finally:
        try:
            session.server.delete(path_of("content", "uploads", upload_id))
        except Failure as failure:  # must not hide the result of the import
            session.screen.warn(f"The upload {upload_id} is left at the server: {failure}")


def _send_bytes(session: Session, upload_id: str, path: Path) -> tuple[int, str]:
    """Send a file piece by piece; return its size and SHA-256."""
    import hashlib  # noqa: PLC0415 - it loads OpenSSL, which help texts do not need

    digest, sent = hashlib.sha256(), 0
    try:
        with path.open("rb") as file, session.display() as display:
            total = path.stat().st_size
            while piece := file.read(PIECE):
                _show(display, path.name, sent, total)
                session.server.call("PUT", path_of("content", "uploads", upload_id, str(sent)), body=piece)
                digest.update(piece)
                sent += len(piece)
            _show(display, path.name, sent, total, Stage.DONE)
    except OSError as error:
        raise WrongData(f"it cannot be read: {error.strerror}") from None
    return sent, digest.hexdigest()


def _show(display: Display, name: str, sent: int, total: int, stage: Stage = Stage.RUNNING) -> None:
    display.show([ProgressStep(key=name, title=f"Sending {name}", stage=stage, done=sent, total=total, in_bytes=True)])


@dataclass(frozen=True, kw_only=True, slots=True)
class _Form:
    """A unit without a file: the options that describe it, and how they become its metadata."""

    type_id: str
    people: str
    options: Callable[[Callable[..., None]], Callable[..., None]]
    metadata: Callable[[Mapping[str, Any]], dict[str, Any]]
    has_id: bool = True


def _described(word: str, *further: Callable[..., Any]) -> Any:
    return with_options(
        click.option(f"--{word}-id", "unit_id", required=True, metavar="TEXT", help=f"The id of the {word}."),
        click.option("-n", "--name", required=True, help="Name for people."),
        click.option("-d", "--description", required=True, help="What it is for."),
        click.option("--display-order", type=int, help="Place in lists; small numbers come first."),
        *further,
    )


def _names(option: str, kind: str) -> Any:
    return click.option(
        option, f"{kind}_package_names", multiple=True, metavar="NAME", help=f"A package, {kind}; may be repeated."
    )


_GROUPS: Final = click.option("-g", "--group", "groups", multiple=True, metavar="ID", help="A group; may be repeated.")
_KINDS: Final = ("mandatory", "optional", "default")


def _about(given: Mapping[str, Any]) -> dict[str, Any]:
    order = {} if given["display_order"] is None else {"display_order": given["display_order"]}
    return {"name": given["name"], "description": given["description"], **order}


def _group(given: Mapping[str, Any]) -> dict[str, Any]:
    names = {f"{kind}_package_names": list(given[f"{kind}_package_names"]) for kind in _KINDS}
    return {**_about(given), **names, "default": given["is_default"], "user_visible": given["user_visible"]}


def _langpacks(given: Mapping[str, Any]) -> dict[str, Any]:
    if len(given["names"]) != len(given["installs"]):
        raise WrongUse("Give one --install for each --name.")
    pairs = zip(given["names"], given["installs"], strict=True)
    return {"matches": [{"name": name, "install": install} for name, install in pairs]}


_FORMS: Final = {
    "group": _Form(
        type_id="package_group",
        people="a group of packages",
        options=_described(
            "group",
            _names("--mand-name", "mandatory"),
            _names("--opt-name", "optional"),
            _names("--default-name", "default"),
            click.option("--default", "is_default", type=bool, default=False, help="Chosen by default."),
            click.option("--user-visible", type=bool, default=False, help="Shown to users."),
        ),
        metadata=_group,
    ),
    "category": _Form(
        type_id="package_category",
        people="a category",
        options=_described("category", _GROUPS),
        metadata=lambda given: {**_about(given), "packagegroupids": list(given["groups"])},
    ),
    "environment": _Form(
        type_id="package_environment",
        people="an environment",
        options=_described("environment", _GROUPS),
        metadata=lambda given: {**_about(given), "group_ids": list(given["groups"]), "options": []},
    ),
    "langpacks": _Form(
        type_id="package_langpacks",
        people="language packs",
        options=with_options(
            click.option("-n", "--name", "names", multiple=True, required=True, help="A package; may be repeated."),
            click.option(
                "-i",
                "--install",
                "installs",
                multiple=True,
                required=True,
                metavar="PATTERN",
                help="What is installed with it, such as bear-%s.",
            ),
        ),
        metadata=_langpacks,
        has_id=False,
    ),
}
FORMS: Final = tuple(_FORMS)


def form_command(name: str) -> click.Command:
    """Return the command that adds one of `FORMS` to a repository."""
    form = _FORMS[name]

    @click.command(name, cls=Group.command_class, help=f"Add {form.people} to a repository.")
    @REPO_ID
    @form.options
    @BACKGROUND
    @with_session
    def upload(session: Session, /, *, repo_id: str, in_background: bool, **given: Any) -> None:
        key = {"repo_id": repo_id} | ({"id": given["unit_id"]} if form.has_id else {})
        report = _imported(session, repo_id, form.type_id, lambda _upload_id: key, form.metadata(given))
        session.follow_report(report, in_background=in_background)
        if not in_background:
            session.screen.say(f"Added to {repo_id}.")

    return upload
