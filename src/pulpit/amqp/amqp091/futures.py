"""Futures that several callbacks may want to end: the first one counts."""

import asyncio
from typing import Any


def give(future: "asyncio.Future[Any]", result: object = None) -> None:
    """End it well, unless it has ended."""
    if not future.done():
        future.set_result(result)


def fail(future: "asyncio.Future[Any]", error: BaseException) -> None:
    """End it badly, unless it has ended."""
    if not future.done():
        future.set_exception(error)
