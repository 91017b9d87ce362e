"""`listen.py` over AMQP 1.0, against a real RabbitMQ with its plug-in."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pika
import pytest

from support.amqp10 import needs_amqp10
from support.listen_script import listening
from support.rabbitmq import RabbitMQ, needs_rabbitmq, rabbitmq
from support.tcp_proxy import cuttable
from support.waiting import until

pytestmark = [pytest.mark.needs_rabbitmq, needs_rabbitmq, needs_amqp10]

SUBJECTS = ["pulp.server.repo.sync.start", "pulp.server.repo.sync.finish", "pulp.server.repo.publish.finish"]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    with rabbitmq(tmp_path_factory.mktemp("rabbitmq"), ["rabbitmq_amqp1_0"]) as node:
        yield node


def fire(broker: RabbitMQ, exchange: str, *subjects: str) -> None:
    with closing(pika.BlockingConnection(pika.URLParameters(broker.url))) as connection:
        channel = connection.channel()
        channel.exchange_declare(exchange, "topic", durable=True)
        for subject in subjects:
            channel.basic_publish(exchange, subject, b"{}", pika.BasicProperties(delivery_mode=2))


def queues(broker: RabbitMQ) -> list[str]:
    return broker.control("list_queues", "--no-table-headers", "name").splitlines()


@pytest.mark.parametrize("scheme", ["amqp+10", "tcp", "qpid"])
def test_the_scheme_of_the_url_chooses_the_protocol(broker: RabbitMQ, tmp_path: Path, scheme: str) -> None:
    url = f"{scheme}://guest:guest@127.0.0.1:{broker.port}"
    options = ["-e", "pulp", "-q", "-s", "pulp.server.#.finish", "--count", "2"]
    with listening(tmp_path, "--url", url, *options) as listener:
        fire(broker, "pulp")
        listener.until_ready()
        fire(broker, "pulp", *SUBJECTS)
        assert listener.code() == 0
        assert listener.lines == SUBJECTS[1:]
    assert queues(broker) == []


def test_a_durable_queue_is_that_of_the_other_protocol_too(broker: RabbitMQ, tmp_path: Path) -> None:
    fire(broker, "pulp")
    where = {"1.0": f"amqp+10://guest:guest@127.0.0.1:{broker.port}", "0-9-1": f"amqp://127.0.0.1:{broker.port}"}
    options = ["-e", "pulp", "-q", "--queue", "kept", "--count", "1"]
    with listening(tmp_path, "--url", where["1.0"], *options) as listener:
        listener.until_ready()
        fire(broker, "pulp", *SUBJECTS)
        assert listener.code() == 0
    for url, expected in ((where["0-9-1"], SUBJECTS[1]), (where["1.0"], SUBJECTS[2])):
        with listening(tmp_path, "--url", url, *options) as listener:
            assert listener.code() == 0
            assert listener.lines == [expected]
    assert queues(broker) == ["kept"]
    broker.control("delete_queue", "kept")


def test_a_broken_connection_is_made_again(broker: RabbitMQ, tmp_path: Path) -> None:
    fire(broker, "pulp")
    with cuttable(broker.port) as wire:
        url = f"amqp+10://guest:guest@127.0.0.1:{wire.port}"
        with listening(tmp_path, "--url", url, "-e", "pulp", "-q", "--queue", "kept") as listener:
            listener.until_ready()
            before = wire.sent
            fire(broker, "pulp", SUBJECTS[0])
            listener.until_printed(1)
            until(lambda: wire.sent > before, what="the acknowledgement on the wire")
            wire.cut()
            fire(broker, "pulp", *SUBJECTS[1:])
            assert listener.until_printed(3) == SUBJECTS
            assert listener.end() == 0
            assert listener.told[1] == f"connection to amqp+10://127.0.0.1:{wire.port} lost, trying again"
    broker.control("delete_queue", "kept")


def test_a_wrong_password_is_told_and_ends_with_1(broker: RabbitMQ, tmp_path: Path) -> None:
    with listening(tmp_path, "--url", f"amqp+10://guest:geheim@127.0.0.1:{broker.port}") as listener:
        assert listener.code() == 1
        assert listener.told == [f"amqp+10://127.0.0.1:{broker.port} refuses the user name or password"]


def test_without_the_extra_it_is_said_how_to_get_it() -> None:
    program = "import sys; sys.modules['cproton'] = None; from pulpit.cli.listen import main; main()"
    command = [sys.executable, "-c", program, "--url", "amqp+10://localhost"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("AMQP 1.0: it needs the package python-qpid-proton, which pip install ")
