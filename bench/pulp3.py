"""What events cost a Pulp 3, and what they spare it.

One update of a task with the triggers and without, the way from Pulp's commit to a subscriber, and ten programs that
are told against ten that ask once a second.

A real pulpcore with pulp_file, one worker, on a PostgreSQL of its own. Rounds with and without triggers take turns.
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
from typing import Any

import psycopg

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import pulpit
from pulpit.pulp3 import attachment
from support import pulp3, upstream
from support.pulp3 import Pulp3
from support.pulp3_upstreams import serve_files
from support.server import Server
from support.server import pulpit as server

ROUNDS = 6
TASKS = 150
SESSIONS = 20
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
FORGET_MADE = """
    DELETE FROM core_createdresource WHERE task_id IN (SELECT pulp_id FROM core_task WHERE logging_cid = 'of-a-test')
"""
Connection = psycopg.Connection[Any]


def main() -> None:
    if reason := pulp3.why_not():
        sys.exit(f"bench: {reason}")
    with pulp3.pulp3() as pulp, upstream.running() as feed, pulp.cluster.connect() as connection:
        repository = pulp.create("file/file", "zoo", serve_files(feed, "zoo", "a.iso", "b.iso", "c.iso"))
        pulp.ended(pulp.sync(repository))
        cost_of_triggers(pulp, connection)
        attachment.attach(connection, "Pulp's database")
        with tempfile.TemporaryDirectory(prefix="pulpit-bench-") as scratch:
            conf = f"[pulp3]\ndatabase_url: {pulp.cluster.url()}\n"
            with server(Path(scratch, "data"), conf) as here:
                here.listen("pulp")
                asyncio.run(time_to_the_subscriber(here, connection))
                load_of_those_who_want_to_know(pulp, here)


def cost_of_triggers(pulp: Pulp3, connection: Connection) -> None:
    """A state change of a task, committed, with the triggers and without: in one session, and each task in a new one.

    Pulp runs each task in a process of its own; there, PostgreSQL compiles and plans what the triggers do.
    """
    taken: dict[tuple[str, bool], list[float]] = {}
    for index in range(2 * ROUNDS):
        with_triggers = bool(index % 2)
        if with_triggers:
            attachment.attach(connection, "Pulp's database")
        for name, made in ((SYNC, True), (OTHER, False)):
            for kind, seconds in changes(connection, name, made=made):
                taken.setdefault((f"{kind} of {name.rpartition('.')[2]}", with_triggers), []).append(seconds)
        for _ in range(SESSIONS):
            with pulp.cluster.connect() as session:
                for kind, seconds in changes(session, SYNC, made=True, tasks=1):
                    taken.setdefault((f"{kind} of synchronize, new session", with_triggers), []).append(seconds)
        if with_triggers:
            attachment.detach(connection, "Pulp's database", discard=True)
        connection.execute(FORGET_MADE)
        connection.execute("DELETE FROM core_task WHERE logging_cid = 'of-a-test'")
        connection.execute("VACUUM core_task")
    for title, of in (("medians", statistics.median), ("the least", min)):
        print(f"{f'one committed update, {title}':40}{'without':>10}{'with':>10}{'more':>10}")
        for kind in dict.fromkeys(kind for kind, _ in taken):
            plain, triggered = (of(taken[kind, flag]) * 1000 for flag in (False, True))
            print(f"{kind:40}{plain:>7.2f} ms{triggered:>7.2f} ms{triggered - plain:>7.2f} ms")


def changes(connection: Connection, name: str, *, made: bool, tasks: int = TASKS) -> Iterator[tuple[str, float]]:
    resource = reserved(connection)
    for _ in range(tasks):
        task = uuid.uuid4()
        connection.execute(pulp3.ADD_TASK, {"id": task, "name": name, "resource": resource})
        yield "start", timed(connection, START, task)
        if made:
            connection.execute(MADE, (task,))
        yield "finish", timed(connection, FINISH, task)


def reserved(connection: Connection) -> str:
    """How the tasks of the one repository name it."""
    (row,) = connection.execute("SELECT 'prn:file.filerepository:' || pulp_id FROM core_repository").fetchall()
    return str(row[0])


def timed(connection: Connection, statement: str, task: uuid.UUID) -> float:
    started = time.perf_counter()
    connection.execute(statement.encode(), (task,))
    return time.perf_counter() - started


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
