"""The amqp notifier with a real RabbitMQ: what it declares and sends, and what it does on failures."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pika
import pytest

from pulpit.amqp.address import parse_all
from pulpit.amqp.amqp091.confirm_channel import Outgoing
from pulpit.amqp.amqp091.publisher import Publisher
from pulpit.delivery.notifiers.amqp091 import Amqp091
from pulpit.delivery.notifiers.port import DELIVERED, Notifier, Outcome, Retry
from pulpit.errors import InvalidValue
from support.embedded_broker import broker_thread
from support.made_events import event
from support.ports import free_port
from support.rabbitmq import RabbitMQ, needs_rabbitmq, rabbitmq

pytestmark = needs_rabbitmq
logging.getLogger("pika").setLevel(logging.CRITICAL)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    with rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as running:
        yield running


@contextlib.asynccontextmanager
async def notifier(config: Mapping[str, Any], *urls: str) -> AsyncIterator[Notifier]:
    kind = Amqp091(Publisher(parse_all(urls, "test")), "amq.topic", source="/pulpit/test")
    kind.check_config(config)
    opened = kind.open(config)
    try:
        yield opened
    finally:
        await opened.close()
        await kind.close()


def deliver(config: Mapping[str, Any], *urls: str, count: int = 3) -> Sequence[Outcome]:
    async def story() -> Sequence[Outcome]:
        async with notifier(config, *urls) as opened:
            return await opened.deliver([event(number) for number in range(1, count + 1)])

    return asyncio.run(story())


@contextlib.contextmanager
def channel(broker: RabbitMQ) -> Iterator[Any]:
    with pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
        yield connection.channel()


def test_the_exchange_is_durable_of_type_topic_and_there_before_the_first_event(broker: RabbitMQ) -> None:
    async def story() -> None:
        async with notifier({"exchange": "early"}, broker.url) as opened:
            await opened.prepare()
            with channel(broker) as ours:
                ours.exchange_declare("early", "topic", durable=True)

    asyncio.run(story())


def test_a_message_says_everything_about_its_event(broker: RabbitMQ) -> None:
    with channel(broker) as ours:
        ours.exchange_declare("whole", "topic", durable=True)
        ours.queue_declare("whole")
        ours.queue_bind("whole", "whole", "pulp.server.repo.*.finish")
        assert deliver({"exchange": "whole"}, broker.url, count=1) == [DELIVERED]
        usual = ours.basic_get("whole", auto_ack=True)[1]
        assert deliver({"exchange": "whole", "format": "cloudevents"}, broker.url, count=1) == [DELIVERED]
        method, properties, body = ours.basic_get("whole", auto_ack=True)
    fired = event()
    assert method.routing_key == "pulp.server.repo.sync.finish"
    assert body.decode() == fired.body
    assert (properties.type, properties.app_id, properties.delivery_mode) == ("repo.sync.finish", "pulpit", 2)
    headers = properties.headers
    assert (headers["pulpit-number"], headers["pulpit-repo-id"], headers["pulpit-repo-number"]) == (1, "zoo", 1)
    assert headers["traceparent"] == fired.traceparent
    assert usual.headers == {name: value for name, value in headers.items() if not name.startswith("cloudEvents:")}
    assert headers["cloudEvents:id"] == properties.message_id
    assert {headers["cloudEvents:specversion"], headers["cloudEvents:source"]} == {"1.0", "/pulpit/test"}
    assert (headers["cloudEvents:type"], headers["cloudEvents:subject"]) == ("repo.sync.finish", "zoo")


def test_a_message_leaves_before_the_loop_has_another_turn(broker: RabbitMQ) -> None:
    async def story() -> None:
        publisher = Publisher(parse_all([broker.url], "test"))
        publishing = await publisher.channel()
        with channel(broker) as ours:
            queue = ours.queue_declare("", exclusive=True).method.queue
            ours.queue_bind(queue, "amq.topic", "now")
            publishing.publish("amq.topic", [Outgoing("now", bytes(2), b"here")])
            _, _, body = next(ours.consume(queue, auto_ack=True, inactivity_timeout=30))
        assert body == b"here"
        await publisher.close()

    asyncio.run(story())


@pytest.mark.parametrize(
    ("template", "key"),
    [
        ("pulp.server.{event_type}.{repo_id}", "pulp.server.repo.sync.finish.zoo"),
        ("{repo_id}.{result}", "zoo._"),
        ("fixed", "fixed"),
    ],
)
def test_a_routing_key_of_ones_own(broker: RabbitMQ, template: str, key: str) -> None:
    with channel(broker) as ours:
        queue = ours.queue_declare("", exclusive=True).method.queue
        ours.queue_bind(queue, "amq.topic", key)
        assert deliver({"routing_key": template}, broker.url, count=1) == [DELIVERED]
        assert ours.basic_get(queue, auto_ack=True)[0].routing_key == key


def test_a_refused_message_is_sent_again_on_another_channel(broker: RabbitMQ) -> None:
    """A channel that RabbitMQ opened while a quorum queue had no leader refuses everything for ever."""
    full = {"x-max-length": 1, "x-overflow": "reject-publish"}

    async def story(ours: Any) -> None:
        async with notifier({"exchange": "full"}, broker.url) as opened:
            assert await opened.deliver([event(1)]) == [DELIVERED]
            before = broker.control("list_channels", "--no-table-headers", "pid")
            assert await opened.deliver([event(2)]) == [Retry(reason="The broker refused the message (basic.nack).")]
            ours.queue_purge("full")
            assert await opened.deliver([event(2)]) == [DELIVERED]
            assert broker.control("list_channels", "--no-table-headers", "pid") != before

    with channel(broker) as ours:
        ours.exchange_declare("full", "topic", durable=True)
        ours.queue_declare("full", arguments=full)
        ours.queue_bind("full", "full", "#")
        asyncio.run(story(ours))


def test_without_a_queue_an_event_is_delivered_unless_a_route_is_required(broker: RabbitMQ) -> None:
    assert deliver({"exchange": "lonely"}, broker.url) == [DELIVERED] * 3
    (outcome,) = deliver({"exchange": "lonely", "require_route": True}, broker.url)
    assert isinstance(outcome, Retry)
    assert outcome.reason == "No queue is bound to lonely for pulp.server.repo.sync.finish."
    with channel(broker) as ours:
        queue = ours.queue_declare("", exclusive=True).method.queue
        ours.queue_bind(queue, "lonely", "#")
        assert deliver({"exchange": "lonely", "require_route": True}, broker.url) == [DELIVERED] * 3


def test_an_exchange_of_another_type_is_a_clear_error_and_another_durability_is_none(broker: RabbitMQ) -> None:
    with channel(broker) as ours:
        ours.exchange_declare("wrong", "fanout", durable=True)
        ours.exchange_declare("fleeting", "topic", durable=False)
    (outcome,) = deliver({"exchange": "wrong"}, broker.url)
    assert isinstance(outcome, Retry)
    assert "The exchange wrong exists and is no topic exchange" in outcome.reason
    assert deliver({"exchange": "fleeting"}, broker.url) == [DELIVERED] * 3


def test_an_exchange_of_the_broker_is_never_declared(broker: RabbitMQ) -> None:
    (outcome,) = deliver({"exchange": "amq.nonsense"}, broker.url)
    assert isinstance(outcome, Retry)
    assert "no exchange 'amq.nonsense'" in outcome.reason


def test_an_exchange_that_was_deleted_is_made_again(broker: RabbitMQ) -> None:
    async def story() -> None:
        async with notifier({"exchange": "deleted"}, broker.url) as opened:
            assert await opened.deliver([event()]) == [DELIVERED]
            with channel(broker) as ours:
                ours.exchange_delete("deleted")
            (outcome,) = await opened.deliver([event()])
            assert isinstance(outcome, Retry)
            assert "no exchange 'deleted'" in outcome.reason
            assert await opened.deliver([event()]) == [DELIVERED]

    asyncio.run(story())


def test_many_listeners_of_one_exchange_that_was_deleted_all_find_it_again(broker: RabbitMQ) -> None:
    async def until_delivered(opened: Notifier) -> None:
        while await opened.deliver([event(1)]) != [DELIVERED]:
            pass

    async def story() -> None:
        kind = Amqp091(Publisher(parse_all([broker.url], "test")), "amq.topic")
        everybody = [kind.open({"exchange": "shared"}) for _ in range(5)]
        await asyncio.gather(*(opened.prepare() for opened in everybody))
        with channel(broker) as ours:
            ours.exchange_declare("shared", "topic", passive=True)
            ours.exchange_delete("shared")
        async with asyncio.timeout(60):
            await asyncio.gather(*map(until_delivered, everybody))
        with channel(broker) as ours:
            ours.exchange_declare("shared", "topic", passive=True)
        for opened in everybody:
            await opened.close()
        await kind.close()

    asyncio.run(story())


def test_of_several_brokers_the_next_is_tried(broker: RabbitMQ) -> None:
    async def story() -> None:
        nobody = f"amqp://guest:guest@127.0.0.1:{free_port()}/%2F"
        async with notifier({}, nobody, broker.url) as opened:
            (outcome,) = await opened.deliver([event()])
            assert isinstance(outcome, Retry)
            assert "cannot be used: Connection refused." in outcome.reason
            assert await opened.deliver([event()]) == [DELIVERED]

    asyncio.run(story())


@pytest.mark.parametrize(("user", "words"), [("guest:wrong", "the login was refused"), ("guest:guest", "virtual host")])
def test_a_log_in_that_fails_is_said_without_the_password(broker: RabbitMQ, user: str, words: str) -> None:
    host = "%2F" if "wrong" in user else "nowhere"
    (outcome,) = deliver({}, f"amqp://{user}@127.0.0.1:{broker.port}/{host}")
    assert isinstance(outcome, Retry)
    assert words in outcome.reason
    assert "wrong" not in outcome.reason


def test_a_broker_that_blocks_publishers_delays_and_says_why(tmp_path: Path) -> None:
    with rabbitmq(tmp_path / "blocking") as broker:

        async def story() -> None:
            async with notifier({}, broker.url) as opened:
                assert await opened.deliver([event()]) == [DELIVERED]
                await asyncio.to_thread(broker.control, "set_vm_memory_high_watermark", "0.0000001")
                sending = asyncio.create_task(opened.deliver([event(2)]))
                done, _ = await asyncio.wait({sending}, timeout=5)
                assert not done
                (outcome,) = await opened.deliver([event(2)])
                assert isinstance(outcome, Retry)
                assert "takes no messages now" in outcome.reason
                await asyncio.to_thread(broker.control, "set_vm_memory_high_watermark", "0.5")
                assert await asyncio.wait_for(sending, 20) == [DELIVERED]
                assert await opened.deliver([event(3)]) == [DELIVERED]

        asyncio.run(story())


@pytest.mark.parametrize(
    "config",
    [
        {"exchnage": "pulp"},
        {"exchange": 3},
        {"exchange": "x" * 128},
        {"exchange": "a\nb"},
        {"routing_key": "{repo}"},
        {"require_route": "yes"},
        {"format": "protobuf"},
    ],
)
def test_a_configuration_that_cannot_work_is_refused_when_it_is_given(config: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue) as caught:
        Amqp091(Publisher(parse_all("amqp://127.0.0.1", "test")), "amq.topic").check_config(config)
    assert caught.value.property_names == ["notifier_config"]


def test_an_idle_notifier_makes_the_exchange_again_when_a_broker_that_keeps_nothing_comes_back() -> None:
    """Subscribers can bind before the next event."""
    port = free_port()

    def is_there() -> bool:
        try:
            with pika.BlockingConnection(pika.URLParameters(f"amqp://127.0.0.1:{port}")) as connection:
                connection.channel().exchange_declare("pulp", passive=True)
        except pika.exceptions.AMQPError:
            return False
        return True

    async def story() -> None:
        async with notifier({"exchange": "pulp"}, f"amqp://127.0.0.1:{port}") as opened:
            with broker_thread(port=port):
                await opened.prepare()
                assert await asyncio.to_thread(is_there)
            with broker_thread(port=port):
                while not await asyncio.to_thread(is_there):  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.05)

    asyncio.run(asyncio.wait_for(story(), 60))


def test_a_user_without_the_right_to_configure_publishes_to_what_is_there(broker: RabbitMQ) -> None:
    broker.control("add_user", "writer", "writer")
    broker.control("set_permissions", "writer", "^$", ".*", ".*")
    url = broker.url.replace("guest:guest", "writer:writer")
    (outcome,) = deliver({"exchange": "theirs"}, url)
    assert isinstance(outcome, Retry)
    assert outcome.reason.startswith("The exchange theirs is missing and this user may not make it (")
    with channel(broker) as ours:
        ours.exchange_declare("theirs", "topic", durable=True)
        ours.queue_declare("theirs")
        ours.queue_bind("theirs", "theirs", "#")
        assert deliver({"exchange": "theirs"}, url) == [DELIVERED] * 3
        assert ours.queue_declare("theirs", passive=True).method.message_count == 3


def test_a_connection_without_a_channel_left_is_a_sentence_and_costs_the_other_listeners_nothing() -> None:
    async def story(port: int) -> None:
        url = f"amqp://guest:guest@127.0.0.1:{port}/"
        kind = Amqp091(Publisher(parse_all([url], "test")), "amq.topic", source="/pulpit/test")
        listeners = [kind.open({}) for _ in range(3)]
        outcomes = [(await listener.deliver([event()]))[0] for listener in listeners]
        assert outcomes[:2] == [DELIVERED, DELIVERED]
        assert isinstance(outcomes[2], Retry)
        assert "all channels that it allows on a connection are in use" in outcomes[2].reason
        await listeners[0].close()
        assert [(await listener.deliver([event(2)]))[0] for listener in listeners[1:]] == [DELIVERED, DELIVERED]
        for listener in listeners:
            await listener.close()
        await kind.close()

    with broker_thread(channel_max=2) as broker:
        asyncio.run(story(broker.port))
