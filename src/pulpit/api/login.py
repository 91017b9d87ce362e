"""Who is asking, and whether they may: HTTP Basic authentication, made slow for those who guess."""

import asyncio
import base64
import binascii
import ipaddress
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from pulpit.api.certificates import ClientCertificates
from pulpit.api.passwords import VerifiedPasswords, hash_password, is_password
from pulpit.clock import Clock
from pulpit.errors import AuthenticationFailed, PermissionDenied
from pulpit.store import users
from pulpit.store.database import Database
from pulpit.store.users import User

ADMIN: Final = "admin"
READER: Final = "reader"
ROLES: Final = frozenset({ADMIN, READER})

FREE_FAILURES: Final = 3
"""Wrong log-ins of one address that cost nothing; each further one doubles the wait."""
FIRST_WAIT_S: Final = 0.25
LONGEST_WAIT_S: Final = 8.0
FORGIVEN_AFTER: Final = timedelta(minutes=10)
_ADDRESSES: Final = 4096
_HASHES_AT_ONCE: Final = 2
_UNREADABLE: Final = "The Authorization header cannot be read; it must be HTTP Basic."


class WrongPassword(AuthenticationFailed):
    """Login and password do not belong together."""

    code = "PLP0030"
    auth_error_code = "invalid_username_or_password"


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


class Doorkeeper:
    """Checks credentials; an address that guesses is served one attempt at a time, ever more slowly."""

    def __init__(self, database: Database, clock: Clock, *, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._database: Final = database
        self._clock: Final = clock
        self._sleep: Final = sleep
        self._verified: Final = VerifiedPasswords()
        self._guessers: Final[OrderedDict[str, _Guesser]] = OrderedDict()
        self._hashing: Final = asyncio.Semaphore(_HASHES_AT_ONCE)
        self._decoy: Final = hash_password("")

    async def admit(self, authorization: str, address: str) -> User:
        """Answer the user whose credentials these are.

        Args:
            authorization: the value of the header of that name.
            address: where the client sits, to slow down the guessing.

        Raises:
            AuthenticationFailed: the header is absent or not Basic.
            WrongPassword: the login does not exist or has another password.
        """
        login, password = read_basic(authorization)
        user = await asyncio.to_thread(self._find, login)
        if user is not None and self._verified.knows(login, password, user.password_hash):
            return user
        guesser = self._guesser(_network(address))
        if guesser is None:
            return await self._check(user, login, password, _network(address))
        async with guesser.turn:
            await self._sleep(guesser.wait_s)
            return await self._check(user, login, password, _network(address))

    async def admit_certificate(self, der: bytes, certificates: ClientCertificates) -> User:
        """Answer the user whom a client certificate names.

        Raises:
            BadCertificate: it is none of this server's, or does not count any more.
        """
        login = await asyncio.to_thread(certificates.login_of, der)
        return certificates.check(der, await asyncio.to_thread(self._find, login))

    async def _check(self, user: User | None, login: str, password: str, network: str) -> User:
        # Unknown logins cost the same hash, so that the time does not tell who exists.
        password_hash = self._decoy if user is None else user.password_hash
        async with self._hashing:
            fits = await asyncio.to_thread(is_password, password, password_hash)
        if user is None or not fits:
            self._count(network)
            raise WrongPassword("The login or the password is wrong.")
        self._guessers.pop(network, None)
        self._verified.remember(login, password, password_hash)
        return user

    def _find(self, login: str) -> User | None:
        with self._database.read() as connection:
            return users.find(connection, login)

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


def read_basic(authorization: str) -> tuple[str, str]:
    """Read login and password out of an Authorization header.

    Raises:
        AuthenticationFailed: it is absent, of another scheme, or garbled.
    """
    scheme, _, encoded = authorization.partition(" ")
    if not scheme:
        raise AuthenticationFailed("Log in: this needs a user and a password.")
    if scheme.lower() != "basic":
        raise AuthenticationFailed(_UNREADABLE)
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise AuthenticationFailed(_UNREADABLE) from None
    login, colon, password = text.partition(":")
    if not colon or "\0" in text:
        raise AuthenticationFailed(_UNREADABLE)
    return login, password


def check_may(user: User, method: str, path: str) -> None:
    """Refuse what the user's role does not allow: a reader may read and search, and change their own name and password.

    Raises:
        PermissionDenied: an administrator must do this.
    """
    own = method == "PUT" and path.endswith(f"/v2/users/{user.login}/")
    reads = method in ("GET", "HEAD") or (method == "POST" and path.endswith(("/search/", "/search/units/", "/login/")))
    if user.role != ADMIN and not reads and not own:
        raise PermissionDenied(f"The user {user.login} may only read; this needs an administrator.")


def _network(address: str) -> str:
    """Who shares one fate: an IPv4 address, or an IPv6 network of 64 bits."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return address if parsed.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))  # noqa: PLR2004 - the version's number
