"""Logins of a Pulp 3's users with their password there: whoever may administrate Pulp's users is an administrator here.

Pulp is sent a request with the same login and password: its response says whether they are valid, whatever backend it
uses, and whether the user may do this. A valid password is cached for a minute: hashing it costs Pulp most of a
second.
"""

import asyncio
import base64
import hashlib
import hmac
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import pycurl

from pulpit.clock import Clock
from pulpit.errors import PermissionDenied, PulpitError
from pulpit.net.curl import trust_system
from pulpit.store.users import User

KNOWN_SECONDS: Final = 60.0
MOST_KNOWN: Final = 1_000
TIMEOUT: Final = 15
"""Seconds."""
_RIGHT: Final = 200
_WRONG: Final = 401
_NOT_ALLOWED: Final = 403

_log = logging.getLogger(__name__)


class PulpUnreachable(PulpitError):
    """Pulp cannot verify a login now."""

    status = 503


class PulpUsers:
    """Verifies logins with one Pulp."""

    def __init__(self, root: str, clock: Clock, *, role: str, now: Callable[[], float] = time.monotonic) -> None:
        """Take the URL of Pulp's API before `api/v3/`, and the role of users who may administrate Pulp."""
        self._url: Final = f"{root.rstrip('/')}/api/v3/users/?limit=1&fields=username"
        self._clock: Final = clock
        self._role: Final = role
        self._now: Final = now
        self._key: Final = os.urandom(32)
        self._known: Final[OrderedDict[bytes, float]] = OrderedDict()

    def known(self, login: str, password: str) -> User | None:
        """Return the user, if Pulp has verified this password recently."""
        until = self._known.get(self._digest(login, password), 0.0)
        return self._user(login) if self._now() < until else None

    async def is_password(self, login: str, password: str) -> bool:
        """Whether Pulp knows the login, and the user may administrate Pulp.

        Raises:
            PermissionDenied: login and password are right, but the user may not.
            PulpUnreachable: Pulp is unavailable.
        """
        if not login or ":" in login:
            return False
        status = await self._status(login, password)
        if status == _NOT_ALLOWED:
            raise PermissionDenied(f"The user {login} may not administrate Pulp, and so not its listeners.")
        if status == _WRONG:
            return False
        if status != _RIGHT:
            raise PulpUnreachable(f"Pulp, which knows the users, replies {status}; try again.")
        self._known[self._digest(login, password)] = self._now() + KNOWN_SECONDS
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return True

    async def _status(self, login: str, password: str) -> int:
        try:
            return await asyncio.to_thread(_ask, self._url, login, password)
        except (pycurl.error, OSError) as error:
            _log.warning("Pulp cannot be asked: %s", error.args[-1], extra={"action": "pulp3_login_unknown"})
            raise PulpUnreachable("Pulp, which knows the users, cannot be reached; try again.") from None

    def _user(self, login: str) -> User:
        return User(login=login, object_id="", name=login, password_hash="", role=self._role, created_at=self._clock())

    def _digest(self, login: str, password: str) -> bytes:
        return hmac.digest(self._key, f"{login}:{password}".encode("utf-8", "surrogatepass"), hashlib.sha256)


def _ask(url: str, login: str, password: str) -> int:
    """Return the status of a GET with a login.

    Raises:
        pycurl.error: there is none.
    """
    token = base64.b64encode(f"{login}:{password}".encode("utf-8", "surrogatepass")).decode()
    curl = pycurl.Curl()
    curl.setopt(pycurl.NOSIGNAL, 1)
    curl.setopt(pycurl.URL, url)
    curl.setopt(pycurl.PROXY, "")
    curl.setopt(pycurl.HTTPHEADER, [f"Authorization: Basic {token}"])
    curl.setopt(pycurl.TIMEOUT, TIMEOUT)
    curl.setopt(pycurl.WRITEFUNCTION, lambda _: None)
    trust_system(curl)
    curl.perform()
    return int(curl.getinfo(pycurl.RESPONSE_CODE))
