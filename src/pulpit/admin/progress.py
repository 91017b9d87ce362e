"""Progress reports in any of Pulp 2's forms, converted to steps, and their display.

Lines if output is a file or a pipe, bars (see `bars.py`) on a terminal, nothing for programs.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Any, Final, Protocol, Self

import click

from pulpit.text import clean

_FAILURES_SHOWN: Final = 5


class Stage(Enum):
    """The state of a step; the values are the words that end its line."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "completed"
    SKIPPED = "skipped"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED: Final = frozenset({Stage.DONE, Stage.SKIPPED, Stage.FAILED, Stage.CANCELLED})


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgressStep:
    """One line of progress; a `total` of 0 means unknown."""

    key: str
    title: str
    stage: Stage
    done: int = 0
    total: int = 0
    in_bytes: bool = False
    detail: str = ""
    failures: tuple[str, ...] = ()


_STAGES: Final = {
    "NOT_STARTED": Stage.WAITING,
    "IN_PROGRESS": Stage.RUNNING,
    "FINISHED": Stage.DONE,
    "SKIPPED": Stage.SKIPPED,
    "FAILED": Stage.FAILED,
    "CANCELLED": Stage.CANCELLED,
}
_MANIFEST_STAGES: Final = {
    "not_started": Stage.WAITING,
    "manifest_in_progress": Stage.RUNNING,
    "manifest_failed": Stage.FAILED,
}
_FILE_STAGES: Final = {
    "isos_in_progress": Stage.RUNNING,
    "complete": Stage.DONE,
    "isos_failed": Stage.FAILED,
    "failed": Stage.FAILED,
    "cancelled": Stage.CANCELLED,
}
_PUBLISH_STAGES: Final = {
    "not_started": Stage.WAITING,
    "in_progress": Stage.RUNNING,
    "complete": Stage.DONE,
    "failed": Stage.FAILED,
    "cancelled": Stage.CANCELLED,
}
_PART_TITLES: Final = {
    "metadata": "Downloading metadata",
    "content": "Downloading repository content",
    "distribution": "Downloading distribution files",
    "modules": "Importing modules",
    "errata": "Importing errata",
    "comps": "Importing package groups and categories",
    "purge_duplicates": "Cleaning duplicate packages",
}


def steps(report: Any) -> list[ProgressStep]:
    """Parse a `progress_report`; an unknown form has no steps."""
    if not isinstance(report, Mapping):
        return []
    return [step for name, part in report.items() for step in _part(str(name), part) if step.stage != Stage.WAITING]


def _part(name: str, part: Any) -> Iterator[ProgressStep]:
    if isinstance(part, list):
        yield from (_listed_step(name, item) for item in part if isinstance(item, Mapping))
    elif not isinstance(part, Mapping):
        return
    elif "num_isos" in part or "total_bytes" in part:
        yield from _file_sync(name, part)
    elif "state" in part:
        stage = _PUBLISH_STAGES.get(str(part["state"])) or _STAGES.get(str(part["state"]), Stage.WAITING)
        failures = _texts(part.get("error_message")) if stage is Stage.FAILED else ()
        yield ProgressStep(key=f"{name} publish", title="Publishing", stage=stage, failures=failures)
    else:
        yield from _named_parts(name, part)


def _file_sync(name: str, part: Mapping[str, Any]) -> Iterator[ProgressStep]:
    state = str(part.get("state"))
    failure = _texts(part.get("error_message"))
    manifest = _MANIFEST_STAGES.get(state, Stage.DONE)
    broken_early = state in {"failed", "cancelled"} and not part.get("num_isos")
    if broken_early:
        manifest = _FILE_STAGES[state]
    yield ProgressStep(
        key=f"{name} manifest",
        title="Downloading the manifest",
        stage=manifest,
        failures=failure if manifest is Stage.FAILED else (),
    )
    if state in _FILE_STAGES and not broken_early:
        yield _files(name, part, _FILE_STAGES[state], failure)


def _files(name: str, part: Mapping[str, Any], stage: Stage, failure: tuple[str, ...]) -> ProgressStep:
    files, finished = _number(part.get("num_isos")), _number(part.get("num_isos_finished"))
    messages = part.get("iso_error_messages")
    failures = [f"{item.get('name')}: {item.get('error')}" for item in _objects(messages)]
    return ProgressStep(
        key=f"{name} files",
        title=f"Downloading {files} file{'' if files == 1 else 's'}" if files else "Nothing to download",
        stage=stage,
        done=_number(part.get("finished_bytes")),
        total=_number(part.get("total_bytes")),
        in_bytes=True,
        detail=f"{finished} of {files}" if files else "",
        failures=(_few(failures) or failure) if stage is Stage.FAILED else (),
    )


