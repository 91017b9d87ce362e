"""Syncs and publishes of a Pulp 3 while tasks, workers, its database and the server are killed: nothing lost or twice.

`PULPIT_PULP3_CAMPAIGN=500,20,4` (tasks, repositories, workers) makes it a long one.
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
from support.pulp3 import Pulp3
from support.pulp3_upstreams import serve_files
from support.server import Server, pulpit
from support.upstream import Upstream, running
from support.waiting import until

REASON = postgresql.why_not()
TASKS, REPOSITORIES, WORKERS = map(int, os.environ.get("PULPIT_PULP3_CAMPAIGN", "12,4,2").split(","))
SEED = int(os.environ.get("PULPIT_PULP3_CAMPAIGN_SEED", "0")) or random.SystemRandom().randrange(1, 1_000_000)
LONGEST = 120 + 12 * TASKS
pytestmark = [
    pytest.mark.skipif(REASON is not None, reason=REASON or ""),
    pytest.mark.timeout(2 * LONGEST + 900),
]
OPEN = "SELECT count(*) FROM core_task WHERE state NOT IN ('completed', 'failed', 'canceled')"
WHAT_MUST_BE_TOLD = """
    WITH task AS (
        SELECT pulp_id, CASE WHEN name ~ 'synchronize$' THEN 'repo.sync.' ELSE 'repo.publish.' END AS word,
            CASE state WHEN 'completed' THEN 'success' WHEN 'failed' THEN 'error' ELSE state END AS result
        FROM core_task WHERE name ~ '[.](synchronize|publish)$'
    )
    SELECT pulp_id::text, word || 'start', NULL FROM task
    UNION ALL SELECT pulp_id::text, word || 'finish', result FROM task
    UNION ALL SELECT CASE d.name WHEN 'default' THEN '' ELSE d.name || '/' END || r.name || ' ' || v.number,
            'repo.version.create', NULL
        FROM core_repositoryversion v JOIN core_repository r ON r.pulp_id = v.repository_id
        JOIN core_domain d ON d.pulp_id = r.pulp_domain_id
        WHERE v.complete AND v.number > 0
    UNION ALL SELECT p.pulp_id::text, 'inner publish', 'success' FROM core_publication p
        JOIN core_createdresource c ON c.object_id = p.pulp_id JOIN core_task t ON t.pulp_id = c.task_id
        WHERE p.complete AND t.name ~ 'synchronize$'
"""
"""In Pulp's own tables: whose event, its type and result."""


