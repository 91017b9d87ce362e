"""Statements that run so often that SQLAlchemy's overhead exceeds the database's: compiled once, run on the driver.

They are written in SQLAlchemy's language as all others are, so that there is one text for SQLite and PostgreSQL. The
drivers themselves cache prepared statements.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql import ClauseElement

Statement = Callable[[Dialect], ClauseElement]


def execute(connection: Connection, text: str, parameters: Any = ()) -> Any:
    """Run a statement on the driver, and return its cursor.

    Raises:
        DBAPIError: the driver's error, wrapped as SQLAlchemy does.
    """
    driver: Any = connection.connection.dbapi_connection
    try:
        return driver.execute(text, parameters)
    except connection.dialect.loaded_dbapi.Error as error:
        raise _told(connection, text, error) from error


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


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A statement compiled for one dialect."""

    text: str
    constants: Mapping[str, Any]
    """Parameters that the dialect itself binds."""
    order: tuple[str, ...] | None
    """Names of the parameters, if the driver takes a tuple instead of a mapping."""
    conversions: tuple[tuple[str, Callable[[Any], Any]], ...]
    """Conversions for parameters that the driver does not accept as they are."""


class Prepared:
    """A statement; its parameters are the names of its bind parameters."""

    def __init__(self, statement: Statement) -> None:
        """Take a function that builds the statement for a dialect; it is called once for each."""
        self._statement: Final = statement
        self._compiled: Final[dict[str, _Compiled]] = {}

    def row(self, connection: Connection, parameters: dict[str, Any]) -> Any:
        """Run it, and return its only row; raises what `rows` raises."""
        [row] = self.rows(connection, parameters)
        return row

    def rows(self, connection: Connection, parameters: dict[str, Any]) -> list[Any]:
        """Run it, and return its rows as the driver does.

        Raises:
            DBAPIError: as of `execute`.
        """
        rows: list[Any] = self._run(connection, parameters).fetchall()
        return rows

    def new_row(self, connection: Connection, parameters: dict[str, Any]) -> int:
        """Run an INSERT on SQLite, and return the number of its row; a RETURNING would take half as long again.

        Raises:
            DBAPIError: as of `execute`.
        """
        number: int = self._run(connection, parameters).lastrowid
        return number

    def _run(self, connection: Connection, parameters: dict[str, Any]) -> Any:
        compiled = self._compiled.get(connection.dialect.name) or self._compile(connection.dialect)
        if compiled.constants or compiled.conversions:
            parameters = {**compiled.constants, **parameters}
            for name, convert in compiled.conversions:
                parameters[name] = convert(parameters[name])
        given: Any = parameters if compiled.order is None else [parameters[name] for name in compiled.order]
        return execute(connection, compiled.text, given)

    def _compile(self, dialect: Dialect) -> _Compiled:
        compiled: Any = self._statement(dialect).compile(dialect=dialect)
        converting = {
            name: bind.type.dialect_impl(dialect).bind_processor(dialect) for name, bind in compiled.binds.items()
        }
        made = self._compiled[dialect.name] = _Compiled(
            text=str(compiled),
            constants={name: value for name, value in compiled.params.items() if value is not None},
            order=tuple(compiled.positiontup) if compiled.positional else None,
            conversions=tuple((name, convert) for name, convert in converting.items() if convert is not None),
        )
        return made
