"""What an event costs, from `fire()` to the subscriber, each against a named peer in the same run.

Rates are medians of interleaved rounds. 1 kB persistent messages, a separate RabbitMQ, one durable queue.
"""

import asyncio
import contextlib
import multiprocessing
import multiprocessing.connection
import socket
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pika
import psycopg
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from bench import peers
from pulpit.amqp.address import parse
from pulpit.amqp.amqp091.publisher import Publisher
from pulpit.clock import system_clock
from pulpit.delivery.dispatcher import Dispatcher
from pulpit.delivery.notifiers.amqp091 import Amqp091
from pulpit.delivery.notifiers.http import Http
from pulpit.delivery.notifiers.kinds import NotifierTypes
from pulpit.delivery.notifiers.port import NotifierType
from pulpit.fire import fire
from pulpit.net.addresses import parse_networks
from pulpit.store import event_log, listeners
from pulpit.store.database import Database
from pulpit.store.wakeups import WakeupSocket
from support import postgresql
from support.database import fresh
from support.rabbitmq import RabbitMQ, rabbitmq, why_not

ROUNDS = 3
TURNS = 7
EVENTS = 20_000
BODY = "x" * 850
"""Makes a body of about 1 kB."""
OF_IT = "is Pulpit of it"


def main() -> None:
    cost_of_fire()
    if postgresql.why_not():
        print(f"skipped, what needs PostgreSQL: {postgresql.why_not()}")
    else:
        cost_of_fire_on_postgresql()
    if why_not():
        print(f"skipped, what needs RabbitMQ: {why_not()}")
    else:
        with tempfile.TemporaryDirectory(prefix="pulpit-bench-") as folder, rabbitmq(Path(folder, "r")) as broker:
            uvloop.run(throughput(broker))
            uvloop.run(latency(broker))
            uvloop.run(many_listeners(broker))
            uvloop.run(beside_a_hanging_receiver(broker))


def cost_of_fire() -> None:
    """One `fire()` in a separate transaction, against one bare insert of the same durability, and with listeners."""
    with tempfile.TemporaryDirectory(prefix="pulpit-bench-") as folder:
        for name in ("none", "thousand"):
            Path(folder, name).mkdir()
        with (
            fresh(Path(folder, "none")) as (none, _),
            fresh(Path(folder, "thousand")) as (thousand, _),
            contextlib.closing(sqlite3.connect(Path(folder, "bare.db"), isolation_level=None)) as bare,
        ):
            with thousand.write() as tx:
                for number in range(1_000):
                    listeners.add(tx, "amqp", {"exchange": f"e{number}"}, ["*"], now=system_clock())
            bare.execute("PRAGMA journal_mode=WAL")
            bare.execute("PRAGMA synchronous=FULL")
            bare.execute("CREATE TABLE e (n INTEGER PRIMARY KEY AUTOINCREMENT, b TEXT)")
            rates = per_second(
                {
                    "none": lambda: fire_some(none, 1),
                    "thousand": lambda: fire_some(thousand, 1),
                    "bare": lambda: bare.execute("INSERT INTO e(b) VALUES (?)", ("x" * 1000,)),
                }
            )
            together = statistics.median(5_000 / seconds(lambda: fire_some(none, 5_000)) for _ in range(ROUNDS))
    line("fire(), one a transaction", rates["none"], "/s")
    line(
        "  the same with 1,000 listeners",
        rates["thousand"],
        "/s",
        rates["thousand"] / rates["none"],
        "of that",
        aim="1",
    )
    line(
        "  one bare SQLite insert, synchronous=FULL",
        rates["bare"],
        "/s",
        rates["none"] / rates["bare"],
        OF_IT,
        aim="0.67",
    )
    line("fire(), many a transaction", together, "/s", aim="15,000")


