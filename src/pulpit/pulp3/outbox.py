"""The statements of the reader in Pulp's database, each in a transaction of its own: no lock outlives a statement.

A reader that is frozen in the middle can so never be in the way of Pulp's triggers.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import psycopg
from psycopg.rows import kwargs_row

from pulpit.pulp3.attachment import READER_LOCK, VERSION
from pulpit.pulp3.translation import Row, counts_of

CHANNEL: Final = "pulpit"
AT_ONCE: Final = 200
MOST_NAMES: Final = 100
"""Names of added content in one event, and as many of removed."""
KEPT: Final = "7 days"
"""How long a row stays after it was taken, so that the reconciler knows that it was there."""
RECONCILED: Final = "6 days"
"""How far back the reconciler looks when it begins; less than rows are kept."""
RECONCILED_AFTERWARDS: Final = "1 day"
_FORGOTTEN_AT_ONCE: Final = 5_000
_NAMES: Final[Mapping[str, tuple[str, str]]] = {
    "file.file": ("file_filecontent", "c.relative_path"),
    "rpm.package": (
        "rpm_package",
        (
            "c.name || '-' || CASE c.epoch WHEN '0' THEN '' ELSE c.epoch || ':' END || c.version || '-' || c.release "
            "|| '.' || c.arch"
        ),
    ),
    "python.python": ("python_pythonpackagecontent", "c.filename"),
}
"""By type of content: the table, and what people call a row of it."""

Connection = psycopg.AsyncConnection[Any]


class NotAttached(Exception):
    """There is nothing to read from; the text is a sentence."""


async def check_attached(connection: Connection) -> None:
    """Look whether the outbox is there and of this version.

    Raises:
        NotAttached: it is not.
    """
    if await _one(connection, "SELECT to_regclass('pulpit.attachment') IS NULL"):
        raise NotAttached("it is not attached; run: pulpit pulp3 attach")
    version = await _one(connection, "SELECT version FROM pulpit.attachment")
    if version != VERSION:
        raise NotAttached(
            f"it is attached in version {version}, and this Pulpit reads {VERSION}; run: pulpit pulp3 attach"
        )


async def become_reader(connection: Connection) -> bool:
    """Whether this connection is now the one that reads, until it ends."""
    return bool(await _one(connection, "SELECT pg_try_advisory_lock(%s, %s)", READER_LOCK))


async def want_every_task(connection: Connection, *, wanted: bool) -> None:
    """Have the triggers write of every task, or of those alone that sync, publish or make versions."""
    wants = "UPDATE pulpit.attachment SET every_task = %s WHERE every_task <> %s"
    await connection.execute(wants, (wanted, wanted))


async def has_domains(connection: Connection) -> bool:
    """Whether Pulp's paths name a domain; a Pulp without domains has the one alone."""
    return bool(await _one(connection, "SELECT count(*) > 1 FROM core_domain"))


async def waiting(connection: Connection) -> Sequence[Row]:
    """The next rows in the order in which they were written."""
    cursor = connection.cursor(row_factory=kwargs_row(Row))
    await cursor.execute(
        "SELECT id, subject, object::text, phase, task::text, at, data, made_up FROM pulpit.outbox "
        "WHERE taken_at IS NULL ORDER BY id LIMIT %s",
        (AT_ONCE,),
    )
    return await cursor.fetchall()


async def taken(connection: Connection, rows: Sequence[Row], problems: Mapping[int, str]) -> None:
    """Mark rows as taken, some of them with the reason why no event could be made of them."""
    await connection.execute(
        "UPDATE pulpit.outbox o SET taken_at = clock_timestamp(), problem = p.problem "
        "FROM unnest(%s::bigint[], %s::text[]) AS p (id, problem) WHERE o.id = p.id",
        ([row.id for row in rows], [problems.get(row.id) for row in rows]),
    )


async def depth(connection: Connection) -> int:
    """How many rows wait."""
    return int(await _one(connection, "SELECT count(*) FROM pulpit.outbox WHERE taken_at IS NULL"))


async def reconcile(connection: Connection, period: str) -> int:
    """Make up for rows that a failure has cost, of tasks not older than a period; returns how many."""
    return int(await _one(connection, "SELECT pulpit.reconcile(clock_timestamp() - %s::interval)", (period,)))


async def renote(connection: Connection, tasks: Sequence[str]) -> dict[str, bool]:
    """Have rows written for some tasks that have ended, if there are none.

    Returns:
        whether each has ended; of those that Pulp does not know any more, nothing.
    """
    cursor = await connection.execute(
        "SELECT t.pulp_id::text, CASE WHEN t.state IN ('completed', 'failed', 'canceled', 'skipped') THEN "
        "pulpit.note_task(to_jsonb(t), true) END IS NOT NULL FROM core_task t WHERE t.pulp_id = ANY(%s::uuid[])",
        (list(tasks),),
    )
    return dict(await cursor.fetchall())


async def forget(connection: Connection) -> None:
    """Delete rows that were taken long ago."""
    await connection.execute(
        "DELETE FROM pulpit.outbox WHERE id IN (SELECT id FROM pulpit.outbox WHERE taken_at < clock_timestamp() "
        "- %s::interval ORDER BY taken_at LIMIT %s)",
        (KEPT, _FORGOTTEN_AT_ONCE),
    )


async def changed(connection: Connection, version: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a version has added and removed by name, as far as its types of content are known here.

    Null where nothing of it is known; `complete` is false where there was more than is named, and where the version is
    gone by now.
    """
    counts = counts_of(version)
    kinds = {*counts["A"], *counts["R"]}
    if not kinds & _NAMES.keys():
        return None
    known: dict[str, list[str]] = {"version_added_id": [], "version_removed_id": []}
    is_complete = True
    for (column, names), word in zip(known.items(), "AR", strict=True):
        for kind in sorted(kinds & _NAMES.keys()):
            table, name = _NAMES[kind]
            query = (
                f"SELECT {name} FROM core_repositorycontent r "  # noqa: S608 - the words are our own
                f"JOIN {table} c ON c.content_ptr_id = r.content_id WHERE r.{column} = %s LIMIT %s"
            )
            cursor = await connection.execute(query.encode(), (version["id"], MOST_NAMES + 1 - len(names)))
            names += [row[0] for row in await cursor.fetchall()]
        is_complete = is_complete and len(names) == sum(counts[word].values()) <= MOST_NAMES
    return {
        "added": sorted(known["version_added_id"])[:MOST_NAMES],
        "removed": sorted(known["version_removed_id"])[:MOST_NAMES],
        "complete": is_complete,
    }


async def _one(connection: Connection, query: str, values: Any = None) -> Any:
    cursor = await connection.execute(query.encode(), values)
    row = await cursor.fetchone()
    return row[0] if row else None
