"""The reader's statements in Pulp's database, each in a transaction of its own: no lock outlives a statement.

So a suspended reader never blocks Pulp's triggers.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import psycopg
from psycopg.rows import kwargs_row

from pulpit.pulp3.attachment import READER_LOCK, VERSION
from pulpit.pulp3.translation import Row, counts_of

CHANNEL: Final = "pulpit"
AT_ONCE: Final = 200
MOST_NAMES: Final = 100
"""Names of added content in one event, and of removed content."""
KEPT: Final = "7 days"
"""How long a processed row is kept, so that the reconciler knows that it existed."""
RECONCILED: Final = "6 days"
"""How far back the reconciler looks when it starts; less than rows are kept."""
RECONCILED_AFTERWARDS: Final = "1 day"
PROBE_SECONDS: Final = 5
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
"""By type of content: the table, and the expression for a unit's name."""

Connection = psycopg.AsyncConnection[Any]


class NotAttached(Exception):
    """There is no outbox to read; the text is a sentence."""


async def check_attached(connection: Connection) -> None:
    """Check that the outbox exists and has this version.

    Raises:
        NotAttached: it does not.
    """
    if await _one(connection, "SELECT to_regclass('pulpit.attachment') IS NULL"):
        raise NotAttached("it is not attached; run: pulpit pulp3 attach")
    version = await _one(connection, "SELECT version FROM pulpit.attachment")
    if version != VERSION:
        raise NotAttached(
            f"it is attached in version {version}, and this Pulpit reads {VERSION}; run: pulpit pulp3 attach"
        )


async def has_session(connection: Connection, conninfo: str) -> bool:
    """Whether all statements run in one session; a pool that works by transactions gives each another one.

    A pool is noticed because the server's process is not the one that the connection was said to have. If it works by
    transactions, a second one gets the session that the first has just left.
    """
    if connection.info.backend_pid == (own := await _process(connection)):
        return True
    with contextlib.suppress(TimeoutError):  # it has no session for the second one, because the first keeps its own
        async with (
            asyncio.timeout(PROBE_SECONDS),
            await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as other,
            other.transaction(),
        ):
            return await _process(other) != own and await _process(connection) == own
    return True


async def become_reader(connection: Connection) -> bool:
    """Try to become the only reader, until the connection ends."""
    return bool(await _one(connection, "SELECT pg_try_advisory_lock(%s, %s)", READER_LOCK))


async def want_every_task(connection: Connection, *, wanted: bool) -> None:
    """Let the triggers record every task, or only those that sync, publish or create versions."""
    wants = "UPDATE pulpit.attachment SET every_task = %s WHERE every_task <> %s"
    await connection.execute(wants, (wanted, wanted))


async def has_domains(connection: Connection) -> bool:
    """Whether Pulp's paths contain a domain; a Pulp without domains has only one."""
    return bool(await _one(connection, "SELECT count(*) > 1 FROM core_domain"))


async def waiting(connection: Connection) -> Sequence[Row]:
    """Return the next rows in the order of writing."""
    cursor = connection.cursor(row_factory=kwargs_row(Row))
    await cursor.execute(
        "SELECT id, subject, object::text, phase, task::text, at, pulpit.whole(o) AS data, made_up "
        "FROM pulpit.outbox o WHERE taken_at IS NULL ORDER BY id LIMIT %s",
        (AT_ONCE,),
    )
    return await cursor.fetchall()


async def taken(connection: Connection, rows: Sequence[Row], problems: Mapping[int, str]) -> None:
    """Mark rows as processed, some with the reason why they could not be translated."""
    await connection.execute(
        "UPDATE pulpit.outbox o SET taken_at = clock_timestamp(), problem = p.problem "
        "FROM unnest(%s::bigint[], %s::text[]) AS p (id, problem) WHERE o.id = p.id",
        ([row.id for row in rows], [problems.get(row.id) for row in rows]),
    )


async def depth(connection: Connection) -> int:
    return int(await _one(connection, "SELECT count(*) FROM pulpit.outbox WHERE taken_at IS NULL"))


async def reconcile(connection: Connection, period: str) -> int:
    """Add rows that are missing because of a failure, for tasks within a period; return how many."""
    return int(await _one(connection, "SELECT pulpit.reconcile(clock_timestamp() - %s::interval)", (period,)))


async def renote(connection: Connection, tasks: Sequence[str]) -> dict[str, bool]:
    """Write missing rows for some tasks that have ended.

    Returns:
        whether each has ended; tasks that Pulp no longer knows are absent.
    """
    cursor = await connection.execute(
        "SELECT t.pulp_id::text, CASE WHEN t.state IN ('completed', 'failed', 'canceled', 'skipped') THEN "
        "pulpit.note_again(t.pulp_id) END IS NOT NULL FROM core_task t WHERE t.pulp_id = ANY(%s::uuid[])",
        (list(tasks),),
    )
    return dict(await cursor.fetchall())


async def forget(connection: Connection) -> None:
    """Delete rows that were processed long ago, and names and counts that no waiting row needs."""
    await connection.execute(
        "DELETE FROM pulpit.outbox WHERE id IN (SELECT id FROM pulpit.outbox WHERE taken_at < clock_timestamp() "
        "- %s::interval ORDER BY taken_at LIMIT %s)",
        (KEPT, _FORGOTTEN_AT_ONCE),
    )
    await connection.execute(
        "DELETE FROM pulpit.former f WHERE f.at < clock_timestamp() - %s::interval AND NOT EXISTS "
        "(SELECT FROM pulpit.outbox o WHERE o.taken_at IS NULL AND o.id < f.until)",
        (KEPT,),
    )
    await connection.execute(
        "DELETE FROM pulpit.counted WHERE at < clock_timestamp() - %s::interval AND NOT EXISTS "
        "(SELECT FROM pulpit.outbox o WHERE o.taken_at IS NULL AND o.at < clock_timestamp() - %s::interval)",
        (KEPT, KEPT),
    )


async def changed(connection: Connection, version: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what a version has added and removed by name, for known types of content.

    Null if nothing of it is known; `complete` is false if there was more than is listed, or if the version is gone by
    now or has taken over the changes of a version that was dropped.
    """
    counts = counts_of(version)
    kinds = {*counts["A"], *counts["R"]}
    if not kinds & _NAMES.keys():
        return None
    cursor = await connection.execute(
        "SELECT count_type, content_type, count FROM core_repositoryversioncontentdetails "
        "WHERE repository_version_id = %s",
        (version["id"],),
    )
    if counts_of({"counts": await cursor.fetchall()}) != counts:
        return {"added": [], "removed": [], "complete": False}
    known: dict[str, list[str]] = {"version_added_id": [], "version_removed_id": []}
    is_complete = True
    for (column, names), word in zip(known.items(), "AR", strict=True):
        for kind in sorted(kinds & _NAMES.keys()):
            table, name = _NAMES[kind]
            query = (
                f"SELECT {name} FROM core_repositorycontent r "  # noqa: S608 - constant identifiers
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


async def _process(connection: Connection) -> int:
    return int(await _one(connection, "SELECT pg_backend_pid()"))


async def _one(connection: Connection, query: str, values: Any = None) -> Any:
    cursor = await connection.execute(query.encode(), values)
    row = await cursor.fetchone()
    return row[0] if row else None
