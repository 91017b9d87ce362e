"""What the endpoints need from the rest of the house, handed in by the composition root."""

from asyncio import Semaphore
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

from pulpit.api.auth.certificates import ClientCertificates
from pulpit.api.plugins import Plugins
from pulpit.api.uploads import UploadLimits, Uploads
from pulpit.clock import Clock
from pulpit.content.port import ContentType
from pulpit.delivery.news import News
from pulpit.delivery.notifiers.port import NotifierTypes
from pulpit.published.access import Exposure
from pulpit.store.database import Database
from pulpit.store.listeners import Listener

MOST_WAITING: Final = 100
MOST_TRIALS: Final = 8
MOST_FIRING: Final = 2


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
    delivering: Callable[[], bool] = lambda: True
    """Whether the delivery engine runs."""
    broker_status: Callable[[], dict[str, Any]] | None = None
    """What the embedded broker looks like; none where there is none."""
    exposure: Exposure = field(default_factory=Exposure)
    """How the server can be reached."""
    news: News = field(default_factory=News)
    """Word of new events."""
    waiting: Semaphore = field(default_factory=lambda: Semaphore(MOST_WAITING))
    """Places of those who wait for events."""
    trials: Semaphore = field(default_factory=lambda: Semaphore(MOST_TRIALS))
    """Places of tests of listeners that are under way."""
    firing: Semaphore = field(default_factory=lambda: Semaphore(MOST_FIRING))
    """Places of requests that bring events."""

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
