"""The dependencies of all work on repositories."""

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
    """Fire nothing: used outside a task."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskContext:
    """Folders, storage and database, and the content types by the type ids of their importers and distributors."""

    database: Database
    storage: Storage
    data_dir: Path
    content_types: Mapping[str, ContentType]
    clock: Clock = system_clock
    limits: Limits = field(default_factory=Limits)
    keep_publications: int = 5
    """Publications of a place that are kept, including the current one."""
    grace: timedelta = timedelta(hours=1)
    """How long a replaced publication is kept for clients that are still reading it."""
    export_dir: Path | None = None
    """The only folder below which the server may write exports."""
    task_id: str | None = None
    """The running task, whose finish event reports the changes."""
    tell: Tell = _tell_nobody
    """Fires the events that the task sends before its end."""

    @property
    def recorder(self) -> Recorder:
        """Return the recorder of changes in repositories."""
        return Recorder(task_id=self.task_id, describe=self._described)

    def _described(self, type_id: str, key: Mapping[str, Any], metadata: Mapping[str, Any]) -> Description:
        content_type = self._type_of_unit(type_id)
        if content_type is not None:
            return content_type.description(type_id, key, metadata)
        return Description(name=str(next(iter(key.values()), type_id)))  # of a plug-in that is not installed any more

    def slot(self, type_id: str, key: Mapping[str, Any]) -> str | None:
        """Return the slot of which a repository holds one unit of this type.

        `None` if units do not replace each other.
        """
        content_type = self._type_of_unit(type_id)
        return content_type.slot(type_id, key) if content_type else None

    def _type_of_unit(self, type_id: str) -> ContentType | None:
        return next((found for found in self.content_types.values() if type_id in found.unit_type_ids), None)

    @property
    def scratch(self) -> Scratch:
        """Return the folder for work in progress."""
        return Scratch(self.data_dir)

    def content_type(self, type_id: str) -> ContentType:
        """Return the content type that an importer or distributor belongs to.

        Raises:
            MissingResource: it is not installed.
        """
        try:
            return self.content_types[type_id]
        except KeyError:
            raise MissingResource(content_type=type_id) from None

    def importers_type(self, repo_id: str) -> ContentType:
        """Return the content type of a repository's importer.

        Raises:
            MissingResource: the repository or its importer does not exist.
        """
        with self.database.read() as connection:
            return self.content_type(repositories.importer(connection, repo_id).importer_type_id)

    def publishes(self, distributor_type_id: str) -> bool:
        """Whether distributors of a type write trees; the others exist for clients that create them.

        Raises:
            MissingResource: it is not installed.
        """
        return distributor_type_id == self.content_type(distributor_type_id).distributor_type_ids[0]


def by_plugin(*content_types: ContentType) -> dict[str, ContentType]:
    """Return the mapping that a task context needs."""
    return {
        type_id: content_type
        for content_type in content_types
        for type_id in (content_type.importer_type_id, *content_type.distributor_type_ids)
    }
