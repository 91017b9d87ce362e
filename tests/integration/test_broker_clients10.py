"""Clients of AMQP 1.0 that other people wrote, beside Proton's own: node's rhea, and RabbitMQ's for Python."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.amqp10 import needs_amqp10
from support.broker_process import BrokerProcess, broker_process

pytestmark = needs_amqp10
NODE = Path(__file__).parents[1] / "clients" / "node"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    with broker_process(tmp_path_factory.mktemp("broker")) as process:
        yield process


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=NODE, capture_output=True, text=True, timeout=110, check=False)


@pytest.mark.skipif(not shutil.which("npm"), reason="npm is not installed")
def test_rhea_of_node(broker: BrokerProcess) -> None:
    if not (NODE / "node_modules" / "rhea").exists():
        installed = run(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"])
        if installed.returncode:
            pytest.skip(f"npm cannot install rhea here: {installed.stderr.strip()[-200:]}")
    result = run(["node", "talk10.js", str(broker.port)])
    assert "all as expected" in result.stdout, result.stdout + result.stderr


def test_rabbitmqs_client_for_python(broker: BrokerProcess) -> None:
    library: Any = pytest.importorskip("rabbitmq_amqp_python_client", reason="it is not installed (extra test-amqp10)")
    environment = library.Environment(f"amqp://guest:guest@127.0.0.1:{broker.port}/")
    connection = environment.connection()
    connection.dial()
    management = connection.management()
    management.declare_exchange(
        library.ExchangeSpecification(name="client x", exchange_type=library.ExchangeType.topic)
    )
    management.declare_queue(library.ClassicQueueSpecification(name="client q"))
    bound = library.ExchangeToQueueBindingSpecification("client x", "client q", "client.#")
    path = management.bind(bound)
    to_exchange = connection.publisher(library.AddressHelper.exchange_address("client x", "client.event"))
    to_queue = connection.publisher(library.AddressHelper.queue_address("client q"))
    anywhere = connection.publisher("")
    for publisher, address in ((to_exchange, None), (to_queue, None), (anywhere, "/queues/client%20q")):
        message = library.Message(body=b"hello", inferred=True)
        message.address = address
        assert publisher.publish(message).remote_state == library.OutcomeState.ACCEPTED
    assert management.queue_info("client q").message_count == 3
    nowhere = connection.publisher(library.AddressHelper.exchange_address("client x", "nobody"))
    with pytest.raises(Exception, match="38"):
        nowhere.publish(library.Message(body=b"x", inferred=True))
    consumer = connection.consumer(library.AddressHelper.queue_address("client q"), credit=10)
    for _ in range(3):
        assert bytes(consumer._receiver.receive(10).body) == b"hello"
        consumer._receiver.accept()
    consumer.close()
    assert management.purge_queue("client q") == 0
    management.unbind(path)
    with pytest.raises(library.ValidationCodeException, match="404"):
        management.queue_info("none")
    management.delete_exchange("client x")
    management.delete_queue("client q")
    connection.close()
    environment.close()
