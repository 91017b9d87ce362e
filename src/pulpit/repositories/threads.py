"""Blocking work beside the event loop."""

import asyncio
from collections.abc import Callable
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


async def _end_of(task: "asyncio.Task[T]") -> None:
    """Wait for the end, whatever it is; nobody asks for the result any more."""
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()
