"""The batches of a catalogue, of a size that one transaction takes, each read while the one before is worked on."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from pulpit.content.limits import GIB
from pulpit.content.port import WantedUnit
from pulpit.repositories.threads import in_thread
from pulpit.store import units

_BATCH_BYTES: Final = 2 * GIB


@asynccontextmanager
async def ahead(batches: Iterator[list[WantedUnit]]) -> AsyncIterator[AsyncIterator[list[WantedUnit]]]:
    """The batches, each read in a thread while the one before it is worked on; no thread goes on after the block."""
    coming = asyncio.create_task(in_thread(next, batches, None))

    async def each() -> AsyncIterator[list[WantedUnit]]:
        nonlocal coming
        while (batch := await coming) is not None:
            coming = asyncio.create_task(in_thread(next, batches, None))
            yield batch

    try:
        yield each()
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)


def portions(batches: Iterable[Sequence[WantedUnit]]) -> Iterator[list[WantedUnit]]:
    """Cut batches so that none is too much for one transaction, or too long a way for a sync to lose."""
    for batch in batches:
        portion: list[WantedUnit] = []
        size = 0
        for unit in batch:
            portion.append(unit)
            size += sum(file.size or 0 for file in unit.files)
            if len(portion) >= units.MOST_AT_ONCE or size >= _BATCH_BYTES:
                yield portion
                portion, size = [], 0
        if portion:
            yield portion
