"""`pulpit.subscribe` against a real broker."""

import asyncio
import contextlib
import json
import logging
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Final

import pika
import pytest

import pulpit
from pulpit.errors import ConfigurationError
from support.amqp10 import needs_amqp10
from support.embedded_broker import BrokerProcess, broker_process
from support.made_events import event as fired
from support.ports import free_port
from support.rabbitmq import RabbitMQ, needs_rabbitmq, rabbitmq
from support.tcp_proxy import cuttable
from support.waiting import until

SOON: Final = 10.0


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    with broker_process(tmp_path_factory.mktemp("broker")) as process:
        yield process


@pytest.fixture(scope="module")
def real_rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    with rabbitmq(tmp_path_factory.mktemp("rabbitmq"), ["rabbitmq_amqp1_0"]) as node:
        yield node


@pytest.fixture(
    params=["amqp", pytest.param("amqp+10", marks=[pytest.mark.needs_rabbitmq, needs_rabbitmq, needs_amqp10])]
)
def scheme(request: pytest.FixtureRequest) -> str:
    """Both protocols; RabbitMQ's plug-in for AMQP 1.0 loses the headers of 0-9-1, and what is known from them."""
    return str(request.param)


@pytest.fixture
def broker(request: pytest.FixtureRequest) -> BrokerProcess | RabbitMQ:
    speaks_10 = "scheme" in request.fixturenames and request.getfixturevalue("scheme") == "amqp+10"
    chosen: BrokerProcess | RabbitMQ = request.getfixturevalue("real_rabbitmq" if speaks_10 else "embedded")
    return chosen


def url_of(port: int, scheme: str = "amqp") -> str:
    return f"{scheme}://guest:guest@127.0.0.1:{port}"


@pytest.fixture
def exchange(broker: BrokerProcess | RabbitMQ) -> str:
    name = f"pulp-{uuid.uuid4().hex}"
    publish(broker, name, [])
    return name


def publish(
    broker: BrokerProcess | RabbitMQ, exchange: str, numbers: Sequence[int], *, repo_id: str = "zoo"
) -> list[str]:
    """Publish events with these numbers, as Pulpit does; answers their ids."""
    from pulpit.delivery.notifiers.amqp091_message import properties  # noqa: PLC0415 - of the server, not of who subscribes

    ids = []
    with contextlib.closing(pika.BlockingConnection(pika.URLParameters(broker.url))) as connection:
        channel = connection.channel()
        channel.exchange_declare(exchange, "topic", durable=True)
        channel.confirm_delivery()
        for number in numbers:
            event = fired(number, repo_id=repo_id)
            channel.basic_publish(exchange, event.subject, event.body.encode(), properties(event, "/pulpit/test"))
            ids.append(event.id)
    return ids


def repeat(broker: BrokerProcess | RabbitMQ, exchange: str, event: pulpit.Event) -> None:
    """Publish the very message again, as a server does that died before it could note the confirm."""
    with contextlib.closing(pika.BlockingConnection(pika.URLParameters(broker.url))) as connection:
        properties = pika.BasicProperties(headers=dict(event.headers), message_id=event.id, delivery_mode=2)
        connection.channel().basic_publish(exchange, event.subject, event.body, properties)


def waiting(broker: BrokerProcess | RabbitMQ, queue: str) -> int:
    """How many messages wait in a queue that nobody reads; it is deleted."""
    with contextlib.closing(pika.BlockingConnection(pika.URLParameters(broker.url))) as connection:
        channel = connection.channel()
        count: int = channel.queue_declare(queue, passive=True).method.message_count
        channel.queue_delete(queue)
        return count


async def some(events: pulpit.Subscription, count: int) -> list[pulpit.Event]:
    taken = []
    async with asyncio.timeout(SOON):
        for _ in range(count):
            taken.append(await anext(events))  # noqa: PERF401 - one after the other
    return taken