def cost_of_fire_on_postgresql() -> None:
    """The same against one bare insert of psycopg in a separate transaction."""
    with (
        tempfile.TemporaryDirectory(prefix="pulpit-bench-") as folder,
        postgresql.postgresql(durable=True) as cluster,
        WakeupSocket(Path(folder)) as wakeups,
    ):
        url = cluster.fresh()
        with (
            contextlib.closing(Database.open(Path(folder), wakeups, url=url)) as database,
            contextlib.closing(psycopg.connect(url, autocommit=True)) as bare,
        ):
            bare.execute("CREATE TABLE e (n BIGSERIAL PRIMARY KEY, b TEXT)")
            rates = per_second(
                {
                    "fire": lambda: fire_some(database, 1),
                    "bare": lambda: bare.execute("INSERT INTO e(b) VALUES (%s)", ("x" * 1000,)),
                }
            )
            together = statistics.median(2_500 / seconds(lambda: fire_some(database, 2_500)) for _ in range(ROUNDS))
    line("fire() on PostgreSQL, one a transaction", rates["fire"], "/s")
    line("  one bare insert by psycopg", rates["bare"], "/s", rates["fire"] / rates["bare"], OF_IT, aim="0.67")
    line("fire() on PostgreSQL, many a transaction", together, "/s")


