"""Kills a worker whose native code does not return, so that no feed and no package can block one for ever.

createrepo_c, libsolv and regular expressions hold the interpreter's lock while they work: meanwhile no thread and no
signal handler of ours can stop them. The kernel can. It counts the CPU time of this process, and kills it by SIGPROF
when the event loop has had no turn for too much of it; each turn restarts the count. Time in which the machine sleeps,
or other processes run, does not count. The supervisor sees how the worker ended, ends the task with a sentence, and
starts another worker.
"""

import asyncio
import signal
from typing import Final

LIMIT: Final = 300.0
"""Seconds of CPU time; a package of three gigabytes takes fifteen at a time."""
_TURNS: Final = 10


async def watch(limit: float = LIMIT) -> None:
    """Restart the kernel's timer as long as the event loop runs; until cancelled."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    try:
        while True:
            signal.setitimer(signal.ITIMER_PROF, limit)
            await asyncio.sleep(limit / _TURNS)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def reason_of(code: int, limit: float) -> str | None:
    """Say why a worker ended, if the watchdog killed it."""
    if code != -signal.SIGPROF:
        return None
    return (
        f"What was read kept a library busy for {limit:g} seconds without an end, so the worker was ended. It is "
        "damaged, or made to do harm; if it is only very large, set [tasks] native_limit higher."
    )