def numbers(events: Sequence[pulpit.Event]) -> list[int | None]:
    return [event.number for event in events]


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 60))


def test_events_come_typed_and_in_order(broker: BrokerProcess, exchange: str) -> None:
    async def story() -> None:
        seen = []
        async with pulpit.subscribe(
            url_of(broker.port), exchange=exchange, subject="pulp.server.repo.*.finish"
        ) as events:
            ids = publish(broker, exchange, [1, 2, 3])
            async for event in events:
                seen.append(event)
                if event.number == 3:
                    break
        assert [event.id for event in seen] == ids
        assert [event.repo_number for event in seen] == [1, 2, 3]
        assert {event.subject for event in seen} == {"pulp.server.repo.sync.finish"}
        assert {event.event_type for event in seen} == {"repo.sync.finish"}
        assert seen[0].payload == {"repo_id": "zoo"} == json.loads(seen[0].body)["payload"]
        assert seen[0].occurred_at == fired(1).occurred_at.replace(microsecond=0)
        assert not seen[0].redelivered

    run(story)


def test_an_event_is_done_when_the_next_is_asked_for_or_the_block_is_left(broker: BrokerProcess, exchange: str) -> None:
    async def story() -> None:
        queue = f"{exchange}-kept"
        async with pulpit.subscribe(url_of(broker.port), exchange=exchange, queue=queue) as events:
            publish(broker, exchange, [1, 2, 3, 4])
            await some(events, 2)
        with contextlib.suppress(ZeroDivisionError):
            async with pulpit.subscribe(url_of(broker.port), exchange=exchange, queue=queue) as events:
                assert numbers(await some(events, 1)) == [3]
                raise ZeroDivisionError
        async with pulpit.subscribe(url_of(broker.port), exchange=exchange, queue=queue) as events:
            again = await some(events, 1)
            assert numbers(again) == [3]
            assert again[0].redelivered
        assert waiting(broker, queue) == 1

    run(story)


def work() -> None:
    """Do what takes some time and lets nobody else run."""
    time.sleep(0.02)


def test_an_acknowledgement_leaves_before_the_next_event_is_handed_out_to_who_takes_long(
    broker: BrokerProcess | RabbitMQ, exchange: str, scheme: str
) -> None:
    async def story() -> None:
        with cuttable(broker.port) as wire:
            async with pulpit.subscribe(url_of(wire.port, scheme), exchange=exchange) as events:
                publish(broker, exchange, [1, 2, 3])
                await some(events, 1)
                await asyncio.sleep(0.1)  # so that the others have come and nothing has to be waited for
                for _ in range(2):
                    work()
                    before = wire.sent
                    await anext(events)
                    until(lambda before=before: wire.sent > before, what="the acknowledgement")  # type: ignore[misc]

    run(story)


def test_a_cancelled_reader_gives_back_what_it_had_not_done(broker: BrokerProcess | RabbitMQ, exchange: str) -> None:
    async def story() -> None:
        queue = f"{exchange}-kept"
        begun = asyncio.Event()

        async def work() -> None:
            async with pulpit.subscribe(broker.url, exchange=exchange, queue=queue) as events:
                publish(broker, exchange, [1, 2])
                async for _ in events:
                    begun.set()
                    await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await asyncio.wait_for(begun.wait(), SOON)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert waiting(broker, queue) == 2

    run(story)


def test_explicit_acknowledgement_is_per_event(broker: BrokerProcess, exchange: str) -> None:
    async def story() -> None:
        queue = f"{exchange}-kept"
        asked = {"exchange": exchange, "queue": queue, "acknowledge": "explicit"}
        async with pulpit.subscribe(url_of(broker.port), **asked) as events:  # type: ignore[arg-type] # keywords by name
            publish(broker, exchange, [1, 2, 3])
            first, second, third = await some(events, 3)
            events.acknowledge(second)
            events.acknowledge(second)
            events.release(third)
            assert numbers(await some(events, 1)) == [3]
            assert first.number == 1
        assert waiting(broker, queue) == 2

    run(story)


