"""Who is asking, by password or client certificate, and whether they may."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from pulpit.errors import AuthenticationFailed, PermissionDenied
from pulpit.net.login_throttle import LoginThrottle
from pulpit.net.passwords import read_basic
from pulpit.store import users
from pulpit.store.database import Database
from pulpit.store.users import User

if TYPE_CHECKING:
    from pulpit.api.auth.certificates import ClientCertificates
    from pulpit.api.auth.pulp_users import PulpUsers

ADMIN: Final = "admin"
READER: Final = "reader"
ROLES: Final = frozenset({ADMIN, READER})


class WrongPassword(AuthenticationFailed):
    """Login and password do not belong together."""

    code = "PLP0030"
    auth_error_code = "invalid_username_or_password"


class Authenticator:
    def __init__(
        self,
        database: Database,
        certificates: "Callable[[], ClientCertificates]",
        *,
        sleep: Callable[[float], Awaitable[None]],
        pulp_users: "PulpUsers | None" = None,
    ) -> None:
        self._database: Final = database
        self._certificates: Final = certificates
        self._throttle: Final = LoginThrottle(sleep=sleep)
        self._pulp_users: Final = pulp_users

    async def by_password(self, authorization: str, address: str) -> User:
        """The user whose login and password an Authorization header holds.

        Args:
            authorization: the value of the header.
            address: where the client sits, to slow down guessing.

        Raises:
            AuthenticationFailed: the header is absent or not Basic.
            TooManyAttempts: too many passwords from there wait already.
            WrongPassword: the login does not exist or has another password.
        """
        login, password = read_basic(authorization)
        return await self.by_login(login, password, address, pulp_users=self._pulp_users)

    async def by_login(self, login: str, password: str, address: str, *, pulp_users: "PulpUsers | None" = None) -> User:
        """The user whose login and password these are, one of the server's own or, if they are given, of a Pulp 3.

        Raises:
            TooManyAttempts: too many passwords from there wait already.
            WrongPassword: the login does not exist or has another password.
            PermissionDenied: a Pulp 3 knows the user, who may not administrate it.
            PulpUnreachable: a Pulp 3 that may know the user cannot be asked.
        """
        if pulp_users is not None and (known := pulp_users.known(login, password)):
            return known
        user = await asyncio.to_thread(self._find, login)
        ask = None if pulp_users is None else partial(pulp_users.is_password, login, password)
        password_hash = user.password_hash if user else None
        fits = await self._throttle.fits(login, password, password_hash, address, elsewhere=ask)
        if fits and pulp_users is not None and (known := pulp_users.known(login, password)):
            return known
        if user is None or not fits:
            raise WrongPassword("The login or the password is wrong.")
        return user

    async def by_certificate(self, der: bytes) -> User:
        """The user whom a client certificate names.

        Raises:
            BadCertificate: it is none of this server's, or does not count any more.
        """
        certificates = self._certificates()
        login = await asyncio.to_thread(certificates.login_of, der)
        return certificates.check(der, await asyncio.to_thread(self._find, login))

    def _find(self, login: str) -> User | None:
        with self._database.read() as connection:
            return users.find(connection, login)


def check_may(user: User, method: str, path: str) -> None:
    """Refuse what the user's role does not allow: a reader may read and search, and change their own name and password.

    Raises:
        PermissionDenied: an administrator must do this.
    """
    own = method == "PUT" and path.endswith(f"/v2/users/{user.login}/")
    reads = method in ("GET", "HEAD") or (method == "POST" and path.endswith(("/search/", "/search/units/", "/login/")))
    if user.role != ADMIN and not reads and not own:
        raise PermissionDenied(f"The user {user.login} may only read; this needs an administrator.")
