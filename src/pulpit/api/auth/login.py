"""Authentication by password, token or client certificate."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from pulpit.api.auth.rights import Rights, read_scopes, scopes_of
from pulpit.clock import Clock, iso
from pulpit.errors import AuthenticationFailed, DatabaseUnavailable, MissingResource, StorageFull
from pulpit.net.login_throttle import LoginThrottle
from pulpit.net.passwords import read_basic
from pulpit.store import listeners, tokens, users
from pulpit.store.database import Database
from pulpit.store.tokens import Token
from pulpit.store.users import User

if TYPE_CHECKING:
    from pulpit.api.auth.certificates import ClientCertificates
    from pulpit.api.auth.pulp_users import PulpUsers

_BEARER: Final = "bearer"


class WrongPassword(AuthenticationFailed):
    """The login does not exist or has another password."""

    code = "PLP0030"
    auth_error_code = "invalid_username_or_password"


class WrongToken(AuthenticationFailed):
    """The token does not exist or has expired."""

    auth_error_code = "invalid_token"


class Authenticator:
    def __init__(
        self,
        database: Database,
        certificates: "Callable[[], ClientCertificates]",
        clock: Clock,
        *,
        sleep: Callable[[float], Awaitable[None]],
        pulp_users: "PulpUsers | None" = None,
    ) -> None:
        self._database: Final = database
        self._certificates: Final = certificates
        self._clock: Final = clock
        self._throttle: Final = LoginThrottle(sleep=sleep)
        self._pulp_users: Final = pulp_users

    async def by_header(self, authorization: str, address: str) -> tuple[User, Rights]:
        """Return the user that an Authorization header authenticates, and their rights.

        It contains a token (`Bearer`), a login and a password (`Basic`), or a token instead of the password, which is
        what twine, uv and similar tools can send.

        Args:
            authorization: the header's value.
            address: the client's address, for throttling.

        Raises:
            AuthenticationFailed: the header is absent or malformed.
            TooManyAttempts: too many logins from this address are waiting already.
            WrongPassword: the login does not exist or has another password.
            WrongToken: the token does not exist or has expired.
        """
        scheme, _, secret = authorization.strip().partition(" ")
        if scheme.lower() == _BEARER:
            return await self._by_token(secret.strip())
        login, password = read_basic(authorization)
        if tokens.is_token(password):
            return await self._by_token(password)
        user = await self.by_login(login, password, address, pulp_users=self._pulp_users)
        return user, Rights((scopes_of(user),))

    async def _by_token(self, secret: str) -> tuple[User, Rights]:
        token, user = await asyncio.to_thread(self._find_token, secret)
        return user, Rights((scopes_of(user), read_scopes(token.scopes)), token.name)

    def _find_token(self, secret: str) -> tuple[Token, User]:
        with self._database.read() as connection:
            token = tokens.shown_as(connection, secret) if tokens.is_token(secret) else None
            user = users.find(connection, token.login) if token else None
        if token is None or user is None:
            raise WrongToken("The server does not know this token; it was revoked, or is of another server.")
        now = self._clock()
        if token.expires_at is not None and token.expires_at <= now:
            raise WrongToken(f"The token {token.name} has expired at {iso(token.expires_at)}; make another one.")
        if token.last_used_at is None or now - token.last_used_at >= tokens.NOTED_EVERY:
            # This is informational: a failure must not stop a request that disk or database could still serve.
            with contextlib.suppress(StorageFull, DatabaseUnavailable), self._database.write() as tx:
                tokens.note_use(tx, token.id, now=now)
        return token, user

    async def check_owns(self, user: User, listener_id: str) -> None:
        """Reject a listener that is not the user's own, as if it did not exist.

        Raises:
            MissingResource: `event_listener`.
        """

        def owner() -> str | None:
            with self._database.read() as connection:
                return listeners.get(connection, listener_id).owner

        if await asyncio.to_thread(owner) != user.login:
            raise MissingResource(event_listener=listener_id)

    async def by_login(self, login: str, password: str, address: str, *, pulp_users: "PulpUsers | None" = None) -> User:
        """Return the user with this login and password: one of this server, or, with `pulp_users`, of a Pulp 3.

        Raises:
            TooManyAttempts: too many logins from this address are waiting already.
            WrongPassword: the login does not exist or has another password.
            PermissionDenied: a Pulp 3 knows the user, who may not administrate it.
            PulpUnreachable: a Pulp 3 that may know the user is unavailable.
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
        """Return the user that a client certificate names.

        Raises:
            BadCertificate: it is not this server's, or no longer valid.
        """
        certificates = self._certificates()
        login = await asyncio.to_thread(certificates.login_of, der)
        return certificates.check(der, await asyncio.to_thread(self._find, login))

    def _find(self, login: str) -> User | None:
        with self._database.read() as connection:
            return users.find(connection, login)
