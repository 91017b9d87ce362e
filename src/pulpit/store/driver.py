"""Statements run on the driver, for those that run so often that SQLAlchemy's overhead exceeds the database's.

The drivers themselves cache prepared statements.
"""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, Dialect
from sqlalchemy.exc import DBAPIError

_CURSOR: Final = "pulpit_cursor"
"""Key of a driver connection's own cursor in SQLAlchemy's `Connection.info`, which lives as long as that connection."""


def execute(connection: Connection, text: str, parameters: Sequence[Any] = ()) -> list[Any]:
    """Run a statement on the driver, and return its rows.

    Outside a transaction SQLite commits when the last row is read, so it may fail until then.

    Raises:
        DBAPIError: the driver's error, wrapped as SQLAlchemy does.
    """
    return _run(connection, connection.connection.dbapi_connection, text, parameters)


def execute_often(connection: Connection, text: str, parameters: Sequence[Any]) -> list[Any]:
    """Run a statement that returns little on a cursor that is kept: psycopg's remembers how to encode each type."""
    info = connection.info
    cursor = info.get(_CURSOR)
    if cursor is None:
        driver: Any = connection.connection.dbapi_connection
        cursor = info[_CURSOR] = driver.cursor()
    return _run(connection, cursor, text, parameters)


def _run(connection: Connection, runner: Any, text: str, parameters: Sequence[Any]) -> list[Any]:
    try:
        cursor = runner.execute(text, parameters)
        rows: list[Any] = cursor.fetchall() if cursor.description else []
    except connection.dialect.loaded_dbapi.Error as error:
        raise _told(connection, text, error) from error
    return rows


def execute_all(connection: Connection, statements: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
    """Run statements that return one row each, and return the rows; several are one round trip on PostgreSQL.

    Raises:
        DBAPIError: what `execute` raises.
    """
    dbapi: Any = connection.dialect.loaded_dbapi
    run = execute if connection.dialect.name == "sqlite" else execute_often
    if run is execute or len(statements) == 1 or not dbapi.Pipeline.is_supported():
        return [row for text, parameters in statements for row in run(connection, text, parameters)]
    driver: Any = connection.connection.dbapi_connection
    try:
        with driver.pipeline():
            cursors = [driver.execute(text, parameters) for text, parameters in statements]
            return [cursor.fetchone() for cursor in cursors]
    except dbapi.Error as error:
        raise _told(connection, statements[0][0], error) from error


def commit(connection: Connection) -> None:
    """Commit a transaction that was begun on the driver; raises what `execute` raises."""
    driver: Any = connection.connection.dbapi_connection
    try:
        driver.commit()
    except connection.dialect.loaded_dbapi.Error as error:
        raise _told(connection, "COMMIT", error) from error


def _told(connection: Connection, text: str, error: Exception) -> BaseException:
    dialect = connection.dialect
    return DBAPIError.instance(text, None, error, dialect.loaded_dbapi.Error, dialect=dialect)


def inserting(dialect: Dialect) -> Any:
    """Return the `insert` that knows ON CONFLICT; only the dialect in use is imported."""
    if dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert  # noqa: PLC0415 - see above
    else:
        from sqlalchemy.dialects.postgresql import insert  # type: ignore[assignment] # noqa: PLC0415 - see above
    return insert
