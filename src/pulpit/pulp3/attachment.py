"""Pulpit's outbox in a Pulp 3's database: created, inspected and removed; nothing runs in Pulp's processes.

The statements are in `outbox.sql` and `reading.sql`. They are one transaction, which retries to get its locks on Pulp's
tables with a short timeout: a waiting lock request would make Pulp's own statements queue behind it.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pulpit.errors import ConfigurationError, ConflictingOperation, DatabaseUnavailable
from pulpit.net.config_files import first_line, read_secret
from pulpit.settings import Pulp3Settings
from pulpit.store.connections import CLIENT_OPTIONS

SCRIPTS: Final = ("outbox.sql", "reading.sql")
VERSION: Final = 5
"""Of the schema `pulpit`; incremented with every change of `SCRIPTS`, which then also migrate earlier versions."""
READER_LOCK: Final = (7085747, 3)
"""The advisory lock of the outbox's only reader."""
TRIGGERS: Final[Mapping[str, str]] = {
    "pulpit_task": "core_task",
    "pulpit_created": "core_createdresource",
    "pulpit_publication": "core_publication",
    "pulpit_repository": "core_repository",
    "pulpit_remote": "core_remote",
    "pulpit_domain": "core_domain",
    "pulpit_counts": "core_repositoryversioncontentdetails",
}
NEEDED: Final[Mapping[str, str]] = {
    "core_task": "pulp_id pulp_created state name logging_cid started_at finished_at error reserved_resources_record "
    "pulp_domain_id parent_task_id task_group_id",
    "core_createdresource": "object_id content_type_id task_id pulp_created",
    "core_publication": "pulp_id pulp_type complete repository_version_id",
    "core_repository": "pulp_id name pulp_type pulp_domain_id",
    "core_remote": "pulp_id name pulp_type pulp_domain_id",
    "core_repositoryversion": "pulp_id number complete repository_id",
    "core_repositoryversioncontentdetails": "count_type content_type count repository_version_id",
    "core_progressreport": "task_id message code state total done pulp_created",
    "core_domain": "pulp_id name",
    "django_content_type": "id app_label model",
}
"""The columns that are read, by table."""
LOCK_SECONDS: Final = 2
LOCK_PATIENCE: Final = 60.0
DRAIN_PATIENCE: Final = 10.0
_PAUSE: Final = 0.2
_IS_WHOLE: Final = "SELECT to_regclass('pulpit.attachment') IS NOT NULL AND to_regclass('pulpit.outbox') IS NOT NULL"

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """The state of Pulp's database; times are those of its server."""

    attached: bool
    version: int | None = None
    pulpcore: str | None = None
    """The last migration of pulpcore."""
    triggers: Mapping[str, str] | None = None
    """`in place`, `missing` or `disabled`."""
    waiting: int = 0
    full: bool = False
    """Whether the outbox is full, so that nothing more is recorded."""
    oldest_waiting_at: datetime | None = None
    last_event_at: datetime | None = None
    refused: int = 0
    """Rows that could not be translated to an event."""
    reconciled: int = 0
    """Rows that the reconciler added."""
    reconciled_at: datetime | None = None
    being_read: bool = False
    every_task: bool = False


def conninfo(section: Pulp3Settings, key: str = "[pulp3]") -> str:
    """Return the connection string of a Pulp's database, with the password.

    Raises:
        ConfigurationError: the URL or the password file is invalid.
    """
    try:
        given = conninfo_to_dict(section.database_url)
    except psycopg.ProgrammingError:  # its text may contain the password
        reason = (
            "it is not a URL such as postgresql://user@host/name; in a password write / as %2F, @ as %40, : as %3A."
        )
        raise ConfigurationError(f"{key} database_url", reason) from None
    if section.password_file:
        name = f"{key} password_file"
        given["password"] = first_line(read_secret(Path(section.password_file), name))
    several = {"target_session_attrs": "read-write"} if "," in str(given.get("host", "")) else {}
    options: dict[str, Any] = {**CLIENT_OPTIONS, **several, **given}
    return make_conninfo("", **options)


