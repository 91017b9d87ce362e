"""What the work on repositories is done with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from pulpit.clock import Clock, system_clock
from pulpit.content.limits import Limits
from pulpit.content.port import ContentType
from pulpit.errors import MissingResource
from pulpit.storage.port import Storage
from pulpit.storage.scratch import Scratch
from pulpit.store import repositories
from pulpit.store.changes import Description, Recorder
from pulpit.store.database import Database, Transaction

Tell = Callable[[Transaction, str, dict[str, Any]], object]
"""Fires an event of a type and a payload in a transaction."""


def _tell_nobody(tx: Transaction, event_type: str, payload: dict[str, Any]) -> None:
    """Outside of a task."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskContext:
    """Where things are, and the content types, by the type ids of their importers and distributors."""

    database: Database
    storage: Storage
    data_dir: Path
    content_types: Mapping[str, ContentType]
    clock: Clock = system_clock
    limits: Limits = field(default_factory=Limits)
    keep_publications: int = 5
    """How many publications of a place stay, the shown one included."""
    grace: timedelta = timedelta(hours=1)
    """For how long what a place showed stays whatever comes after it, for those who still read it."""
    export_dir: Path | None = None
    """The one folder beneath which the server may write exports."""
    task_id: str | None = None
    """The task that works, whose ending tells what it changed."""
    tell: Tell = _tell_nobody
    """For what the task tells before its ending."""

    @property
    def recorder(self) -> Recorder:
        """Writes down what changes in repositories."""
        return Recorder(task_id=self.task_id, describe=self._described)

    def _described(self, type_id: str, key: Mapping[str, Any], metadata: Mapping[str, Any]) -> Description:
        content_type = self._type_of_unit(type_id)
        if content_type is not None:
            return content_type.description(type_id, key, metadata)
        return Description(name=str(next(iter(key.values()), type_id)))  # of a plug-in that is not installed any more

    def slot(self, type_id: str, key: Mapping[str, Any]) -> str | None:
        """What a repository holds one unit of this type of; `None` if such units do not take one another's place."""
        content_type = self._type_of_unit(type_id)
        return content_type.slot(type_id, key) if content_type else None

    def _type_of_unit(self, type_id: str) -> ContentType | None:
        return next((found for found in self.content_types.values() if type_id in found.unit_type_ids), None)

    @property
    def scratch(self) -> Scratch:
        """Where work puts what is on its way into the storage."""
        return Scratch(self.data_dir)

    def content_type(self, type_id: str) -> ContentType:
        """The content type that an importer or distributor belongs to.

        Raises:
            MissingResource: it is not installed.
        """
        try:
            return self.content_types[type_id]
        except KeyError:
            raise MissingResource(content_type=type_id) from None

    def importers_type(self, repo_id: str) -> ContentType:
        """The content type of a repository's importer.

        Raises:
            MissingResource: the repository or its importer does not exist.
        """
        with self.database.read() as connection:
            return self.content_type(repositories.importer(connection, repo_id).importer_type_id)

    def publishes(self, distributor_type_id: str) -> bool:
        """Whether distributors of a type lay out trees; the others are there for clients that create them.

        Raises:
            MissingResource: it is not installed.
        """
        return distributor_type_id == self.content_type(distributor_type_id).distributor_type_ids[0]


def by_plugin(*content_types: ContentType) -> dict[str, ContentType]:
    """The mapping that a task context wants."""
    return {
        type_id: content_type
        for content_type in content_types
        for type_id in (content_type.importer_type_id, *content_type.distributor_type_ids)
    }
