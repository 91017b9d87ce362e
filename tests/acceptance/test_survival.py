"""The broker, a worker or the server is killed: no event is lost, and every start event has a finish event."""

import os
import signal
import threading
from collections import Counter
from pathlib import Path

import pytest

from support.processes import workers_of
from support.rabbitmq import RabbitMQ
from support.server import Server, pulpit
from support.subscriber import Received, subscribed
from support.upstream import Upstream, gate, running
from support.waiting import until


class Held:
    """A feed whose one file is only served when the test says so."""

    def __init__(self, upstream: Upstream) -> None:
        self.arrived, self.opened = threading.Event(), threading.Event()
        upstream.put("held.iso", b"held")
        upstream.manifest()
        upstream.misbehave("held.iso", gate(b"held", self.opened, self.arrived))


def start_held_sync(server: Server, upstream: Upstream) -> tuple[str, Held]:
    """Queue a sync and wait until it hangs at its file."""
    held = Held(upstream)
    server.create_iso("files", upstream.url)
    task_id = server.sync("files")
    assert held.arrived.wait(60)
    return task_id, held


def test_a_broker_killed_during_a_sync_delays_and_loses_nothing(tmp_path: Path, broker: RabbitMQ) -> None:
    conf = f"[messaging]\nurl: {broker.url}\n"
    with running() as upstream, pulpit(tmp_path / "data", conf) as server, subscribed(broker.url, "pulp") as subscriber:
        listener_id = server.listen("pulp")
        task_id, held = start_held_sync(server, upstream)
        subscriber.wait_for(1)
        broker.remember()
        broker.kill()
        held.opened.set()
        assert server.ended(task_id)["state"] == "finished"
        for _ in range(5):
            server.ended(server.sync("files"))
        until(lambda: _last_error(server, listener_id), what="the listener to say that its broker is gone")
        assert "cannot be used" in (_last_error(server, listener_id) or "")
        broker.start()
        expected = 2 + 2 + 5 * 4
        subscriber.wait_for(expected)
        assert subscriber.repo_numbers == list(range(1, expected + 1))
        until(lambda: _last_error(server, listener_id) is None, what="the listener to be well again")


def _last_error(server: Server, listener_id: str) -> str | None:
    error: str | None = server.call("GET", f"/pulp/api/v2/events/{listener_id}/")["_delivery"]["last_error"]
    return error


def test_a_worker_killed_during_a_sync_leaves_a_finish_with_an_error(tmp_path: Path) -> None:
    with running() as upstream, pulpit(tmp_path / "data") as server, subscribed(server.amqp_url, "pulp") as subscriber:
        server.listen("pulp")
        task_id, held = start_held_sync(server, upstream)
        worker_name = server.task(task_id)["worker_name"]
        for pid in workers_of(server):
            os.kill(pid, signal.SIGKILL)
        subscriber.wait_for(2)
        start, finish = subscriber.arrived
        assert start.body["call_report"]["task_id"] == finish.body["call_report"]["task_id"] == task_id
        assert finish.body["payload"]["result"] == "error"
        assert f"{worker_name} died (signal 9)" in finish.body["payload"]["error_message"]
        assert server.task(task_id)["state"] == "error"
        held.opened.set()
        assert server.ended(server.sync("files"))["state"] == "finished"
        subscriber.wait_for(6)
        assert subscriber.repo_numbers == list(range(1, 7))


def test_a_server_killed_between_start_and_finish_fires_the_finish_when_it_is_back(tmp_path: Path) -> None:
    with running() as upstream, pulpit(tmp_path / "data") as server, subscribed(server.amqp_url, "pulp") as subscriber:
        server.listen("pulp")
        task_id, held = start_held_sync(server, upstream)
        subscriber.wait_for(1)
        server.kill()
        server.start()
        subscriber.wait_for(2)
        assert [one.body["payload"].get("result") for one in subscriber.arrived] == [None, "error"]
        assert server.task(task_id)["state"] == "error"
        held.opened.set()
        assert server.ended(server.sync("files"))["state"] == "finished"
        subscriber.wait_for(6)
        kinds = Counter(one.subject.rpartition(".")[2] for one in subscriber.arrived)
        assert kinds["start"] == kinds["finish"] == 3


def test_a_cancelled_sync_finishes_as_canceled_and_publishes_nothing(tmp_path: Path) -> None:
    with running() as upstream, pulpit(tmp_path / "data") as server, subscribed(server.amqp_url, "pulp") as subscriber:
        server.listen("pulp")
        task_id, _ = start_held_sync(server, upstream)
        server.call("DELETE", f"/pulp/api/v2/tasks/{task_id}/")
        subscriber.wait_for(2)
        assert server.ended(task_id)["state"] == "canceled"
        assert subscriber.arrived[1].body["payload"]["result"] == "canceled"
        assert subscriber.arrived[1].body["call_report"]["state"] == "canceled"
        assert server.task(task_id)["spawned_tasks"] == []


def test_a_server_told_to_stop_during_a_sync_stops_within_seconds_and_ends_the_task(tmp_path: Path) -> None:
    with running() as upstream, pulpit(tmp_path / "data") as server, subscribed(server.amqp_url, "pulp") as subscriber:
        server.listen("pulp")
        task_id, _ = start_held_sync(server, upstream)
        pids = workers_of(server)
        assert server.stop() == 0
        assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
        server.start()
        assert server.task(task_id)["state"] == "canceled"
        subscriber.wait_for(2)


@pytest.mark.parametrize("kills", [3])
def test_killing_the_server_again_and_again_keeps_every_start_with_its_one_finish(tmp_path: Path, kills: int) -> None:
    with running() as upstream, pulpit(tmp_path / "data") as server, subscribed(server.amqp_url, "pulp") as subscriber:
        server.listen("pulp")
        for number in range(20):
            upstream.put(f"{number}.iso", bytes([number]) * 20_000)
        upstream.manifest()
        server.create_iso("files", upstream.url)
        for _ in range(kills):
            server.sync("files")
            until(lambda: subscriber.arrived, what="an event")
            server.kill()
            server.start()
        last = server.ended(server.sync("files"))
        assert last["state"] == "finished"
        total = server.call("GET", "/pulp/api/v2/tasks/")
        assert all(task["state"] in ("finished", "error", "canceled") for task in total), total
        until(lambda: _paired(subscriber.arrived), what="every finish")
        assert subscriber.repo_numbers == sorted(subscriber.repo_numbers)


def _paired(arrived: list[Received]) -> bool:
    seen: dict[str, Counter[str]] = {}
    for one in arrived:
        task_id = one.body["call_report"]["task_id"]
        seen.setdefault(task_id, Counter())[one.subject.rpartition(".")[2]] += 1
    return all(counts["start"] == counts["finish"] == 1 for counts in seen.values())
