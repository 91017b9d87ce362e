"""Which listeners are this server's to deliver to: all, where it is alone; its leased share, where several are."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from pulpit.clock import Clock
from pulpit.errors import DatabaseUnavailable, StorageFull
from pulpit.store import servers
from pulpit.store.database import Database

RENEW: Final = 4.0
"""Seconds between renewals; a lease outlives two that fail."""

_log = logging.getLogger(__name__)


class Leases:
    """The server's own listeners, kept by renewal; after a lease has run out nothing is its own any more."""

    def __init__(self, database: Database, node: str, clock: Clock, changed: Callable[[], None]) -> None:
        self._database: Final = database
        self._node: Final = node
        self._clock: Final = clock
        self._changed: Final = changed
        self._mine: set[str] | None = None if database.is_sqlite else set()

    def has(self, listener_id: str) -> bool:
        """Whether a listener is this server's to deliver to."""
        return self._mine is None or listener_id in self._mine

    async def run(self) -> None:
        """Renew until cancelled; where one server is alone there is nothing to do."""
        if self._mine is None:
            return
        loop = asyncio.get_running_loop()
        sure_until = loop.time()
        while True:
            asked_at = loop.time()
            try:
                mine = await asyncio.to_thread(self._renew)
                sure_until = asked_at + servers.LEASE.total_seconds()
            except (StorageFull, DatabaseUnavailable) as error:
                _log.warning("leases not renewed: %s", error, extra={"action": "lease_not_renewed"})
                mine = self._mine if loop.time() < sure_until else set()
            if mine != self._mine:
                self._mine = mine
                self._changed()
            await asyncio.sleep(RENEW)

    def leave(self) -> None:
        """Let go of everything, so that others take over at once."""
        if self._mine is not None:
            with self._database.write() as tx:
                servers.leave(tx, self._node)

    def _renew(self) -> set[str]:
        with self._database.write() as tx:
            return servers.renew(tx, self._node, now=self._clock())