def test_a_lost_connection_is_made_again_and_nothing_comes_twice(broker: BrokerProcess, exchange: str) -> None:
    async def story() -> None:
        queue, news = f"{exchange}-kept", []
        with cuttable(broker.port) as wire:
            url = url_of(wire.port)
            async with pulpit.subscribe(
                url, exchange=exchange, queue=queue, on_news=lambda level, sentence: news.append((level, sentence))
            ) as events:
                publish(broker, exchange, [1, 2])
                seen = await some(events, 2)
                wire.cut()  # the second is in hand: done here, and the broker has no word of it
                publish(broker, exchange, [3])
                seen += await some(events, 1)
        assert numbers(seen) == [1, 2, 3]
        assert waiting(broker, queue) == 0
        where = f"amqp://127.0.0.1:{wire.port}"
        assert news == [
            (logging.INFO, f"listening on exchange {exchange} for #"),
            (logging.WARNING, f"connection to {where} lost, trying again"),
            (logging.INFO, f"listening on exchange {exchange} for #"),
        ]

    run(story)


def test_a_copy_of_what_is_in_hand_is_settled_with_it(broker: BrokerProcess, exchange: str) -> None:
    async def story() -> None:
        queue = f"{exchange}-kept"
        with cuttable(broker.port) as wire:
            url = url_of(wire.port)
            async with pulpit.subscribe(url, exchange=exchange, queue=queue, acknowledge="explicit") as events:
                publish(broker, exchange, [1])
                [held] = await some(events, 1)
                wire.cut()
                publish(broker, exchange, [2])
                [second] = await some(events, 1)
                assert second.number == 2
                events.acknowledge(held)
                events.acknowledge(second)
        assert waiting(broker, queue) == 0

    run(story)


def test_duplicates_are_dropped_by_their_id_unless_nothing_is_remembered(
    broker: BrokerProcess | RabbitMQ, exchange: str
) -> None:
    async def story() -> None:
        async with (
            pulpit.subscribe(broker.url, exchange=exchange) as events,
            pulpit.subscribe(broker.url, exchange=exchange, remember=0) as everything,
        ):
            publish(broker, exchange, [1])
            [first] = await some(events, 1)
            repeat(broker, exchange, first)
            publish(broker, exchange, [2])
            assert numbers(await some(events, 1)) == [2]
            assert numbers(await some(everything, 3)) == [1, 1, 2]

    run(story)


def test_a_gap_is_reported_before_the_event_that_shows_it(broker: BrokerProcess, exchange: str) -> None:
    async def story() -> None:
        happened: list[Any] = []
        async with pulpit.subscribe(url_of(broker.port), exchange=exchange, on_gap=happened.append) as events:
            publish(broker, exchange, [1, 2, 5])
            publish(broker, exchange, [9], repo_id="other")
            for _ in range(4):
                happened += numbers(await some(events, 1))
            gap = pulpit.Gap(repo_id="zoo", first=3, last=4)
            assert happened == [1, 2, gap, 5, 9]
            assert events.missing == (gap,)
            publish(broker, exchange, [3])
            await some(events, 1)
            assert events.missing == (pulpit.Gap(repo_id="zoo", first=4, last=4),)
            assert events.last_numbers == {"zoo": 5, "other": 9}
            last = events.last_numbers
        async with pulpit.subscribe(
            url_of(broker.port), exchange=exchange, on_gap=happened.append, last_numbers=last
        ) as events:
            publish(broker, exchange, [7])
            await some(events, 1)
        assert happened[-1] == pulpit.Gap(repo_id="zoo", first=6, last=6)

    run(story)


def test_it_is_iterated_over_within_its_block_only() -> None:
    async def story() -> None:
        with pytest.raises(RuntimeError, match="within `async with`"):
            await anext(pulpit.subscribe())

    run(story)


