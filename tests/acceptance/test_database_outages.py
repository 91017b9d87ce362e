"""PostgreSQL restarts and freezes under a running server, which continues by itself and loses nothing."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from support import postgresql as pg
from support.server import API, Server, pulpit
from support.subscriber import Subscriber, subscribed
from support.upstream import Upstream, gate, running
from support.waiting import until

FILE = b"a file that comes late"


class Traffic:
    """Events that are fired and lists that are asked for, without end."""

    def __init__(self, server: Server) -> None:
        self.acknowledged: list[int] = []
        self.statuses: Counter[int] = Counter()
        self._server = server
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._fire), threading.Thread(target=self._ask)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(120)

    def more(self, count: int = 10) -> None:
        """Wait until enough further events are acknowledged."""
        before = len(self.acknowledged)
        until(lambda: len(self.acknowledged) >= before + count, what="further events to be acknowledged")

    def _fire(self) -> None:
        number = 0
        while not self._stopped.is_set():
            number += 1
            body = {"event_type": "ci.build", "payload": {"n": number}}
            status, _ = self._server.reply("POST", "/pulpit/v1/events", body)
            self.statuses[status] += 1
            if status == 201:
                self.acknowledged.append(number)
            time.sleep(0.02)

    def _ask(self) -> None:
        while not self._stopped.is_set():
            for path in (
                f"{API}/status/",
                f"{API}/events/",
                f"{API}/repositories/",
                "/metrics",
                "/pulpit/v1/listeners",
            ):
                self.statuses[self._server.reply("GET", path)[0]] += 1
                time.sleep(0.02)


@pytest.fixture(scope="module")
def cluster() -> Iterator[pg.PostgreSQL]:
    if pg.why_not():
        pytest.skip(pg.why_not() or "")
    with pg.postgresql() as started:
        yield started


@pytest.fixture
def server(cluster: pg.PostgreSQL, tmp_path: Path) -> Iterator[Server]:
    with pulpit(tmp_path / "data", f"[database]\nurl: {cluster.fresh()}\n") as started:
        started.listen("pulp", "#")
        yield started


def held_sync(server: Server, upstream: Upstream) -> tuple[str, threading.Event]:
    """A sync that waits for its one file until it is let go on."""
    arrived, opened = threading.Event(), threading.Event()
    upstream.put("late.iso", FILE)
    upstream.manifest()
    upstream.misbehave("late.iso", gate(FILE, opened, arrived))
    server.create_iso("files", upstream.url)
    task_id = server.sync("files")
    assert arrived.wait(60)
    return task_id, opened


def check(server: Server, traffic: Traffic, subscriber: Subscriber) -> None:
    """Nothing acknowledged is lost, twice or out of order; every start has its finish; no request and no log broke."""
    wanted = set(traffic.acknowledged)
    until(lambda: wanted <= set(fired(subscriber)), what="every acknowledged event")
    assert fired(subscriber) == sorted(set(fired(subscriber)))
    until(lambda: told(subscriber, "start") == told(subscriber, "finish"), what="a finish for every start")
    assert set(traffic.statuses) <= {200, 201, 503}
    assert not [line for line in server.said if "Traceback" in line]


def told(subscriber: Subscriber, moment: str) -> int:
    return subscriber.subjects.count(f"pulp.server.repo.sync.{moment}")


def fired(subscriber: Subscriber) -> list[int]:
    return [one.body["payload"]["n"] for one in subscriber.arrived if one.body["event_type"] == "ci.build"]


@pytest.mark.timeout(400)
def test_a_database_that_restarts_costs_refusals_and_no_event(server: Server, cluster: pg.PostgreSQL) -> None:
    with running() as upstream, subscribed(server.amqp_url, "pulp", queue="all") as subscriber:
        task_id, opened = held_sync(server, upstream)
        with Traffic(server) as traffic:
            for _ in range(2):
                traffic.more()
                refused = traffic.statuses[503]
                cluster.stop()
                until(lambda: traffic.statuses[503] > refused + 3, what="requests to be refused")  # noqa: B023
                opened.set()
                cluster.start()
            traffic.more()
            assert server.ended(task_id)["state"] in ("finished", "error")
        assert server.ended(server.sync("files"))["state"] == "finished"
        until(lambda: told(subscriber, "finish") == 2, what="both syncs to be told")
        check(server, traffic, subscriber)


@pytest.mark.timeout(400)
def test_a_database_that_freezes_holds_requests_up_and_loses_none(server: Server, cluster: pg.PostgreSQL) -> None:
    with running() as upstream, subscribed(server.amqp_url, "pulp", queue="all") as subscriber:
        task_id, opened = held_sync(server, upstream)
        with Traffic(server) as traffic:
            traffic.more()
            with cluster.paused():
                opened.set()
                time.sleep(6)  # longer than a lease is waited for
            traffic.more()
            assert server.ended(task_id)["state"] == "finished"
        until(lambda: told(subscriber, "finish") == 1, what="the sync to be told")
        check(server, traffic, subscriber)
