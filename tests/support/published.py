"""What is published, and what `pulpit check` finds, without a server."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from pulpit.content.port import StoredFile
from pulpit.errors import WorkFailed
from pulpit.published.locate import Publications
from pulpit.repositories import inventory
from pulpit.repositories.context import TaskContext
from pulpit.repositories.publish import PublishOutcome
from pulpit.server.check import examine
from pulpit.server.check_database import Finding, Inspection
from pulpit.server.content_types import content_types
from pulpit.storage.folder import FolderStorage
from pulpit.store import publications
from pulpit.store.database import Database
from pulpit.store.wakeups import WakeupSocket


def known(context: TaskContext) -> Publications:
    return Publications(context.database, context.storage, grace=context.grace, clock=context.clock)


def show(context: TaskContext, outcome: PublishOutcome) -> PublishOutcome:
    """The last step of a publish, which the end of its task takes otherwise."""
    if outcome.show is None:
        return outcome
    try:
        with context.database.write() as tx:
            outcome.show(tx)
    except WorkFailed as error:
        return replace(outcome, result="failed", error_message=str(error), show=None)
    return outcome


def listed(context: TaskContext, path: str) -> dict[str, StoredFile]:
    """What a place (`isos/zoo`) shows, by path in it; nothing if it shows nothing."""
    with context.database.read() as connection:
        publication = publications.at(connection, path)
    if publication is None:
        return {}
    with context.storage.open(publication.inventory) as lines:
        return {file.relative_path: file for file in inventory.read(lines)}


def contents(context: TaskContext, path: str) -> dict[str, bytes]:
    """The same with the bytes of the files."""
    return {name: read(context, file) for name, file in listed(context, path).items()}


def read(context: TaskContext, file: StoredFile) -> bytes:
    with context.storage.open(file.sha256) as opened:
        return opened.read()


def paths(context: TaskContext) -> list[str]:
    with context.database.read() as connection:
        return [place.path for place in publications.every_place(connection)]


def folder(context: TaskContext, path: str) -> Path:
    """A new folder with what a place shows now; none is there if it shows nothing."""
    root = context.data_dir.with_name(f"{context.data_dir.name}.seen") / path
    shutil.rmtree(root, ignore_errors=True)
    for name, content in contents(context, path).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


@contextmanager
def beside(data_dir: Path) -> Iterator[TaskContext]:
    """A context to look with beside a running server."""
    with WakeupSocket(data_dir) as wakeups:
        database = Database.look_into(data_dir, wakeups)
        try:
            yield TaskContext(
                database=database,
                storage=FolderStorage(data_dir / "content"),
                data_dir=data_dir,
                content_types=content_types(),
            )
        finally:
            database.close()


def look(context: TaskContext, *, deep: bool = False, repair: bool = False, is_served: bool = False) -> list[Finding]:
    """Every finding; events are taken to be kept for 90 days."""
    inspection = Inspection(
        context=context,
        deep=deep,
        is_served=is_served,
        kept_for=timedelta(days=90),
        kept_count=None,
        say=lambda *_: None,
    )
    return list(examine(inspection, repair=repair))


def look_beside(data_dir: Path) -> list[Finding]:
    """Every finding of a deep look beside a running server."""
    with beside(data_dir) as context:
        return look(context, deep=True, is_served=True)