async def throughput(broker: RabbitMQ) -> None:
    """From the log to the last confirm, against bare pika and the C client with a window of 500."""
    program = peers.librabbitmq()
    with tempfile.TemporaryDirectory(prefix="pulpit-bench-") as folder, fresh(Path(folder)) as (database, _):
        fire_some(database, 1)
        with database.read() as connection:
            [event] = event_log.read_after(connection, 0, limit=1)
    rates: dict[str, list[float]] = {"pulpit": [], "pika": [], "c": [], "same": [], "four": []}
    for _ in range(ROUNDS):
        peers.bind_queue(broker.url)
        rates["pika"].append(EVENTS / await peers.bare_pika(broker.url, EVENTS, b"x" * 1000))
        peers.bind_queue(broker.url)
        rates["pulpit"].append(EVENTS / await drain(broker.url, EVENTS))
        if program:
            for name, size, like in (("c", 1000, None), ("same", len(event.body), event)):
                peers.bind_queue(broker.url)
                took = await asyncio.to_thread(peers.bare_c, program, broker.port, EVENTS, size, like)
                rates[name].append(EVENTS / took)
        peers.bind_queue(broker.url)
        rates["four"].append(EVENTS / await drain(broker.url, EVENTS // 4, listening=4))
    rate = {name: statistics.median(measured) for name, measured in rates.items() if measured}
    pulpit = rate["pulpit"]
    line("log to confirm on RabbitMQ", pulpit, "/s")
    line("  bare pika, window 500", rate["pika"], "/s", pulpit / rate["pika"], OF_IT, aim="1")
    if program:
        line(
            "  librabbitmq (C), the same bytes",
            rate["same"],
            "/s",
            pulpit / rate["same"],
            OF_IT,
            aim="0.95",
        )
        line("  librabbitmq (C), a bare 1 kB message", rate["c"], "/s", pulpit / rate["c"], OF_IT, aim="0.85")
    else:
        print("  librabbitmq (C): skipped, no gcc or no librabbitmq-dev here")
    line("  four listeners, together", rate["four"], "/s", rate["four"] / pulpit, "of one listener", aim="1")


async def drain(url: str, count: int, amqp: NotifierType | None = None, *, listening: int = 1) -> float:
    """Fire first, then start the dispatcher and wait for the last confirm; over AMQP 0-9-1, or what else is given."""
    with tempfile.TemporaryDirectory(prefix="pulpit-bench-") as folder, fresh(Path(folder)) as (database, wakeups):
        with database.write() as tx:
            made = [
                listeners.add(tx, "amqp", {"exchange": peers.EXCHANGE}, ["*"], now=system_clock())
                for _ in range(listening)
            ]
        fire_some(database, count)
        started = time.perf_counter()
        async with delivering(database, wakeups, url, amqp) as dispatcher:
            while min(map(dispatcher.position, made)) < count:  # noqa: ASYNC110 - a benchmark may poll
                await asyncio.sleep(0.002)
            return time.perf_counter() - started


async def latency(broker: RabbitMQ) -> None:
    """From `fire()` returning until the subscriber has the message, against bare publish to consume."""
    bare = await asyncio.to_thread(bare_latency, broker.url, 200)
    with tempfile.TemporaryDirectory(prefix="pulpit-bench-") as folder, fresh(Path(folder)) as (database, wakeups):
        with database.write() as tx:
            listeners.add(tx, "amqp", {"exchange": peers.EXCHANGE}, ["*"], now=system_clock())
        peers.bind_queue(broker.url)
        async with delivering(database, wakeups, broker.url):
            await asyncio.sleep(0.5)
            ours = await asyncio.to_thread(fired_latency, broker.url, database, 200)
            with firing_elsewhere(Path(folder)) as fire_there:
                theirs = await asyncio.to_thread(measured_latency, broker.url, 200, fire_there)
    for name, index, aim in (("p50", 0.5, "2"), ("p99", 0.99, "3")):
        mine, returned, called = (
            sorted(times)[int(len(times) * index)] * 1000 for times in (ours.returned, bare.returned, bare.called)
        )
        other = sorted(theirs.returned)[int(len(theirs.returned) * index)] * 1000
        line(f"fire() to subscriber, {name}", mine, "ms")
        line("  bare pika, publish returned to consume", returned, "ms", mine / returned, "times as long", aim=aim)
        line("  bare pika, publish called to consume", called, "ms", mine / called, "times as long")
        line("  fired in another process", other, "ms", other - mine, "ms more", aim="1")


@dataclass(kw_only=True, slots=True)
class Latencies:
    """Seconds until the subscriber had each message: since the call that sends it began, and since it returned."""

    called: list[float] = field(default_factory=list)
    returned: list[float] = field(default_factory=list)


def bare_latency(url: str, count: int) -> Latencies:
    with pika.BlockingConnection(pika.URLParameters(url)) as sending:
        channel = sending.channel()
        properties = pika.BasicProperties(delivery_mode=2)
        return measured_latency(url, count, lambda: channel.basic_publish(peers.EXCHANGE, "a", b"x" * 1000, properties))


def fired_latency(url: str, database: Database, count: int) -> Latencies:
    return measured_latency(url, count, lambda: fire_some(database, 1))


@contextlib.contextmanager
def firing_elsewhere(folder: Path) -> Iterator[Callable[[], float]]:
    """A process that fires when it is asked to, as a worker's does, and tells when `fire()` returned."""
    spawned = multiprocessing.get_context("spawn")
    here, there = spawned.Pipe()
    process = spawned.Process(target=fire_when_told, args=(folder, there))
    process.start()

    def fire_there() -> float:
        here.send(True)
        returned: float = here.recv()
        return returned

    fire_there()
    try:
        yield fire_there
    finally:
        here.send(False)
        process.join()


def fire_when_told(folder: Path, pipe: multiprocessing.connection.Connection) -> None:
    with fresh(folder) as (database, _):
        while pipe.recv():
            fire_some(database, 1)
            pipe.send(time.perf_counter())


def measured_latency(url: str, count: int, send: Callable[[], float | None]) -> Latencies:
    """Send one by one; who sends may know better when it was done."""
    latencies = Latencies()
    peers.bind_queue(url)
    with subscribing(url) as arrivals:
        for _ in range(count):
            called = time.perf_counter()
            returned = send() or time.perf_counter()
            if not arrivals.poll(10):
                raise TimeoutError("a message did not arrive")
            arrived = arrivals.recv()
            latencies.called.append(arrived - called)
            latencies.returned.append(arrived - returned)
            time.sleep(0.005)
    return latencies


@contextlib.contextmanager
def subscribing(url: str) -> Iterator[multiprocessing.connection.Connection]:
    """A subscriber in a process of its own, as in life, which tells when each message arrived.

    In this one it would wait for its turn while the dispatcher takes the confirm of the message.
    """
    spawned = multiprocessing.get_context("spawn")
    here, there = spawned.Pipe()
    process = spawned.Process(target=subscribe, args=(url, there))
    process.start()
    here.recv()
    try:
        yield here
    finally:
        here.send(False)
        process.join()


def subscribe(url: str, pipe: multiprocessing.connection.Connection) -> None:
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.queue_purge(peers.QUEUE)
        channel.basic_consume(peers.QUEUE, lambda *_: pipe.send(time.perf_counter()), auto_ack=True)
        pipe.send(True)
        while not pipe.poll():
            connection.process_data_events(0.05)


async def many_listeners(broker: RabbitMQ) -> None:
    """One listener, and a thousand of which one matches."""
    times = {}
    for count in (1, 1_000):
        with tempfile.TemporaryDirectory(prefix="pulpit-bench-") as folder, fresh(Path(folder)) as (database, wakeups):
            with database.write() as tx:
                made = listeners.add(tx, "amqp", {"exchange": peers.EXCHANGE}, ["repo.sync.start"], now=system_clock())
                everybody = [made]
                for number in range(count - 1):
                    types = [f"other.type{number}"]
                    others = listeners.add(tx, "amqp", {"exchange": peers.EXCHANGE}, types, now=system_clock())
                    everybody.append(others)
            fire_some(database, 5_000)
            peers.bind_queue(broker.url)
            async with delivering(database, wakeups, broker.url) as dispatcher:
                while min(map(dispatcher.position, everybody)) < 5_000:  # noqa: ASYNC110 - a benchmark may poll
                    await asyncio.sleep(0.02)
                started = time.perf_counter()
                await asyncio.to_thread(fire_some, database, 5_000)
                while dispatcher.position(made) < 10_000:  # noqa: ASYNC110 - a benchmark may poll
                    await asyncio.sleep(0.002)
                times[count] = time.perf_counter() - started
    line("5,000 events fired and delivered, 1 listener", times[1], "s")
    line("  1,000 listeners of which one matches", times[1_000], "s", times[1_000] / times[1], "times as long", aim="1")


async def beside_a_hanging_receiver(broker: RabbitMQ) -> None:
    """An amqp listener alone, and beside 50 webhooks whose receiver accepts connections and never answers."""
    times = {}
    with hanging() as url:
        for hooks in (0, 50):
            with tempfile.TemporaryDirectory(prefix="pulpit-bench-") as folder, fresh(Path(folder)) as (database, bell):
                with database.write() as tx:
                    made = listeners.add(tx, "amqp", {"exchange": peers.EXCHANGE}, ["*"], now=system_clock())
                    for _ in range(hooks):
                        listeners.add(tx, "http", {"url": url}, ["*"], now=system_clock())
                peers.bind_queue(broker.url)
                async with delivering(database, bell, broker.url) as dispatcher:
                    await asyncio.to_thread(fire_some, database, 1)
                    await asyncio.sleep(2)  # every hook hangs at its first event
                    started = time.perf_counter()
                    await asyncio.to_thread(fire_some, database, 5_000)
                    while dispatcher.position(made) < 5_001:  # noqa: ASYNC110 - a benchmark may poll
                        await asyncio.sleep(0.002)
                    times[hooks] = time.perf_counter() - started
    line("5,000 events to an amqp listener alone", times[0], "s")
    line("  beside 50 receivers that hang", times[50], "s", times[50] / times[0], "times as long", aim="1")


@contextlib.asynccontextmanager
async def delivering(
    database: Database, wakeups: WakeupSocket, url: str, amqp: NotifierType | None = None
) -> AsyncIterator[Dispatcher]:
    http = Http(system_clock, allow=parse_networks("127.0.0.0/8"))
    kinds = NotifierTypes({"amqp": amqp or Amqp091(Publisher([parse(url, "bench")]), "amq.topic"), "http": http})
    dispatcher = Dispatcher(database, kinds, system_clock)
    with wakeups.handled_by(dispatcher.wakeup_handlers):
        task = asyncio.create_task(dispatcher.run())
        await asyncio.sleep(0)
        try:
            yield dispatcher
        finally:
            task.cancel()
            await asyncio.wait({task})


@contextlib.contextmanager
def hanging() -> Iterator[str]:
    """A receiver that accepts and says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(200)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"


def fire_some(database: Database, count: int) -> None:
    """Fire in transactions of at most 500."""
    for start in range(0, count, 500):
        with database.write(is_one_statement=count == 1) as tx:  # as a request that fires one
            for _ in range(start, min(count, start + 500)):
                fire(tx, "repo.sync.start", {"repo_id": "zoo", "filler": BODY}, clock=system_clock)


def per_second(works: dict[str, Callable[[], object]], count: int = 400) -> dict[str, float]:
    """How often a second each can be done, in turns; the first turn, in which files grow, does not count."""
    rates: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(TURNS + 1):
        for name, work in works.items():
            started = time.perf_counter()
            for _ in range(count):
                work()
            if turn:
                rates[name].append(count / (time.perf_counter() - started))
    return {name: statistics.median(measured) for name, measured in rates.items()}


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def line(title: str, value: float, unit: str, ratio: float | None = None, meaning: str = "", *, aim: str = "") -> None:
    """Print a figure, its ratio, and what it is to be."""
    shown = f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
    compared = f"   {ratio:.2f} {meaning}" if ratio is not None else ""
    print(f"{title:<52}{shown:>10} {unit:<3}{compared}{f'   (aim: {aim})' if aim else ''}", flush=True)


if __name__ == "__main__":
    main()
