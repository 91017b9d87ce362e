"""The types of columns that both databases store alike: times, JSON, numbers that the database generates."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import BigInteger, Dialect, Integer, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_compact: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
"""Created once, because `json.dumps` with options creates an encoder at each call."""

Serial = BigInteger().with_variant(Integer, "sqlite")
"""A number that the database generates; SQLite does so for INTEGER only."""


class Time(TypeDecorator[datetime]):
    """An aware UTC datetime, stored as whole microseconds since 1970."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002 - the port's form
        """Convert to microseconds."""
        return None if value is None else stored_time(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - as above
        """Convert from microseconds."""
        return None if value is None else read_time(value)


def stored_time(moment: datetime) -> int:
    """Convert a time to the raw value of a `Time` column, bypassing SQLAlchemy."""
    return (moment - EPOCH) // _MICROSECOND


def read_time(microseconds: int) -> datetime:
    """Convert it back."""
    return EPOCH + microseconds * _MICROSECOND


class Json(TypeDecorator[Any]):
    """Any JSON value, stored as compact text; SQL NULL is `None`."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002 - the port's form
        """Convert to JSON."""
        return None if value is None else _compact(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002 - as above
        """Convert from JSON."""
        return None if value is None else json.loads(value)

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:  # noqa: ARG002 - the port's form
        """Compare as text, so that LIKE works."""
        return self.impl_instance
