"""Documents of the server as a table, one line each, cut to the width of the terminal where there is one."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pulpit.client.render import clean, label, scalar

NARROWEST: Final = 8
"""Characters that a column needs to be of any use; a narrower one needs its own width."""

_GAP: Final = "  "
_CUT: Final = "…"


def table(items: Iterable[Mapping[str, Any]], width: int | None) -> list[str]:
    """A line of labels and a line for each item, in the order of the keys; without a width nothing is cut.

    Where there is too little room the columns to the right are cut or left out, so the keys come by importance.
    """
    rows = list(items)
    keys = list(dict.fromkeys(key for row in rows for key in row if not key.startswith("_")))
    if not keys:
        return []
    lines = [[label(key) for key in keys], *([_cell(row.get(key)) for key in keys] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    if width is not None:
        widths = _fitted(widths, width)
    return [_line(cells, widths) for cells in lines]


def _fitted(widths: list[int], room: int) -> list[int]:
    """The widths of those columns that fit; the last one of them may be cut."""
    fitted: list[int] = []
    for width in widths:
        if min(width, NARROWEST) > room:
            break
        fitted.append(min(width, room))
        room -= width + len(_GAP)
    return fitted


def _line(cells: list[str], widths: list[int]) -> str:
    cut = (_fitting(cell, width).ljust(width) for cell, width in zip(cells, widths, strict=False))
    return _GAP.join(cut).rstrip()


def _fitting(cell: str, width: int) -> str:
    return cell if len(cell) <= width else cell[: width - 1] + _CUT


def _cell(value: Any) -> str:
    """One value in one line; nothing where there is nothing."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return clean(", ".join(f"{key}: {_cell(item)}" for key, item in value.items()))
    return scalar(value)