def place(url: str) -> str:
    """Return a database's location, without user and password."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2] or "this host"
    return f"the database {parts.path.lstrip('/') or '(default)'} at {host}"


def script(schema: str = "public") -> str:
    """Return the statements of `attach`, for administrators who run them by hand."""
    text = "\n".join(files("pulpit.pulp3").joinpath(name).read_text(encoding="utf-8") for name in SCRIPTS)
    return f"BEGIN;\n\n{text.replace('@pulp@', sql.Identifier(schema).as_string())}\nCOMMIT;\n"


def removal(schema: str = "public") -> str:
    """Return the statements of `detach`: first the triggers, then their tables."""
    drops = [f"DROP TRIGGER IF EXISTS {name} ON {_qualified(schema, table)};" for name, table in TRIGGERS.items()]
    return "\n".join(["BEGIN;", *drops, "COMMIT;", "DROP SCHEMA IF EXISTS pulpit CASCADE;", ""])


def attach(connection: "psycopg.Connection[Any]", where: str) -> bool:
    """Create outbox and triggers in Pulp's database; false if everything existed.

    Raises:
        ConfigurationError: it is not a Pulp 3, an unsupported version, or attached by a newer Pulpit.
        ConflictingOperation: Pulp's tables stay locked.
    """
    schema = _schema_of_pulp(connection, where)
    _check_owner(connection, schema, where)
    _check_columns(connection, schema, where)
    now = status(connection, where)
    if now.version is not None and now.version > VERSION:
        reason = (
            f"{where} was attached by a newer Pulpit (version {now.version}, this one knows {VERSION}); use that one."
        )
        raise ConfigurationError("[pulp3] database_url", reason)
    if now.version == VERSION and set((now.triggers or {}).values()) == {"in place"}:
        return False
    body = script(schema).removeprefix("BEGIN;").rstrip().removesuffix("COMMIT;")
    _with_locks(connection, body)
    return True


def detach(connection: "psycopg.Connection[Any]", where: str, *, discard: bool) -> bool:
    """Remove what `attach` has created; false if there was nothing.

    Pending rows get a moment to be read once the triggers are gone.

    Raises:
        ConfigurationError: it is not a Pulp 3.
        ConflictingOperation: rows are pending and not to be discarded, or a lock is unavailable.
    """
    schema = _schema_of_pulp(connection, where)
    before = status(connection, where)
    present = [name for name, state in (before.triggers or {}).items() if state != "missing"]
    has_schema = _one(connection, "SELECT to_regnamespace('pulpit')") is not None
    if present:
        _with_locks(connection, removal(schema).partition("COMMIT;")[0].removeprefix("BEGIN;"))
    if has_schema:
        deadline = time.monotonic() + DRAIN_PATIENCE
        while before.attached and not discard and (waiting := _count_waiting(connection)):
            if time.monotonic() > deadline:
                raise ConflictingOperation(
                    f"The triggers are gone and Pulp writes nothing more, but {waiting} rows wait that no server has "
                    "taken. Start the server that reads them and detach again, or discard them by --discard."
                )
            time.sleep(_PAUSE)
        _with_locks(connection, "DROP SCHEMA pulpit CASCADE")
    return bool(present) or has_schema


def status(connection: "psycopg.Connection[Any]", where: str) -> Status:
    """Inspect Pulp's database.

    Raises:
        ConfigurationError: it is not a Pulp 3.
    """
    schema = _schema_of_pulp(connection, where)
    pulpcore = _one(connection, "SELECT name FROM django_migrations WHERE app = 'core' ORDER BY id DESC LIMIT 1")
    enabled = dict(
        connection.execute(
            "SELECT t.tgname, t.tgenabled FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
            "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND t.tgname = ANY(%s)",
            (schema, list(TRIGGERS)),
        ).fetchall()
    )
    words = {None: "missing", "D": "disabled"}
    triggers = {name: words.get(enabled.get(name), "in place") for name in TRIGGERS}
    if _one(connection, _IS_WHOLE) is not True:
        return Status(attached=False, pulpcore=pulpcore, triggers=triggers)
    kept = _one(connection, "SELECT to_jsonb(a) FROM pulpit.attachment a") or {}  # of any version
    reconciled_at = kept.get("reconciled_at")
    return Status(
        attached=True,
        version=kept.get("version"),
        pulpcore=pulpcore,
        triggers=triggers,
        waiting=_count_waiting(connection),
        full=kept.get("is_full", False),
        oldest_waiting_at=_one(connection, "SELECT min(at) FROM pulpit.outbox WHERE taken_at IS NULL"),
        last_event_at=_one(connection, "SELECT at FROM pulpit.outbox ORDER BY id DESC LIMIT 1"),
        refused=_one(connection, "SELECT count(*) FROM pulpit.outbox WHERE problem IS NOT NULL"),
        reconciled=kept.get("reconciled", 0),
        reconciled_at=reconciled_at and datetime.fromisoformat(reconciled_at),
        being_read=_one(
            connection,
            "SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE l.locktype = "
            "'advisory' AND l.granted AND d.datname = current_database() AND l.classid::bigint = %s AND l.objid = %s)",
            READER_LOCK,
        ),
        every_task=kept.get("every_task", False),
    )


def with_connection(section: Pulp3Settings, work: Callable[["psycopg.Connection[Any]", str], T]) -> T:
    """Connect, run `work`, and convert database errors to sentences.

    Raises:
        ConfigurationError: the database cannot be used.
        DatabaseUnavailable: it cannot be reached.
    """
    where = place(section.database_url)
    try:
        with psycopg.connect(conninfo(section), autocommit=True) as connection:
            return work(connection, where)
    except psycopg.OperationalError as error:
        raise DatabaseUnavailable(f"{where} cannot be reached ({sentence(error)}).") from None
    except psycopg.errors.InsufficientPrivilege as error:
        reason = f"{where} does not let this user do that ({sentence(error)}); connect as the owner of Pulp's tables."
        raise ConfigurationError("[pulp3] database_url", reason) from None
    except psycopg.Error as error:
        raise ConfigurationError("[pulp3] database_url", f"{where} cannot be used ({sentence(error)}).") from None


def sentence(error: psycopg.Error) -> str:
    """Return the first line of PostgreSQL's message; it contains users and hosts, but never a password."""
    if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
        return "it takes no writes, as a standby does; name the primary server"
    return (error.diag.message_primary or str(error)).strip().partition("\n")[0].rstrip(".")


