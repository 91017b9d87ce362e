"""The workers that a server or `pulpit worker` starts, and their briefing."""

from dataclasses import asdict
from typing import Any

from pulpit.clock import system_clock
from pulpit.content.rpm.signing import Signer
from pulpit.repositories import recovery
from pulpit.settings import Settings
from pulpit.storage.scratch import Scratch
from pulpit.store.database import Database
from pulpit.tasks.supervisor import Supervisor


def supervisor_of(settings: Settings, database: Database, node: str) -> Supervisor:
    """Return the supervisor of this machine's workers."""
    if settings.signing.is_wanted:
        Signer(settings.signing).check()
    briefing: dict[str, Any] = {
        "data_dir": str(settings.data_dir),
        "database_url": settings.database.url,
        "storage": asdict(settings.storage),
        "log_level": settings.server.log_level,
        "log_format": settings.server.log_format,
        "stall_timeout": settings.tasks.stall_timeout,
        "download_tries": settings.tasks.download_tries,
        "least_speed": settings.tasks.least_speed,
        "signing": asdict(settings.signing),
        "native_limit": settings.tasks.native_limit,
        "most_changes": settings.events.changes,
        "keep_publications": settings.publish.keep,
        "grace": settings.publish.grace,
        "export_dir": settings.publish.export_dir,
    }
    return Supervisor(
        database,
        system_clock,
        node=node,
        count=settings.tasks.workers,
        module="pulpit.server.worker",
        briefing=briefing,
        stop_timeout=settings.tasks.stop_timeout,
        recover=lambda _: recovery.sweep(Scratch(settings.data_dir)),
    )
