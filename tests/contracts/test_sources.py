"""The contract of `pulpit.subscriber.source`, over both protocols and with every broker."""

import asyncio
import json
import uuid
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

import pika
import pytest

from pulpit.amqp.address import parse
from pulpit.subscriber.source import Binding, Delivery, Interrupted, Line, Source, SubscriptionRefused, Verdict
from pulpit.subscriber.subscribe import Identity, sources
from support.amqp10 import needs_amqp10
from support.embedded_broker import broker_process
from support.ports import free_port
from support.rabbitmq import major_version, needs_rabbitmq, rabbitmq
from support.tcp_proxy import cuttable

NEWS = "pulp.server.repo.sync.finish"


@dataclass(frozen=True, kw_only=True)
class World:
    """A broker, how it is published to, and how the source under test names it."""

    port: int
    scheme: str
    translates_headers: bool = True
    """RabbitMQ 3's plug-in keeps headers of AMQP 0-9-1 from those who speak 1.0, and those of 1.0 to them."""
    tells_of_deleted: bool = True
    """It also breaks the connection when a queue is deleted."""

    def source(self, *, port: int | None = None, user: str = "guest:guest") -> Source:
        address = parse(f"{self.scheme}://{user}@127.0.0.1:{port or self.port}", "test")
        [made] = sources([address], Identity(name="test"))
        return made

    def publish(self, exchange: str, *subjects: str, **properties: Any) -> None:
        """Make the exchange, if there is none, and publish a message for each subject, over AMQP 0-9-1."""
        with closing(pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", self.port))) as connection:
            channel = connection.channel()
            channel.exchange_declare(exchange, "topic", durable=True)
            channel.confirm_delivery()
            for number, subject in enumerate(subjects, 1):
                body = json.dumps({"n": number}).encode()
                channel.basic_publish(exchange, subject, body, pika.BasicProperties(**properties))

    def delete(self, queue: str) -> None:
        with closing(pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", self.port))) as connection:
            connection.channel().queue_delete(queue)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with broker_process(tmp_path_factory.mktemp("broker")) as broker:
        yield broker.port


@pytest.fixture(scope="module")
def real_rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with rabbitmq(tmp_path_factory.mktemp("rabbitmq"), ["rabbitmq_amqp1_0"]) as broker:
        yield broker.port


IS_NATIVE: Final = major_version() >= 4
"""Whether this RabbitMQ speaks 1.0 itself, which loses nothing between the protocols."""
RABBITMQ: Final = (pytest.mark.needs_rabbitmq, needs_rabbitmq)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(("embedded", {"scheme": "amqp"}), id="embedded-0-9-1"),
        pytest.param(("real_rabbitmq", {"scheme": "amqp"}), id="rabbitmq-0-9-1", marks=RABBITMQ),
        pytest.param(
            ("real_rabbitmq", {"scheme": "amqp+10", "translates_headers": IS_NATIVE, "tells_of_deleted": IS_NATIVE}),
            id="rabbitmq-1.0",
            marks=[*RABBITMQ, needs_amqp10],
        ),
    ],
)
def world(request: pytest.FixtureRequest) -> World:
    broker, manner = request.param
    return World(port=request.getfixturevalue(broker), **manner)


@pytest.fixture
def exchange() -> str:
    return f"pulp-{uuid.uuid4().hex}"


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 60))


def ignore(_sentence: str) -> None:
    """Nobody listens."""


SOON: Final = 10.0


async def taken(line: Line, count: int, verdict: Verdict | None = Verdict.ACCEPTED) -> list[Delivery]:
    deliveries = []
    for _ in range(count):
        delivery = await asyncio.wait_for(line.next(), SOON)
        if verdict is not None:
            line.settle(delivery, verdict)
        deliveries.append(delivery)
    return deliveries


def subjects(deliveries: list[Delivery]) -> list[str]:
    return [delivery.message.subject for delivery in deliveries]


def numbers(deliveries: list[Delivery]) -> list[int]:
    return [json.loads(delivery.message.body)["n"] for delivery in deliveries]


def test_a_message_arrives_whole(world: World, exchange: str) -> None:
    async def story() -> None:
        world.publish(exchange)
        line = await world.source().open(Binding(exchange=exchange), ignore)
        world.publish(
            exchange,
            NEWS,
            message_id="m1",
            content_type="application/json",
            timestamp=1_700_000_000,
            headers={"pulpit-number": 7, "pulpit-repo-id": "zoo"},
            delivery_mode=2,
        )
        [delivery] = await taken(line, 1)
        await line.close()
        message = delivery.message
        assert (message.subject, message.body, message.redelivered) == (NEWS, b'{"n": 1}', False)
        assert message.properties["message_id"] == "m1"
        assert message.properties["content_type"] == "application/json"
        assert message.properties["timestamp"] == 1_700_000_000
        expected = {"pulpit-number": 7, "pulpit-repo-id": "zoo"} if world.translates_headers else {}
        assert message.headers == expected
        assert message.exchange == exchange

    run(story)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("#", ["a.b", "a.b.c", "x.b.c"]),
        ("a.#", ["a.b", "a.b.c"]),
        ("a.*", ["a.b"]),
        ("#.c", ["a.b.c", "x.b.c"]),
        ("*.b.c", ["a.b.c", "x.b.c"]),
        ("a.b", ["a.b"]),
        ("nothing.#", []),
    ],
)
def test_only_subjects_that_match_come_and_in_order(
    world: World, exchange: str, pattern: str, expected: list[str]
) -> None:
    async def story() -> None:
        world.publish(exchange)
        narrow = await world.source().open(Binding(exchange=exchange, subject=pattern), ignore)
        whole = await world.source().open(Binding(exchange=exchange), ignore)
        world.publish(exchange, "a.b", "a.b.c", "x.b.c")
        await taken(whole, 3)
        assert subjects(await taken(narrow, len(expected))) == expected
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(narrow.next(), 0.1)
        await narrow.close()
        await whole.close()

    run(story)


