"""A task's progress report, in whatever of Pulp 2's shapes, as steps that can be drawn."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

_FAILURES_SHOWN: Final = 5


class Stage(Enum):
    """How far a step is; the values are the words that end its line."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "completed"
    SKIPPED = "skipped"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED: Final = frozenset({Stage.DONE, Stage.SKIPPED, Stage.FAILED, Stage.CANCELLED})


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One line of progress; a `total` of 0 means that nobody knows how much there is."""

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


def steps(report: Any) -> list[Step]:
    """Read a `progress_report`; what has no shape that is known has no steps."""
    if not isinstance(report, Mapping):
        return []
    return [step for name, part in report.items() for step in _part(str(name), part) if step.stage != Stage.WAITING]


def _part(name: str, part: Any) -> Iterator[Step]:
    if isinstance(part, list):
        yield from (_listed_step(name, item) for item in part if isinstance(item, Mapping))
    elif isinstance(part, Mapping):
        yield from _shape(part)(name, part)


def _shape(part: Mapping[str, Any]) -> Callable[[str, Mapping[str, Any]], Iterator[Step]]:
    if "num_isos" in part or "total_bytes" in part:
        return _file_sync
    return _file_publish if "state" in part else _named_parts


def _file_sync(name: str, part: Mapping[str, Any]) -> Iterator[Step]:
    state = str(part.get("state"))
    failure = _texts(part.get("error_message"))
    manifest = _MANIFEST_STAGES.get(state, Stage.DONE)
    broken_early = state in {"failed", "cancelled"} and not part.get("num_isos")
    if broken_early:
        manifest = _FILE_STAGES[state]
    yield Step(
        key=f"{name} manifest",
        title="Downloading the manifest",
        stage=manifest,
        failures=failure if manifest is Stage.FAILED else (),
    )
    if state in _FILE_STAGES and not broken_early:
        yield _files(name, part, _FILE_STAGES[state], failure)


def _files(name: str, part: Mapping[str, Any], stage: Stage, failure: tuple[str, ...]) -> Step:
    files, finished = _number(part.get("num_isos")), _number(part.get("num_isos_finished"))
    messages = part.get("iso_error_messages")
    failures = [f"{item.get('name')}: {item.get('error')}" for item in _objects(messages)]
    return Step(
        key=f"{name} files",
        title=f"Downloading {files} file{'' if files == 1 else 's'}" if files else "Nothing to download",
        stage=stage,
        done=_number(part.get("finished_bytes")),
        total=_number(part.get("total_bytes")),
        in_bytes=True,
        detail=f"{finished} of {files}" if files else "",
        failures=(_few(failures) or failure) if stage is Stage.FAILED else (),
    )


def _file_publish(name: str, part: Mapping[str, Any]) -> Iterator[Step]:
    stage = _PUBLISH_STAGES.get(str(part.get("state"))) or _STAGES.get(str(part.get("state")), Stage.WAITING)
    failures = _texts(part.get("error_message")) if stage is Stage.FAILED else ()
    yield Step(key=f"{name} publish", title="Publishing", stage=stage, failures=failures)


def _listed_step(name: str, item: Mapping[str, Any]) -> Step:
    stage = _STAGES.get(str(item.get("state")), Stage.WAITING) if item.get("description") else Stage.WAITING
    failures = [str(failure.get("error")) for failure in _objects(item.get("error_details"))]
    return Step(
        key=f"{name} {item.get('step_id')}",
        title=str(item.get("description")).rstrip("."),
        stage=stage,
        done=_number(item.get("num_processed")),
        total=_number(item.get("items_total")),
        detail=str(item.get("details") or ""),
        failures=_few(failures) if stage is Stage.FAILED else (),
    )


def _named_parts(name: str, part: Mapping[str, Any]) -> Iterator[Step]:
    """The yum importer's report: one object per kind of work."""
    for key, item in part.items():
        if isinstance(item, Mapping):
            total = _number(item.get("items_total"))
            errors = _objects(item.get("error_details"))
            yield Step(
                key=f"{name} {key}",
                title=_PART_TITLES.get(str(key), str(key)),
                stage=_STAGES.get(str(item.get("state")), Stage.WAITING),
                done=total - _number(item.get("items_left")),
                total=total,
                failures=(*_texts(item.get("error")), *_few([_spoken(error) for error in errors])),
            )


def _spoken(error: Mapping[str, Any]) -> str:
    subject = error.get("name") or error.get("url") or error.get("filename") or "a file"
    return f"{subject}: {error.get('error') or error.get('error_code') or 'failed'}"


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _few(texts: list[str]) -> tuple[str, ...]:
    more = len(texts) - _FAILURES_SHOWN
    return (*texts[:_FAILURES_SHOWN], *([f"and {more} more"] if more > 0 else []))


def _texts(value: Any) -> tuple[str, ...]:
    return (str(value),) if value else ()


def _number(value: Any) -> int:
    return value if isinstance(value, int) and value >= 0 else 0