class Campaign:
    """What is done, at random, to a Pulp 3 and to the server."""

    def __init__(self, pulp: Pulp3, server: Server, upstream: Upstream) -> None:
        self.pulp, self.server, self.upstream = pulp, server, upstream
        self.random = random.Random(SEED)  # noqa: S311 - chance that can be repeated
        self.repositories: list[str] = []
        self.done: Counter[str] = Counter()

    def run(self) -> None:
        zoo = self.pulp.create_domain("zoo")
        for number in range(REPOSITORIES):
            feed = serve_files(self.upstream, f"r{number}", "a.iso", "b.iso")
            api, autopublish = (zoo if number % 4 > 1 else ""), number % 2 == 0
            self.repositories.append(
                self.pulp.create("file/file", f"r{number}", feed, api=api, autopublish=autopublish)
            )
            self._slow_down(f"r{number}/PULP_MANIFEST")
        evils = [self.kill_a_task, self.kill_a_worker, self.kill_the_server, self.break_the_database]
        once_every = max(min(TASKS // 4, 20), 1)
        for number in range(TASKS):
            self.queue_a_task(number)
            if number % once_every == once_every - 1:
                self.do(evils[(number // once_every) % len(evils)])

    def do(self, evil: Callable[[], None]) -> None:
        with contextlib.suppress(AssertionError):  # that all are idle: the evil then falls on idle ones
            until(self.pulp.task_processes, what="a task", seconds=10)
        threading.Event().wait(self.random.uniform(0, 0.5))
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
        """Connections break, and PostgreSQL recovers; of the workers, some stay to see how they cope."""
        self.pulp.cluster.stop(signal.SIGQUIT)
        self.pulp.cluster.start()
        for worker in list(self.pulp.workers):
            if worker.poll() is not None or self.random.random() < 0.5:
                self.pulp.kill_worker(worker)
                self.pulp.start_worker()

    def all_ended(self) -> bool:
        """Whether no task is open; workers that have ended are started again meanwhile."""
        for worker in [worker for worker in self.pulp.workers if worker.poll() is not None]:
            self.pulp.workers.remove(worker)
            self.pulp.start_worker()
        return self.ask_pulp(OPEN) == [(0,)]

    def ask_pulp(self, query: str) -> list[Any]:
        with self.pulp.cluster.connect() as connection:
            return connection.execute(query.encode()).fetchall()

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
    with pulp3.pulp3(workers=WORKERS, domains=True) as pulp, running() as upstream:
        command = [sys.executable, "-m", "pulpit.cli", "pulp3", "attach", "--database-url", pulp.cluster.url()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        conf = f"[pulp3]\ndatabase_url: {pulp.cluster.url()}\nreconcile_seconds: 2\n"
        with pulpit(tmp_path / "data", conf) as server:
            yield Campaign(pulp, server, upstream)


def test_pulps_own_table_and_the_events_agree_whatever_is_killed(campaign: Campaign) -> None:
    campaign.run()
    note = f"seed {SEED}, {dict(campaign.done)}"
    until(campaign.all_ended, what=f"the end of all tasks ({note})", seconds=LONGEST)
    expected = campaign.ask_pulp(WHAT_MUST_BE_TOLD)
    assert len(expected) >= 2 * TASKS
    until(lambda: set(expected) <= set(told(events(campaign.server))), what=f"all events ({note})", seconds=120)
    found = events(campaign.server)
    assert sorted(told(found), key=str) == sorted(expected, key=str), note
    hrefs = {event["payload"]["pulp3"]["repository"]["pulp_href"] for event in found}
    assert hrefs <= set(campaign.repositories)
    open_pairs: set[tuple[str, str]] = set()
    numbers: dict[str, list[int]] = {}
    for event in found:
        if event["event_type"] != "repo.version.create":  # which has no counter
            numbers.setdefault(event["repo_id"], []).append(event["repo_number"])
        pair = (event["payload"]["pulp3"]["task"]["prn"], event["event_type"].rpartition(".")[0])
        if event["event_type"].endswith("start"):
            open_pairs.add(pair)
        elif event["event_type"].endswith("finish"):
            open_pairs.remove(pair)
    assert not open_pairs
    assert all(of_one == list(range(1, len(of_one) + 1)) for of_one in numbers.values()), note


def told(found: list[dict[str, Any]]) -> list[tuple[str, str, str | None]]:
    """Of which task, publication or version an event is, its type, and how that ended."""
    lines: list[tuple[str, str, str | None]] = []
    for event in found:
        report = event["payload"]["pulp3"]
        event_type, task = event["event_type"], report["task"]["prn"].rpartition(":")[2]
        if event_type == "repo.version.create":
            lines.append((f"{event['repo_id']} {report['version']['number']}", event_type, None))
        elif event_type.startswith("repo.publish") and report["task"]["name"].endswith("synchronize"):
            if event["result"] == "success":  # of one that was given up, Pulp keeps nothing to compare with
                lines.append((report["publication"]["name"], "inner publish", "success"))
        else:
            lines.append((task, event_type, event["result"]))
    return lines


def events(server: Server) -> list[dict[str, Any]]:
    """All events of the four types and of versions, in the order of the log."""
    found: list[dict[str, Any]] = []
    after = 0
    types = "event_type=repo.sync.*&event_type=repo.publish.*&event_type=repo.version.*"
    while True:
        page = server.call("GET", f"/pulpit/v1/events?{types}&limit=1000&after={after}")
        found += page["events"]
        if not page["events"]:
            return found
        after = page["events"][-1]["number"]
