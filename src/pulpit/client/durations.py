"""Spans of time as people write them: `90s`, `15m`, `12h`, `3d`."""

import re
from typing import Any, Final

import click

_SPAN: Final = re.compile(r"([0-9]{1,9})([smhd])\Z")
_UNITS: Final = {"d": 86400, "h": 3600, "m": 60, "s": 1}


class Duration(click.ParamType[int]):
    """A span of time, read as seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it."""
        if isinstance(value, int):
            return value
        found = _SPAN.match(value)
        if not found or not int(found[1]):
            self.fail(f"{value!r} is no time such as 90s, 15m, 12h or 3d", param, ctx)
        return int(found[1]) * _UNITS[found[2]]


def spelled(seconds: float) -> str:
    """Seconds in the largest unit that needs no fraction: 259200 is `3d`."""
    whole = round(seconds)
    unit = next((unit for unit, size in _UNITS.items() if whole and whole % size == 0), "s")
    return f"{whole // _UNITS[unit]}{unit}"