def _schema_of_pulp(connection: "psycopg.Connection[Any]", where: str) -> str:
    wanted = (
        "SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(%s)"
    )
    schema = _one(connection, wanted, ("core_task",))
    if schema is None:
        reason = f"{where} has no table core_task that this user can see, so it is no Pulp 3's."
        raise ConfigurationError("[pulp3] database_url", reason)
    return str(schema)


def _check_owner(connection: "psycopg.Connection[Any]", schema: str, where: str) -> None:
    wanted = "SELECT relowner::regrole, pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = %s::regclass"
    [(owner, may_act)] = connection.execute(wanted, (_qualified(schema, "core_task"),)).fetchall()
    if not may_act:
        reason = (
            f"Pulp's tables in {where} belong to {owner}; connect as {owner} or as a superuser. Nothing was changed."
        )
        raise ConfigurationError("[pulp3] database_url", reason)


def _check_columns(connection: "psycopg.Connection[Any]", schema: str, where: str) -> None:
    there = {
        (table, column)
        for table, column in connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = %s", (schema,)
        )
    }
    wanted = [(table, column) for table, columns in NEEDED.items() for column in columns.split()]
    missing = [f"{table}.{column}" for table, column in wanted if (table, column) not in there]
    if missing:
        few = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")  # noqa: PLR2004 - as many as are read
        reason = f"{where} is of a pulpcore that Pulpit does not know: {few} is missing. Nothing was changed."
        raise ConfigurationError("[pulp3] database_url", reason)


def _with_locks(connection: "psycopg.Connection[Any]", statements: str) -> None:
    """Run statements as one transaction, retrying to get its locks with a short timeout."""
    deadline = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            with connection.transaction():
                connection.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'".encode())
                connection.execute(statements.encode())
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            if time.monotonic() > deadline:
                raise ConflictingOperation(
                    f"Somebody has held a lock on Pulp's tables for {LOCK_PATIENCE:.0f} s; try again."
                ) from None
            time.sleep(_PAUSE)
        else:
            return


def _count_waiting(connection: "psycopg.Connection[Any]") -> int:
    return int(_one(connection, "SELECT count(*) FROM pulpit.outbox WHERE taken_at IS NULL"))


def _one(connection: "psycopg.Connection[Any]", query: str, values: Any = None) -> Any:
    row = connection.execute(query.encode(), values).fetchone()
    return row[0] if row else None


def _qualified(schema: str, table: str) -> str:
    return sql.Identifier(schema, table).as_string()
