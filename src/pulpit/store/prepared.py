"""Statements that run so often that SQLAlchemy's books cost more than the database: compiled once, run on the driver.

They are said in SQLAlchemy's language as all others are, so that there is one text for SQLite and PostgreSQL. Drivers
prepare what they are given again and again, by themselves.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql import ClauseElement

Statement = Callable[[Dialect], ClauseElement]


def execute(connection: Connection, text: str, parameters: Any = ()) -> Any:
    """Run a text on the driver, and return its cursor.

    Raises:
        DBAPIError: whatever the driver complains of, as SQLAlchemy would tell it.
    """
    driver: Any = connection.connection.dbapi_connection
    try:
        return driver.execute(text, parameters)
    except connection.dialect.loaded_dbapi.Error as error:
        raise _told(connection, text, error) from error


def commit(connection: Connection) -> None:
    """Commit on the driver what was begun there; raises what `execute` raises."""
    driver: Any = connection.connection.dbapi_connection
    try:
        driver.commit()
    except connection.dialect.loaded_dbapi.Error as error:
        raise _told(connection, "COMMIT", error) from error


def _told(connection: Connection, text: str, error: Exception) -> BaseException:
    dialect = connection.dialect
    return DBAPIError.instance(text, None, error, dialect.loaded_dbapi.Error, dialect=dialect)


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A statement as one dialect has it."""

    text: str
    constants: Mapping[str, Any]
    """Parameters that the dialect itself binds."""
    order: tuple[str, ...] | None
    """Of the parameters, where the driver wants a tuple of them; others want a mapping."""
    conversions: tuple[tuple[str, Callable[[Any], Any]], ...]
    """Of the parameters that the driver does not take as they are."""


class Prepared:
    """A statement that returns rows; its parameters are the names that it binds."""

    def __init__(self, statement: Statement) -> None:
        """Take how to say it in a dialect, which is asked once for each."""
        self._statement: Final = statement
        self._compiled: Final[dict[str, _Compiled]] = {}

    def row(self, connection: Connection, parameters: dict[str, Any]) -> Any:
        """Run it, and return its only row; raises what `rows` raises."""
        [row] = self.rows(connection, parameters)
        return row

    def rows(self, connection: Connection, parameters: dict[str, Any]) -> list[Any]:
        """Run it, and return its rows as the driver has them.

        Raises:
            DBAPIError: as of `execute`.
        """
        compiled = self._compiled.get(connection.dialect.name) or self._compile(connection.dialect)
        if compiled.constants or compiled.conversions:
            parameters = {**compiled.constants, **parameters}
            for name, convert in compiled.conversions:
                parameters[name] = convert(parameters[name])
        given: Any = parameters if compiled.order is None else [parameters[name] for name in compiled.order]
        rows: list[Any] = execute(connection, compiled.text, given).fetchall()
        return rows

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
