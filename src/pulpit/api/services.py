"""What endpoints depend on: the services, the authenticated user, and the form of responses."""

import math
import time
from asyncio import Semaphore
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import Depends, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from pulpit.api.auth.rights import Rights
from pulpit.api.failures import ErrorBody
from pulpit.api.middleware import RIGHTS, USER, strict_json
from pulpit.api.v2.models import CallReport
from pulpit.clock import Clock
from pulpit.content import access
from pulpit.content.port import ContentType
from pulpit.delivery.log_reader import Announcements
from pulpit.delivery.notifiers.kinds import NotifierTypes
from pulpit.errors import InvalidValue, MalformedRequest, PulpitError
from pulpit.published.access import Exposure
from pulpit.published.locate import Publications
from pulpit.pulp3.progress import Progress
from pulpit.store.database import Database
from pulpit.store.listeners import Listener
from pulpit.store.tasks import Task
from pulpit.store.users import User
from pulpit.tasks.reports import accepted

if TYPE_CHECKING:
    from pulpit.api.auth.certificates import ClientCertificates


class Plugins:
    """Finds the content type of an importer or distributor and lets it check the configuration."""

    def __init__(self, by_type: Mapping[str, ContentType]) -> None:
        self._by_type: Final = by_type

    @property
    def unit_types(self) -> list[str]:
        """The ids of all unit types."""
        return sorted(
            {unit_type for content_type in self._by_type.values() for unit_type in content_type.unit_type_ids}
        )

    def merging(self, unit_type_id: str) -> ContentType | None:
        """Return the content type of units that are merged when one of the same slot is uploaded, if they are."""
        types = self._by_type.values()
        return next((content_type for content_type in types if unit_type_id in content_type.merged_type_ids), None)

    def check_importer_config(self, importer_type_id: str, config: dict[str, Any]) -> None:
        """Reject an invalid configuration.

        Raises:
            InvalidValue: `importer_type_id` if the type is unknown, else the name of what is wrong.
        """
        found = self._by_type.get(importer_type_id)
        if found is None or found.importer_type_id != importer_type_id:
            raise InvalidValue("importer_type_id", f"there is no importer {importer_type_id!r}.")
        found.check_importer_config(config)

    def check_copy_config(self, importer_type_id: str, config: dict[str, Any]) -> None:
        """Reject options of a copy that the target's type does not know.

        Raises:
            InvalidValue: an option has an invalid value.
            UnsupportedValue: an option is unknown.
        """
        self._by_type[importer_type_id].check_copy_config(config)

    def check_distributor_config(self, distributor_type_id: str, config: dict[str, Any]) -> None:
        """Reject an invalid configuration.

        Raises:
            InvalidValue: `distributor_type_id` if the type is unknown, else the name of what is wrong.
        """
        found = self._by_type.get(distributor_type_id)
        if found is None or distributor_type_id not in found.distributor_type_ids:
            raise InvalidValue("distributor_type_id", f"there is no distributor {distributor_type_id!r}.")
        access.check(config)
        found.check_distributor_config(access.of_type(config))


MOST_WAITING: Final = 100
MOST_TRIALS: Final = 8
MOST_FIRING: Final = 2


MOST_HOOKS: Final = 1_000
MOST_HOOKS_AT_ONCE: Final = 4
"""Hook requests whose bodies are read at a time: until a body is complete its sender cannot be verified."""
BURST: Final = 60
PER_SECOND: Final = 2.0
"""Rate limit of a hook: the size of a burst, and requests per second."""


class TooManyRequests(PulpitError):
    """The hook's rate limit is exceeded; retry later."""

    status = 429


