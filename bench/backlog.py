"""What a great backlog costs: the server's memory while it drains, and the rate against that of a short log.

`make bench` takes 200,000 events; `python bench/backlog.py 1000000` a million. A RabbitMQ of the benchmark's own, an
exchange without a queue, so that the broker's disk is not what is measured; every message is confirmed.
"""

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from pulpit.clock import system_clock
from pulpit.fire import fire
from pulpit.store import listeners
from support.database import fresh
from support.rabbitmq import RabbitMQ, rabbitmq, why_not
from support.server import Server, pulpit

USUAL = 200_000
SHORT = 20_000
"""Events that are drained from a log which is otherwise empty, to compare with."""
TOGETHER = 10_000
"""Events of one transaction while the log is filled."""
BODY = "x" * 500
LISTENERS = 1_000
MOST_MEMORY = 200.0
"""MiB that the server may take."""
PATIENCE = 1800.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Drain:
    rate: float
    memory: float
    """The most that the server's process took, in MiB."""


def main() -> None:
    """Drain a short log and a long one, and compare."""
    parser = argparse.ArgumentParser(description="Drain a backlog of events.")
    parser.add_argument("count", nargs="?", type=int, default=USUAL, help=f"events of the backlog ({USUAL:,})")
    count: int = parser.parse_args().count
    if why_not():
        print(f"skipped: {why_not()}")
        return
    with tempfile.TemporaryDirectory(prefix="pulpit-bench-") as folder, rabbitmq(Path(folder, "r")) as broker:
        before = drained(Path(folder, "before"), broker, SHORT)
        long = drained(Path(folder, "long"), broker, count)
        ready, first = started(Path(folder, "long"), broker)
        after = drained(Path(folder, "after"), broker, SHORT)
    short = (before.rate + after.rate) / 2
    print(f"{f'a log of {SHORT:,} events drained (before, after)':<52}{before.rate:>10,.0f} /s, {after.rate:,.0f} /s")
    print(f"{f'a backlog of {count:,} drained':<52}{long.rate:>10,.0f} /s   {long.rate / short:.2f} of the short log's")
    print(f"{'  most memory of the server meanwhile':<52}{long.memory:>10.0f} MiB  (short log: {after.memory:.0f} MiB)")
    print(f"{f'a start with all that and {LISTENERS:,} listeners':<52}{ready:>10.2f} s    (aim: 2)")
    print(f"{'  from there until an event that is fired was delivered':<52}{first:>8.2f} s    (aim: 3)")
    if long.memory > MOST_MEMORY:
        sys.exit(f"backlog: the server took more than {MOST_MEMORY:.0f} MiB.")


def drained(folder: Path, broker: RabbitMQ, count: int) -> Drain:
    """Make a listener, fill the log while no server runs, then start one and wait until the listener has everything."""
    data_dir = folder / "data"
    data_dir.mkdir(parents=True)
    conf = configured(broker)
    with pulpit(data_dir, conf) as server:
        listener = server.listen("bench", "repo.sync.start")
    started = time.perf_counter()
    fill(data_dir, count)
    print(f"  ({count:,} events fired in {time.perf_counter() - started:.0f} s)", flush=True)
    with pulpit(data_dir, conf) as server:
        return watch(server, listener, count)


def configured(broker: RabbitMQ) -> str:
    return f"[messaging]\nurl: {broker.url}\n"


def started(folder: Path, broker: RabbitMQ) -> tuple[float, float]:
    """Start with the whole log and many listeners: the seconds to `ready:`, and on to the first delivery.

    All want every event, so that nobody is spared; the connection has a channel for each.
    """
    with fresh(folder / "data") as (database, _), database.write() as tx:
        for _ in range(LISTENERS - 1):
            last = listeners.add(tx, "amqp", {"exchange": "bench"}, ["bench.#"], now=system_clock())
    begun = time.perf_counter()
    with pulpit(folder / "data", configured(broker)) as server:
        ready = time.perf_counter()
        server.call("POST", "/pulpit/v1/events", {"event_type": "bench.start"})
        while lag(server, last.id):
            time.sleep(0.01)
        return ready - begun, time.perf_counter() - ready


def fill(data_dir: Path, count: int) -> None:
    """Fire into the log of a server that is away."""
    with fresh(data_dir) as (database, _):
        for start in range(0, count, TOGETHER):
            with database.write() as tx:
                for _ in range(start, min(count, start + TOGETHER)):
                    fire(tx, "repo.sync.start", {"repo_id": "zoo", "filler": BODY}, clock=system_clock)


def watch(server: Server, listener: str, count: int) -> Drain:
    """Measure from the server's being ready, by what it has left, so that the first connecting does not count."""
    first: tuple[float, int] | None = None
    memory, deadline = 0.0, time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        left, now = lag(server, listener), time.perf_counter()
        memory = max(memory, resident(server.pid))
        if first is None and left < count:
            first = (now, left)
        if left == 0 and first:
            return Drain(rate=first[1] / max(now - first[0], 1e-6), memory=memory)
        time.sleep(0.05)
    raise TimeoutError(f"the backlog was not drained within {PATIENCE:.0f} s")


def lag(server: Server, listener: str) -> int:
    """Events that the listener has not had."""
    behind: int = server.call("GET", f"/pulp/api/v2/events/{listener}/")["_delivery"]["lag_events"]
    return behind


def resident(pid: int) -> float:
    """MiB of a process in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
