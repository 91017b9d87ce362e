"""Clients of other authors at the embedded broker.

Each declares, binds, publishes with confirms, consumes, acknowledges, and runs into an error.
"""

import asyncio
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aio_pika
import amqp
import amqpstorm.connection
import kombu
import pika
import pytest
from aio_pika.exceptions import ChannelNotFoundEntity
from pika.exceptions import ChannelClosedByBroker, UnroutableError

from support.embedded_broker import BrokerProcess, broker_process

CLIENTS = Path(__file__).parents[1] / "clients"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    with broker_process(tmp_path_factory.mktemp("broker")) as process:
        yield process


def test_pika(broker: BrokerProcess) -> None:
    with pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
        channel = connection.channel()
        channel.exchange_declare("events", "topic", durable=True)
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, "events", "repo.#")
        channel.confirm_delivery()
        persistent = pika.BasicProperties(delivery_mode=2, headers={"a": 1})
        channel.basic_publish("events", "repo.sync", b"hello", persistent, mandatory=True)
        with pytest.raises(UnroutableError):
            channel.basic_publish("events", "nobody", b"x", persistent, mandatory=True)
        method, properties, body = next(channel.consume(queue, inactivity_timeout=10))
        assert (method.routing_key, properties.headers, body) == ("repo.sync", {"a": 1}, b"hello")
        channel.basic_ack(method.delivery_tag)
        channel.cancel()
        with pytest.raises(ChannelClosedByBroker, match="NOT_FOUND"):
            channel.queue_declare("none", passive=True)


def test_aio_pika(broker: BrokerProcess) -> None:
    async def talk() -> None:
        async with await aio_pika.connect(broker.url) as connection:
            channel = await connection.channel()
            exchange = await channel.declare_exchange("events", aio_pika.ExchangeType.TOPIC, durable=True)
            queue = await channel.declare_queue(exclusive=True)
            await queue.bind(exchange, "repo.#")
            await asyncio.gather(
                *(exchange.publish(aio_pika.Message(b"%d" % number), "repo.sync") for number in range(50))
            )
            seen = []
            async with queue.iterator(timeout=60) as messages:
                async for message in messages:
                    async with message.process():
                        seen.append(int(message.body))
                    if len(seen) == 50:
                        break
            assert sorted(seen) == list(range(50))
            with pytest.raises(ChannelNotFoundEntity):
                await channel.get_queue("none", ensure=True)

    asyncio.run(talk())


def test_py_amqp(broker: BrokerProcess) -> None:
    with amqp.Connection(f"127.0.0.1:{broker.port}", confirm_publish=True) as connection:
        channel = connection.channel()
        channel.exchange_declare("events", "topic", durable=True, auto_delete=False)
        queue = channel.queue_declare(exclusive=True).queue
        channel.queue_bind(queue, "events", "repo.#")
        channel.basic_publish_confirm(amqp.Message("hello", delivery_mode=2), "events", "repo.sync")
        seen: list[amqp.Message] = []
        channel.basic_consume(queue, callback=seen.append)
        connection.drain_events(timeout=60)
        assert [message.body for message in seen] == ["hello"]
        channel.basic_ack(seen[0].delivery_tag)
        with pytest.raises(amqp.NotFound):
            connection.channel().queue_declare("none", passive=True)


def test_kombu(broker: BrokerProcess) -> None:
    make: Any = kombu  # it has no types
    with make.Connection(broker.url, transport_options={"confirm_publish": True}) as connection:
        exchange = make.Exchange("events", "topic", durable=True)
        queue = make.Queue("kombu", exchange, routing_key="repo.#", auto_delete=True)
        seen: list[object] = []

        def take(body: object, message: Any) -> None:
            seen.append(body)
            message.ack()

        with connection.Consumer([queue], callbacks=[take]):
            connection.Producer().publish({"a": 1}, exchange=exchange, routing_key="repo.sync")
            while not seen:  # it may have come while the publisher waited for its confirm
                connection.drain_events(timeout=60)
        assert seen == [{"a": 1}]
        with pytest.raises(amqp.NotFound):
            make.Queue("none", channel=connection.channel()).queue_declare(passive=True)


def run(command: list[str], *, folder: Path | None = None, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, input=text, text=True, capture_output=True, timeout=100, check=False)


def succeed(command: list[str], *, folder: Path | None = None) -> str:
    result = run(command, folder=folder)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.skipif(not shutil.which("amqp-publish"), reason="Debian's package amqp-tools is not installed")
