"""Everything is killed at random while events are fired and syncs run; afterwards the log and the receivers agree.

`PULPIT_CAMPAIGN_KILLS` makes it longer, `PULPIT_CAMPAIGN_SECONDS` bounds it, `PULPIT_CAMPAIGN_SEED` repeats one.
"""

import contextlib
import http.client
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from support.chaos import Blow, Running, blows, seeded, started, stopped
from support.ports import free_port
from support.processes import workers_of
from support.rabbitmq import RabbitMQ
from support.server import ENDED, Server, pulpit
from support.subscriber import Subscriber, subscribed
from support.upstream import running
from support.waiting import until

KILLS = int(os.environ.get("PULPIT_CAMPAIGN_KILLS", "30"))
SECONDS = float(os.environ.get("PULPIT_CAMPAIGN_SECONDS", "150"))
SEED = int(os.environ.get("PULPIT_CAMPAIGN_SEED", "0")) or random.SystemRandom().randrange(1, 1_000_000)
TYPES = ["*", "campaign.#"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """An event as a listener got it."""

    id: str
    number: int
    repo_number: int | None
    body: dict[str, Any]

    @property
    def step(self) -> int | None:
        """Which of the fired events it is."""
        step: int | None = self.body["payload"].get("step")
        return step


@dataclass(kw_only=True)
class System:
    server: Server
    broker: RabbitMQ
    receiver: Running
    chance: random.Random

    def suffer(self, blow: Blow) -> bool:
        """Do one thing to one process; false if there was none."""
        if blow.target == "worker":
            return self._worker(blow)
        pid = {"server": lambda: self.server.pid, "receiver": lambda: self.receiver.pid, "broker": self._broker_pid}
        victim: Server | RabbitMQ | Running = getattr(self, blow.target)
        if blow.signal == "stop":
            stopped(pid[blow.target](), blow.seconds, group=blow.target == "broker")
        else:
            victim.kill()
            time.sleep(blow.seconds)
            victim.start()
        return True

    def _worker(self, blow: Blow) -> bool:
        pids = workers_of(self.server)
        if not pids:
            return False
        pid = self.chance.choice(pids)
        if blow.signal == "stop":
            stopped(pid, blow.seconds)
            return True
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)
            return True
        return False

    def _broker_pid(self) -> int:
        assert self.broker._process
        return self.broker._process.pid


@pytest.mark.timeout(SECONDS + 240)
def test_nothing_is_lost_doubled_or_left_open_while_everything_is_killed(tmp_path: Path, broker: RabbitMQ) -> None:
    _say(f"\ncampaign: seed {SEED}, {KILLS} kills within {SECONDS:g} s")
    port = free_port()
    conf = f"[messaging]\nurl: {broker.url}\n[server]\nwebhook_allow: 127.0.0.0/8\n"
    receiver = Running(tmp_path / "received", "receive", str(port))
    with (
        running() as upstream,
        started(receiver),
        pulpit(tmp_path / "data", conf) as server,
        subscribed(broker.url, "pulp") as subscriber,
    ):
        for number in range(5):
            upstream.put(f"{number}.iso", bytes([number]) * 20_000)
        upstream.manifest()
        server.create_iso("files", upstream.url)
        hook = {"notifier_type_id": "http", "notifier_config": {"url": f"http://127.0.0.1:{port}/", "timeout": 5}}
        server.listen("pulp", *TYPES)
        server.call("POST", "/pulp/api/v2/events/", {**hook, "event_types": TYPES})
        firing = Running(tmp_path / "fired", "fire", server.url, server.password, str(SEED))
        system = System(server=server, broker=broker, receiver=receiver, chance=seeded(SEED))
        with started(firing), _syncing(server):
            hit = _campaign(system)
            assert firing.end(seconds=60) == 0
        _all_tasks_end(server)
        last: int = server.call("POST", "/pulpit/v1/events", {"event_type": "campaign.end"})["numbers"][0]
        _wait_for_last(lambda: _published(subscriber), last, "amqp")
        _wait_for_last(lambda: _posted(receiver), last, "http")
        said = list(server.said)
    fired = firing.lines()
    _report(fired, hit, amqp=_published(subscriber), http=_posted(receiver))
    assert sum(hit.values()) >= KILLS / 3, "a machine that is this slow gave it no time"
    for arrived in (_published(subscriber), _posted(receiver)):
        _check(arrived, fired)
    bugs = [number for number, line in enumerate(said) if "Traceback" in line]
    assert not bugs, "\n".join(said[bugs[0] - 2 : bugs[0] + 60])


