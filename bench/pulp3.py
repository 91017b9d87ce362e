"""What events cost a Pulp 3, and what they spare it.

One update of a task with the triggers and without, the way from Pulp's commit to a subscriber, and ten programs that
are told against ten that ask once a second.

A real pulpcore with pulp_file, one worker, on a separate PostgreSQL. Updates with and without triggers take turns.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import pulpit
from pulpit.pulp3 import attachment
from support import pulp3, upstream
from support.pulp3 import Pulp3
from support.pulp3_upstreams import serve_files
from support.server import Server
from support.server import pulpit as server

TASKS = 500
WARM_UP = 20
SESSIONS = 60
EVENTS = 200
SECONDS = 20
ASKING = 10
SYNC = "pulp_file.app.tasks.synchronizing.synchronize"
OTHER = "pulpcore.app.tasks.orphan.orphan_cleanup"
MADE = """
    INSERT INTO core_createdresource (pulp_id, pulp_created, object_id, content_type_id, task_id)
    SELECT gen_random_uuid(), now(), v.pulp_id, y.id, %s FROM core_repositoryversion v, django_content_type y
    WHERE v.number = 1 AND y.app_label = 'core' AND y.model = 'repositoryversion'
"""
START = "UPDATE core_task SET state = 'running', started_at = now() WHERE pulp_id = %s AND state = 'waiting'"
FINISH = "UPDATE core_task SET state = 'completed', finished_at = now() WHERE pulp_id = %s AND state = 'running'"
Connection = psycopg.Connection[Any]


class Cost(NamedTuple):
    """Of one statement: seconds by the clock, and of the processor in the session's process of PostgreSQL."""

    seconds: float
    cpu: float


def main() -> None:
    if reason := pulp3.why_not():
        sys.exit(f"bench: {reason}")
    with pulp3.pulp3() as pulp, upstream.running() as feed:
        repository = pulp.create("file/file", "zoo", serve_files(feed, "zoo", "a.iso", "b.iso", "c.iso"))
        pulp.ended(pulp.sync(repository))
        pulp.stop()  # of a database that is in use, there is no copy
        cost_of_triggers(pulp)
        pulp.start()
        with pulp.cluster.connect() as connection, tempfile.TemporaryDirectory(prefix="pulpit-bench-") as scratch:
            attachment.attach(connection, "Pulp's database")
            conf = f"[pulp3]\ndatabase_url: {pulp.cluster.url()}\n"
            with server(Path(scratch, "data"), conf) as here:
                here.listen("pulp")
                asyncio.run(time_to_the_subscriber(here, connection))
                load_of_those_who_want_to_know(pulp, here)


def cost_of_triggers(pulp: Pulp3) -> None:
    """A state change of a task, committed, in Pulp's database and in a copy of it that has the triggers, by turns.

    Each pair of changes is a few milliseconds apart, so that what else the machine does falls on both alike, and the
    median of the differences says what the triggers add. Pulp runs each task in a separate process, whose session
    has to compile and plan what the triggers do: that is measured, too.
    """
    with pulp.cluster.connect("postgres") as connection:
        connection.execute("CREATE DATABASE told TEMPLATE pulp")
    with pulp.cluster.connect("told") as connection:
        attachment.attach(connection, "a copy of Pulp's database")
    pairs: dict[str, list[tuple[Cost, Cost]]] = {}
    with pulp.cluster.connect() as plain, pulp.cluster.connect("told") as told:
        for name, made in ((SYNC, True), (OTHER, False)):
            for turn in range(TASKS + WARM_UP):
                for change, pair in changes((plain, told), (plain, told), name, turn, made=made).items():
                    if turn >= WARM_UP:
                        pairs.setdefault(f"{change} of {name.rpartition('.')[2]}", []).append(pair)
        for turn in range(SESSIONS):
            with pulp.cluster.connect() as new_plain, pulp.cluster.connect("told") as new_told:
                for change, pair in changes((plain, told), (new_plain, new_told), SYNC, turn, made=True).items():
                    pairs.setdefault(f"{change} of synchronize, new session", []).append(pair)
    for column, unit in enumerate(("by the clock", "of the processor")):
        print(f"{f'one committed update, ms {unit}':40}{'without':>10}{'with':>10}{'more':>10}{'quartiles':>16}")
        for kind, both in pairs.items():
            costs = [(without[column] * 1000, triggered[column] * 1000) for without, triggered in both]
            low, more, high = statistics.quantiles([triggered - without for without, triggered in costs])
            without, triggered = (statistics.median(side) for side in zip(*costs, strict=True))
            print(f"{kind:40}{without:>10.2f}{triggered:>10.2f}{more:>10.2f}{f'{low:.2f} to {high:.2f}':>16}")


