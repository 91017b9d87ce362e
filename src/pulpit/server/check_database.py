"""Findings of a check, and the rules inside the database: tables, history, event log, listeners."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection

from pulpit.events import PUBLISH_FINISH, PUBLISH_START, SYNC_FINISH, SYNC_START
from pulpit.repositories.context import TaskContext
from pulpit.store import audit, event_log, listeners
from pulpit.tasks.completion import close_forgotten

Repair = Callable[[], object]
Say = Callable[[str, int, int], None]
"""Called with the current rule, the number of parts done, and their total."""

SYNC_AGAIN: Final = "`--repair` has the next sync fetch it again."
PUBLISH_AGAIN: Final = "`--repair` has the next publish write it again."
BY_STARTING: Final = "The server corrects it at its next start, and so does `--repair`."
NO_WAY: Final = "Restore a backup."
_REPORT: Final = "Report it as a bug, with the log of that time."
_PAIRS: Final = {
    SYNC_START: ("sync", "start"),
    SYNC_FINISH: ("sync", "finish"),
    PUBLISH_START: ("publish", "start"),
    PUBLISH_FINISH: ("publish", "finish"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A violation of a rule, or, if `harmless`, a leftover: nothing is missing, and it is removed automatically."""

    rule: str
    """`books.gap`: part and rule; stable across versions."""
    subject: str
    problem: str
    remedy: str
    harmless: bool = False
    repair: Repair | None = None
    """Repairs it without losing anything; call it while no server runs."""
    repaired: bool = False

    @property
    def stands(self) -> bool:
        """Whether it is a problem that has not been repaired."""
        return not (self.harmless or self.repaired)

    def line(self) -> str:
        """Format it for people."""
        return f"{self.rule} {self.subject}: {self.problem} {'Repaired.' if self.repaired else self.remedy}"

    def document(self) -> dict[str, Any]:
        """Format it for programs."""
        names = ("rule", "subject", "problem", "remedy", "harmless", "repaired")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """A data folder and its database."""

    context: TaskContext
    deep: bool
    """Whether to read every file and compare its checksum."""
    is_served: bool
    """Whether a server runs here; otherwise no task is running, whatever the tables say."""
    kept_for: timedelta | None
    kept_count: int | None
    """How many events retention keeps; `None` is all."""
    say: Say

    def busy(self) -> list[Any]:
        if not self.is_served:
            return []
        with self.context.database.read() as connection:
            return list(audit.running(connection))

    def is_busy_with(self, repo_id: str) -> bool:
        """Whether a task is working on a repository now."""
        return any(task.arguments.get("repo_id") == repo_id for task in self.busy())


def check_database(inspection: Inspection) -> Iterator[Finding]:
    """Check every rule of the database, in one snapshot."""
    with inspection.context.database.read() as connection:
        for number, part in enumerate(_PARTS):
            inspection.say("database", number, len(_PARTS))
            yield from part(inspection, connection)


def _tables(_: Inspection, connection: Connection) -> Iterator[Finding]:
    for line in audit.damage(connection):
        yield Finding(rule="books.damage", subject="pulpit.db", problem=f"SQLite says: {line}.", remedy=NO_WAY)
    for table, parent in audit.broken_references(connection):
        problem = f"A row refers to one of {parent} that does not exist."
        yield Finding(rule="books.reference", subject=table, problem=problem, remedy=NO_WAY)


def _units(_: Inspection, connection: Connection) -> Iterator[Finding]:
    for unit_id, file, size in audit.sizes_apart(connection):
        problem = f"{file.relative_path} is recorded with {file.size} bytes and kept with {size}."
        yield Finding(rule="books.size", subject=unit_id, problem=problem, remedy=_REPORT)
    for row in audit.types_apart(connection):
        problem = f"{row.repo_id} counts it as {row.unit_type_id}, and it is of type {row.type_id}."
        yield Finding(rule="books.type", subject=row.unit_id, problem=problem, remedy=_REPORT)


def _history(inspection: Inspection, connection: Connection) -> Iterator[Finding]:
    database, clock = inspection.context.database, inspection.context.clock
    for row in audit.records_left_open(connection):
        yield Finding(
            rule="books.history",
            subject=row.task_id,
            problem=f"A {row.kind} of {row.repo_id} has begun and has no end, and no task does it.",
            remedy="`--repair` ends it as an error and fires its finish." if row.known else _REPORT,
            repair=partial(close_forgotten, database, row.task_id, clock) if row.known else None,
        )
    left = [] if inspection.is_served else audit.running(connection)
    for task in left:
        problem = "The task ran when its server died."
        remedy = "The server ends it as an error when it starts."
        yield Finding(rule="books.task", subject=task.id, problem=problem, remedy=remedy, harmless=True)


def _log(inspection: Inspection, connection: Connection) -> Iterator[Finding]:
    floor = _floor(inspection, connection)
    for row in audit.gaps(connection, floor):
        problem = f"The number {row.before} is followed by {row.after}, at event {row.number}."
        yield Finding(rule="books.gap", subject=row.repo_id, problem=problem, remedy=_REPORT)
    for row in audit.counters_behind(connection):
        problem = f"The log has number {row.highest}, and the counter stands at {row.last_number}."
        yield Finding(rule="books.counter", subject=row.repo_id, problem=problem, remedy=NO_WAY)


def _pairs(inspection: Inspection, connection: Connection) -> Iterator[Finding]:
    """Check that each start has one finish: per task, unless it still runs or its start is not kept any more."""
    seen: dict[tuple[str, str], Counter[str]] = {}
    for _, event_type, body in audit.bodies(connection, list(_PAIRS), _floor(inspection, connection)):
        report = json.loads(body).get("call_report")
        if report:
            kind, end = _PAIRS[event_type]
            seen.setdefault((report["task_id"], kind), Counter())[end] += 1
    unfinished = {(row.task_id, row.kind) for row in audit.open_records(connection)}
    for (task_id, kind), counts in seen.items():
        expected = int((task_id, kind) not in unfinished)
        if counts["start"] > 1 or counts["finish"] > 1 or (counts["start"] and counts["finish"] != expected):
            problem = f"The {kind} fired {counts['start']} starts and {counts['finish']} finishes."
            yield Finding(rule="books.pair", subject=task_id, problem=problem, remedy=_REPORT)


def _listeners(inspection: Inspection, connection: Connection) -> Iterator[Finding]:
    head = event_log.head(connection)

    def put_at_end(listener_id: str) -> None:
        with inspection.context.database.write() as tx:
            listeners.change(tx, listener_id, position=head)

    for listener_id, position in audit.positions_beyond(connection, head):
        yield Finding(
            rule="books.position",
            subject=listener_id,
            problem=f"The listener stands at {position}, and the log ends at {head}: it would miss what comes.",
            remedy="`--repair` puts it at the end of the log.",
            repair=partial(put_at_end, listener_id),
        )
    for letter_id, number in audit.letters_without_event(connection):
        problem = f"The event {number} of the dead letter is not in the log, so it cannot be sent again."
        remedy = "`pulp-admin event deadletters drop` removes it."
        yield Finding(rule="books.letter", subject=letter_id, problem=problem, remedy=remedy)


def _floor(inspection: Inspection, connection: Connection) -> int:
    older_than = inspection.context.clock() - inspection.kept_for if inspection.kept_for else None
    return audit.surely_kept_from(connection, older_than=older_than, beyond=inspection.kept_count)


_PARTS: Final[tuple[Callable[[Inspection, Connection], Iterator[Finding]], ...]] = (
    _tables,
    _units,
    _history,
    _log,
    _pairs,
    _listeners,
)
