"""Access to publications: by protocol, by client certificate, by the repository's user and password.

A changed configuration takes effect within a second, published again or not.

OpenSSL rejects a certificate from an unknown CA before any request is read. So the CAs of all repositories are loaded
into the TLS context (`TrustedAuthorities`), and access is checked for each request. TLS has by then proven that the
client has the key and that one of the CAs has signed; which one is checked here.
"""

import asyncio
import hmac
import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import Scope

from pulpit.clock import Clock
from pulpit.content.access import Access
from pulpit.errors import AuthenticationFailed, PulpitError, TooManyAttempts
from pulpit.net.addresses import is_loopback
from pulpit.net.login_throttle import LoginThrottle
from pulpit.net.passwords import read_basic
from pulpit.net.request_state import CERTIFICATE
from pulpit.store import repositories
from pulpit.store.database import Database

FRESH_FOR: Final = 1.0
"""Seconds for which a configuration is cached."""

_MOST_KNOWN: Final = 10_000
_BY_PROXY: Final = ("x-forwarded-for", "x-forwarded-proto", "forwarded", "via")
_NOTHING: Final = "There is nothing published at this address.\n"
_OTHER_PROTOCOL: Final = "This repository is not served over {}.\n"
_NO_CERTIFICATE: Final = "This repository is for those who show, over HTTPS, a client certificate of its authority.\n"
_NO_LOGIN: Final = "This repository is for those who have its user and password.\n"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Exposure:
    """How the server itself can be reached."""

    speaks_https: bool = False
    is_local: bool = True
    """Whether it listens on this machine only."""


class AccessRules:
    """Checks requests for published files; a distributor is named by its object id."""

    def __init__(
        self, database: Database, clock: Clock, exposure: Exposure, *, sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self._database: Final = database
        self._clock: Final = clock
        self._exposure: Final = exposure
        self._throttle: Final = LoginThrottle(
            sleep=sleep
        )  # separate: a repository's password resets no failures of logins
        self._known: Final[dict[str, tuple[float, Access | None]]] = {}

    async def refusal(self, scope: Scope, distributor: str) -> Response | None:
        """Return the refusal for a request, or `None` if it may read what the distributor published."""
        known = self._known_of(distributor)
        access = known[1] if known else (await run_in_threadpool(self._read, [distributor]))[distributor]
        if access is None:
            return PlainTextResponse(_NOTHING, 404)
        if not self._is_over(scope, access):
            return PlainTextResponse(_OTHER_PROTOCOL.format(scope["scheme"].upper()), 403)
        return None if access.is_open else await self._closed(scope, access)

    def lets_in(self, scope: Scope, distributor: str) -> bool:
        """Whether it is known without any lookup that a request may read public content."""
        known = self._known_of(distributor)
        access = known[1] if known else None
        return access is not None and access.is_open and self._is_over(scope, access)

    def knows(self, distributor: str) -> bool:
        return self._known_of(distributor) is not None

    def ask(self, distributor: str) -> None:
        self._read([distributor])

    async def _closed(self, scope: Scope, access: Access) -> Response | None:
        """Return the refusal for restricted content, or `None`."""
        if access.authorities:
            certificate = scope.get("state", {}).get(CERTIFICATE)
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            from pulpit.published.entitlements import lets_in  # noqa: PLC0415 - few repositories need cryptography

            if certificate is None or not lets_in(certificate, access.authorities, path, self._clock()):
                return PlainTextResponse(_NO_CERTIFICATE, 403)
        try:
            if (access.login or access.password_hash) and not await self._logs_in(scope, access):
                challenge = {"WWW-Authenticate": 'Basic realm="repository", charset="UTF-8"'}
                return PlainTextResponse(_NO_LOGIN, 401, challenge)
        except TooManyAttempts as error:
            return PlainTextResponse(f"{error}\n", error.status, {"Retry-After": str(error.retry_after)})
        if access.authorities or access.login:
            return None
        return PlainTextResponse(_NOTHING, 404)  # protected, but without any method of access

    def visible(self, scope: Scope, distributors: Collection[str]) -> set[str]:
        """Return the distributors that a listing may show: restricted ones are hidden."""
        known = {name: entry[1] for name in distributors if (entry := self._known_of(name))}
        every = known | self._read([name for name in distributors if name not in known])
        return {name for name, access in every.items() if access and access.is_open and self._is_over(scope, access)}

    def _known_of(self, distributor: str) -> tuple[float, Access | None] | None:
        known = self._known.get(distributor)
        return known if known and known[0] > time.monotonic() else None

    def _read(self, distributors: Collection[str]) -> dict[str, Access | None]:
        if not distributors:
            return {}
        with self._database.read() as connection:
            configs = repositories.distributor_configs(connection, distributors)
        read = {name: Access.of(configs[name]) if name in configs else None for name in distributors}
        if len(self._known) + len(read) > _MOST_KNOWN:
            self._known.clear()
        fresh_until = time.monotonic() + FRESH_FOR
        self._known.update({name: (fresh_until, access) for name, access in read.items()})
        return read

    def _is_over(self, scope: Scope, access: Access) -> bool:
        """Whether a repository is served over the request's protocol.

        Where only one protocol is available, one that nobody else can eavesdrop on replaces the other: HTTPS for HTTP,
        and on this machine HTTP for HTTPS. Repositories with client certificates need HTTPS.
        """
        over_https = scope["scheme"] == "https"
        if access.https if over_https else access.http:
            return over_https or not access.authorities
        if access.authorities or not (access.http or access.https):
            return False
        if over_https:
            return self._exposure.speaks_https
        return not self._exposure.speaks_https and self._exposure.is_local and _is_of_this_machine(scope)

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
        return await self._throttle.fits(login, password, access.password_hash if is_known else None, address)


def _is_of_this_machine(scope: Scope) -> bool:
    """Whether a request came from this machine, and not through a proxy on it."""
    headers = Headers(scope=scope)
    if any(name in headers for name in _BY_PROXY) or not scope.get("client"):
        return False
    host = headers.get("host", "")
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return is_loopback(scope["client"][0]) and is_loopback(name)


class TrustedAuthorities:
    """Keeps a TLS context up to date with the CAs of protected repositories.

    Clients of a newly protected repository can connect within `FRESH_FOR`; a CA that is not trusted any more is
    rejected at once per request, and unloaded at the next start.
    """

    def __init__(self, database: Database, context: ssl.SSLContext) -> None:
        self._database: Final = database
        self._context: Final = context
        self._known: Final[set[str]] = set()
        self._is_away = False
        """Whether the database was unavailable at the last look."""

    async def keep(self) -> None:
        """Load new ones until cancelled; not when a client connects, because that would wait in the event loop."""
        while True:
            await asyncio.sleep(FRESH_FOR)
            await self.load()

    async def load(self) -> None:
        """Load those that are new, unless the database is unavailable."""
        try:
            wanted = await asyncio.to_thread(self._wanted)
        except PulpitError as error:
            if not self._is_away:  # not each second of an outage
                _log.warning("authorities not read: %s", error, extra={"action": "authorities_not_read"})
            self._is_away = True
            return
        self._is_away = False
        for authorities in wanted - self._known:
            self._known.add(authorities)
            try:
                self._context.load_verify_locations(cadata=authorities)
            except ssl.SSLError:
                _log.exception("an authority cannot be trusted", extra={"action": "authority_refused"})

    def _wanted(self) -> set[str]:
        with self._database.read() as connection:
            configs = repositories.authorities(connection)
        return {authorities for config in configs if (authorities := Access.of(config).authorities)}
