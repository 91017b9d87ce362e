"""How progress looks: lines where output goes to a file or a pipe, bars on a terminal, nothing for programs."""

from collections.abc import Iterable
from types import TracebackType
from typing import Protocol, Self

import click

from pulpit.admin.progress import ENDED, Step
from pulpit.client.render import clean


class Display(Protocol):
    """Draws steps while a task runs.

    `show` is called with the same steps again and again as they move on, in any number and at any time; `line` adds a
    sentence that stays. It is a context manager, and what it drew stays when it ends.
    """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    def show(self, steps: Iterable[Step]) -> None:
        """Draw how far the steps are."""
        ...

    def line(self, text: str) -> None:
        """Add a sentence."""
        ...


class Silent:
    """Shows nothing, for `--json`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, steps: Iterable[Step]) -> None:
        """Nothing."""

    def line(self, text: str) -> None:
        """Nothing."""


class Lines(Silent):
    """One line when a step begins and one when it ends, with no control codes; each is flushed."""

    def __init__(self) -> None:
        self._begun: set[str] = set()
        self._ended: set[str] = set()

    def show(self, steps: Iterable[Step]) -> None:
        """Write what is new."""
        for step in steps:
            if step.stage in ENDED and step.key not in self._ended:
                self._ended.add(step.key)
                self.line(f"{_titled(step)}... {step.stage.value}")
                for failure in step.failures:
                    self.line(f"  {failure}")
            elif step.key not in self._begun | self._ended:
                self._begun.add(step.key)
                self.line(f"{_titled(step)}...")

    def line(self, text: str) -> None:
        """Write it."""
        click.echo(clean(text))


def _titled(step: Step) -> str:
    return f"{step.title} ({size(step.total)})" if step.in_bytes and step.total else step.title


def amount(step: Step) -> str:
    """How much of a step is done, in words."""
    if step.in_bytes:
        octets = f"{size(step.done)} of {size(step.total)}" if step.total else ""
        return clean(", ".join(part for part in (step.detail, octets) if part))
    return clean(f"{step.done} of {step.total} {step.detail}".rstrip()) if step.total > 1 else clean(step.detail)


def pace(speed: float, seconds_left: float | None, *, in_bytes: bool) -> str:
    """How fast, and how long still: `1.5 MB/s, 0:42 left`; `speed` is of octets or things in a second."""
    fast = f"{size(int(speed))}/s" if in_bytes else f"{speed:.0f}/s"
    return fast if seconds_left is None else f"{fast}, {_clock(int(seconds_left))} left"


def _clock(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(octets: int) -> str:
    """Octets in decimal units: `1.5 MB`."""
    if octets < 1000:  # noqa: PLR2004 - where kilo begins
        return f"{octets} B"
    amount = float(octets)
    for unit in ("kB", "MB", "GB"):
        amount /= 1000
        if amount < 999.95:  # noqa: PLR2004 - what would be rounded to 1000.0
            return f"{amount:.1f} {unit}"
    return f"{amount / 1000:.1f} TB"
