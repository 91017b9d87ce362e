"""A repository of files that syncs from an upstream, without a server around it."""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

from pulpit.clock import system_clock
from pulpit.content.iso import Iso
from pulpit.content.limits import Limits
from pulpit.repositories.context import TaskContext, by_plugin
from pulpit.repositories.publish import PublishOutcome, publish
from pulpit.repositories.sync import SyncOutcome, sync
from pulpit.storage.folder import FolderStorage
from pulpit.store import repositories, units
from pulpit.store.repositories import Distributor, Importer, Repository
from support import database, published

IMPORTER = "iso_importer"
DISTRIBUTOR = "iso_distributor"

IMPATIENT = Limits(
    small_bytes=100,
    connect_timeout=2.0,
    answer_timeout=2.0,
    stall_timeout=0.5,
    slow_window=0.5,
    slow_bytes_per_second=1000,
    tries=2,
    first_pause=0.01,
    longest_pause=0.02,
)


@dataclass
class Mirror:
    """A context, with what its syncs and publishes reported."""

    importer_type: ClassVar[str] = IMPORTER
    distributor_type: ClassVar[str] = DISTRIBUTOR
    kind: ClassVar[str] = "isos"
    context: TaskContext
    reports: list[dict[str, Any]] = field(default_factory=list)

    @property
    def data_dir(self) -> Path:
        return self.context.data_dir

    def create(self, repo_id: str, feed: str | None, config: dict[str, Any] | None = None, **distributor: Any) -> None:
        """Make a repository with importer and distributor."""
        now = self.context.clock()
        with self.context.database.write() as tx:
            repositories.add(tx, repo_id, display_name=None, description=None, notes={}, now=now)
            repositories.add_importer(tx, repo_id, self.importer_type, {"feed": feed, **(config or {})}, now=now)
            kind = self.distributor_type
            repositories.add_distributor(tx, repo_id, kind, kind, distributor, auto_publish=True, now=now)

    def configure(self, repo_id: str, **config: Any) -> None:
        with self.context.database.write() as tx:
            old = repositories.importer(tx.connection, repo_id).config
            repositories.change_importer(tx, repo_id, config={**old, **config})

    def sync(self, repo_id: str, override: dict[str, Any] | None = None) -> SyncOutcome:
        return asyncio.run(sync(self.context, repo_id, override, self.reports.append))

    def publish(self, repo_id: str, override: dict[str, Any] | None = None) -> PublishOutcome:
        outcome = asyncio.run(publish(self.context, repo_id, self.distributor_type, override, self.reports.append))
        return published.show(self.context, outcome)

    def impatient(self, **limits: Any) -> "Mirror":
        return Mirror(replace(self.context, limits=replace(IMPATIENT, **limits)))

    def keeping(self, count: int, grace: timedelta) -> "Mirror":
        """The same with another rule for what stays of what was published before."""
        return Mirror(replace(self.context, keep_publications=count, grace=grace), self.reports)

    def repository(self, repo_id: str) -> Repository:
        with self.context.database.read() as connection:
            return repositories.get(connection, repo_id)

    def importer(self, repo_id: str) -> Importer:
        with self.context.database.read() as connection:
            return repositories.importer(connection, repo_id)

    def distributor(self, repo_id: str) -> Distributor:
        with self.context.database.read() as connection:
            return repositories.distributor(connection, repo_id, self.distributor_type)

    def names(self, repo_id: str) -> list[str]:
        """The names of the files that the repository holds."""
        with self.context.database.read() as connection:
            return sorted(str(holding.unit.key["name"]) for holding in units.held(connection, repo_id))

    def published(self, place: str) -> dict[str, bytes]:
        """All published files of a place."""
        return published.contents(self.context, f"{self.kind}/{place}")

    def root(self, place: str) -> Path:
        return published.folder(self.context, f"{self.kind}/{place}")

    def stored(self) -> list[Path]:
        """All files of the storage, each proven to be what its name says."""
        files = [path for path in sorted((self.data_dir / "content").rglob("*")) if path.is_file()]
        for path in files:
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
        return files

    def leftovers(self) -> list[Path]:
        return sorted((self.data_dir / "downloads").glob("*"))


@contextlib.contextmanager
def mirror(folder: Path, *, clock: Callable[[], Any] = system_clock, limits: Limits | None = None) -> Iterator[Mirror]:
    with database.fresh(folder) as (opened, _):
        yield Mirror(
            TaskContext(
                database=opened,
                storage=FolderStorage(folder / "content"),
                data_dir=folder,
                content_types=by_plugin(Iso()),
                clock=clock,
                limits=limits or Limits(first_pause=0.01, longest_pause=0.05),
            )
        )