@dataclass(slots=True)
class HookGate:
    """Limits on requests to hooks, from strangers and from senders."""

    reading: Semaphore = field(default_factory=lambda: Semaphore(MOST_HOOKS_AT_ONCE))
    now: Callable[[], float] = time.monotonic
    _buckets: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def check_rate(self, hook_id: str) -> None:
        """Count one request of a hook.

        Raises:
            TooManyRequests: its rate limit is exceeded.
        """
        now = self.now()
        left, at = self._buckets.get(hook_id, (float(BURST), now))
        left = min(float(BURST), left + (now - at) * PER_SECOND)
        if left < 1:
            raise TooManyRequests(f"This hook is sent too much; try again in {math.ceil((1 - left) / PER_SECOND)} s.")
        self._buckets[hook_id] = (left - 1, now)
        self._buckets.move_to_end(hook_id)
        while len(self._buckets) > MOST_HOOKS:
            self._buckets.popitem(last=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Worker:
    """A process that runs tasks, or another part of the server, as `status` lists it."""

    name: str
    last_heartbeat: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Services:
    """Everything that the endpoints use."""

    database: Database
    clock: Clock
    listener_types: NotifierTypes
    content_types: Mapping[str, ContentType]
    """By the type ids of their importers and distributors."""
    publications: Publications
    """The publications, as served."""
    data_dir: Path
    """Holds uploads, and the CA of client certificates."""
    messaging_connected: Callable[[], bool]
    """Whether events can be sent to the broker now."""
    reach_messaging: Callable[[], Awaitable[bool]]
    """The same after an attempt to connect."""
    workers: Callable[[], list[Worker]]
    position_of: Callable[[Listener], int] = attrgetter("position")
    """A listener's current position; the stored position follows a little later."""
    delivering: Callable[[], bool] = lambda: True
    """Whether the delivery engine runs."""
    draining: Callable[[], bool] = lambda: False
    """Whether the server is about to stop, and requests should go to another one."""
    broker_status: Callable[[], dict[str, Any]] | None = None
    """The state of the embedded broker; none without one."""
    pulp_api: str = ""
    """The API's root URL of the Pulp 3 whose users may log in here; empty for none."""
    pulps: Sequence[Progress] = ()
    """The state of each Pulp 3 that events come from."""
    exposure: Exposure = field(default_factory=Exposure)
    """How the server can be reached."""
    announcements: Announcements = field(default_factory=Announcements)
    """Announces new events."""
    waiting: Semaphore = field(default_factory=lambda: Semaphore(MOST_WAITING))
    """Limits the readers that wait for events."""
    trials: Semaphore = field(default_factory=lambda: Semaphore(MOST_TRIALS))
    """Limits concurrent tests of listeners."""
    hook_gate: HookGate = field(default_factory=HookGate)
    """Limits requests to hooks."""
    firing: Semaphore = field(default_factory=lambda: Semaphore(MOST_FIRING))
    """Limits concurrent requests that fire events."""

    @property
    def plugins(self) -> Plugins:
        """The checks of importers' and distributors' configurations."""
        return Plugins(self.content_types)

    @property
    def certificates(self) -> "ClientCertificates":
        """The client certificates of users."""
        from pulpit.api.auth.certificates import ClientCertificates  # noqa: PLC0415 - few logins need cryptography

        return ClientCertificates(self.data_dir, self.clock)


Responses = dict[int | str, dict[str, Any]]

OK: Final = 200
CREATED: Final = 201
ACCEPTED: Final = 202
NO_CONTENT: Final = 204


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


def _user(request: Request) -> User:
    """Return the user that `middleware.Authenticate` found."""
    user: User = getattr(request.state, USER)
    return user


def _rights(request: Request) -> Rights:
    rights: Rights = getattr(request.state, RIGHTS)
    return rights


Provided = Annotated[Services, Depends(_services)]
Asking = Annotated[User, Depends(_user)]
Allowed = Annotated[Rights, Depends(_rights)]
"""The client's rights; `middleware.Authenticate` has checked them as far as the path allows."""


def _criteria_in_query(
    *,
    filters: Annotated[str | None, Query(description="a filter as JSON")] = None,
    field: Annotated[list[str] | None, Query(description="a key to show; once for each")] = None,
    limit: Annotated[str | None, Query(description="a whole number")] = None,
    skip: Annotated[str | None, Query(description="a whole number")] = None,
) -> dict[str, Any]:
    """Return the criteria of a search by GET, which are checked as those of a search by POST are.

    Raises:
        InvalidValue: `filters` is no JSON.
    """
    try:
        given = {"filters": strict_json(filters.encode()) if filters else None}
    except (MalformedRequest, UnicodeEncodeError):
        raise InvalidValue("filters", "it must be JSON.") from None
    return given | {"fields": field or None, "limit": limit or None, "skip": skip or None}


QueriedCriteria = Annotated[dict[str, Any], Depends(_criteria_in_query)]


def returns(status: int, model: type[BaseModel] | Any = None, *errors: int) -> Responses:
    """Describe an endpoint's success response and expected errors; 401 is always among them."""
    responses: Responses = {status: {"description": "Done."} if model is None else {"model": model}}
    return responses | {error: {"model": ErrorBody} for error in (*errors, 401)}


def queued(*tasks: Task) -> JSONResponse:
    return JSONResponse(accepted(*tasks), ACCEPTED)


QUEUED: Final = returns(ACCEPTED, CallReport, 400, 404)
