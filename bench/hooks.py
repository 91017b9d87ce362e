"""Webhooks: events a second to a sink in a separate process, beside aiohttp that posts the same bytes in order.

Rounds are interleaved and rates are medians. `python -m bench.hooks`
"""

import asyncio
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from bench.events import BODY, delivering, fire_some, line
from pulpit.clock import system_clock
from pulpit.delivery.notifiers.http import Http
from pulpit.fire import fire
from pulpit.store import event_log, listeners
from pulpit.store.database import Database
from support.database import fresh

ROUNDS = 3
EVENTS = 6_000
SECRET = "whsec_" + "A" * 43 + "="


def main() -> None:
    uvloop.run(rates())
    uvloop.run(lanes())


class Sink(asyncio.Protocol):
    """Reads requests with a length and answers 204; `/hang` is never answered."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._buffer = transport, b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            if len(self._buffer) < end + 4 + length:
                return
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            if b'"repo_id":"hang"' not in body:
                self._transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextlib.contextmanager
def sink() -> Iterator[str]:
    command = [sys.executable, "-m", "bench.hooks", "sink"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/"
        finally:
            process.kill()


async def ours(config: dict[str, Any], count: int) -> float:
    """Seconds in which one listener has so many events of the log."""
    with tempfile.TemporaryDirectory(prefix="pulpit-bench-") as folder, fresh(Path(folder)) as (database, wakeups):
        with database.write() as tx:
            made = listeners.add(tx, "http", config, ["*"], now=system_clock())
        fire_some(database, count)
        started = time.perf_counter()
        async with delivering(database, wakeups, "amqp://127.0.0.1:1") as dispatcher:
            while dispatcher.position(made) < count:  # noqa: ASYNC110 - a benchmark may poll
                await asyncio.sleep(0.002)
            return time.perf_counter() - started


async def theirs(url: str, config: dict[str, Any], count: int) -> float:
    """Seconds in which aiohttp alone posts the same bytes, made before, one after another."""
    with tempfile.TemporaryDirectory(prefix="pulpit-bench-") as folder, fresh(Path(folder)) as (database, _):
        fire_some(database, count)
        with database.read() as connection:
            events = event_log.read_after(connection, 0, limit=count)
    described = Http(system_clock).open(config).describe
    requests = [(found["headers"], found["body"].encode()) for found in map(described, events)]
    async with aiohttp.ClientSession() as session:
        started = time.perf_counter()
        for headers, body in requests:
            async with session.post(url, data=body, headers=headers) as response:
                await response.read()
        return time.perf_counter() - started


async def rates() -> None:
    """One at a time, signed, and in batches."""
    with sink() as url:
        plain = {"url": url, "secret": SECRET}
        rounds = [(await theirs(url, plain, EVENTS), await ours(plain, EVENTS)) for _ in range(ROUNDS)]
        peer, hooks = (EVENTS / statistics.median(times) for times in zip(*rounds, strict=True))
        line("aiohttp alone, the same bytes, in order", peer, "/s")
        line("  webhooks, one listener, in order", hooks, "/s", hooks / peer, "of aiohttp", aim="0.8")
        for form in ("pulp", "cloudevents"):
            together = {**plain, "batch": "100", "format": form}
            many = 5 * EVENTS / statistics.median([await ours(together, 5 * EVENTS) for _ in range(ROUNDS)])
            line(f"  with --batch 100, format {form}", many, "/s", many / hooks, "of one at a time", aim="10")


async def lanes() -> None:
    """How long 16 lanes take for 64 repositories, beside one more whose receiver hangs and with none."""
    with sink() as url:
        rounds = [(await beside(url, hanging=False), await beside(url, hanging=True)) for _ in range(ROUNDS)]
    alone, besides = map(statistics.median, zip(*rounds, strict=True))
    line("3,200 events of 64 repositories, 16 lanes", alone, "s")
    line("  beside a repository that hangs", besides, "s", besides / alone, "times as long", aim="1")


async def beside(url: str, *, hanging: bool) -> float:
    """Seconds until the events of all repositories but the one that hangs have been taken."""
    with tempfile.TemporaryDirectory(prefix="pulpit-bench-") as folder, fresh(Path(folder)) as (database, wakeups):
        with database.write() as tx:
            made = listeners.add(tx, "http", {"url": url, "lanes": 16}, ["*"], now=system_clock())
            for repo_id in ["hang"] * hanging:
                fire(tx, "repo.sync.start", {"repo_id": repo_id}, clock=system_clock)
            for number in range(3_200):
                fire(tx, "repo.sync.start", {"repo_id": f"repo{number % 64}", "filler": BODY}, clock=system_clock)
        started = time.perf_counter()
        async with delivering(database, wakeups, "amqp://127.0.0.1:1"):
            while not is_through(database, made.id):  # noqa: ASYNC110 - a benchmark may poll
                await asyncio.sleep(0.002)
            return time.perf_counter() - started


def is_through(database: Database, listener_id: str) -> bool:
    """Whether nothing is open but what hangs, as it is written down."""
    with database.read() as connection:
        listener = listeners.get(connection, listener_id)
    ahead = listener.settled_ahead
    return listener.position >= 3_200 or (ahead is not None and ahead.to > 3_200 and ahead.held.keys() == {"hang"})


if __name__ == "__main__":
    if sys.argv[1:] == ["sink"]:
        asyncio.run(serve())
    else:
        main()
