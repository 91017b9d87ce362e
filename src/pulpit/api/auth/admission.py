"""Who may have what is published: by protocol, by client certificate, by user and password of the repository.

A configuration counts within a second of its change, published again or not.
"""

import hmac
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import Scope

from pulpit.api.auth.entitlements import lets_in
from pulpit.api.auth.guessing import Passwords
from pulpit.api.auth.login import read_basic
from pulpit.api.tls import CERTIFICATE
from pulpit.clock import Clock
from pulpit.content.access import Access
from pulpit.errors import AuthenticationFailed
from pulpit.net.addresses import is_loopback
from pulpit.store import repositories
from pulpit.store.database import Database

FRESH_FOR: Final = 1.0
"""Seconds for which a configuration is not read again."""
_MOST_KNOWN: Final = 10_000
_BY_PROXY: Final = ("x-forwarded-for", "x-forwarded-proto", "forwarded", "via")
_NOTHING: Final = "There is nothing published at this address.\n"
_OTHER_PROTOCOL: Final = "This repository is not served over {}.\n"
_NO_CERTIFICATE: Final = "This repository is for those who show, over HTTPS, a client certificate of its authority.\n"
_NO_LOGIN: Final = "This repository is for those who have its user and password.\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Transport:
    """How the server itself can be reached."""

    speaks_https: bool = False
    is_local: bool = True
    """Whether it listens on this machine only."""


class Admission:
    """The gate before published files; see `repositories.serving.Gate`."""

    def __init__(
        self, database: Database, clock: Clock, transport: Transport, *, sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self._database: Final = database
        self._clock: Final = clock
        self._transport: Final = transport
        self._passwords: Final = Passwords(clock, sleep=sleep)  # of its own: who knows one of these forgives no log-in
        self._known: Final[dict[str, tuple[float, Access | None]]] = {}

    async def refusal(self, scope: Scope, distributor: str) -> Response | None:
        """What a request gets instead of what a distributor published, or `None` if it may have it."""
        known = self._known_of(distributor)
        access = known[1] if known else await run_in_threadpool(self._read, distributor)
        if access is None:
            return PlainTextResponse(_NOTHING, 404)
        if not self._is_over(scope, access):
            return PlainTextResponse(_OTHER_PROTOCOL.format(scope["scheme"].upper()), 403)
        return None if access.is_open else await self._closed(scope, access)

    async def _closed(self, scope: Scope, access: Access) -> Response | None:
        """The same for what is not for everybody."""
        if access.authorities and not self._shows_certificate(scope, access.authorities):
            return PlainTextResponse(_NO_CERTIFICATE, 403)
        if (access.login or access.password_hash) and not await self._logs_in(scope, access):
            challenge = {"WWW-Authenticate": 'Basic realm="repository", charset="UTF-8"'}
            return PlainTextResponse(_NO_LOGIN, 401, challenge)
        if access.authorities or access.login:
            return None
        return PlainTextResponse(_NOTHING, 404)  # protected, and nobody said by what

    def shows(self, scope: Scope, distributor: str) -> bool:
        """Whether a listing may name it: what is not for everybody is not named."""
        known = self._known_of(distributor)
        access = known[1] if known else self._read(distributor)
        return access is not None and access.is_open and self._is_over(scope, access)

    def _known_of(self, distributor: str) -> tuple[float, Access | None] | None:
        known = self._known.get(distributor)
        return known if known and known[0] > time.monotonic() else None

    def _read(self, distributor: str) -> Access | None:
        with self._database.read() as connection:
            config = repositories.distributor_config(connection, distributor)
        access = None if config is None else Access.of(config)
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[distributor] = (time.monotonic() + FRESH_FOR, access)
        return access

    def _is_over(self, scope: Scope, access: Access) -> bool:
        """Whether a repository is served over the request's protocol.

        Where there is one protocol only, one that nobody else can listen to does for the other: HTTPS for HTTP, and on
        this machine HTTP for HTTPS. What asks for certificates has HTTPS or nothing.
        """
        over_https = scope["scheme"] == "https"
        if access.https if over_https else access.http:
            return over_https or not access.authorities
        if access.authorities or not (access.http or access.https):
            return False
        if over_https:
            return self._transport.speaks_https
        return not self._transport.speaks_https and self._transport.is_local and _is_of_this_machine(scope)

    def _shows_certificate(self, scope: Scope, authorities: str) -> bool:
        shown = scope.get("state", {}).get(CERTIFICATE)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        return shown is not None and lets_in(shown, authorities, path, self._clock())

    async def _logs_in(self, scope: Scope, access: Access) -> bool:
        authorization = Headers(scope=scope).get("authorization", "")
        if not authorization:
            return False
        try:
            login, password = read_basic(authorization)
        except AuthenticationFailed:
            return False
        is_known = hmac.compare_digest(login.encode(), (access.login or "").encode())
        address = scope["client"][0] if scope.get("client") else ""
        return await self._passwords.fit(login, password, access.password_hash if is_known else None, address)


def _is_of_this_machine(scope: Scope) -> bool:
    """Whether a request came from this machine, and not by way of a proxy on it."""
    headers = Headers(scope=scope)
    if any(name in headers for name in _BY_PROXY) or not scope.get("client"):
        return False
    return is_loopback(scope["client"][0]) and is_loopback(_host_of(headers.get("host", "")))


def _host_of(host: str) -> str:
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