def _campaign(system: System) -> Counter[tuple[str, str]]:
    """Hit until it was often enough, or the time is over; a blow at no worker is made up for."""
    hit: Counter[tuple[str, str]] = Counter()
    deadline = time.monotonic() + SECONDS
    for blow in blows(system.chance, KILLS * 3):
        if sum(hit.values()) >= KILLS or time.monotonic() > deadline:
            break
        if system.suffer(blow):
            hit[blow.target, blow.signal] += 1
        time.sleep(system.chance.uniform(0, 0.7))
    return hit


@contextlib.contextmanager
def _syncing(server: Server) -> Iterator[None]:
    """Sync again and again; a sync that could not be asked for is none."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.5):
            with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
                server.sync("files")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(60)


def _all_tasks_end(server: Server) -> None:
    def done() -> bool:
        return all(task["state"] in ENDED for task in server.call("GET", "/pulp/api/v2/tasks/"))

    until(done, what="every task to end", seconds=90)


def _wait_for_last(arrivals: Any, last: int, listener: str) -> None:
    deadline = time.monotonic() + 90
    while last not in {one.number for one in arrivals()[-200:]}:
        assert time.monotonic() < deadline, f"the {listener} listener never got event {last}"
        time.sleep(0.5)


def _published(subscriber: Subscriber) -> list[Arrival]:
    found = []
    for one in list(subscriber.received):
        headers = one.properties.headers or {}
        number, repo_number = headers["pulpit-number"], headers.get("pulpit-repo-number")
        event_id = str(one.properties.message_id)
        found.append(Arrival(id=event_id, number=number, repo_number=repo_number, body=one.body))
    return found


def _posted(receiver: Running) -> list[Arrival]:
    found = []
    for line in receiver.lines():
        headers = line["headers"]
        own = int(headers["pulpit-repo-number"]) if "pulpit-repo-number" in headers else None
        number = int(headers["pulpit-number"])
        found.append(Arrival(id=headers["ce-id"], number=number, repo_number=own, body=line["body"]))
    return found


def _once(arrived: Sequence[Arrival]) -> list[Arrival]:
    first: dict[str, Arrival] = {}
    for one in arrived:
        first.setdefault(one.id, one)
    return list(first.values())


def _check(arrived: Sequence[Arrival], fired: Sequence[dict[str, Any]]) -> None:
    """Hold what one listener got against what was acknowledged."""
    once = _once(arrived)
    acknowledged = {step for line in fired if line["acknowledged"] for step in line["steps"]}
    steps = Counter(one.step for one in once if one.step is not None)
    assert acknowledged <= set(steps), f"lost: {sorted(acknowledged - set(steps))[:50]}"
    assert {step for step, times in steps.items() if times > 1} == set()
    for line in fired:
        assert len(set(line["steps"]) & set(steps)) in (0, len(line["steps"])), "half a batch"
    numbers = [one.number for one in once]
    assert numbers == sorted(numbers), _out_of_order(numbers)
    own = [one.repo_number for one in once if one.repo_number is not None]
    assert own == list(range(1, len(own) + 1))
    ends = Counter((one.body["call_report"]["task_id"], _phase(one)) for one in once if one.body["call_report"])
    assert set(ends.values()) == {1}
    open_ends = {task for task, phase in ends if (task, "finish" if phase == "start" else "start") not in ends}
    assert open_ends == set()


def _out_of_order(numbers: Sequence[int]) -> str:
    return str([pair for pair in pairwise(numbers) if pair[0] > pair[1]][:10])


def _phase(one: Arrival) -> str:
    return "finish" if "result" in one.body["payload"] else "start"


def _report(fired: Sequence[dict[str, Any]], hit: Counter[tuple[str, str]], **arrived: Sequence[Arrival]) -> None:
    known = sum(len(line["steps"]) for line in fired if line["acknowledged"])
    unknown = sum(len(line["steps"]) for line in fired if not line["acknowledged"])
    _say(f"fired: {known} acknowledged, {unknown} with unknown outcome")
    for listener, arrivals in arrived.items():
        once = _once(arrivals)
        steps = sum(one.step is not None for one in once)
        syncs = len({one.body["call_report"]["task_id"] for one in once if one.body["call_report"]})
        _say(f"{listener}: {len(once)} events ({steps} of the fired, {syncs} tasks), {len(arrivals) - len(once)} again")
    _say("hit: " + ", ".join(f"{target} {how} {times}" for (target, how), times in sorted(hit.items())))


def _say(text: str) -> None:
    print(text)  # noqa: T201 - the numbers of a campaign are its second result, shown by `pytest -s`
