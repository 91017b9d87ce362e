"""Tasks a second of one, two and three servers on one machine, one PostgreSQL and one shared folder.

    python -m bench.servers [--tasks N]

Each server has two workers; the tasks are syncs that find nothing new. The servers share the processors of the machine.
"""

import argparse
import contextlib
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from support import postgresql, upstream
from support.server import API, ENDED, Server
from support.shared import Shared, beside, shared_by
from support.waiting import until

REPOSITORIES: Final = 12
TASKS: Final = 240
MOST_SERVERS: Final = 3


def main() -> None:
    """Measure with one server, then with another beside it, then with a third."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=TASKS)
    tasks = parser.parse_args().tasks
    why_not = postgresql.why_not()
    if why_not:
        print(f"skipped: {why_not}")
        return
    with tempfile.TemporaryDirectory(prefix="pulpit-bench-") as folder, upstream.running() as feed:
        feed.put("a.iso", b"a")
        feed.manifest()
        with shared_by("shared folder", Path(folder)) as shared:
            measure(shared, feed.url, tasks)


def measure(shared: Shared, feed: str, tasks: int) -> None:
    """Start servers one by one, and have the same tasks done each time."""
    first = Server(shared.folder / "server1", shared.conf)
    first.start()
    running, alone = [first], 0.0
    try:
        for number in range(REPOSITORIES):
            first.create_iso(f"zoo{number}", feed)
            first.ended(first.sync(f"zoo{number}"))
        for count in range(1, MOST_SERVERS + 1):
            if count > 1:
                running.append(beside(shared, first, f"server{count}"))
                running[-1].start()
            wait_for_workers(running)
            seconds = done(running, tasks)
            alone = alone or seconds
            print(
                f"{count} servers: {tasks / seconds:6.1f} tasks/s, {alone / seconds:.2f} times one server", flush=True
            )
    finally:
        for server in running:
            with contextlib.suppress(Exception):
                server.stop()


def wait_for_workers(servers: list[Server]) -> None:
    """Until each has both of its workers."""
    asked = f"{API}/status/"
    until(lambda: all(len(server.call("GET", asked)["known_workers"]) == 2 for server in servers), what="the workers")


def done(servers: list[Server], tasks: int) -> float:
    """Seconds from the first order, through each server by turns, to the last end."""
    began = time.perf_counter()
    ordered = [servers[number % len(servers)].sync(f"zoo{number % REPOSITORIES}") for number in range(tasks)]
    until(
        lambda: all(servers[0].task(task)["state"] in ENDED for task in ordered[-REPOSITORIES:]),
        what="the tasks",
        seconds=600,
    )
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
