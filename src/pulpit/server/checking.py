"""Composes `pulpit check`: opens what there is, looks by every rule, and says what was found."""

import contextlib
import json
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from rich.console import Console
from rich.progress import Progress

from pulpit.client.output import write_line
from pulpit.client.render import clean
from pulpit.errors import ConfigurationError
from pulpit.repositories.workplace import Workplace
from pulpit.server import datafolder
from pulpit.server.checks.rules import Verdict, examine
from pulpit.server.checks.scene import Say, Scene
from pulpit.server.contents import content_types
from pulpit.settings import Settings
from pulpit.store.database import Database
from pulpit.store.wakeups import WakeupSocket

FOUND: Final = 3
"""Exit code: something is wrong, and was not repaired."""


def check(settings: Settings, *, deep: bool, repair: bool, as_json: bool) -> int:
    """Look through a data folder and answer the exit code.

    Raises:
        ConfigurationError: there is nothing to look into, or a server runs and `repair` is asked for.
    """
    datafolder.check_own(settings.data_dir)
    with _alone(settings) if repair else contextlib.nullcontext(), _bar() as say, _scene(settings, say, deep) as scene:
        found = examine(scene, repair=repair)
        verdicts = list(found) if as_json else list(_told(found))
    standing = sum(one.stands for one in verdicts)
    if as_json:
        findings = [one.document() for one in verdicts]
        write_line(json.dumps({"consistent": not standing, "deep": deep, "findings": findings}, indent=2))
    else:
        write_line(_summary(verdicts, standing))
    return FOUND if standing else 0


def _told(found: Iterator[Verdict]) -> Iterator[Verdict]:
    for one in found:
        write_line(clean(one.line()))
        yield one


def _summary(verdicts: list[Verdict], standing: int) -> str:
    left = sum(one.finding.harmless and not one.repaired for one in verdicts)
    repaired = sum(one.repaired for one in verdicts)
    further = f" {left} left over." if left else ""
    further += f" {repaired} repaired." if repaired else ""
    if standing:
        return f"{standing} {'thing is' if standing == 1 else 'things are'} wrong.{further}"
    return f"Database, storage and published trees agree.{further}"


@contextlib.contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Hold the data folder as a server would, so that none starts meanwhile."""
    try:
        with datafolder.locked(settings.data_dir):
            yield
    except ConfigurationError:
        if not datafolder.is_served(settings.data_dir):
            raise
        raise ConfigurationError("--repair", f"stop the server of {settings.data_dir} first.") from None


@contextlib.contextmanager
def _scene(settings: Settings, say: Say, deep: bool) -> Iterator[Scene]:
    with WakeupSocket(settings.data_dir) as wakeups:
        database = Database.look_into(settings.data_dir, wakeups, url=settings.database.url)
        workplace = Workplace(database=database, data_dir=settings.data_dir, content_types=content_types())
        days = settings.server.keep_events_days
        try:
            yield Scene(
                workplace=workplace,
                deep=deep,
                is_served=datafolder.is_served(settings.data_dir),
                kept_for=timedelta(days=days) if days else None,
                kept_count=settings.server.keep_events_count or None,
                say=say,
            )
        finally:
            database.close()


@contextlib.contextmanager
def _bar() -> Iterator[Say]:
    """Show on a terminal how far it is."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("")
        yield lambda what, done, total: progress.update(task, description=what, completed=done, total=total)
