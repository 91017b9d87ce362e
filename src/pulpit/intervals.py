# SPDX-License-Identifier: Apache-2.0
"""ISO 8601 intervals as schedules use them: `[Rn/][start/]Pperiod`, such as `R5/2031-01-31T03:00:00Z/P1M`.

The slots of an interval are the first one and those one, two, … periods after it. Each is computed from the first
slot, not from the previous one: 31 January is followed by 28 February, and that by 31 March. Everything is in UTC, so
no clock change moves a slot.

Also durations as people write them in options and configurations: `90s`, `15m`, `12h`, `3d`.
"""

import bisect
import calendar
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from pulpit.errors import InvalidValue

LONGEST_TEXT: Final = 100
"""Characters of an interval."""
SHORTEST: Final = timedelta(seconds=1)
LONGEST: Final = timedelta(days=36_525)
"""A period of a hundred years; a longer one is a typo, and dates overflow."""
MOST_RUNS: Final = 10**9

_YEARS: Final = range(1970, 3000)
_SHORTEST_MONTH: Final = timedelta(days=28)
_COMMON_MONTH: Final = timedelta(days=30)
_NUMBER: Final = r"(\d{1,9}(?:[.,]\d{1,6})?)"
_PERIOD: Final = re.compile(
    rf"P(?=[\dT])(?:(\d{{1,4}})Y)?(?:(\d{{1,4}})M)?(?:{_NUMBER}W)?(?:{_NUMBER}D)?"
    rf"(?:T(?=\d)(?:{_NUMBER}H)?(?:{_NUMBER}M)?(?:{_NUMBER}S)?)?\Z",
    re.ASCII,
)
_RUNS: Final = re.compile(r"R(\d{0,10})\Z", re.ASCII)
_UNITS: Final = ("weeks", "days", "hours", "minutes", "seconds")
_FORM: Final = "it must look like PT6H, P1D, 2031-01-01T03:00:00Z/P1D or R5/2031-01-01T03:00:00Z/P1M"
_MOST_PARTS: Final = 3
_SPAN: Final = re.compile(r"([0-9]{1,9})([smhd])\Z")
_SECONDS: Final = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def span_seconds(text: str) -> int | None:
    """Parse a duration such as `90s`, `15m`, `12h` or `3d` into seconds; `None` if it is invalid or zero."""
    match = _SPAN.match(text)
    return (int(match[1]) * _SECONDS[match[2]] or None) if match else None


def span_text(seconds: float) -> str:
    """Write seconds in the largest unit without a fraction: 259200 is `3d`."""
    whole = round(seconds)
    unit = next((unit for unit, size in _SECONDS.items() if whole and whole % size == 0), "s")
    return f"{whole // _SECONDS[unit]}{unit}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """When something repeats."""

    runs: int | None
    """Number of runs in all; null for no end."""
    start: datetime | None
    """The first slot, if given; aware, in UTC."""
    months: int
    """The calendar part of the period."""
    span: timedelta
    """The rest of it."""

    def slot(self, first: datetime, number: int) -> datetime:
        """Return the slot that lies `number` periods after the first."""
        return _months_later(first, self.months * number) + self.span * number

    def next_slot(self, first: datetime, after: datetime) -> datetime:
        """Return the earliest slot after a moment."""
        if after < first:
            return first
        shortest = _SHORTEST_MONTH * self.months + self.span
        candidates = range(1, (after - first) // shortest + 2)
        passed = bisect.bisect_right(candidates, after, key=lambda number: self.slot(first, number))
        return self.slot(first, passed + 1)


def parse(text: str) -> Interval:
    """Parse an interval.

    Raises:
        InvalidValue: `schedule`, with the reason.
    """
    if len(text) > LONGEST_TEXT:
        raise _wrong(f"it has more than {LONGEST_TEXT} characters.")
    parts = text.split("/")
    runs = None
    if parts[0].startswith("R") and len(parts) > 1:
        count = parts.pop(0)
        match = _RUNS.match(count)
        if not match or not 0 < int(match[1] or 1) <= MOST_RUNS:
            raise _wrong(f"the number of runs must be R1 to R{MOST_RUNS}, not {count!r}.")
        runs = int(match[1]) if match[1] else None
    if not 0 < len(parts) < _MOST_PARTS:
        raise _wrong(f"{_FORM}.")
    months, span = _period(parts[-1])
    start = _start(parts[0]) if len(parts) > 1 else None
    if months and start is None:
        raise _wrong("a period of months or years needs a start, such as 2031-01-01T03:00:00Z/P1M.")
    return Interval(runs=runs, start=start, months=months, span=span)


def _start(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise _wrong(f"the start must look like 2031-01-01T03:00:00Z, not {text!r}.") from None
    if moment.year not in _YEARS:
        raise _wrong(f"the start must lie between the years {_YEARS[0]} and {_YEARS[-1]}.")
    return moment


def _period(text: str) -> tuple[int, timedelta]:
    found = _PERIOD.match(text)
    if not found:
        raise _wrong(f"{_FORM}.")
    years, months, *amounts = found.groups()
    by_calendar = int(years or 0) * 12 + int(months or 0)
    numbers = [float((amount or "0").replace(",", ".")) for amount in amounts]
    try:
        span = timedelta(**dict(zip(_UNITS, numbers, strict=True)))
    except OverflowError:
        span = timedelta.max
    if span > LONGEST or not SHORTEST <= span + _COMMON_MONTH * by_calendar <= LONGEST:
        raise _wrong("the period must last a second at least and a hundred years at most.")
    return by_calendar, span


def _months_later(moment: datetime, months: int) -> datetime:
    """Return the same day of a later month, or that month's last day if it is shorter."""
    if not months:
        return moment
    years, month = divmod(moment.month - 1 + months, 12)
    year = moment.year + years
    return moment.replace(year=year, month=month + 1, day=min(moment.day, calendar.monthrange(year, month + 1)[1]))


def _wrong(reason: str) -> InvalidValue:
    return InvalidValue("schedule", reason)
