"""Blocking work in threads, and much work at once, both so that a cancellation leaves nothing running."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from threading import Event
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do blocking work in a thread, and let a cancellation wait until it is done, so that it never runs on alone."""
    task = asyncio.create_task(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await _end_of(task)
        raise


async def in_stoppable_thread(work: Callable[[Event], T]) -> T:
    """The same for work that looks now and then whether it should stop."""
    stop = Event()
    task = asyncio.create_task(asyncio.to_thread(work, stop))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stop.set()
        await _end_of(task)
        raise


async def in_parallel(most: int, work: Sequence[Coroutine[None, None, None]]) -> None:
    """Do all the work, at most so many at once; the first exception ends the rest and is raised.

    Raises:
        BaseException: what the work raised, not in a group.
    """
    waiting = iter(work)

    async def worker() -> None:
        for next_one in waiting:
            await next_one

    workers = [asyncio.ensure_future(worker()) for _ in range(min(most, len(work)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for running in workers:
            running.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        for never_begun in waiting:
            never_begun.close()


async def _end_of(task: "asyncio.Task[T]") -> None:
    """Wait for the end, whatever it is; nobody asks for the result any more."""
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()
