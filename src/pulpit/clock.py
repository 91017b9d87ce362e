# SPDX-License-Identifier: Apache-2.0
"""The time, passed as an argument: code that needs the time gets a clock."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Returns the current time as an aware UTC datetime."""


def system_clock() -> datetime:
    """Read the machine's clock."""
    return datetime.now(UTC)


def iso(moment: datetime | None) -> str | None:
    """Format a time as Pulp 2's API does: ISO 8601, UTC, whole seconds, `Z`."""
    return None if moment is None else _utc(moment).isoformat("T", "seconds").removesuffix("+00:00") + "Z"


def iso_micro(moment: datetime) -> str:
    """Format a time with microseconds (RFC 3339), where the order within a second matters."""
    t = _utc(moment)
    time = (t.year, t.month, t.day, t.hour, t.minute, t.second, t.microsecond)
    return "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ" % time  # noqa: UP031 - for each event; others take half as long again


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)
