"""Progress as a list of steps, which Pulp 2's client draws for content types that it does not know."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pulpit.content.port import Phase, Progress

NOT_STARTED: Final = "NOT_STARTED"
IN_PROGRESS: Final = "IN_PROGRESS"
FINISHED: Final = "FINISHED"
FAILED: Final = "FAILED"
SKIPPED: Final = "SKIPPED"
CANCELLED: Final = "CANCELLED"

_ENDS: Final = {
    Phase.METADATA_FAILED: FAILED,
    Phase.CONTENT_FAILED: FAILED,
    Phase.CANCELLED: CANCELLED,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A step that is done when the units of its types are; without types, when everything is."""

    type: str
    description: str
    type_ids: tuple[str, ...]


def publish_report(progress: Progress, steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Return the steps of a publish, each with an id that stays the same during the task."""
    states = _publish_states(progress, steps)
    return [report(progress, step, state) for step, state in zip(steps, states, strict=True)]


def metadata_state(progress: Progress) -> str:
    """Return the state of reading the metadata, with which every sync begins."""
    if Phase.CONTENT in progress.phase_times or progress.phase is Phase.COMPLETE:
        return FINISHED
    if progress.phase in _ENDS:
        return _ENDS[progress.phase]
    return IN_PROGRESS if Phase.METADATA in progress.phase_times else NOT_STARTED


def content_states(progress: Progress, parts: Sequence[Sequence[str]]) -> list[str]:
    """Return the state of a sync for the units of these types, part by part."""
    if progress.phase is Phase.COMPLETE:
        unchanged = Phase.CONTENT not in progress.phase_times
        return [SKIPPED if unchanged else FINISHED for _ in parts]
    if Phase.CONTENT not in progress.phase_times:
        return [NOT_STARTED for _ in parts]
    return list(_in_turn(progress, parts))


def report(progress: Progress, step: Step, state: str) -> dict[str, Any]:
    """Return one step."""
    total, done = count(progress.totals, step.type_ids), count(progress.done, step.type_ids)
    if not step.type_ids:
        total, done = 1, int(state == FINISHED)
    failed = state == FAILED
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


def count(counts: Mapping[str, int], type_ids: Sequence[str]) -> int:
    """Return the number of units of these types."""
    return sum(counts.get(type_id, 0) for type_id in type_ids)


def _publish_states(progress: Progress, steps: Sequence[Step]) -> list[str]:
    if progress.phase is Phase.COMPLETE:
        return [FINISHED for _ in steps]
    known = progress.totals or progress.phase in _ENDS
    if Phase.CONTENT not in progress.phase_times or not known:
        return [NOT_STARTED for _ in steps]
    return list(_in_turn(progress, [step.type_ids for step in steps]))


def _in_turn(progress: Progress, parts: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the state of each part in turn: done, in progress (or where the end came), pending."""
    running = False
    for type_ids in parts:
        if running:
            yield NOT_STARTED
        elif type_ids and count(progress.done, type_ids) >= count(progress.totals, type_ids):
            yield FINISHED
        else:
            running = True
            yield _ENDS.get(progress.phase, IN_PROGRESS)
