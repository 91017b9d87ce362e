"""Queues and exchanges of a subscription: used as they are, bound again; and unreadable messages."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import closing
from typing import Any

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

import pulpit
from pulpit.amqp.address import parse
from pulpit.subscriber.amqp091 import Amqp091Source
from pulpit.subscriber.amqp10 import Amqp10Source
from pulpit.subscriber.source import Binding
from support.amqp10 import needs_amqp10
from support.embedded_broker import broker_process
from support.rabbitmq import RabbitMQ, needs_rabbitmq, rabbitmq


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    with rabbitmq(tmp_path_factory.mktemp("rabbitmq"), ["rabbitmq_amqp1_0"]) as running:
        yield running


@pytest.fixture(
    scope="module", params=["embedded", pytest.param("rabbitmq", marks=[pytest.mark.needs_rabbitmq, needs_rabbitmq])]
)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "rabbitmq":
        yield request.getfixturevalue("node").url
        return
    with broker_process(tmp_path_factory.mktemp("broker")) as broker:
        yield broker.url


@pytest.fixture
def exchange() -> str:
    return f"pulp-{uuid.uuid4().hex}"


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 60))


async def until(reached: Callable[[], bool]) -> None:
    while not reached():  # noqa: ASYNC110 - what happens there tells nobody
        await asyncio.sleep(0.1)


def at(url: str, act: Callable[[BlockingChannel], Any]) -> None:
    with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        act(connection.channel())


@pytest.mark.parametrize("stays", [True, False])
def test_an_exchange_that_was_deleted_and_made_again_is_bound_again_and_told(
    url: str, exchange: str, *, stays: bool
) -> None:
    """Nobody tells a subscriber that its binding went with the exchange."""
    told: list[str] = []

    async def story() -> None:
        source = Amqp091Source(parse(url, "url"), "test", look_seconds=0.2)
        at(url, lambda channel: channel.exchange_declare(exchange, "topic", durable=True))
        line = await source.open(Binding(exchange=exchange, queue=exchange if stays else None), told.append)
        at(url, lambda channel: channel.exchange_delete(exchange))
        await until(lambda: len(told) == 1)
        assert told == [f"exchange {exchange} was deleted, waiting for it"]
        at(url, lambda channel: channel.exchange_declare(exchange, "topic", durable=True))
        await until(lambda: len(told) == 2)
        assert told[1] == f"exchange {exchange} is there again, and the queue is bound to it"
        at(url, lambda channel: channel.basic_publish(exchange, "a.b", b"{}"))
        assert (await line.next()).message.subject == "a.b"
        await line.close()

    run(story)


@needs_amqp10
@needs_rabbitmq
@pytest.mark.needs_rabbitmq
def test_over_amqp_10_too(node: RabbitMQ, exchange: str) -> None:
    told: list[str] = []

    async def story() -> None:
        over_091 = Amqp091Source(parse(node.url.replace("amqp:", "amqp+10:"), "url"), "test", look_seconds=0.1)
        at(node.url, lambda channel: channel.exchange_declare(exchange, "topic", durable=True))
        line = await Amqp10Source(over_091).open(Binding(exchange=exchange), told.append)
        at(node.url, lambda channel: channel.exchange_delete(exchange))
        await until(lambda: len(told) == 1)
        at(node.url, lambda channel: channel.exchange_declare(exchange, "topic", durable=True))
        await until(lambda: len(told) == 2)
        at(node.url, lambda channel: channel.basic_publish(exchange, "a.b", b"{}"))
        assert (await line.next()).message.subject == "a.b"
        await line.close()

    run(story)


def test_a_binding_that_somebody_removed_comes_back(url: str, exchange: str) -> None:
    async def story() -> None:
        source = Amqp091Source(parse(url, "url"), "test", look_seconds=0.2)
        at(url, lambda channel: channel.exchange_declare(exchange, "topic", durable=True))
        line = await source.open(Binding(exchange=exchange, queue=exchange), print)
        at(url, lambda channel: channel.queue_unbind(exchange, exchange, "#"))
        waiting = asyncio.ensure_future(line.next())
        while not waiting.done():
            at(url, lambda channel: channel.basic_publish(exchange, "a.b", b"{}"))
            await asyncio.sleep(0.1)
        await line.close()

    run(story)


def test_a_queue_with_limits_of_its_owner_is_used_as_it_is(url: str, exchange: str) -> None:
    def prepare(channel: BlockingChannel) -> None:
        channel.exchange_declare(exchange, "topic", durable=True)
        channel.queue_declare(exchange, durable=True, arguments={"x-max-length": 100})

    async def story() -> None:
        at(url, prepare)
        async with pulpit.subscribe(url, exchange=exchange, queue=exchange) as events:
            at(url, lambda channel: channel.basic_publish(exchange, "a.b", b"{}"))
            assert (await anext(events)).subject == "a.b"

    run(story)


@needs_rabbitmq
@pytest.mark.needs_rabbitmq
@pytest.mark.parametrize("may_bind", [True, False])
def test_a_user_without_the_right_to_configure_uses_what_is_there(
    node: RabbitMQ, exchange: str, *, may_bind: bool
) -> None:
    """Passive declarations need no right, and a queue that is bound already needs no binding."""
    user = f"reader-{exchange[-8:]}"
    node.control("add_user", user, "reader")
    node.control("set_permissions", user, "^$", ".*" if may_bind else "^$", ".*")
    told: list[str] = []

    def prepare(channel: BlockingChannel) -> None:
        channel.exchange_declare(exchange, "topic", durable=True)
        channel.queue_declare(exchange, durable=True)
        channel.queue_bind(exchange, exchange, "#")

    async def story() -> None:
        at(node.url, prepare)
        url = f"amqp://{user}:reader@127.0.0.1:{node.port}"
        tell = lambda _level, sentence: told.append(sentence)  # noqa: E731 - read once
        async with pulpit.subscribe(url, exchange=exchange, queue=exchange, on_news=tell) as events:
            at(node.url, lambda channel: channel.basic_publish(exchange, "a.b", b"{}"))
            assert (await anext(events)).subject == "a.b"

    run(story)
    assert any("may not be bound here" in sentence for sentence in told) != may_bind


@contextlib.asynccontextmanager
async def spoilt(port: int, written: bytes, read: bytes) -> AsyncIterator[int]:
    """A way to a broker on which some bytes that it sends become others of the same length."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)

        async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(65_536):
                target.write(data.replace(written, read))
            target.close()

        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("written", "read", "words", "seen"),
    [
        (b"\x03oddS", b"\x03oddZ", "comes without some of its headers (unknown type 90)", {"first": 1}),
        (
            b"\x07odd-key",
            b"\xf7odd-key",
            "comes without some of its headers (a name without a value)",
            {"first": 1, "odd": "x"},
        ),
        (b"\x00\x00\x00\x2d\x05first", b"\xff\xff\xff\xff\x05first", "is rejected", None),
    ],
)
def test_a_message_that_cannot_be_read_costs_itself_alone(
    url: str, exchange: str, *, written: bytes, read: bytes, words: str, seen: dict[str, Any] | None
) -> None:
    """One connection, one sentence; what can be read is handed out, what cannot be is rejected."""
    told: list[str] = []
    dead = f"{exchange}-dead"

    def prepare(channel: BlockingChannel) -> None:
        channel.exchange_declare(exchange, "topic", durable=True)
        channel.queue_declare(dead, durable=True)
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
        channel.queue_declare(exchange, durable=True, arguments=arguments)
        channel.queue_bind(exchange, exchange, "#")
        odd = {"first": 1, "odd": "x", "odd-key": "y", "last": 2}
        for headers in (odd, {"first": 3}):
            channel.basic_publish(exchange, "a.b", b"{}", pika.BasicProperties(headers=headers))

    async def story() -> None:
        at(url, prepare)
        async with spoilt(parse(url, "url").port, written, read) as port:
            tell = lambda _level, sentence: told.append(sentence)  # noqa: E731 - read once
            where = f"amqp://guest:guest@127.0.0.1:{port}"
            async with pulpit.subscribe(where, exchange=exchange, queue=exchange, on_news=tell) as events:
                came = [(await anext(events)).headers for _ in range(1 if seen is None else 2)]
        assert came == ([{"first": 3}] if seen is None else [seen, {"first": 3}])

    run(story)
    assert sum("listening on exchange" in sentence for sentence in told) == 1
    assert len(told) == 2
    [sentence] = [sentence for sentence in told if sentence.startswith("a message with the subject a.b")]
    assert words in sentence
    with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        left = connection.channel().queue_declare(dead, passive=True).method.message_count
    assert left == (1 if seen is None else 0)
