"""Who is asking, and whether they may: HTTP Basic authentication, made slow for those who guess."""

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable
from typing import Final

from pulpit.api.auth.certificates import ClientCertificates
from pulpit.api.auth.guessing import Passwords
from pulpit.clock import Clock
from pulpit.errors import AuthenticationFailed, PermissionDenied
from pulpit.store import users
from pulpit.store.database import Database
from pulpit.store.users import User

ADMIN: Final = "admin"
READER: Final = "reader"
ROLES: Final = frozenset({ADMIN, READER})

_UNREADABLE: Final = "The Authorization header cannot be read; it must be HTTP Basic."


class WrongPassword(AuthenticationFailed):
    """Login and password do not belong together."""

    code = "PLP0030"
    auth_error_code = "invalid_username_or_password"


class Doorkeeper:
    """Checks credentials; an address that guesses is served one attempt at a time, ever more slowly."""

    def __init__(self, database: Database, clock: Clock, *, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._database: Final = database
        self.passwords: Final = Passwords(clock, sleep=sleep)

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
        fits = await self.passwords.fit(login, password, user.password_hash if user else None, address)
        if user is None or not fits:
            raise WrongPassword("The login or the password is wrong.")
        return user

    async def admit_certificate(self, der: bytes, certificates: ClientCertificates) -> User:
        """Answer the user whom a client certificate names.

        Raises:
            BadCertificate: it is none of this server's, or does not count any more.
        """
        login = await asyncio.to_thread(certificates.login_of, der)
        return certificates.check(der, await asyncio.to_thread(self._find, login))

    def _find(self, login: str) -> User | None:
        with self._database.read() as connection:
            return users.find(connection, login)


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
