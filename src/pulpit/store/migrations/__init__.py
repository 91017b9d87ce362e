"""Brings the tables up to date, step by step, with Alembic; each step is a file in `versions/`."""

from typing import Final

from sqlalchemy import Connection, inspect, text

HEAD: Final = "0003"
"""The newest step; a test holds it against `versions/`. It spares every start the import of Alembic."""


def upgrade(connection: Connection) -> None:
    """Run the steps that this database has not seen; all of them or none."""
    if _revision(connection) == HEAD:
        connection.rollback()
        return
    connection.rollback()
    from alembic import command  # noqa: PLC0415 - half a second that only a new or old database has to pay
    from alembic.config import Config  # noqa: PLC0415 - as above

    config = Config()
    config.set_main_option("script_location", "pulpit.store:migrations")
    config.attributes["connection"] = connection.execution_options(pulpit_writes=True)
    command.upgrade(config, "head")


def is_current(connection: Connection) -> bool:
    """Whether the tables are those of this version."""
    return _revision(connection) == HEAD


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return revision
