"""Blocking work in threads, and concurrent work; cancellation leaves nothing running."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from threading import Event
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run blocking work in a thread; a cancellation waits until it is done, so that it never continues alone."""
    task = asyncio.create_task(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await _end_of(task)
        raise


async def in_stoppable_thread(work: Callable[[Event], T]) -> T:
    """The same for work that checks now and then whether it should stop."""
    stop = Event()
    task = asyncio.create_task(asyncio.to_thread(work, stop))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stop.set()
        await _end_of(task)
        raise


async def in_parallel(most: int, work: Sequence[Coroutine[None, None, None]]) -> None:
    """Run all the work, at most `most` at a time; the first exception cancels the rest and is raised.

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
    """Wait for the end, whatever it is; the result is not needed."""
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()