def test_amqp_tools(broker: BrokerProcess) -> None:
    url = ["-u", f"amqp://guest:guest@127.0.0.1:{broker.port}"]
    succeed(["amqp-declare-queue", *url, "-q", "tools", "-d"])
    succeed(["amqp-publish", *url, "-r", "tools", "-p", "-b", "one"])
    succeed(["amqp-publish", *url, "-r", "tools", "-p", "-b", "two"])
    assert succeed(["amqp-get", *url, "-q", "tools"]) == "one"
    assert succeed(["amqp-consume", *url, "-q", "tools", "-c", "1", "cat"]) == "two"
    refused = run(["amqp-publish", *url, "-e", "none", "-r", "x", "-b", "x"])
    assert "NOT_FOUND" in refused.stderr
    succeed(["amqp-delete-queue", *url, "-q", "tools"])


@pytest.mark.skipif(not shutil.which("npm"), reason="npm is not installed")
@pytest.mark.parametrize(
    ("package", "program"), [("amqplib", "talk.js"), ("@cloudamqp/amqp-client", "talk_cloudamqp.mjs")]
)
def test_clients_of_node(broker: BrokerProcess, package: str, program: str) -> None:
    folder = CLIENTS / "node"
    if not (folder / "node_modules" / package).exists():
        installed = run(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"], folder=folder)
        if installed.returncode:
            pytest.skip(f"npm cannot install {package} here: {installed.stderr.strip()[-200:]}")
    assert "all as expected" in succeed(["node", program, broker.url], folder=folder)


def test_amqpstorm(broker: BrokerProcess) -> None:
    """It puts bodies into frames whose payload is the whole of frame_max (E2)."""
    with amqpstorm.connection.Connection("127.0.0.1", "guest", "guest", port=broker.port) as connection:
        channel: Any = connection.channel()
        channel.exchange.declare("events", "topic", durable=True)
        queue = channel.queue.declare(exclusive=True)["queue"]
        channel.queue.bind(queue, "events", "repo.#")
        channel.confirm_deliveries()
        for size in (0, 131_064, 131_065, 131_072, 1_000_000):
            assert channel.basic.publish(b"x" * size, "repo.sync", "events", {"headers": {"size": size}})
            message = channel.basic.get(queue, no_ack=False, auto_decode=False)
            assert message is not None
            assert (len(message.body), message.properties["headers"]["size"]) == (size, size)
            message.ack()
        with pytest.raises(amqpstorm.exception.AMQPChannelError, match="NOT_FOUND"):
            channel.queue.declare("none", passive=True)


@pytest.mark.skipif(
    not shutil.which("php") or not Path("/usr/share/php/PhpAmqpLib/autoload.php").exists(),
    reason="Debian's packages php-cli and php-amqplib are not installed",
)
def test_php_amqplib(broker: BrokerProcess) -> None:
    assert "all as expected" in succeed(["php", str(CLIENTS / "php" / "talk.php"), str(broker.port)])


_GO = Path("/usr/share/gocode/src/github.com/rabbitmq/amqp091-go")


@pytest.mark.skipif(
    not shutil.which("go") or not _GO.exists(),
    reason="Debian's packages golang-go and golang-github-rabbitmq-amqp091-go-dev are not installed",
)
def test_amqp091_of_go(broker: BrokerProcess, tmp_path: Path) -> None:
    environment = ["env", "GO111MODULE=off", "GOPATH=/usr/share/gocode", f"GOCACHE={tmp_path / 'cache'}"]
    program = str(tmp_path / "talk")
    succeed([*environment, "go", "build", "-o", program, str(CLIENTS / "go" / "talk.go")])
    assert "all as expected" in succeed([program, broker.url])


_JARS = [Path("/usr/share/java/amqp-client.jar"), Path("/usr/share/java/slf4j-api.jar")]


@pytest.mark.skipif(
    not shutil.which("javac") or not all(jar.exists() for jar in _JARS),
    reason="a JDK and Debian's packages librabbitmq-client-java and libslf4j-java are not installed",
)
def test_amqp_client_of_java(broker: BrokerProcess) -> None:
    classes = ":".join(map(str, _JARS))
    assert "all as expected" in succeed(["java", "-cp", classes, str(CLIENTS / "java" / "Talk.java"), broker.url])


@pytest.mark.skipif(
    not shutil.which("ruby") or run(["ruby", "-e", "require 'bunny'"]).returncode != 0,
    reason="Debian's package ruby-bunny is not installed",
)
def test_bunny_of_ruby(broker: BrokerProcess) -> None:
    assert "all as expected" in succeed(["ruby", str(CLIENTS / "ruby" / "talk.rb"), broker.url])


def test_garbage_and_half_frames_harm_nobody_else(broker: BrokerProcess) -> None:
    with pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
        channel = connection.channel()
        for data in (
            b"GET / HTTP/1.0\r\n\r\n",
            b"AMQP\x00\x00\x09\x01\x01\x00\x00\xff\xff\xff\xff",
            b"AM",
            bytes(1000),
        ):
            with socket.create_connection(("127.0.0.1", broker.port), timeout=60) as rude:
                rude.sendall(data)
                assert channel.queue_declare("", exclusive=True).method.queue
