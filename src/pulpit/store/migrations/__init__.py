"""Migrates the tables with Alembic; each step is a file in `versions/`."""

from typing import Final

from sqlalchemy import Connection, inspect, text

from pulpit.store.schema import KEEP_COUNTER, metadata

HEAD: Final = "0021"
"""The newest step; a test compares it with `versions/`."""
STEPS: Final = frozenset(f"{number:04}" for number in range(1, int(HEAD) + 1))
"""Every step of this version."""
_VERSION_TABLE: Final = """
CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
)
"""
_OURS: Final = frozenset({"events", "listeners", "repositories", "tasks", "units", "users"})
"""Tables that would collide with ours if another program created them."""


class UnusableTables(Exception):
    """This version cannot use the tables of a database; the text continues a sentence after the database's name."""


def upgrade(connection: Connection) -> None:
    """Run the missing steps; all of them or none.

    An empty SQLite gets the newest tables at once: importing Alembic and its steps take as long as the rest of a start.

    Raises:
        UnusableTables: the tables are from a newer version, or another program.
    """
    revision = _revision(connection)
    connection.rollback()
    if revision == HEAD:
        return
    connection = connection.execution_options(pulpit_writes=True)
    if revision is None and connection.dialect.name == "sqlite":
        _create(connection)
        return
    from alembic import command  # noqa: PLC0415 - only an older database, or a new PostgreSQL, needs Alembic
    from alembic.config import Config  # noqa: PLC0415 - as above

    config = Config()
    config.set_main_option("script_location", "pulpit.store:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def is_older(connection: Connection) -> bool:
    """Whether there are tables, and `upgrade` has steps to run.

    Raises:
        UnusableTables: the tables are from a newer version, or another program.
    """
    return _revision(connection) not in (None, HEAD)


def _create(connection: Connection) -> None:
    """Create what all steps lead to; a test compares the two."""
    with connection.begin():
        metadata.create_all(connection, checkfirst=False)
        for statement in (KEEP_COUNTER, _VERSION_TABLE, f"INSERT INTO alembic_version VALUES ('{HEAD}')"):  # noqa: S608 - ours
            connection.execute(text(statement))


def check_current(connection: Connection) -> None:
    """Check that the tables are those of this version.

    Raises:
        UnusableTables: they are not.
    """
    if _revision(connection) != HEAD:
        raise UnusableTables("has the tables of an older version; start the server once.")


def _revision(connection: Connection) -> str | None:
    tables = set(inspect(connection).get_table_names())
    if "alembic_version" not in tables:
        if tables & _OURS:
            names = ", ".join(sorted(tables & _OURS))
            raise UnusableTables(f"has tables of another program ({names}); give Pulpit a database of its own.")
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if revision is not None and revision not in STEPS:
        raise UnusableTables(
            f"was written by a newer version of Pulpit (its tables are at {revision}, this version knows {HEAD}); "
            "start that version, or restore the backup from before it."
        )
    return revision
