"""A RabbitMQ cluster of three nodes behind Pulpit: any of them may be killed, as docs/operations.md says."""

import asyncio
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import pulpit
from support.rabbitmq import RabbitMQ, needs_rabbitmq, rabbitmq_cluster
from support.server import Server
from support.server import pulpit as running_server
from support.waiting import until

pytestmark = [pytest.mark.needs_rabbitmq, needs_rabbitmq]

BURST = 25


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[RabbitMQ]]:
    with rabbitmq_cluster(tmp_path / "cluster") as cluster:
        yield cluster


class Counter:
    """A subscriber on a quorum queue, in a thread: what came, and what was missing."""

    def __init__(self, urls: list[str]) -> None:
        self.events: list[pulpit.Event] = []
        self.gaps: list[pulpit.Gap] = []
        self.ready = threading.Event()
        self._urls = urls
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._thread.start()
        assert self.ready.wait(60)

    def wait_for(self, count: int) -> None:
        """Wait until enough events have come; one confirm that is lost with its node costs 45 seconds."""
        until(lambda: len(self.events) >= count, what=f"{count} events", seconds=180)

    def stop(self) -> None:
        if self._task:
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(60)

    def _run(self) -> None:
        self._task = self._loop.create_task(self._follow())
        self._loop.run_until_complete(asyncio.wait([self._task]))
        self._loop.close()

    async def _follow(self) -> None:
        async with pulpit.subscribe(self._urls, exchange="pulp", queue="everything", on_gap=self.gaps.append) as events:
            self.ready.set()
            async for event in events:
                self.events.append(event)


def fire(server: Server, count: int) -> None:
    for _ in range(count):
        body = {"event_type": "ci.build.finish", "repo_id": "zoo", "payload": {}}
        server.call("POST", "/pulpit/v1/events", body)


@pytest.mark.timeout(900)
def test_any_node_may_die_and_every_event_comes_once_and_in_order_and_two_may_for_a_while(
    nodes: list[RabbitMQ], tmp_path: Path
) -> None:
    urls = [node.url for node in nodes]
    with running_server(tmp_path / "data", f"[messaging]\nurl: {','.join(urls)}\n") as server:
        server.listen("pulp")
        counter = Counter([*urls[1:], urls[0]])  # at first at another node than the server
        counter.start()
        try:
            for round_, node in enumerate(nodes, 1):
                fire(server, BURST)
                node.kill()
                fire(server, BURST)
                counter.wait_for(round_ * 2 * BURST)
                if node is not nodes[-1]:
                    node.start()
                    until(lambda: in_step(nodes), what="the queue to be on three nodes again", seconds=180)
            nodes[0].kill()  # the second of three
            fire(server, BURST)
            nodes[0].start()
            counter.wait_for((2 * len(nodes) + 1) * BURST)
        finally:
            counter.stop()
            sys.stdout.write("\n".join(server.said[-50:]))  # for the day on which it fails
    assert [event.repo_number for event in counter.events] == list(range(1, (2 * len(nodes) + 1) * BURST + 1))
    assert counter.gaps == []


def in_step(nodes: list[RabbitMQ]) -> bool:
    """Whether every node has all of the queue, so that the next one may die.

    A node that is online but still receives what it missed cannot replace the leader: RabbitMQ 3.10 elects it all the
    same, and then refuses every message.
    """
    status = nodes[0].control("eval", 'rabbit_quorum_queue:status(<<"/">>, <<"everything">>).')
    states = re.findall(r'<<"Raft State">>,\s*(\w+)', status)
    indexes = re.findall(r'<<"Log Index">>,\s*(\d+)', status)
    return sorted(states) == ["follower"] * (len(nodes) - 1) + ["leader"] and len(set(indexes)) == 1
