"""Progress bars on a terminal; a separate module because rich is slower to import than all the rest."""

from collections.abc import Iterable
from typing import Self

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from pulpit.admin.progress import ENDED, ProgressStep, amount, pace
from pulpit.text import clean


class _Pace(ProgressColumn):
    """The speed and the remaining time of a step, if they are known; the result once it has ended."""

    def __init__(self) -> None:
        super().__init__(Column(no_wrap=True))

    def render(self, task: Task) -> Text:
        """Render one of the three."""
        if task.fields["word"]:
            return Text(task.fields["word"])
        if task.total is None or not task.speed:
            return Text()
        return Text(pace(task.speed, task.time_remaining, in_bytes=task.fields["in_bytes"]))


class Bars:
    """A bar per step, drawn by rich; sentences are printed below the bars at the end."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[amount]}", markup=False),
            _Pace(),
            expand=True,
        )
        self._bars: dict[str, TaskID] = {}
        self._ended: set[str] = set()
        self._lines: list[str] = []

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
        for line in self._lines:
            self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def show(self, steps: Iterable[ProgressStep]) -> None:
        """Update the bars; one that has ended stays unchanged."""
        for step in steps:
            if step.key not in self._ended:
                self._draw(step)
            if step.stage in ENDED and step.key not in self._ended:
                self._ended.add(step.key)
                for failure in step.failures:
                    self.line(f"  {failure}")

    def _draw(self, step: ProgressStep) -> None:
        if step.key not in self._bars:
            self._bars[step.key] = self._progress.add_task(
                clean(step.title), total=None, amount="", word="", in_bytes=step.in_bytes
            )
        ended = step.stage in ENDED
        known = step.total > 0
        self._progress.update(
            self._bars[step.key],
            description=clean(step.title),
            total=step.total if known else 1 if ended else None,
            completed=step.done if known else int(ended),
            amount=amount(step),
            word=step.stage.value if ended else "",
        )

    def line(self, text: str) -> None:
        """Keep the line for the end."""
        self._lines.append(clean(text))
