# SPDX-License-Identifier: Apache-2.0
"""Checks passwords against hashes: at once for known ones, ever more slowly after failures."""

import asyncio
import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from pulpit.errors import TooManyAttempts
from pulpit.net.passwords import VerifiedPasswords, is_password, unmatched_hash

FREE_FAILURES: Final = 3
"""Wrong passwords of one address without a delay; each further one doubles the delay."""
FIRST_WAIT_S: Final = 0.25
LONGEST_WAIT_S: Final = 8.0
FORGIVEN_AFTER_S: Final = 600.0
MOST_WAITING: Final = 4
"""Waiting attempts of an address with failures."""
MOST_WAITING_UNSUSPECTED: Final = 20
"""The same for an address without: many users may be behind it."""
_ADDRESSES: Final = 4096
_HASHES_AT_ONCE: Final = 2


@dataclass(slots=True)
class _Client:
    """An address that recently sent passwords that were not known to be right."""

    failures: int = 0
    last_failure: float = 0.0
    waiting: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def guesses(self) -> bool:
        return self.failures >= FREE_FAILURES

    @property
    def wait_s(self) -> float:
        excess = self.failures - FREE_FAILURES
        return 0.0 if excess < 0 else min(FIRST_WAIT_S * 2.0 ** min(excess, 16), LONGEST_WAIT_S)


class LoginThrottle:
    """Checks the passwords of one address in turn, whatever logins they are for.

    A password that has matched before is recognised without hashing, and never waits. Identical concurrent attempts
    are checked once.
    """

    def __init__(self, *, sleep: Callable[[float], Awaitable[None]], now: Callable[[], float] = time.monotonic) -> None:
        self._now: Final = now
        self._sleep: Final = sleep
        self._verified: Final = VerifiedPasswords()
        self._clients: Final[OrderedDict[str, _Client]] = OrderedDict()
        self._pending: Final[dict[tuple[str, str, str, str | None], asyncio.Future[bool]]] = {}
        self._hashing: Final = asyncio.Semaphore(_HASHES_AT_ONCE)
        self._decoy: Final = unmatched_hash()

    async def fits(
        self,
        login: str,
        password: str,
        password_hash: str | None,
        address: str,
        *,
        elsewhere: Callable[[], Awaitable[bool]] | None = None,
    ) -> bool:
        """Whether the password of a login matches the hash.

        Args:
            login: the user's login.
            password: what was sent.
            password_hash: the stored hash; `None` for an unknown login, which takes as long and never matches.
            address: the client's address.
            elsewhere: asks another system that may know the login, if the hash does not match.

        Raises:
            TooManyAttempts: too many attempts from that address are waiting already.
        """
        if password_hash is not None and self._verified.knows(login, password, password_hash):
            return True
        network = _network(address)
        attempt = (network, login, password, password_hash)
        if attempt in self._pending:
            return await asyncio.shield(self._pending[attempt])
        future = self._pending[attempt] = asyncio.get_running_loop().create_future()
        try:
            fits = await self._in_turn(network, login, password, password_hash, elsewhere)
        except BaseException as error:
            future.set_exception(error if isinstance(error, TooManyAttempts) else TooManyAttempts(1))
            future.exception()  # retrieved, though nobody else may await it
            raise
        else:
            future.set_result(fits)
            return fits
        finally:
            del self._pending[attempt]

    async def _in_turn(
        self,
        network: str,
        login: str,
        password: str,
        password_hash: str | None,
        elsewhere: Callable[[], Awaitable[bool]] | None,
    ) -> bool:
        client = self._client(network)
        ahead = client.waiting
        if ahead >= (MOST_WAITING if client.guesses else MOST_WAITING_UNSUSPECTED):
            raise TooManyAttempts(math.ceil(client.wait_s) or 1)
        client.waiting += 1
        try:
            async with client.turn:
                if client.guesses and ahead >= MOST_WAITING:  # those ahead of it were guesses
                    raise TooManyAttempts(math.ceil(client.wait_s))
                if client.guesses:
                    await self._sleep(client.wait_s)
                # An unknown login costs the same hashing, so that the time does not reveal which logins exist.
                async with self._hashing:
                    fits = await asyncio.to_thread(is_password, password, password_hash or self._decoy)
                    is_known = password_hash is not None and fits
                    if not is_known and elsewhere is not None and await elsewhere():
                        client.failures = 0
                        return True
        finally:
            client.waiting -= 1
        if not is_known:
            client.failures += 1
            client.last_failure = self._now()
            return False
        client.failures = 0
        self._verified.remember(login, password, password_hash or "")
        return True

    def _client(self, network: str) -> _Client:
        client = self._clients.setdefault(network, _Client())
        self._clients.move_to_end(network)
        if self._now() - client.last_failure > FORGIVEN_AFTER_S:
            client.failures = 0
        if len(self._clients) > _ADDRESSES:
            self._clients.popitem(last=False)
        return client


def _network(address: str) -> str:
    """Return what is throttled together: an IPv4 address, or an IPv6 /64 network."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed  # of a socket for both versions, here or at a proxy
    return str(parsed) if parsed.version == 4 else str(ipaddress.ip_network((parsed, 64), strict=False))  # noqa: PLR2004 - the version's number
