"""The REST API in this process: on a fresh database, with content types that accept every configuration."""

import base64
import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from pulpit.api.app import create_app
from pulpit.api.auth.rights import ADMIN, READER
from pulpit.api.services import Services, Worker
from pulpit.clock import system_clock
from pulpit.content.iso import Iso
from pulpit.content.port import Config
from pulpit.delivery.notifiers.kinds import NotifierTypes
from pulpit.errors import InvalidValue
from pulpit.listener_options import BUILT_IN, ListenerKind
from pulpit.net.passwords import hash_password
from pulpit.published.locate import Publications
from pulpit.repositories.context import by_plugin
from pulpit.storage.folder import FolderStorage
from pulpit.store import users
from pulpit.store.database import Database
from pulpit.store.wakeups import WakeupSocket

PASSWORD = "correct horse"
PASSWORD_HASH = hash_password(PASSWORD)
V2 = "/pulp/api/v2"
V1 = "/pulpit/v1"


class PlainNotifierType:
    """A kind of notifier that knows its keys and opens nothing."""

    def __init__(self, kind: ListenerKind) -> None:
        self.kind = kind

    def check_config(self, config: Mapping[str, Any]) -> None:
        unknown = sorted(set(config) - set(self.kind.names))
        if unknown:
            raise InvalidValue("notifier_config", f"{unknown[0]} is unknown.")


class Yum(Iso):
    """Stands in for yum: other names, and no opinion about configurations but on the feed."""

    importer_type_id = "yum_importer"  # type: ignore[misc] # a test double
    distributor_type_ids = ("yum_distributor", "export_distributor")  # type: ignore[misc,assignment]
    unit_type_ids = ("rpm", "erratum")  # type: ignore[misc,assignment]

    def check_importer_config(self, config: Config) -> None:
        if not str(config.get("feed", "http:")).startswith("http"):
            raise InvalidValue("feed")

    def check_distributor_config(self, config: Config) -> None:
        if str(config.get("relative_url", "")).startswith("/"):
            raise InvalidValue("relative_url")


@dataclass(frozen=True, kw_only=True)
class Api:
    """A running API and what it stands on."""

    client: TestClient
    services: Services

    @property
    def database(self) -> Database:
        return self.services.database


def notifier_types() -> NotifierTypes:
    """The three kinds of Pulp 2."""
    types = {name: PlainNotifierType(kind) for name, kind in BUILT_IN.items()}
    return NotifierTypes(types)  # type: ignore[arg-type] # they are never opened


def basic(login: str, password: str = PASSWORD) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{login}:{password}".encode()).decode()}


async def _reached() -> bool:
    return True


@contextlib.contextmanager
def services(data_dir: Path) -> Iterator[Services]:
    """Services on a fresh database with an administrator and a reader."""
    with WakeupSocket(data_dir) as wakeups, contextlib.closing(Database.open(data_dir, wakeups)) as database:
        with database.write() as tx:
            for login, role in (("admin", ADMIN), ("reader", READER)):
                users.add(tx, login, name=login, password_hash=PASSWORD_HASH, role=role, now=system_clock())
        yield Services(
            database=database,
            clock=system_clock,
            listener_types=notifier_types(),
            content_types=by_plugin(Iso(), Yum()),
            publications=Publications(
                database, FolderStorage(data_dir / "content"), grace=timedelta(hours=1), clock=system_clock
            ),
            data_dir=data_dir,
            messaging_connected=lambda: True,
            reach_messaging=_reached,
            workers=lambda: [Worker(name="worker-0@here", last_heartbeat=datetime(2031, 5, 4, 10, tzinfo=UTC))],
        )


@contextlib.contextmanager
def running(data_dir: Path) -> Iterator[Api]:
    """The API in this process, with a client that is logged in as the administrator."""
    with services(data_dir) as provided, TestClient(create_app(provided), raise_server_exceptions=False) as client:
        client.headers.update(basic("admin"))
        yield Api(client=client, services=provided)
