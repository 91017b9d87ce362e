# SPDX-License-Identifier: Apache-2.0
"""The progress of a sync or publish, which every content type turns into its own report."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from pulpit.clock import Clock
from pulpit.ids import object_id


class Phase(StrEnum):
    """The phase of a sync or publish; it only moves down this list, and the last four are final."""

    NOT_STARTED = "not_started"
    METADATA = "metadata"
    CONTENT = "content"
    METADATA_FAILED = "metadata_failed"
    CONTENT_FAILED = "content_failed"
    CANCELLED = "cancelled"
    COMPLETE = "complete"


@dataclass(frozen=True, kw_only=True, slots=True)
class FileFailure:
    """A file that could not be downloaded, with the reason in one sentence."""

    name: str
    url: str
    error: str


@dataclass(kw_only=True, slots=True)
class Progress:
    """Progress in terms that fit every content type; each converts it into its own report."""

    clock: Clock
    id: str = field(default_factory=object_id)
    """A random id, for reports whose parts need unique names."""
    phase: Phase = Phase.NOT_STARTED
    phase_times: dict[Phase, datetime] = field(default_factory=dict)
    error_message: str | None = None
    units_total: int = 0
    units_done: int = 0
    bytes_total: int = 0
    bytes_done: int = 0
    totals: dict[str, int] = field(default_factory=dict)
    """Units by type, if the content type counts them."""
    done: dict[str, int] = field(default_factory=dict)
    files_total: dict[str, int] = field(default_factory=dict)
    """Files by type of their unit, if the content type counts them."""
    files_done: dict[str, int] = field(default_factory=dict)
    failures: list[FileFailure] = field(default_factory=list)
    refused: int = 0
    """Units that are left out because the content type refuses their files."""

    def __post_init__(self) -> None:
        self.enter(self.phase)

    def enter(self, phase: Phase) -> None:
        """Enter a phase."""
        self.phase = phase
        self.phase_times[phase] = self.clock()

    def unit_done(self, type_id: str) -> None:
        """Count a unit."""
        self.units_came(type_id, 1)

    def units_came(self, type_id: str, count: int) -> None:
        """Count units of a type."""
        self.units_done += count
        self.done[type_id] = self.done.get(type_id, 0) + count

    def files_came(self, type_id: str, count: int) -> None:
        """Count files of a unit of that type, if they are counted."""
        if type_id in self.files_total:
            self.files_done[type_id] = self.files_done.get(type_id, 0) + count