def test_an_exchange_that_is_not_there_is_waited_for_and_told_once(world: World, exchange: str) -> None:
    async def story() -> None:
        told: list[str] = []
        absent = asyncio.Event()

        def tell(sentence: str) -> None:
            told.append(sentence)
            absent.set()

        opening = asyncio.create_task(world.source().open(Binding(exchange=exchange), tell))
        await asyncio.wait_for(absent.wait(), SOON)
        world.publish(exchange)
        line = await opening
        world.publish(exchange, NEWS)
        assert subjects(await taken(line, 1)) == [NEWS]
        await line.close()
        assert told == [f"exchange {exchange} does not exist yet, waiting for it"]

    run(story)


def test_the_wait_can_be_cancelled(world: World, exchange: str) -> None:
    async def story() -> None:
        absent = asyncio.Event()
        opening = asyncio.create_task(world.source().open(Binding(exchange=exchange), lambda _: absent.set()))
        await asyncio.wait_for(absent.wait(), SOON)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening

    run(story)


def test_a_named_queue_collects_and_hands_out_again_what_was_not_accepted(world: World, exchange: str) -> None:
    async def story() -> None:
        world.publish(exchange)
        binding = Binding(exchange=exchange, queue=f"{exchange}-kept")
        line = await world.source().open(binding, ignore)
        world.publish(exchange, "a", "b", "c", delivery_mode=2)
        await taken(line, 1)
        await taken(line, 1, verdict=None)
        await line.close()
        world.publish(exchange, "d", delivery_mode=2)
        line = await world.source().open(binding, ignore)
        again = await taken(line, 3)
        await line.close()
        world.delete(f"{exchange}-kept")
        assert subjects(again) == ["b", "c", "d"]
        assert again[0].message.redelivered

    run(story)


def test_what_is_released_comes_again(world: World, exchange: str) -> None:
    async def story() -> None:
        world.publish(exchange)
        line = await world.source().open(Binding(exchange=exchange), ignore)
        world.publish(exchange, "a")
        await taken(line, 1, Verdict.RELEASED)
        [again] = await taken(line, 1)
        await line.close()
        assert again.message.subject == "a"

    run(story)


def test_no_more_is_handed_out_than_was_asked_for(world: World, exchange: str) -> None:
    async def story() -> None:
        world.publish(exchange)
        line = await world.source().open(Binding(exchange=exchange, prefetch=2), ignore)
        world.publish(exchange, *"abcde")
        held = await taken(line, 2, verdict=None)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(line.next(), 0.3)
        for delivery in held:
            line.settle(delivery, Verdict.ACCEPTED)
        assert numbers(await taken(line, 3)) == [3, 4, 5]
        await line.close()

    run(story)


def test_a_cut_connection_interrupts_and_a_queue_that_stays_hands_out_again(world: World, exchange: str) -> None:
    async def story() -> None:
        world.publish(exchange)
        with cuttable(world.port) as wire:
            source = world.source(port=wire.port)
            binding = Binding(exchange=exchange, queue=f"{exchange}-kept")
            line = await source.open(binding, ignore)
            world.publish(exchange, "a", "b", delivery_mode=2)
            [held, _] = await taken(line, 2, verdict=None)
            wire.cut()
            with pytest.raises(Interrupted):
                await asyncio.wait_for(line.next(), SOON)
            line.settle(held, Verdict.ACCEPTED)  # into the void
            await line.close()
            line = await source.open(binding, ignore)
            assert subjects(await taken(line, 2)) == ["a", "b"]
            await line.close()
            world.delete(f"{exchange}-kept")

    run(story)


def test_a_queue_that_somebody_deletes_interrupts(world: World, exchange: str) -> None:
    async def story() -> None:
        world.publish(exchange)
        line = await world.source().open(Binding(exchange=exchange, queue=f"{exchange}-kept"), ignore)
        world.delete(f"{exchange}-kept")
        with pytest.raises(Interrupted) as interrupted:
            await asyncio.wait_for(line.next(), SOON)
        assert ("is gone, making it again" in (interrupted.value.sentence or "")) == world.tells_of_deleted
        await line.close()

    run(story)


def test_nobody_there_is_an_interruption_with_the_reason(world: World, exchange: str) -> None:
    async def story() -> None:
        with pytest.raises(Interrupted, match="Connection refused"):
            await world.source(port=free_port()).open(Binding(exchange=exchange), ignore)

    run(story)


def test_a_wrong_password_is_refused_for_good_and_in_no_text(world: World, exchange: str) -> None:
    async def story() -> None:
        with pytest.raises(SubscriptionRefused, match="refuses the user name or password") as refused:
            await world.source(user="guest:geheim").open(Binding(exchange=exchange), ignore)
        assert "geheim" not in str(refused.value)

    run(story)


def test_a_second_end_is_none(world: World, exchange: str) -> None:
    async def story() -> None:
        world.publish(exchange)
        line = await world.source().open(Binding(exchange=exchange), ignore)
        await line.close()
        await line.close()

    run(story)
