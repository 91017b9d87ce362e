"""Word of new events for those who wait for it without a cursor: pulling consumers and streams."""

import asyncio
import contextlib


class News:
    """A moment that many can wait for; whoever takes a ticket before looking can miss nothing."""

    def __init__(self) -> None:
        self._next = asyncio.Event()
        self._over = False

    @property
    def over(self) -> bool:
        """Whether nothing will come any more, because the server stops."""
        return self._over

    def ticket(self) -> asyncio.Event:
        """What will be set when the next news comes."""
        return self._next

    def ring(self) -> None:
        """Wake everybody who waits."""
        current, self._next = self._next, asyncio.Event()
        current.set()

    def end(self) -> None:
        """Wake everybody for the last time."""
        self._over = True
        self.ring()

    async def wait(self, ticket: asyncio.Event, seconds: float) -> bool:
        """Wait for news, and answer whether it came in time."""
        if self._over:
            return False
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ticket.wait(), seconds)
        return ticket.is_set()
