"""Numbers as SVG charts without scripts and styles."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

BAR_HEIGHT: Final = 64.0
LINE_WIDTH: Final = 120.0
LINE_HEIGHT: Final = 22.0
LEAST_BAR: Final = 1.5
"""Height of the smallest bar above zero."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    x: float
    width: float
    y: float
    height: float
    label: str
    kind: str = ""


def bars(
    values: Sequence[float], labels: Sequence[str], *, width: float, gap: float = 1.0, kinds: Sequence[str] = ()
) -> list[Bar]:
    """Return bars side by side on one base line."""
    if not values:
        return []
    highest = max(values) or 1.0
    step = width / len(values)
    made = []
    for place, value in enumerate(values):
        height = max(LEAST_BAR, BAR_HEIGHT * value / highest) if value else 0.0
        made.append(
            Bar(
                x=round(place * step, 1),
                width=round(max(0.5, step - gap), 1),
                y=round(BAR_HEIGHT - height, 1),
                height=round(height, 1),
                label=labels[place],
                kind=kinds[place] if kinds else "",
            )
        )
    return made


def sparkline(values: Sequence[float], *, room: int) -> str:
    """Return the points of a line from left to right; the newest value is at the right edge of `room` values."""
    if not values:
        return ""
    highest = max(values) or 1.0
    step = LINE_WIDTH / max(1, room - 1)
    first = LINE_WIDTH - step * (len(values) - 1)
    heights = [LINE_HEIGHT - 1 - (LINE_HEIGHT - 2) * value / highest for value in values]
    return " ".join(f"{first + step * place:.1f},{height:.1f}" for place, height in enumerate(heights))
