"""Syncs and publishes of a Pulp 3 while tasks, workers, its database and the server are killed: nothing lost or twice.

`PULPIT_PULP3_TASKS=500 PULPIT_PULP3_REPOSITORIES=20 PULPIT_PULP3_WORKERS=4` makes it a long one.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import urllib.error
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support import postgresql, pulp3
from support.pulp3 import ENDED, Pulp3
from support.pulp3_upstreams import serve_files
from support.server import Server, pulpit
from support.upstream import Upstream, running
from support.waiting import until

REASON = postgresql.why_not()
TASKS = int(os.environ.get("PULPIT_PULP3_TASKS", "12"))
REPOSITORIES = int(os.environ.get("PULPIT_PULP3_REPOSITORIES", "4"))
WORKERS = int(os.environ.get("PULPIT_PULP3_WORKERS", "2"))
SEED = int(os.environ.get("PULPIT_PULP3_SEED", "0")) or random.SystemRandom().randrange(1, 1_000_000)
LONGEST = 120 + 12 * TASKS
pytestmark = [
    pytest.mark.skipif(REASON is not None, reason=REASON or ""),
    pytest.mark.timeout(2 * LONGEST + 900),
]
RESULTS = {"completed": "success", "failed": "error", "canceled": "canceled"}
TOLD = """
    SELECT pulp_id::text, state, name ~ 'synchronize$' FROM core_task
    WHERE name ~ '[.](synchronize|publish)$' ORDER BY pulp_created
"""


class Campaign:
    """What is done, by chance, to a Pulp 3 and to the server."""

    def __init__(self, pulp: Pulp3, server: Server, upstream: Upstream) -> None:
        self.pulp, self.server, self.upstream = pulp, server, upstream
        self.random = random.Random(SEED)  # noqa: S311 - chance that can be repeated
        self.repositories: list[str] = []
        self.done: Counter[str] = Counter()

    def run(self) -> None:
        for number in range(REPOSITORIES):
            feed = serve_files(self.upstream, f"r{number}", "a.iso", "b.iso")
            self.repositories.append(self.pulp.create("file/file", f"r{number}", feed, autopublish=number % 2 == 0))
            self._slow_down(f"r{number}/PULP_MANIFEST")
        evils = [self.kill_a_task, self.kill_a_worker, self.kill_the_server, self.break_the_database]
        once_every = max(min(TASKS // 4, 20), 1)
        for number in range(TASKS):
            self.queue_a_task(number)
            if number % once_every == once_every - 1:
                self.do(evils[(number // once_every) % len(evils)])
        for worker in list(self.pulp.workers):
            if worker.poll() is not None:
                self.pulp.workers.remove(worker)
                self.pulp.start_worker()

    def do(self, evil: Callable[[], None]) -> None:
        self.done[evil.__name__] += 1
        evil()

    def queue_a_task(self, number: int) -> None:
        repository = self.random.choice(self.repositories)
        choice = self.random.random()
        if choice < 0.3:
            self._patiently(lambda: self.pulp.publish("file/file", repository))
            return
        task = self._patiently(lambda: self.pulp.sync(repository, optimize=number % 3 == 0))
        if choice > 0.85:
            with contextlib.suppress(urllib.error.HTTPError):  # it has ended
                self._patiently(lambda: self.pulp.cancel(task))

    def kill_a_task(self) -> None:
        for pid in self.pulp.task_processes()[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill_a_worker(self) -> None:
        self.pulp.kill_worker(self.random.choice(self.pulp.workers))
        self.pulp.start_worker()

    def kill_the_server(self) -> None:
        self.server.kill()
        self.server.start()

    def break_the_database(self) -> None:
        """Connections break, and PostgreSQL recovers; workers that end thereby are started again."""
        self.pulp.cluster.stop(signal.SIGQUIT)
        self.pulp.cluster.start()
        for worker in list(self.pulp.workers):
            self.pulp.kill_worker(worker)
        for _ in range(WORKERS):
            self.pulp.start_worker()

    def _patiently(self, work: Callable[[], Any]) -> Any:
        """Ask Pulp's API until it can reach its database again."""

        def tried() -> Any:
            try:
                return work() or True
            except urllib.error.HTTPError as error:
                if error.code < 500:
                    raise
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                pass
            return None

        return until(tried, what="Pulp's API", seconds=120)

    def _slow_down(self, path: str) -> None:
        """Let the upstream take some time for a manifest, so that kills find tasks under way."""
        content, pause = self.upstream.files[path], threading.Event()

        def behave(answering: Any) -> None:
            pause.wait(self.random.choice((0.0, 0.3, 1.5)))
            answering.answer(200, content)

        self.upstream.misbehave(path, behave)


@pytest.fixture
def campaign(tmp_path: Path) -> Iterator[Campaign]:
    with pulp3.pulp3(workers=WORKERS) as pulp, running() as upstream:
        command = [sys.executable, "-m", "pulpit.cli", "pulp3", "attach", "--database-url", pulp.cluster.url()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        conf = f"[pulp3]\ndatabase_url: {pulp.cluster.url()}\nreconcile_seconds: 2\n"
        with pulpit(tmp_path / "data", conf) as server:
            yield Campaign(pulp, server, upstream)


def test_pulps_own_table_and_the_events_agree_whatever_is_killed(campaign: Campaign) -> None:
    campaign.run()
    pulp = campaign.pulp

    def told() -> list[Any]:
        with pulp.cluster.connect() as connection:
            return connection.execute(TOLD).fetchall()

    until(lambda: all(state in ENDED for _, state, _ in told()), what="the end of all tasks", seconds=LONGEST)
    expected = {
        (task, f"repo.{'sync' if is_sync else 'publish'}.{phase}"): result
        for task, state, is_sync in told()
        for phase, result in (("start", None), ("finish", RESULTS[state]))
    }
    assert len(expected) >= 2 * TASKS

    def fired() -> dict[tuple[str, str], list[str | None]]:
        found: dict[tuple[str, str], list[str | None]] = {}
        for event in events(campaign.server):
            report = event["payload"]["pulp3"]
            is_inner = event["event_type"].startswith("repo.publish") and report["task"]["name"].endswith("synchronize")
            key = f"inner {event['event_type']}" if is_inner else event["event_type"]
            found.setdefault((event["call_report"]["task_id"], key), []).append(event["result"])
        return found

    until(lambda: expected.keys() <= fired().keys(), what=f"all events (seed {SEED})", seconds=120)
    found = fired()
    outer = {key: results for key, results in found.items() if not key[1].startswith("inner")}
    assert outer == {key: [result] for key, result in expected.items()}, f"seed {SEED}, {campaign.done}"
    inner = {key: results for key, results in found.items() if key[1].startswith("inner")}
    starts = {task for task, key in inner if key.endswith("start")}
    assert starts == {task for task, key in inner if key.endswith("finish")}
    assert all(len(results) == 1 for results in inner.values())
    numbers: dict[str, list[int]] = {}
    for event in events(campaign.server):
        numbers.setdefault(event["repo_id"], []).append(event["repo_number"])
    assert all(found == list(range(1, len(found) + 1)) for found in numbers.values())


def events(server: Server) -> list[dict[str, Any]]:
    """All events of the four types."""
    found: list[dict[str, Any]] = []
    after = 0
    types = "event_type=repo.sync.*&event_type=repo.publish.*"
    while True:
        page = server.call("GET", f"/pulpit/v1/events?{types}&limit=1000&after={after}")
        found += page["events"]
        if not page["events"]:
            return found
        after = page["events"][-1]["number"]
