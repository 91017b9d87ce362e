"""What an index says of a project as a whole (PEP 792): read from its page, kept as a unit, written to ours.

A repository holds the status of a project only once that was another one than `active`. Its unit has no file and is
named by project and index, for two indexes may say different things of one name.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from pulpit.content.port import StoredUnit, WantedUnit

PROJECT: Final = "python_project"
"""The type of their units."""


class Marker(StrEnum):
    """The states that a project can be in."""

    ACTIVE = "active"
    ARCHIVED = "archived"
    QUARANTINED = "quarantined"
    DEPRECATED = "deprecated"


@dataclass(frozen=True, kw_only=True, slots=True)
class ProjectStatus:
    """The status of a project, and perhaps why."""

    marker: Marker = Marker.ACTIVE
    reason: str | None = None

    @classmethod
    def read(cls, marker: str, reason: str | None) -> "ProjectStatus":
        """What stands on a page; a state that nobody knows here is none."""
        try:
            return cls(marker=Marker(marker.strip().lower()), reason=reason or None)
        except ValueError:
            return cls()

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> "ProjectStatus":
        """What a unit holds."""
        return cls.read(str(metadata.get("status")), metadata.get("reason"))

    @property
    def offers_files(self) -> bool:
        """Whether an index may offer the project's files."""
        return self.marker is not Marker.QUARANTINED


ACTIVE: Final = ProjectStatus()


def wanted_unit(project: str, index: str, status: ProjectStatus) -> WantedUnit:
    """The unit of a project's status; that of an active one takes the place of another, and is otherwise not kept."""
    return WantedUnit(
        type_id=PROJECT,
        key={"name": project, "index": index},
        metadata={"name": project, "status": str(status.marker), "reason": status.reason},
        files=(),
        slot=project,
        only_if_held=status.marker is Marker.ACTIVE,
    )


def by_project(units: Iterable[StoredUnit]) -> dict[str, ProjectStatus]:
    """The status of each project of which some is held."""
    return {unit.metadata["name"]: ProjectStatus.of(unit.metadata) for unit in units}
