"""Ends a worker whose native code does not return, so that no feed and no package can hold one.

createrepo_c, libsolv and expressions hold the interpreter's lock while they work: meanwhile no thread and no signal
handler of ours runs that could stop them. The kernel can. It counts the processor time that this process takes, and
ends it by SIGPROF when the event loop has had no turn for too much of it; each turn begins the count anew. Time in
which the machine sleeps, or others work, does not count. The supervisor sees how the worker ended, ends the task with
a sentence, and starts another worker.
"""

import asyncio
import signal
from typing import Final

LIMIT: Final = 300.0
"""Seconds of processor time; a package of three gigabytes takes fifteen of them at a time."""
_TURNS: Final = 10


async def watch(limit: float = LIMIT) -> None:
    """Keep this process alive for as long as the event loop has its turns; until cancelled."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    try:
        while True:
            signal.setitimer(signal.ITIMER_PROF, limit)
            await asyncio.sleep(limit / _TURNS)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def reason_of(code: int, limit: float) -> str | None:
    """Why a worker ended, if it was by this."""
    if code != -signal.SIGPROF:
        return None
    return (
        f"What was read kept a library busy for {limit:g} seconds without an end, so the worker was ended. It is "
        "damaged, or made to do harm; if it is only very large, set [tasks] native_limit higher."
    )