def _listed_step(name: str, item: Mapping[str, Any]) -> ProgressStep:
    stage = _STAGES.get(str(item.get("state")), Stage.WAITING) if item.get("description") else Stage.WAITING
    failures = [str(failure.get("error")) for failure in _objects(item.get("error_details"))]
    return ProgressStep(
        key=f"{name} {item.get('step_id')}",
        title=str(item.get("description")).rstrip("."),
        stage=stage,
        done=_number(item.get("num_processed")),
        total=_number(item.get("items_total")),
        detail=str(item.get("details") or ""),
        failures=_few(failures) if stage is Stage.FAILED else (),
    )


def _named_parts(name: str, part: Mapping[str, Any]) -> Iterator[ProgressStep]:
    """Yield the steps of the yum importer's report: one object per kind of work."""
    for key, item in part.items():
        if isinstance(item, Mapping):
            total = _number(item.get("items_total"))
            failures = []
            for error in _objects(item.get("error_details")):
                subject = error.get("name") or error.get("url") or error.get("filename") or "a file"
                failures.append(f"{subject}: {error.get('error') or error.get('error_code') or 'failed'}")
            yield ProgressStep(
                key=f"{name} {key}",
                title=_PART_TITLES.get(str(key), str(key)),
                stage=_STAGES.get(str(item.get("state")), Stage.WAITING),
                done=total - _number(item.get("items_left")),
                total=total,
                failures=(*_texts(item.get("error")), *_few(failures)),
            )


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _few(texts: list[str]) -> tuple[str, ...]:
    more = len(texts) - _FAILURES_SHOWN
    return (*texts[:_FAILURES_SHOWN], *([f"and {more} more"] if more > 0 else []))


def _texts(value: Any) -> tuple[str, ...]:
    return (str(value),) if value else ()


def _number(value: Any) -> int:
    return value if isinstance(value, int) and value >= 0 else 0


class Display(Protocol):
    """Draws steps while a task runs.

    `show` may be called with the same steps any number of times as they progress; `line` adds a permanent sentence.
    It is a context manager, and what it drew stays when it ends.
    """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    def show(self, steps: Iterable[ProgressStep]) -> None:
        """Draw the progress of the steps."""
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

    def show(self, steps: Iterable[ProgressStep]) -> None:
        """Do nothing."""

    def line(self, text: str) -> None:
        """Do nothing."""


class Lines(Silent):
    """One line when a step begins and one when it ends, without control codes; each is flushed."""

    def __init__(self) -> None:
        self._begun: set[str] = set()
        self._ended: set[str] = set()

    def show(self, steps: Iterable[ProgressStep]) -> None:
        """Write the changes."""
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


def _titled(step: ProgressStep) -> str:
    return f"{step.title} ({size(step.total)})" if step.in_bytes and step.total else step.title


def amount(step: ProgressStep) -> str:
    """Describe how much of a step is done."""
    if step.in_bytes:
        octets = f"{size(step.done)} of {size(step.total)}" if step.total else ""
        return clean(", ".join(part for part in (step.detail, octets) if part))
    return clean(f"{step.done} of {step.total} {step.detail}".rstrip()) if step.total > 1 else clean(step.detail)


def pace(speed: float, seconds_left: float | None, *, in_bytes: bool) -> str:
    """Describe speed and remaining time: `1.5 MB/s, 0:42 left`; `speed` is bytes or items per second."""
    fast = f"{size(int(speed))}/s" if in_bytes else f"{speed:.0f}/s"
    if seconds_left is None:
        return fast
    minutes, seconds = divmod(int(seconds_left), 60)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
    return f"{fast}, {clock} left"


def size(octets: int) -> str:
    """Format bytes in decimal units: `1.5 MB`."""
    if octets < 1000:  # noqa: PLR2004 - where kilo begins
        return f"{octets} B"
    amount = float(octets)
    for unit in ("kB", "MB", "GB"):
        amount /= 1000
        if amount < 999.95:  # noqa: PLR2004 - what would be rounded to 1000.0
            return f"{amount:.1f} {unit}"
    return f"{amount / 1000:.1f} TB"
