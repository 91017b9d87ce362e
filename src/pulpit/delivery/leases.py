"""Which listeners this server delivers to, where several share a database: those leased to it, while it renews.

Time is counted by a clock that goes on while the process is stopped or the machine sleeps. So a server that was frozen,
or cut off from its database, knows before its next delivery that another one may deliver meanwhile.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from pulpit.errors import DatabaseUnavailable, StorageFull
from pulpit.store import servers
from pulpit.store.database import Database
from pulpit.store.servers import Instance

RENEW: Final = 4.0
"""Seconds between renewals; a lease survives two failed ones."""

_LEASE: Final = servers.LEASE.total_seconds()

_log = logging.getLogger(__name__)


def since_boot() -> float:
    """Return seconds since the start of the machine, including those in which it slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Leases:
    """The listeners leased to this server; a server with a database of its own has them all."""

    def __init__(
        self,
        database: Database,
        me: Instance,
        changed: Callable[[], None],
        *,
        now: Callable[[], float] = since_boot,
    ) -> None:
        self._database: Final = database
        self._me: Final = me
        self._changed: Final = changed
        self._now: Final = now
        self._mine: set[str] | None = None if database.is_sqlite else set()
        self._until = now()
        self._clock_watch: Final = servers.ClockWatch()
        self._renewed = asyncio.Event()
        self.lapsed = False
        """Whether another server may have delivered since the cursors were started: they must start again."""

    def has(self, listener_id: str) -> bool:
        """Whether this server delivers to a listener."""
        return self._mine is None or (listener_id in self._mine and self._now() < self._until)

    async def held(self, listener_id: str) -> None:
        """Wait until this server may deliver to a listener: for ever, if another one does."""
        while self.lapsed or not self.has(listener_id):
            await self._renewed.wait()

    def restarted(self) -> None:
        """Note that no cursor runs that was started before a lapse."""
        self.lapsed = False
        self._ring()

    async def run(self) -> None:
        """Renew until cancelled; a server that is alone has nothing to renew."""
        if self._mine is None:
            return
        while True:
            asked_at = self._now()
            renewal = asyncio.ensure_future(asyncio.to_thread(self._renew))
            renewal.add_done_callback(_retrieve)  # nobody awaits it once this is cancelled
            try:
                await asyncio.wait({renewal}, timeout=max(self._until - asked_at, RENEW))
                if not renewal.done():
                    _log.warning("leases not renewed in time", extra={"action": "lease_not_renewed"})
                self._hold(await renewal, until=asked_at + _LEASE)
            except (StorageFull, DatabaseUnavailable) as error:
                _log.warning("leases not renewed: %s", error, extra={"action": "lease_not_renewed"})
                await asyncio.sleep(RENEW)
            else:
                await asyncio.sleep(min(RENEW, max(self._until - self._now(), 0)))

    def leave(self) -> None:
        """Release every lease, so that other servers take over at once."""
        if self._mine is not None:
            with self._database.write() as tx:
                servers.leave(tx, self._me)

    def _hold(self, mine: set[str], *, until: float) -> None:
        has_changed = mine != self._mine
        if self._now() >= self._until:
            self.lapsed = has_changed = True
        self._mine, self._until = mine, until
        self._ring()
        if has_changed:
            self._changed()

    def _ring(self) -> None:
        self._renewed.set()
        self._renewed = asyncio.Event()

    def _renew(self) -> set[str]:
        with self._database.write() as tx:
            mine = servers.renew(tx, self._me)
            self._clock_watch.look(tx.connection)
        if mine is None:
            _log.error(
                "another server has the name of this one; is its data folder a copy?",
                extra={"action": "server_superseded", "node": self._me.node},
            )
        return mine or set()


def _retrieve(done: asyncio.Future[set[str]]) -> None:
    """Take the exception, so that asyncio does not log it."""
    _ = done.cancelled() or done.exception()
