"""Asking the database from a coroutine, over bad times: a full disk, a server that is being restarted."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, TypeVar

from pulpit.errors import DatabaseUnavailable, StorageFull

PAUSE: Final = 2.0
"""Seconds between two tries."""

T = TypeVar("T")

_log = logging.getLogger(__name__)


async def patiently(question: Callable[[], T]) -> T:
    """Run a question or a transaction in a thread, again and again until the database can be used."""
    while True:
        try:
            return await asyncio.to_thread(question)
        except (StorageFull, DatabaseUnavailable) as error:
            _log.warning("waiting for the database: %s", error, extra={"action": "database_waited_for"})
            await asyncio.sleep(PAUSE)