def changes(
    api: tuple[Connection, Connection], worker: tuple[Connection, Connection], name: str, turn: int, *, made: bool
) -> dict[str, tuple[Cost, Cost]]:
    """Start and finish of a task that the API has queued, in either database; which comes first alternates."""
    costs: dict[str, dict[Connection, Cost]] = {"start": {}, "finish": {}}
    task, resource = uuid.uuid4(), reserved(api[0])
    for connection in api:
        connection.execute(pulp3.ADD_TASK, {"id": task, "name": name, "resource": resource})
    in_turn = worker if turn % 2 else worker[::-1]
    for connection in in_turn:
        costs["start"][connection] = cost(connection, START, task)
    if made:
        for connection in in_turn:
            connection.execute(MADE, (task,))
    for connection in in_turn:
        costs["finish"][connection] = cost(connection, FINISH, task)
    return {change: (of[worker[0]], of[worker[1]]) for change, of in costs.items()}


def reserved(connection: Connection) -> str:
    """How the tasks of the one repository name it."""
    (row,) = connection.execute("SELECT 'prn:file.filerepository:' || pulp_id FROM core_repository").fetchall()
    return str(row[0])


def cost(connection: Connection, statement: str, task: uuid.UUID) -> Cost:
    before, started = used_cpu(connection), time.perf_counter()
    connection.execute(statement.encode(), (task,))
    seconds = time.perf_counter() - started
    time.sleep(0.0005)  # until the session's process rests and its time is booked
    return Cost(seconds, used_cpu(connection) - before)


def used_cpu(connection: Connection) -> float:
    """Seconds that a session's process of PostgreSQL has had of a processor."""
    return int(Path(f"/proc/{connection.info.backend_pid}/schedstat").read_text().split()[0]) / 1e9


async def time_to_the_subscriber(here: Server, connection: Connection) -> None:
    """From the moment at which Pulp's commit returned to the event in a subscriber's hands."""
    took, resource = [], reserved(connection)
    async with pulpit.subscribe(here.amqp_url, exchange="pulp", subject="#.sync.start") as events:
        for _ in range(EVENTS):
            task = uuid.uuid4()
            connection.execute(pulp3.ADD_TASK, {"id": task, "name": SYNC, "resource": resource})
            await asyncio.to_thread(connection.execute, START, (task,))
            committed = time.perf_counter()
            await anext(events)
            took.append((time.perf_counter() - committed) * 1000)
            connection.execute(FINISH.encode(), (task,))
            await asyncio.sleep(0.02)
    took.sort()
    p50, p95 = took[len(took) // 2], took[len(took) * 95 // 100]
    print(f"\nfrom Pulp's commit to the subscriber, {EVENTS} events: p50 {p50:.1f} ms, p95 {p95:.1f} ms")


def load_of_those_who_want_to_know(pulp: Pulp3, here: Server) -> None:
    """The processor's time of Pulp's API and database while nothing happens but that somebody wants to know."""
    print(f"\n{'seconds of CPU a minute':40}{'Pulp API':>10}{'database':>10}{'Pulpit':>10}")
    for title, wanting in (
        ("nobody asks", nobody),
        ("ten ask /tasks/ once a second", polling),
        ("ten subscribers", subscribing),
    ):
        before = cpu(pulp, here)
        with wanting(pulp, here):
            time.sleep(SECONDS)
        used = [(after - start) * 60 / SECONDS for after, start in zip(cpu(pulp, here), before, strict=True)]
        print(f"{title:40}" + "".join(f"{seconds:>10.2f}" for seconds in used))


@contextmanager
def nobody(_pulp: Pulp3, _here: Server) -> Iterator[None]:
    yield


@contextmanager
def polling(pulp: Pulp3, _here: Server) -> Iterator[None]:
    over = threading.Event()

    def ask() -> None:
        while not over.wait(1.0):
            pulp.call("GET", f"{pulp3.API}/tasks/?limit=10&ordering=-pulp_created")

    threads = [threading.Thread(target=ask) for _ in range(ASKING)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


@contextmanager
def subscribing(_pulp: Pulp3, here: Server) -> Iterator[None]:
    ended = threading.Event()

    async def subscribe() -> None:
        async with pulpit.subscribe(here.amqp_url, exchange="pulp") as events:
            waiting = asyncio.ensure_future(anext(events))
            await asyncio.to_thread(ended.wait)
            waiting.cancel()

    async def all_of_them() -> None:
        await asyncio.gather(*(subscribe() for _ in range(ASKING)), return_exceptions=True)

    thread = threading.Thread(target=asyncio.run, args=(all_of_them(),))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def cpu(pulp: Pulp3, here: Server) -> tuple[float, float, float]:
    """Seconds so far of Pulp's API, of its database (which its workers use too), and of the server."""
    api, cluster = pulp.api_pid, pulp.cluster.pid
    return group_cpu(api), group_cpu(cluster), group_cpu(here.pid)


def group_cpu(root: int) -> float:
    """Of a process and its descendants, the ended ones included."""
    children: dict[int, list[int]] = {}
    ticks: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(folder.name))
        ticks[int(folder.name)] = sum(int(field) for field in fields[11:15])
    found, total = [root], 0
    while found:
        pid = found.pop()
        total += ticks.get(pid, 0)
        found += children.get(pid, [])
    return total / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
