"""What the endpoints need from the rest of the house, handed in by the composition root."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from pulpit.api.login import Doorkeeper
from pulpit.clock import Clock
from pulpit.delivery.notifiers.port import NotifierTypes
from pulpit.store.database import Database


class ContentTypes(Protocol):
    """The importers and distributors that a repository may have, and the units that they handle."""

    @property
    def unit_types(self) -> Collection[str]:
        """The ids of all unit types."""

    def check_importer_config(self, importer_type_id: str, config: dict[str, Any]) -> None:
        """Refuse a whole configuration that cannot work.

        Raises:
            InvalidValue: `importer_type_id` when nobody knows the type, else with the name of what is wrong.
        """

    def check_distributor_config(self, distributor_type_id: str, config: dict[str, Any]) -> None:
        """Refuse a whole configuration that cannot work.

        Raises:
            InvalidValue: `distributor_type_id` when nobody knows the type, else with the name of what is wrong.
        """

    def secret_keys(self, plugin_type_id: str) -> Collection[str]:
        """The keys of an importer's or a distributor's configuration that are never shown again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Worker:
    """A process that does tasks, or another part of the server, as `status` lists it."""

    name: str
    last_heartbeat: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Services:
    """Everything that the endpoints may reach."""

    database: Database
    clock: Clock
    doorkeeper: Doorkeeper
    listener_types: NotifierTypes
    content_types: ContentTypes
    data_dir: Path
    """Uploads are kept below it."""
    messaging_connected: Callable[[], bool]
    """Whether events can be handed to the broker at this moment."""
    workers: Callable[[], list[Worker]]
