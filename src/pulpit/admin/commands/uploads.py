"""`uploads`: files of one's own for a repository."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import click

from pulpit.admin.commands.repo import REPO_ID
from pulpit.admin.displays import Display
from pulpit.admin.following import spawned
from pulpit.admin.grammar import Group
from pulpit.admin.progress import Stage, Step
from pulpit.admin.session import Session, with_session
from pulpit.client.failures import Failure, ServerTrouble, WorkNotDone, WrongData, WrongUse
from pulpit.client.server import path_of

PIECE: Final = 1024 * 1024
_PATH: Final = click.Path(path_type=Path)


KeyOf = Callable[[str, int, str], dict[str, Any]]
"""Makes a unit's key of a file's name, size and SHA-256."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Target:
    repo_id: str
    type_id: str
    key_of: KeyOf


def uploads_group(type_id: str, key_of: KeyOf) -> click.Group:
    """The section `uploads`, for units of this type."""

    @click.group("uploads", cls=Group, help="Bring files of your own into a repository.")
    def uploads() -> None:
        """Hold the commands."""

    @uploads.command(
        "upload", help="Send files; each goes in under its own name, and a failure of one does not stop the others."
    )
    @REPO_ID
    @click.option("-f", "--file", "files", multiple=True, type=_PATH, help="A file; may be repeated.")
    @click.option("-d", "--dir", "folder", type=_PATH, help="A folder whose files are all sent.")
    @click.option("--bg", "in_background", is_flag=True, help="Do not wait until the server has taken the files in.")
    @with_session
    def upload(
        session: Session, /, *, repo_id: str, files: tuple[Path, ...], folder: Path | None, in_background: bool
    ) -> None:
        target = _Target(repo_id=repo_id, type_id=type_id, key_of=key_of)
        _upload(session, target, [*files, *_inside(folder)], in_background=in_background)

    return uploads


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


def _inside(folder: Path | None) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_file()) if folder else []
    except OSError as error:
        raise WrongData(f"--dir: {folder} cannot be read: {error.strerror}") from None


def _send_all(
    session: Session, target: _Target, paths: list[Path], outcomes: list[Any], *, in_background: bool
) -> Iterator[str]:
    """Send one after the other and give the failures that concern a single file."""
    for path in paths:
        try:
            outcomes += _send(session, target, path, in_background=in_background)
        except (WrongData, WorkNotDone) as failure:
            yield f"{path.name}: {failure}"


def _send(session: Session, target: _Target, path: Path, *, in_background: bool) -> list[Any]:
    """Begin an upload, send the bytes, import them, and delete the upload in any case, as Pulp 2's client did."""
    upload_id = str(_field(session.server.post(path_of("content", "uploads")), "upload_id"))
    try:
        key = target.key_of(path.name, *_send_bytes(session, upload_id, path))
        body = {"upload_id": upload_id, "unit_type_id": target.type_id, "unit_key": key, "unit_metadata": {}}
        report = session.server.post(path_of("repositories", target.repo_id, "actions", "import_upload"), body)
        return [report] if in_background else session.watch(spawned(report))
    finally:
        _discard(session, upload_id)


def _send_bytes(session: Session, upload_id: str, path: Path) -> tuple[int, str]:
    """Send a file piece by piece; answers its size and SHA-256."""
    digest, sent = hashlib.sha256(), 0
    try:
        with path.open("rb") as file, session.display() as display:
            total = path.stat().st_size
            for piece in _pieces(file):
                _show(display, path.name, sent, total)
                session.server.call("PUT", path_of("content", "uploads", upload_id, str(sent)), body=piece)
                digest.update(piece)
                sent += len(piece)
            _show(display, path.name, sent, total, Stage.DONE)
    except OSError as error:
        raise WrongData(f"it cannot be read: {error.strerror}") from None
    return sent, digest.hexdigest()


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(PIECE):
        yield piece


def _show(display: Display, name: str, sent: int, total: int, stage: Stage = Stage.RUNNING) -> None:
    display.show([Step(key=name, title=f"Sending {name}", stage=stage, done=sent, total=total, in_bytes=True)])


def _discard(session: Session, upload_id: str) -> None:
    """The server has its own copy by now, or never will; what happens here must not hide how the import went."""
    try:
        session.server.delete(path_of("content", "uploads", upload_id))
    except Failure as failure:
        session.screen.warn(f"The upload {upload_id} is left at the server: {failure}")


def _field(answer: Any, key: str) -> Any:
    if isinstance(answer, dict) and answer.get(key):
        return answer[key]
    raise ServerTrouble(f"The server's answer has no {key}.")
