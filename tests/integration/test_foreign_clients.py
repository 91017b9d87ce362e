"""Clients that other people wrote receive Pulpit's events and publish beside it, on the embedded broker and RabbitMQ.

A client is a generator: at its first step it is bound, at the second it answers an event's subject and body, and after
that it has published a message of its own.
"""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import aio_pika
import kombu
import pika
import pytest
from aio_pika.abc import AbstractConnection, AbstractExchange, AbstractIncomingMessage, AbstractQueue

from support.rabbitmq import needs_rabbitmq, rabbitmq
from support.server import Server, pulpit
from support.subscriber import subscribed
from support.waiting import until

CLIENTS: Final = Path(__file__).parents[1] / "clients"
EXCHANGE: Final = "pulp"
SUBJECT: Final = "pulp.server.ci.build.finish"
PATTERN: Final = "pulp.server.ci.#"

Came = tuple[str, str] | None
Client = Callable[[str, str, str], Generator[Came, None, None]]
"""Takes the broker's URL, and the subject and the text to publish."""


@pytest.fixture(
    scope="module",
    params=["embedded", pytest.param("rabbitmq", marks=[pytest.mark.needs_rabbitmq, needs_rabbitmq])],
    name="system",
)
def server_and_broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, str]]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "embedded":
        with pulpit(folder / "data") as server:
            server.listen(EXCHANGE)
            yield server, server.amqp_url
    else:
        with (
            rabbitmq(folder / "rabbitmq") as node,
            pulpit(folder / "data", f"[messaging]\nurl: {node.url}\n") as server,
        ):
            server.listen(EXCHANGE)
            yield server, node.url


def with_pika(url: str, subject: str, text: str) -> Generator[Came, None, None]:
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, EXCHANGE, PATTERN)
        yield None
        method, properties, body = next(channel.consume(queue, inactivity_timeout=30))
        channel.basic_ack(method.delivery_tag)
        assert properties.content_type == "application/json"
        yield method.routing_key, body.decode()
        channel.confirm_delivery()
        channel.basic_publish(EXCHANGE, subject, text.encode(), mandatory=True)


def with_aio_pika(url: str, subject: str, text: str) -> Generator[Came, None, None]:
    with asyncio.Runner() as runner:
        connection, exchange, queue = runner.run(_bound(url))
        yield None
        message = runner.run(_first(queue))
        yield message.routing_key or "", message.body.decode()
        runner.run(exchange.publish(aio_pika.Message(text.encode()), subject))
        runner.run(connection.close())


async def _bound(url: str) -> tuple[AbstractConnection, AbstractExchange, AbstractQueue]:
    connection = await aio_pika.connect(url)
    channel = await connection.channel()
    exchange = await channel.get_exchange(EXCHANGE)
    queue = await channel.declare_queue(exclusive=True)
    await queue.bind(exchange, PATTERN)
    return connection, exchange, queue


async def _first(queue: AbstractQueue) -> AbstractIncomingMessage:
    async with queue.iterator(timeout=60) as messages:
        message = await anext(messages)
        await message.ack()
        return message


def with_kombu(url: str, subject: str, text: str) -> Generator[Came, None, None]:
    make: Any = kombu  # it has no types
    came: list[Any] = []
    with make.Connection(url, transport_options={"confirm_publish": True}) as connection:
        exchange = make.Exchange(EXCHANGE, "topic", durable=True)
        queue = make.Queue("", exchange, routing_key=PATTERN, exclusive=True)
        with connection.Consumer([queue], on_message=came.append):
            yield None
            while not came:
                connection.drain_events(timeout=60)
        came[0].ack()
        yield came[0].delivery_info["routing_key"], json.dumps(came[0].payload)
        connection.Producer().publish(text, exchange=exchange, routing_key=subject, content_type="text/plain")


def with_amqp_tools(url: str, subject: str, text: str) -> Generator[Came, None, None]:
    """These tell no subject, so the binding is for the very one."""
    if not shutil.which("amqp-consume"):
        pytest.skip("Debian's package amqp-tools is not installed")
    where = ["-u", url.removesuffix("/%2F")]
    command = ["amqp-consume", *where, "-e", EXCHANGE, "-r", SUBJECT, "-c", "1", "cat"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as consumer:
        try:
            assert consumer.stderr
            queue = consumer.stderr.readline().rpartition(" ")[2].strip()
            until(lambda: readers(url, queue) > 0, what="amqp-consume")
            yield None
            yield SUBJECT, consumer.communicate(timeout=60)[0]
        finally:
            consumer.kill()
    command = ["amqp-publish", *where, "-e", EXCHANGE, "-r", subject, "-p", "-b", text]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def with_amqplib_of_node(url: str, subject: str, text: str) -> Generator[Came, None, None]:
    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    folder = CLIENTS / "node"
    if not (folder / "node_modules" / "amqplib").exists():
        command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"]
        installed = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
        if installed.returncode:
            pytest.skip(f"npm cannot install amqplib here: {installed.stderr.strip()[-200:]}")
    yield from program(["node", str(folder / "trade.js"), url, EXCHANGE, PATTERN, subject, text])


def with_php_amqplib(url: str, subject: str, text: str) -> Generator[Came, None, None]:
    if not shutil.which("php") or not Path("/usr/share/php/PhpAmqpLib/autoload.php").exists():
        pytest.skip("Debian's packages php-cli and php-amqplib are not installed")
    yield from program(["php", str(CLIENTS / "php" / "trade.php"), url, EXCHANGE, PATTERN, subject, text])


def program(command: list[str]) -> Generator[Came, None, None]:
    """A program that says `ready`, and in the end what it got."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            yield None
            told = json.loads(process.communicate(timeout=60)[0])
            assert process.returncode == 0
            yield told["subject"], told["body"]
        finally:
            process.kill()


def readers(url: str, queue: str) -> int:
    with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        count: int = connection.channel().queue_declare(queue, passive=True).method.consumer_count
        return count


@pytest.mark.parametrize(
    "client", [with_pika, with_aio_pika, with_kombu, with_amqp_tools, with_amqplib_of_node, with_php_amqplib]
)
def test_a_client_of_another_make_gets_events_and_publishes_beside_them(
    system: tuple[Server, str], client: Client
) -> None:
    server, url = system
    name = client.__name__
    with (
        subscribed(url, EXCHANGE, f"theirs.{name}", queue=name) as another,
        closing(client(url, f"theirs.{name}", json.dumps({"from": name}))) as steps,
    ):
        assert next(steps) is None
        event = {"event_type": "ci.build.finish", "payload": {"image": "wörld"}}
        server.call("POST", "/pulpit/v1/events", event)
        came = next(steps)
        assert came is not None
        subject, body = came
        assert subject == SUBJECT
        assert json.loads(body) == {**event, "call_report": None}
        assert next(steps, None) is None
        [message] = another.wait_for(1)
        assert (message.subject, message.body) == (f"theirs.{name}", {"from": name})
