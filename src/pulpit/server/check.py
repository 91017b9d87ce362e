"""`pulpit check`: verifies the consistency of database, storage and publications, and repairs it."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Final

from rich.console import Console
from rich.progress import Progress

from pulpit.client.streams import write_line
from pulpit.errors import ConfigurationError
from pulpit.repositories.context import TaskContext
from pulpit.server import data_folder
from pulpit.server.check_database import Finding, Inspection, Say, check_database
from pulpit.server.check_files import check_publications, check_storage
from pulpit.server.content_types import content_types
from pulpit.settings import Settings
from pulpit.storage.opening import open_storage
from pulpit.store.database import Database
from pulpit.store.wakeups import WakeupSocket
from pulpit.text import clean

FOUND: Final = 3
"""Exit code: a problem was found and not repaired."""

CHECKS: Final[tuple[Callable[[Inspection], Iterator[Finding]], ...]] = (
    check_database,
    check_publications,
    check_storage,
)


def check(settings: Settings, *, deep: bool, repair: bool, as_json: bool) -> int:
    """Check a data folder and return the exit code.

    Raises:
        ConfigurationError: there is nothing to check, or `repair` was requested while a server runs.
    """
    data_folder.check_own(settings.data_dir)
    with (
        _alone(settings) if repair else contextlib.nullcontext(),
        _progress_bar() as say,
        _inspection(settings, say, deep) as inspection,
    ):
        findings = []
        for finding in examine(inspection, repair=repair):
            findings.append(finding)
            if not as_json:
                write_line(clean(finding.line()))
    standing = sum(finding.stands for finding in findings)
    if as_json:
        documents = [finding.document() for finding in findings]
        write_line(json.dumps({"consistent": not standing, "deep": deep, "findings": documents}, indent=2))
    else:
        write_line(_summary(findings, standing))
    return FOUND if standing else 0


def examine(inspection: Inspection, *, repair: bool) -> Iterator[Finding]:
    """Apply every rule; with `repair`, fix what each has found before the next one runs.

    Args:
        inspection: what to check.
        repair: whether to repair; no server may be running.
    """
    for look in CHECKS:
        found = list(look(inspection)) if repair else look(inspection)
        for finding in found:
            if repair and finding.repair is not None:
                finding.repair()
                yield replace(finding, repaired=True)
            else:
                yield finding


def _summary(findings: list[Finding], standing: int) -> str:
    left = sum(finding.harmless and not finding.repaired for finding in findings)
    repaired = sum(finding.repaired for finding in findings)
    further = f" {left} left over." if left else ""
    further += f" {repaired} repaired." if repaired else ""
    if standing:
        return f"{standing} {'thing is' if standing == 1 else 'things are'} wrong.{further}"
    return f"Database, storage and publications agree.{further}"


@contextlib.contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Lock the data folder like a server, so that none starts meanwhile."""
    try:
        with data_folder.locked(settings.data_dir):
            yield
    except ConfigurationError:
        if not data_folder.is_served(settings.data_dir):
            raise
        raise ConfigurationError("--repair", f"stop the server of {settings.data_dir} first.") from None


@contextlib.contextmanager
def _inspection(settings: Settings, say: Say, deep: bool) -> Iterator[Inspection]:
    with WakeupSocket(settings.data_dir) as wakeups:
        database = Database.look_into(settings.data_dir, wakeups, url=settings.database.url)
        context = TaskContext(
            database=database,
            storage=open_storage(settings.storage, settings.data_dir),
            data_dir=settings.data_dir,
            content_types=content_types(),
        )
        days = settings.server.keep_events_days
        try:
            yield Inspection(
                context=context,
                deep=deep,
                is_served=data_folder.is_served(settings.data_dir),
                kept_for=timedelta(days=days) if days else None,
                kept_count=settings.server.keep_events_count or None,
                say=say,
            )
        finally:
            database.close()


@contextlib.contextmanager
def _progress_bar() -> Iterator[Say]:
    """Show progress on a terminal."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("")
        yield lambda what, done, total: progress.update(task, description=what, completed=done, total=total)
