"""Progress in the shapes that Pulp 2's client draws: seven parts of a sync, a list of steps of a publish."""

from typing import Any, Final

from pulpit.content import steps
from pulpit.content.port import FileFailure, Phase, Progress
from pulpit.content.rpm import comps, modules
from pulpit.content.rpm.packages import RPM, SRPM
from pulpit.content.rpm.treeinfo import DISTRIBUTION
from pulpit.content.rpm.updateinfo import ERRATUM
from pulpit.content.steps import Step

FILE: Final = "yum_repo_metadata_file"

_PACKAGES: Final = (RPM, SRPM, FILE)
_SYNC_PARTS: Final = (
    ("content", _PACKAGES),
    ("distribution", (DISTRIBUTION,)),
    ("modules", modules.TYPES),
    ("errata", (ERRATUM,)),
    ("comps", comps.TYPES),
    ("purge_duplicates", ()),
)
"""In the order in which units come."""
_PUBLISH_STEPS: Final = (
    Step(type="distribution", description="Publishing Distribution files", type_ids=(DISTRIBUTION,)),
    Step(type="rpms", description="Publishing RPMs", type_ids=(RPM, SRPM)),
    Step(type="errata", description="Publishing Errata", type_ids=(ERRATUM,)),
    Step(type="modules", description="Publishing Modules", type_ids=modules.TYPES),
    Step(type="comps", description="Publishing Comps file", type_ids=comps.TYPES),
    Step(type="metadata", description="Publishing Metadata.", type_ids=(FILE,)),
    Step(type="close_repo_metadata", description="Closing repo metadata", type_ids=()),
)


def sync_report(progress: Progress) -> dict[str, Any]:
    """All seven parts, whatever the state: the original client fails if one is missing."""
    found = steps.content_states(progress, [type_ids for _, type_ids in _SYNC_PARTS])
    states = dict(zip((name for name, _ in _SYNC_PARTS), found, strict=True))
    report: dict[str, Any] = {name: {"state": state} for name, state in states.items()}
    report["metadata"] = _metadata(progress)
    report["content"] = {"state": states["content"], **_content(progress)}
    report["distribution"] = _distribution(progress, states["distribution"])
    if states["content"] == steps.FAILED:
        report["content"]["error"] = progress.error_message
    return report


def publish_report(progress: Progress) -> list[dict[str, Any]]:
    """The steps."""
    return steps.publish_report(progress, _PUBLISH_STEPS)


def _metadata(progress: Progress) -> dict[str, Any]:
    state = steps.metadata_state(progress)
    return {"state": state, "error": progress.error_message or ""} if state == steps.FAILED else {"state": state}


def _content(progress: Progress) -> dict[str, Any]:
    total, done = steps.count(progress.totals, (RPM, SRPM)), steps.count(progress.done, (RPM, SRPM))
    return {
        "size_total": progress.bytes_total,
        "size_left": max(progress.bytes_total - progress.bytes_done, 0),
        "items_total": total,
        "items_left": total - done,
        "error_details": [_error(failure) for failure in progress.failures],
        "details": {"rpm_total": total, "rpm_done": done, "drpm_total": 0, "drpm_done": 0},
    }


def _distribution(progress: Progress, state: str) -> dict[str, Any]:
    """Counted by file, for a tree is one unit of many; where there is none, nothing is drawn."""
    total = steps.count(progress.files_total, (DISTRIBUTION,))
    if not total:
        state = steps.SKIPPED if progress.phase is Phase.COMPLETE else steps.NOT_STARTED
    left = total - steps.count(progress.files_done, (DISTRIBUTION,))
    return {"state": state, "items_total": total, "items_left": left, "error_details": []}


def _error(failure: FileFailure) -> dict[str, Any]:
    """The shape of a failed download, which the client knows by the URL."""
    return {"name": failure.name, "url": failure.url, "error": failure.error}
