"""A server that sends its events over AMQP 1.0 to a real RabbitMQ, which is killed."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.amqp10 import needs_amqp10
from support.rabbitmq import RabbitMQ, needs_rabbitmq, rabbitmq
from support.server import Server, pulpit
from support.subscriber import subscribed
from support.upstream import running
from support.waiting import until

pytestmark = needs_amqp10
FOUR = [
    "pulp.server.repo.sync.start",
    "pulp.server.repo.sync.finish",
    "pulp.server.repo.publish.start",
    "pulp.server.repo.publish.finish",
]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RabbitMQ]:
    with rabbitmq(tmp_path / "rabbitmq", ["rabbitmq_amqp1_0"]) as one:
        yield one


def conf(broker: RabbitMQ) -> str:
    return f"[messaging]\nurl: {broker.url.replace('amqp://', 'amqp+10://')}\n"


def test_the_broker_inside_is_not_spoken_to_by_1_0_and_the_sentence_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "conf").write_text("[messaging]\ntransport: amqp10\n")
    options = ["serve", "--config", str(tmp_path / "conf"), "--data-dir", str(tmp_path / "data"), "--port", "0"]
    command = [sys.executable, "-m", "pulpit.cli", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 78
    assert done.stderr.splitlines()[-1] == (
        "pulpit: [messaging] transport: the broker inside speaks AMQP 0-9-1 alone; name the broker that speaks AMQP 1.0"
        " by url."
    )


@needs_rabbitmq
def test_the_server_speaks_1_0_where_it_is_told_to(tmp_path: Path, broker: RabbitMQ) -> None:
    with (
        running() as upstream,
        pulpit(tmp_path / "data", conf(broker)) as server,
        subscribed(broker.url, "pulp", queue="all") as everything,
        subscribed(broker.url, "pulp", "pulp.server.repo.*.finish", queue="finish") as finishes,
    ):
        upstream.put("a.iso", b"a" * 4096)
        upstream.manifest()
        server.listen("pulp")
        server.create_iso("files", upstream.url)
        task = server.ended(server.sync("files"))
        everything.wait_for(4)
        finishes.wait_for(2)
        assert everything.subjects == FOUR
        assert finishes.subjects == [FOUR[1], FOUR[3]]
        finish = everything.arrived[1]
        assert finish.body["payload"] == task["result"] | {"changes": finish.body["payload"]["changes"]}
        assert finish.properties.delivery_mode == 2
        assert finish.properties.correlation_id == task["task_id"]
        assert server.call("GET", "/pulp/api/v2/status/")["messaging_connection"]["connected"]


@pytest.mark.parametrize(
    "conf", ["transport: amqp10\nurl: amqp://localhost", "url: qpid://localhost", "url: amqps+10://broker.example.com"]
)
def test_without_the_extra_the_server_does_not_start_and_says_how_to_get_it(tmp_path: Path, conf: str) -> None:
    (tmp_path / "conf").write_text(f"[messaging]\n{conf}\n")
    program = "import sys; sys.modules['cproton'] = None; from pulpit.cli.main import main; main()"
    options = ["serve", "--config", str(tmp_path / "conf"), "--data-dir", str(tmp_path / "data"), "--port", "0"]
    command = [sys.executable, "-c", program, *options, "--broker-port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 78
    sentence = done.stderr.splitlines()[-1]
    assert sentence.startswith("pulpit: AMQP 1.0: it needs the package python-qpid-proton, which pip install ")


@needs_rabbitmq
def test_a_broker_killed_while_events_are_fired_delays_and_loses_nothing(tmp_path: Path, broker: RabbitMQ) -> None:
    with (
        running() as upstream,
        pulpit(tmp_path / "data", conf(broker)) as server,
        subscribed(broker.url, "pulp") as subscriber,
    ):
        upstream.manifest()
        listener_id = server.listen("pulp")
        server.create_iso("files", upstream.url)
        server.ended(server.sync("files"))
        subscriber.wait_for(4)
        broker.remember()
        broker.kill()
        for _ in range(3):
            server.ended(server.sync("files"))
        until(lambda: _last_error(server, listener_id) is not None, what="the listener to say that its broker is gone")
        broker.start()
        subscriber.wait_for(16)
        assert subscriber.subjects == FOUR * 4
        until(lambda: _last_error(server, listener_id) is None, what="the listener to be well again")


def _last_error(server: Server, listener_id: str) -> str | None:
    shown = server.call("GET", f"/pulp/api/v2/events/{listener_id}/")
    assert "guest:guest" not in json.dumps(shown)
    error: str | None = shown["_delivery"]["last_error"]
    return error
