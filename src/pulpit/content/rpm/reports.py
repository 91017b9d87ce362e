"""Progress in the shapes that Pulp 2's client draws: seven parts of a sync, a list of steps of a publish."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pulpit.content.port import FileFailure, Phase, Progress
from pulpit.content.rpm import comps, modules
from pulpit.content.rpm.packages import RPM, SRPM
from pulpit.content.rpm.updateinfo import ERRATUM

FILE: Final = "yum_repo_metadata_file"

_NOT_STARTED: Final = "NOT_STARTED"
_IN_PROGRESS: Final = "IN_PROGRESS"
_FINISHED: Final = "FINISHED"
_FAILED: Final = "FAILED"
_SKIPPED: Final = "SKIPPED"
_CANCELLED: Final = "CANCELLED"

_PACKAGES: Final = (RPM, SRPM, FILE)
_SYNC_PARTS: Final = (
    ("content", _PACKAGES),
    ("modules", modules.TYPES),
    ("errata", (ERRATUM,)),
    ("comps", comps.TYPES),
    ("purge_duplicates", ()),
)
"""In the order in which units come."""
_ENDS: Final = {
    Phase.METADATA_FAILED: _FAILED,
    Phase.CONTENT_FAILED: _FAILED,
    Phase.CANCELLED: _CANCELLED,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Step:
    type: str
    description: str
    type_ids: tuple[str, ...]


_PUBLISH_STEPS: Final = (
    _Step(type="rpms", description="Publishing RPMs", type_ids=(RPM, SRPM)),
    _Step(type="errata", description="Publishing Errata", type_ids=(ERRATUM,)),
    _Step(type="modules", description="Publishing Modules", type_ids=modules.TYPES),
    _Step(type="comps", description="Publishing Comps file", type_ids=comps.TYPES),
    _Step(type="metadata", description="Publishing Metadata.", type_ids=(FILE,)),
    _Step(type="close_repo_metadata", description="Closing repo metadata", type_ids=()),
)


def sync_report(progress: Progress) -> dict[str, Any]:
    """All seven parts, whatever the state: the original client fails if one is missing."""
    states = dict(zip((name for name, _ in _SYNC_PARTS), _part_states(progress), strict=True))
    report: dict[str, Any] = {name: {"state": state} for name, state in states.items()}
    report["metadata"] = _metadata(progress)
    report["content"] = {"state": states["content"], **_content(progress)}
    report["distribution"] = {
        "state": _SKIPPED if progress.phase is Phase.COMPLETE else _NOT_STARTED,
        "items_total": 0,
        "items_left": 0,
        "error_details": [],
    }
    if states["content"] == _FAILED:
        report["content"]["error"] = progress.error_message
    return report


def publish_report(progress: Progress) -> list[dict[str, Any]]:
    """The steps, each under an id that it keeps as long as the task lasts."""
    states = _step_states(progress)
    return [_step(progress, step, state) for step, state in zip(_PUBLISH_STEPS, states, strict=True)]


def _metadata(progress: Progress) -> dict[str, Any]:
    began = Phase.METADATA in progress.phase_times
    if Phase.CONTENT in progress.phase_times or progress.phase is Phase.COMPLETE:
        return {"state": _FINISHED}
    if progress.phase is Phase.METADATA_FAILED:
        return {"state": _FAILED, "error": progress.error_message or ""}
    if progress.phase is Phase.CANCELLED:
        return {"state": _CANCELLED}
    return {"state": _IN_PROGRESS if began else _NOT_STARTED}


def _part_states(progress: Progress) -> list[str]:
    parts = [type_ids for _, type_ids in _SYNC_PARTS]
    if progress.phase is Phase.COMPLETE:
        unchanged = Phase.CONTENT not in progress.phase_times
        return [_SKIPPED if unchanged else _FINISHED for _ in parts]
    if Phase.CONTENT not in progress.phase_times:
        return [_NOT_STARTED for _ in parts]
    return list(_in_turn(progress, parts))


def _step_states(progress: Progress) -> list[str]:
    if progress.phase is Phase.COMPLETE:
        return [_FINISHED for _ in _PUBLISH_STEPS]
    known = progress.totals or progress.phase in _ENDS
    if Phase.CONTENT not in progress.phase_times or not known:
        return [_NOT_STARTED for _ in _PUBLISH_STEPS]
    return list(_in_turn(progress, [step.type_ids for step in _PUBLISH_STEPS]))


def _in_turn(progress: Progress, parts: Sequence[Sequence[str]]) -> Iterator[str]:
    """What is done, what is being done (or what the end came upon), and what is to come; one part after the other."""
    running = False
    for type_ids in parts:
        if running:
            yield _NOT_STARTED
        elif type_ids and _count(progress.done, type_ids) >= _count(progress.totals, type_ids):
            yield _FINISHED
        else:
            running = True
            yield _ENDS.get(progress.phase, _IN_PROGRESS)


def _content(progress: Progress) -> dict[str, Any]:
    total, done = _count(progress.totals, (RPM, SRPM)), _count(progress.done, (RPM, SRPM))
    return {
        "size_total": progress.bytes_total,
        "size_left": max(progress.bytes_total - progress.bytes_done, 0),
        "items_total": total,
        "items_left": total - done,
        "error_details": [_error(failure) for failure in progress.failures],
        "details": {"rpm_total": total, "rpm_done": done, "drpm_total": 0, "drpm_done": 0},
    }


def _step(progress: Progress, step: _Step, state: str) -> dict[str, Any]:
    total, done = _count(progress.totals, step.type_ids), _count(progress.done, step.type_ids)
    if not step.type_ids:
        total, done = 1, int(state == _FINISHED)
    failed = state == _FAILED
    return {
        "step_id": f"{progress.id}-{step.type}",
        "step_type": step.type,
        "description": step.description,
        "state": state,
        "items_total": total,
        "num_processed": min(done, total),
        "num_success": min(done, total),
        "num_failures": int(failed),
        "details": "",
        "error_details": [{"error": progress.error_message, "traceback": None}] if failed else [],
    }


def _count(counts: dict[str, int], type_ids: Sequence[str]) -> int:
    return sum(counts.get(type_id, 0) for type_id in type_ids)


def _error(failure: FileFailure) -> dict[str, Any]:
    """The shape of a failed download, which the client knows by the URL."""
    return {"name": failure.name, "url": failure.url, "error": failure.error}
