"""Events a second into a stream of NATS JetStream: from the log, against bare nats-py sending the same bytes.

Both have a window of 1,000 messages that are not acknowledged yet, to the same nats-server (Debian's), with a stream
on disk. Rounds take turns; medians are printed.
"""

import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nats
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from bench.events import fire_some, line
from pulpit.clock import system_clock
from pulpit.delivery.dispatcher import Dispatcher
from pulpit.delivery.notifiers.kinds import NotifierTypes
from pulpit.delivery.notifiers.nats_connection import NatsServers
from pulpit.delivery.notifiers.nats_jetstream import Nats
from pulpit.store import event_log, listeners
from pulpit.store.database import Database
from pulpit.store.wakeups import WakeupSocket
from support.database import fresh
from support.nats import nats_server, why_not

EVENTS = 10_000
ROUNDS = 3
WINDOW = 1_000


def main() -> None:
    if reason := why_not():
        print(f"skipped: {reason}")
        return
    with tempfile.TemporaryDirectory(prefix="pulpit-bench-") as folder, nats_server(Path(folder)) as server:
        uvloop.run(throughput(server.url))


async def throughput(url: str) -> None:
    rates: dict[str, list[float]] = {"pulpit": [], "bare": []}
    with tempfile.TemporaryDirectory(prefix="pulpit-bench-") as folder, fresh(Path(folder)) as (database, wakeups):
        fire_some(database, EVENTS)
        for number in range(ROUNDS):
            rates["pulpit"].append(EVENTS / await from_the_log(url, database, wakeups, number))
            rates["bare"].append(EVENTS / await bare(url, database, number))
    ours, theirs = statistics.median(rates["pulpit"]), statistics.median(rates["bare"])
    line("from the log to JetStream's acknowledgement", ours, "/s")
    line("  bare nats-py sending the same bytes", theirs, "/s", ours / theirs, "is Pulpit of it")


async def from_the_log(url: str, database: Database, wakeups: WakeupSocket, number: int) -> float:
    """Seconds until a new listener has everything, from the log's beginning."""
    kind = Nats(NatsServers(urls=(url,)), f"OURS{number}")
    with database.write() as tx:
        config = {"subject": f"ours{number}.{{event_type}}"}
        made = listeners.add(tx, "nats", config, ["*"], now=system_clock())
        listeners.replay(tx, made.id, 1, None)
    await kind.open(config).prepare()
    dispatcher = Dispatcher(database, NotifierTypes({"nats": kind}), system_clock)
    with wakeups.handled_by(dispatcher.wakeup_handlers):
        started = time.perf_counter()
        running = asyncio.create_task(dispatcher.run())
        while await stored(url, f"OURS{number}") < EVENTS:  # noqa: ASYNC110 - a benchmark may poll
            await asyncio.sleep(0.005)
        seconds = time.perf_counter() - started
        running.cancel()
        await asyncio.wait({running})
    with database.write() as tx:
        listeners.remove(tx, made.id)
    return seconds


async def bare(url: str, database: Database, number: int) -> float:
    """Seconds for the library alone, with the same bodies and headers."""
    with database.read() as connection:
        events = event_log.read_after(connection, 0, limit=EVENTS)
    kind = Nats(NatsServers(urls=(url,)), f"BARE{number}")
    notifier = kind.open({"subject": f"bare{number}.{{event_type}}"})
    described = [notifier.describe(event) for event in events]
    client = await nats.connect(url)
    context = client.jetstream(publish_async_max_pending=WINDOW)
    await context.add_stream(name=f"BARE{number}", subjects=[f"bare{number}.>"])
    started = time.perf_counter()
    for message in described:
        await context.publish_async(message["subject"], message["body"].encode(), headers=message["headers"])
    await context.publish_async_completed()
    seconds = time.perf_counter() - started
    assert await stored(url, f"BARE{number}") == EVENTS
    await client.close()
    return seconds


_clients: dict[str, Any] = {}


async def stored(url: str, stream: str) -> int:
    if url not in _clients:
        _clients[url] = await nats.connect(url)
    with contextlib.suppress(nats.js.errors.NotFoundError):
        info = await _clients[url].jetstream().stream_info(stream)
        return int(info.state.messages)
    return 0


if __name__ == "__main__":
    main()
