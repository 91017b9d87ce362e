"""What must hold inside the database: tables, history, event log, listeners."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from sqlalchemy import Connection

from pulpit.events import PUBLISH_FINISH, PUBLISH_START, SYNC_FINISH, SYNC_START
from pulpit.server.checks.scene import NO_WAY, Finding, Scene
from pulpit.store import audit, event_log, listeners
from pulpit.store.database import Database
from pulpit.tasks.endings import close_forgotten

_REPORT: Final = "Report it as a bug, with the log of that time."
_PAIRS: Final = {
    SYNC_START: ("sync", "start"),
    SYNC_FINISH: ("sync", "finish"),
    PUBLISH_START: ("publish", "start"),
    PUBLISH_FINISH: ("publish", "finish"),
}

Part = Callable[[Scene, Connection], Iterator[Finding]]


def books(scene: Scene) -> Iterator[Finding]:
    """Every rule of the database, in one snapshot of it."""
    with scene.workplace.database.read() as connection:
        for number, part in enumerate(_PARTS):
            scene.say("database", number, len(_PARTS))
            yield from part(scene, connection)


def _tables(_: Scene, connection: Connection) -> Iterator[Finding]:
    for line in audit.damage(connection):
        yield Finding(rule="books.damage", subject="pulpit.db", problem=f"SQLite says: {line}.", remedy=NO_WAY)
    for table, parent in audit.broken_references(connection):
        problem = f"A row refers to one of {parent} that does not exist."
        yield Finding(rule="books.reference", subject=table, problem=problem, remedy=NO_WAY)


def _units(_: Scene, connection: Connection) -> Iterator[Finding]:
    for unit_id, file, size in audit.sizes_apart(connection):
        problem = f"{file.relative_path} is recorded with {file.size} bytes and kept with {size}."
        yield Finding(rule="books.size", subject=unit_id, problem=problem, remedy=_REPORT)
    for row in audit.types_apart(connection):
        problem = f"{row.repo_id} counts it as {row.unit_type_id}, and it is of type {row.type_id}."
        yield Finding(rule="books.type", subject=row.unit_id, problem=problem, remedy=_REPORT)


def _history(scene: Scene, connection: Connection) -> Iterator[Finding]:
    database, clock = scene.workplace.database, scene.workplace.clock
    for row in audit.records_left_open(connection):
        yield Finding(
            rule="books.history",
            subject=row.task_id,
            problem=f"A {row.kind} of {row.repo_id} has begun and has no end, and no task does it.",
            remedy="`--repair` ends it as an error and fires its finish." if row.known else _REPORT,
            mend=partial(close_forgotten, database, row.task_id, clock) if row.known else None,
        )
    left = [] if scene.is_served else audit.running(connection)
    for task in left:
        problem = "The task ran when its server died."
        remedy = "The server ends it as an error when it starts."
        yield Finding(rule="books.task", subject=task.id, problem=problem, remedy=remedy, harmless=True)


def _log(scene: Scene, connection: Connection) -> Iterator[Finding]:
    floor = _floor(scene, connection)
    for row in audit.gaps(connection, floor):
        problem = f"The number {row.before} is followed by {row.after}, at event {row.number}."
        yield Finding(rule="books.gap", subject=row.repo_id, problem=problem, remedy=_REPORT)
    for row in audit.counters_behind(connection):
        problem = f"The log has number {row.highest}, and the counter stands at {row.last_number}."
        yield Finding(rule="books.counter", subject=row.repo_id, problem=problem, remedy=NO_WAY)


def _pairs(scene: Scene, connection: Connection) -> Iterator[Finding]:
    """A start has exactly one finish: a task's own, unless it still runs or its start is not kept any more."""
    seen: dict[tuple[str, str], Counter[str]] = {}
    for _, event_type, body in audit.bodies(connection, list(_PAIRS), _floor(scene, connection)):
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


def _listeners(scene: Scene, connection: Connection) -> Iterator[Finding]:
    head = event_log.head(connection)
    for listener_id, position in audit.positions_beyond(connection, head):
        yield Finding(
            rule="books.position",
            subject=listener_id,
            problem=f"The listener stands at {position}, and the log ends at {head}: it would miss what comes.",
            remedy="`--repair` puts it at the end of the log.",
            mend=partial(_put_at, scene.workplace.database, listener_id, head),
        )
    for letter_id, number in audit.letters_without_event(connection):
        problem = f"The event {number} of the dead letter is not in the log, so it cannot be sent again."
        remedy = "`pulp-admin event deadletters drop` lets go of it."
        yield Finding(rule="books.letter", subject=letter_id, problem=problem, remedy=remedy)


def _floor(scene: Scene, connection: Connection) -> int:
    older_than = scene.workplace.clock() - scene.kept_for if scene.kept_for else None
    return audit.surely_kept_from(connection, older_than=older_than, beyond=scene.kept_count)


def _put_at(database: Database, listener_id: str, position: int) -> None:
    with database.write() as tx:
        listeners.change(tx, listener_id, position=position)


_PARTS: Final[tuple[Part, ...]] = (_tables, _units, _history, _log, _pairs, _listeners)
