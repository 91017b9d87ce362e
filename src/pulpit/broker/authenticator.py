"""Logins: who may connect, and the SASL mechanisms by which clients say who they are."""

import asyncio
import logging
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from pulpit.amqp.amqp091 import tables
from pulpit.broker.config import BrokerConfig, BrokerUser
from pulpit.broker.permissions import AllRights, GrantedRights, Rights
from pulpit.broker.refusals import syntax_error

MAX_ADDRESSES: Final = 4096
"""Addresses whose failures are remembered; the oldest is forgotten first."""
MAX_DOUBLINGS: Final = 4

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """A login attempt; `password` is None if a certificate vouches for the name."""

    mechanism: str
    user: str
    password: str | None
    address: str
    local: bool

    def __repr__(self) -> str:
        return f"Attempt({self.mechanism}, {self.user!r}, {self.address})"


Verdict = Callable[[Attempt, bool], None]
"""Called once with the attempt and whether it is accepted."""


class Authenticator:
    """Compares with the configured users; each failure from an address delays the next refusal longer."""

    def __init__(self, config: BrokerConfig) -> None:
        self._users = config.users
        self._delay: Final = config.failed_login_delay
        self._failures: Final[OrderedDict[str, int]] = OrderedDict()
        self._tasks: Final[set[asyncio.Task[None]]] = set()

    def rights(self, user: str, host: str) -> Rights | None:
        """Return what the user may do there; None if nothing at all."""
        known = self._users.get(user)
        if known is None or not (known.virtual_hosts is None or host in known.virtual_hosts):
            return None
        if known.grants is None:
            return AllRights()
        grants = [grant for grant in known.grants if grant.host in (None, host)]
        return GrantedRights(user=user, host=host, grants=grants) if grants else None

    def authenticate(self, attempt: Attempt, verdict: Verdict) -> None:
        """Verify at once if that is cheap, else in a thread."""
        user = self._users.get(attempt.user)
        if user is not None and not user.password.is_slow and self._fits(attempt):
            self._failures.pop(attempt.address, None)
            verdict(attempt, True)
            return
        task = asyncio.get_running_loop().create_task(self._judge(attempt, verdict))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def admit(self, users: Mapping[str, BrokerUser]) -> frozenset[str]:
        """Use these users from now on, and return the former ones that were removed or changed."""
        before, self._users = self._users, users
        return frozenset(login for login, user in before.items() if users.get(login) != user)

    async def close(self) -> None:
        """Drop waiting logins."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _judge(self, attempt: Attempt, verdict: Verdict) -> None:
        user = self._users.get(attempt.user)
        accepted = await asyncio.to_thread(self._fits, attempt)
        if accepted and self._users.get(attempt.user) == user:
            self._failures.pop(attempt.address, None)
        else:
            accepted = False
            _log.warning(
                "A login was refused", extra={"action": "broker_login_refused", "mechanism": attempt.mechanism}
            )
            failures = self._failures.pop(attempt.address, 0) + 1
            self._failures[attempt.address] = failures
            while len(self._failures) > MAX_ADDRESSES:
                self._failures.popitem(last=False)
            await asyncio.sleep(self._delay * float(2 ** min(failures - 1, MAX_DOUBLINGS)))
        verdict(attempt, accepted)

    def _fits(self, attempt: Attempt) -> bool:
        user = self._users.get(attempt.user)
        if user is None or not (user.anywhere or attempt.local):
            return False
        return user.by_certificate if attempt.password is None else user.password.fits(attempt.password)


# -- SASL: what a client's first response says

Credentials = tuple[str, str]
"""Login and password."""


def composed(login: str) -> str:
    """Return the normalised form of a login, however its accents were typed (RFC 8265)."""
    return unicodedata.normalize("NFC", login)


def plain(response: bytes) -> Credentials:
    """RFC 4616: an unused identity, the name and the password, separated by NUL."""
    parts = response.split(b"\0")
    if len(parts) != 3:  # noqa: PLR2004 - the three parts above
        raise syntax_error("the response to PLAIN is no name and password")
    return composed(_text(parts[1])), _text(parts[2])


def amqplain(response: bytes) -> Credentials:
    """AMQP's own mechanism: a table without its length that contains LOGIN and PASSWORD."""
    try:
        values = tables.read_entries(response)
    except tables.BadTable as error:
        raise syntax_error(f"the response to AMQPLAIN is no table: {error}") from error
    login, password = values.get("LOGIN"), values.get("PASSWORD")
    if not isinstance(login, str | bytes) or not isinstance(password, str | bytes):
        raise syntax_error("the response to AMQPLAIN lacks LOGIN or PASSWORD")
    return composed(_text(login)), _text(password)


def _text(raw: bytes | str) -> str:
    """Decode UTF-8 as in RFC 4616; Latin-1 of some clients is accepted too."""
    if isinstance(raw, str):
        return raw
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


MECHANISMS: Final[Mapping[str, Callable[[bytes], Credentials]]] = {"PLAIN": plain, "AMQPLAIN": amqplain}
"""Mechanisms with a password; EXTERNAL takes the name from the client's certificate."""
EXTERNAL: Final = "EXTERNAL"
