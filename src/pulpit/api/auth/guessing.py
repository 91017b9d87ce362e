"""Compares passwords with their hashes, at once for those who know them and ever more slowly for those who guess."""

import asyncio
import ipaddress
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from pulpit.clock import Clock
from pulpit.net.passwords import VerifiedPasswords, hash_password, is_password

FREE_FAILURES: Final = 3
"""Wrong log-ins of one address that cost nothing; each further one doubles the wait."""
FIRST_WAIT_S: Final = 0.25
LONGEST_WAIT_S: Final = 8.0
FORGIVEN_AFTER: Final = timedelta(minutes=10)
_ADDRESSES: Final = 4096
_HASHES_AT_ONCE: Final = 2


@dataclass(slots=True)
class _Guesser:
    """An address from which a wrong password came lately."""

    failures: int
    last: datetime
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def wait_s(self) -> float:
        excess = self.failures - FREE_FAILURES
        return 0.0 if excess < 0 else float(min(FIRST_WAIT_S * 2 ** min(excess, 16), LONGEST_WAIT_S))


class Passwords:
    """An address that guesses is served one attempt at a time, whatever it guesses at."""

    def __init__(self, clock: Clock, *, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._clock: Final = clock
        self._sleep: Final = sleep
        self._verified: Final = VerifiedPasswords()
        self._guessers: Final[OrderedDict[str, _Guesser]] = OrderedDict()
        self._hashing: Final = asyncio.Semaphore(_HASHES_AT_ONCE)
        self._decoy: Final = hash_password("")

    async def fit(self, login: str, password: str, password_hash: str | None, address: str) -> bool:
        """Whether the password of a login is the hashed one.

        Args:
            login: who it is for.
            password: what was said.
            password_hash: what it must fit; `None` for an unknown login, which takes as long and never fits.
            address: where the client sits, to slow down the guessing.
        """
        if password_hash is not None and self._verified.knows(login, password, password_hash):
            return True
        network = _network(address)
        guesser = self._guesser(network)
        if guesser is None:
            return await self._check(login, password, password_hash, network)
        async with guesser.turn:
            await self._sleep(guesser.wait_s)
            return await self._check(login, password, password_hash, network)

    async def _check(self, login: str, password: str, password_hash: str | None, network: str) -> bool:
        # Unknown logins cost the same hash, so that the time does not tell who exists.
        async with self._hashing:
            fits = await asyncio.to_thread(is_password, password, password_hash or self._decoy)
        if password_hash is None or not fits:
            self._count(network)
            return False
        self._guessers.pop(network, None)
        self._verified.remember(login, password, password_hash)
        return True

    def _guesser(self, network: str) -> _Guesser | None:
        guesser = self._guessers.get(network)
        if guesser is not None and self._clock() - guesser.last > FORGIVEN_AFTER:
            del self._guessers[network]
            return None
        return guesser

    def _count(self, network: str) -> None:
        guesser = self._guessers.setdefault(network, _Guesser(failures=0, last=self._clock()))
        guesser.failures += 1
        guesser.last = self._clock()
        self._guessers.move_to_end(network)
        while len(self._guessers) > _ADDRESSES:
            self._guessers.popitem(last=False)


def _network(address: str) -> str:
    """Who shares one fate: an IPv4 address, or an IPv6 network of 64 bits."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return address if parsed.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))  # noqa: PLR2004 - the version's number
