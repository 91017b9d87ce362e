"""What the endpoints need from the rest of the house, handed in by the composition root."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from pathlib import Path

from pulpit.api.certificates import ClientCertificates
from pulpit.api.login import Doorkeeper
from pulpit.api.plugins import Plugins
from pulpit.api.uploads import UploadLimits, Uploads
from pulpit.clock import Clock
from pulpit.content.port import ContentType
from pulpit.delivery.notifiers.port import NotifierTypes
from pulpit.store.database import Database
from pulpit.store.listeners import Listener


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
    content_types: Mapping[str, ContentType]
    """By the type ids of their importers and distributors."""
    data_dir: Path
    """Uploads are kept below it, and the authority of client certificates."""
    upload_limits: UploadLimits = field(default_factory=UploadLimits)
    messaging_connected: Callable[[], bool]
    """Whether events can be handed to the broker at this moment."""
    workers: Callable[[], list[Worker]]
    position_of: Callable[[Listener], int] = attrgetter("position")
    """How far a listener is at this moment; the stored position follows a little later."""

    @property
    def plugins(self) -> Plugins:
        """What checks the configurations of importers and distributors."""
        return Plugins(self.content_types)

    @property
    def certificates(self) -> ClientCertificates:
        """What stands for a login."""
        return ClientCertificates(self.data_dir, self.clock)

    @property
    def uploads(self) -> Uploads:
        """The uploads of the data folder."""
        return Uploads(self.data_dir, self.clock, self.upload_limits)
