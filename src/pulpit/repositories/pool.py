"""Much work, so many at a time."""

import asyncio
from collections.abc import Coroutine, Sequence


async def in_parallel(most: int, work: Sequence[Coroutine[None, None, None]]) -> None:
    """Do all the work, at most so many at once; the first exception ends the rest and is raised.

    Raises:
        BaseException: what the work raised, not in a group.
    """
    waiting = iter(work)

    async def worker() -> None:
        for one in waiting:
            await one

    workers = [asyncio.ensure_future(worker()) for _ in range(min(most, len(work)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for running in workers:
            running.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        for never_begun in waiting:
            never_begun.close()
