"""Verifies logins without blocking the loop, and throttles failures."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from pulpit.broker.config import BrokerConfig, BrokerUser
from pulpit.broker.permissions import AllRights, GrantedRights, Rights
from pulpit.broker.sasl import Attempt, Verdict

MAX_ADDRESSES: Final = 4096
"""Addresses whose failures are remembered; the oldest is forgotten first."""
MAX_DOUBLINGS: Final = 4

_log = logging.getLogger(__name__)


class PasswordAuthenticator:
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
