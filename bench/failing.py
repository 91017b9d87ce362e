"""How long `fire()` takes beside thousands of webhooks whose receivers are not there, in a worker's way and over REST.

python -m bench.failing 0 2000 10000
"""

import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from pulpit.clock import system_clock
from pulpit.store import listeners
from pulpit.store.database import Database
from pulpit.store.wakeups import WakeupSocket
from support.server import Server, pulpit

SECONDS = 20.0
PAUSE = 0.1
"""Seconds between two events."""
EVENT = json.dumps({"event_type": "ci.build", "payload": {"n": 1}})
WORKER = """
import json, sys, time
from pathlib import Path
from pulpit.clock import system_clock
from pulpit.fire import fire
from pulpit.store.database import Database
from pulpit.store.wakeups import WakeupSocket
folder, seconds, pause = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
times, end = [], time.monotonic() + seconds
with WakeupSocket(folder) as wakeups:
    database = Database(folder, wakeups)
    while time.monotonic() < end:
        started = time.perf_counter()
        with database.write() as tx:
            fire(tx, "ci.build", {"n": 1}, clock=system_clock)
        times.append(time.perf_counter() - started)
        time.sleep(pause)
print(json.dumps(times))
"""


def main(counts: list[int]) -> None:
    for count in counts:
        with tempfile.TemporaryDirectory(prefix="pulpit-bench-") as folder:
            data = Path(folder, "data")
            with pulpit(data, "[server]\nwebhook_allow: 127.0.0.0/8\n") as server:
                add(data, count)
                time.sleep(3 + count / 1000)
                measure(server, count)


def add(data: Path, count: int) -> None:
    """Make listeners whose receivers are at a port where nobody listens."""
    with WakeupSocket(data) as wakeups:
        database = Database(data, wakeups)
        for start in range(0, count, 1000):
            with database.write() as tx:
                for number in range(start, min(start + 1000, count)):
                    config = {"url": f"http://127.0.0.1:1/{number}"}
                    listeners.add(tx, "http", config, ["ci.#"], now=system_clock())
        database.close()


def measure(server: Server, count: int) -> None:
    command = [sys.executable, "-c", WORKER, str(server.data_dir), str(SECONDS), str(PAUSE)]
    over_rest: list[float] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        asking = threading.Thread(target=repeat, args=(poster(server), over_rest))
        asking.start()
        asking.join()
        said, _ = worker.communicate()
    for way, times in (("as a worker", json.loads(said)), ("over REST", over_rest)):
        longest, middle = max(times), statistics.median(times)
        print(f"fire() {way} beside {count:,} failing webhooks: p50 {middle * 1000:.1f} ms, longest {longest:.2f} s")


def poster(server: Server) -> Callable[[], None]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    login = b64encode(f"admin:{server.password}".encode()).decode()
    headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}

    def post() -> None:
        connection.request("POST", "/pulpit/v1/events", EVENT, headers)
        with connection.getresponse() as response:
            response.read()

    return post


def repeat(work: Callable[[], None], times: list[float]) -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
        time.sleep(PAUSE)


if __name__ == "__main__":
    main([int(count) for count in sys.argv[1:]] or [0, 2_000])
