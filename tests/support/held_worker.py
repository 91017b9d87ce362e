"""A worker whose first task holds it for ever: what it reads keeps native code busy."""

import asyncio
import json
import re
import sys
from pathlib import Path

from pulpit.clock import system_clock
from pulpit.store import tasks
from pulpit.store.database import Database
from pulpit.store.wakeups import WakeupSocket
from pulpit.tasks.watchdog import watch


def main() -> None:
    briefing = json.loads(sys.stdin.readline())
    folder = Path(briefing["data_dir"])
    with WakeupSocket(folder) as wakeups:
        database = Database.open(folder, wakeups)
        with database.write() as tx:
            task = tasks.claim(tx, briefing["name"], now=system_clock())
        asyncio.run(_work(briefing["native_limit"], held=task is not None))


async def _work(limit: float, *, held: bool) -> None:
    watching = asyncio.create_task(watch(limit))
    await asyncio.sleep(0)
    await asyncio.to_thread(re.match if held else str.strip, r"(a+)+$", "a" * 60 + "b")
    await asyncio.to_thread(_stopped)
    watching.cancel()


def _stopped() -> None:
    while (order := sys.stdin.readline()) and order != "stop\n":
        pass


if __name__ == "__main__":
    main()
