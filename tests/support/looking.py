"""What `pulpit check` finds, without a process of its own."""

from datetime import timedelta
from pathlib import Path

from pulpit.repositories.context import TaskContext
from pulpit.server.check import examine
from pulpit.server.check_database import Finding, Inspection
from support import published

_NINETY_DAYS = timedelta(days=90)


def look(context: TaskContext, *, deep: bool = False, repair: bool = False, is_served: bool = False) -> list[Finding]:
    """Every finding; events are taken to be kept for 90 days."""
    inspection = Inspection(
        context=context,
        deep=deep,
        is_served=is_served,
        kept_for=_NINETY_DAYS,
        kept_count=None,
        say=lambda *_: None,
    )
    return list(examine(inspection, repair=repair))


def look_beside(data_dir: Path) -> list[Finding]:
    """Every finding of a deep look beside a running server."""
    with published.beside(data_dir) as context:
        return look(context, deep=True, is_served=True)
