"""The status of a project (PEP 792): parsed from the upstream's page, stored as a unit, written to our pages.

A repository holds the status of a project only once it has differed from `active`. The unit has no file, and its key is
project and index, because two indexes may give one name different statuses.
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
    """The status of a project, with an optional reason."""

    marker: Marker = Marker.ACTIVE
    reason: str | None = None

    @classmethod
    def read(cls, marker: str, reason: str | None) -> "ProjectStatus":
        """Parse the status of a page; an unknown state counts as `active`."""
        try:
            return cls(marker=Marker(marker.strip().lower()), reason=reason or None)
        except ValueError:
            return cls()

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> "ProjectStatus":
        """Read the status from a unit."""
        return cls.read(str(metadata.get("status")), metadata.get("reason"))

    @property
    def offers_files(self) -> bool:
        """Whether an index may offer the project's files."""
        return self.marker is not Marker.QUARANTINED


ACTIVE: Final = ProjectStatus()


def wanted_unit(project: str, index: str, status: ProjectStatus) -> WantedUnit:
    """Return the unit of a project's status; `active` replaces another status, and is otherwise not stored."""
    return WantedUnit(
        type_id=PROJECT,
        key={"name": project, "index": index},
        metadata={"name": project, "status": str(status.marker), "reason": status.reason},
        files=(),
        slot=project,
        only_if_held=status.marker is Marker.ACTIVE,
    )


def by_project(units: Iterable[StoredUnit]) -> dict[str, ProjectStatus]:
    """Return the status of each project that has one."""
    return {unit.metadata["name"]: ProjectStatus.of(unit.metadata) for unit in units}