def test_no_gap_is_guessed_where_the_subject_leaves_events_out() -> None:
    with pytest.raises(ConfigurationError, match="leaves events out"):
        pulpit.subscribe(subject="pulp.server.repo.*.finish", on_gap=print)


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ({"url": "http://broker"}, "url"),
        ({"url": []}, "url"),
        ({"url": "amqp://u:p@broker"}, "url"),
        ({"exchange": ""}, "exchange"),
        ({"subject": "x" * 256}, "subject"),
        ({"queue": ""}, "queue"),
        ({"queue_type": "quorum"}, "queue_type"),
        ({"prefetch": 0}, "prefetch"),
        ({"queue": "q", "queue_type": "stream"}, "queue_type"),
        ({"acknowledge": "never"}, "acknowledge"),
        ({"remember": -1}, "remember"),
        ({"exchange": "\udcff"}, "exchange"),
        ({"url": "amqps://localhost", "ca_path": "/nowhere"}, "ca_path"),
    ],
)
def test_arguments_that_cannot_be_used_are_named(arguments: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        pulpit.subscribe(**arguments)
    assert refused.value.key == key


def test_of_several_brokers_one_that_answers_is_enough(broker: BrokerProcess | RabbitMQ, exchange: str) -> None:
    async def story() -> None:
        told: list[str] = []
        urls = [f"amqp://localhost:{free_port()}", f"amqp://guest:wrong@127.0.0.1:{broker.port}", broker.url]
        async with pulpit.subscribe(
            urls, exchange=exchange, on_news=lambda _, sentence: told.append(sentence)
        ) as events:
            publish(broker, exchange, [1])
            assert numbers(await some(events, 1)) == [1]
        assert "cannot connect" in told[0]
        assert "refuses the user name or password; trying the next broker" in told[1]
        assert told[2:] == [f"listening on exchange {exchange} for #"]

    run(story)


def test_when_every_broker_refuses_that_is_an_error(broker: BrokerProcess | RabbitMQ, exchange: str) -> None:
    async def story() -> None:
        urls = [f"amqp://guest:geheim@127.0.0.1:{broker.port}", f"amqp://guest:geheim@localhost:{broker.port}"]
        with pytest.raises(pulpit.SubscriptionRefused, match="refuses the user name or password") as refused:
            async with pulpit.subscribe(urls, exchange=exchange):
                pass
        assert "geheim" not in str(refused.value)

    run(story)


def test_a_broker_that_comes_later_is_waited_for(broker: BrokerProcess | RabbitMQ, exchange: str) -> None:
    async def story() -> None:
        async with pulpit.subscribe(broker.url, exchange=exchange) as events:
            broker.kill()
            waiting_for = asyncio.create_task(some(events, 1))
            await asyncio.to_thread(broker.start)
            while not waiting_for.done():
                await asyncio.to_thread(publish, broker, exchange, [1])
                await asyncio.sleep(0.05)
            assert numbers(await waiting_for) == [1]

    run(story)


def test_nothing_is_left_running_behind_a_subscription(
    broker: BrokerProcess | RabbitMQ, exchange: str, scheme: str
) -> None:
    async def story() -> None:
        before = asyncio.all_tasks()
        async with pulpit.subscribe(url_of(broker.port, scheme), exchange=exchange):
            pass
        assert asyncio.all_tasks() == before

    threads = threading.active_count()
    run(story)
    assert threading.active_count() == threads


def test_it_starts_with_nothing_of_the_server() -> None:
    program = (
        "import sys, pulpit\n"
        "assert 'pika' not in sys.modules\n"
        "pulpit.subscribe('amqp://localhost', exchange='pulp')\n"
        "of_the_server = {'sqlalchemy', 'fastapi', 'uvicorn', 'aiohttp', 'alembic', 'pulpit.settings', 'click'}\n"
        "sys.exit(str(of_the_server & set(sys.modules)) if of_the_server & set(sys.modules) else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
