"""The amqp notifier over AMQP 1.0 against a real RabbitMQ with its plug-in."""

import asyncio
import contextlib
import json
import logging
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pika
import pytest

from pulpit.amqp.address import BrokerAddress, parse
from pulpit.amqp.amqp10.client import ClientSettings
from pulpit.amqp.amqp10.publisher import Publisher
from pulpit.delivery.notifiers.amqp10 import Amqp10
from pulpit.delivery.notifiers.port import DELIVERED, Notifier, Outcome, Retry
from pulpit.events import Event
from support.amqp10 import needs_amqp10
from support.authority import Authority
from support.made_events import event
from support.ports import free_port
from support.rabbitmq import RabbitMQ, certificate_log_in, needs_rabbitmq, rabbitmq

pytestmark = [needs_amqp10, needs_rabbitmq]
logging.getLogger("pika").setLevel(logging.CRITICAL)
PLUG_IN = ["rabbitmq_amqp1_0"]
MANY = 3000
"""Messages that no broker has accepted in the moment in which it is killed."""


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    with rabbitmq(tmp_path_factory.mktemp("rabbitmq"), PLUG_IN) as running:
        yield running


def address(broker: RabbitMQ) -> BrokerAddress:
    return parse(broker.url.replace("amqp://", "amqp+10://"), "url")


@contextlib.asynccontextmanager
async def notifier(
    config: Mapping[str, Any],
    *addresses: BrokerAddress,
    context: ssl.SSLContext | None = None,
    by_certificate: bool = False,
) -> AsyncIterator[Notifier]:
    settings = ClientSettings(name="test", context=context, by_certificate=by_certificate)
    kind = Amqp10(Publisher(addresses, settings), "amq.topic", source="/pulpit/test")
    kind.check_config(config)
    opened = kind.open(config)
    try:
        yield opened
    finally:
        await opened.close()
        await kind.close()


def deliver(config: Mapping[str, Any], *addresses: BrokerAddress, count: int = 3, **settings: Any) -> list[Outcome]:
    async def story() -> list[Outcome]:
        async with notifier(config, *addresses, **settings) as opened:
            return list(await opened.deliver([event(number) for number in range(1, count + 1)]))

    return asyncio.run(asyncio.wait_for(story(), 60))


@contextlib.contextmanager
def channel(broker: RabbitMQ) -> Iterator[Any]:
    with pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
        yield connection.channel()


def numbered(first: int, end: int) -> list[Event]:
    return [event(number, count=number) for number in range(first, end)]


def emptied(channel: Any, queue: str) -> list[int]:
    """The numbers of what lies in a queue, which is empty then."""
    found = []
    while (body := channel.basic_get(queue, auto_ack=True)[2]) is not None:
        found.append(json.loads(body)["payload"]["count"])
    return found


def test_the_exchange_is_durable_of_type_topic_and_there_before_the_first_event(broker: RabbitMQ) -> None:
    async def story() -> None:
        async with notifier({"exchange": "early/bird"}, address(broker)) as opened:
            await opened.prepare()
            with channel(broker) as ours:
                ours.exchange_declare("early/bird", "topic", durable=True)

    asyncio.run(story())


def test_the_subject_is_the_routing_key_and_properties_are_seen_over_0_9_1(broker: RabbitMQ) -> None:
    with channel(broker) as ours:
        ours.queue_declare("whole")
        ours.exchange_declare("whole", "topic", durable=True)
        ours.queue_bind("whole", "whole", "pulp.server.repo.*.finish")
        assert deliver({"exchange": "whole"}, address(broker), count=1) == [DELIVERED]
        method, properties, body = ours.basic_get("whole", auto_ack=True)
    fired = event()
    assert method.routing_key == "pulp.server.repo.sync.finish"
    assert body.decode() == fired.body
    assert (properties.content_type, properties.delivery_mode) == ("application/json", 2)
    assert len(properties.message_id) == 36


def test_a_full_window_goes_out_and_two_calls_keep_their_order(broker: RabbitMQ) -> None:
    async def story() -> None:
        async with notifier({"exchange": "many"}, address(broker)) as opened:
            await opened.prepare()
            with channel(broker) as ours:
                ours.queue_declare("many")
                ours.queue_bind("many", "many", "#")
                calls = [opened.deliver(numbered(f, f + 500)) for f in (1, 501)]
                assert [list(one) for one in await asyncio.gather(*calls)] == [[DELIVERED] * 500] * 2
                assert emptied(ours, "many") == list(range(1, 1001))

    asyncio.run(asyncio.wait_for(story(), 60))


def test_an_exchange_that_was_deleted_is_made_again(broker: RabbitMQ) -> None:
    async def story() -> None:
        async with notifier({"exchange": "deleted"}, address(broker)) as opened:
            assert await opened.deliver([event()]) == [DELIVERED]
            with channel(broker) as ours:
                ours.exchange_delete("deleted")
            (outcome,) = await opened.deliver([event()])
            assert isinstance(outcome, Retry)
            assert "no exchange 'deleted'" in outcome.reason
            assert await opened.deliver([event()]) == [DELIVERED]

    asyncio.run(asyncio.wait_for(story(), 60))


def test_whoever_may_not_create_is_told_what_somebody_must_do(broker: RabbitMQ) -> None:
    broker.control("add_user", "writer", "writer")
    broker.control("set_permissions", "writer", "^$", ".*", ".*")
    writer = BrokerAddress(host="127.0.0.1", port=broker.port, user="writer", password="writer")
    (outcome,) = deliver({"exchange": "forbidden"}, writer)
    assert isinstance(outcome, Retry)
    assert "The exchange forbidden cannot be created" in outcome.reason
    assert outcome.reason.endswith("create it there, durable and of type topic.")
    with channel(broker) as ours:
        ours.exchange_declare("forbidden", "topic", durable=True)
    assert deliver({"exchange": "forbidden"}, writer) == [DELIVERED] * 3


def test_a_log_in_that_fails_is_said_without_the_password(broker: RabbitMQ) -> None:
    (outcome,) = deliver({}, BrokerAddress(host="127.0.0.1", port=broker.port, user="guest", password="wrong"))
    assert isinstance(outcome, Retry)
    assert "The login was refused" in outcome.reason
    assert "wrong" not in outcome.reason


def test_a_broker_killed_in_mid_window_loses_nothing(tmp_path: Path) -> None:
    with rabbitmq(tmp_path / "mortal", PLUG_IN) as mortal:

        async def story() -> None:
            async with notifier({"exchange": "mortal"}, address(mortal)) as opened:
                await opened.prepare()
                with channel(mortal) as ours:
                    ours.queue_declare("mortal", durable=True)
                    ours.queue_bind("mortal", "mortal", "#")
                await asyncio.to_thread(mortal.remember)
                sending = asyncio.create_task(opened.deliver(numbered(1, MANY + 1)))
                await asyncio.sleep(0.01)
                await asyncio.to_thread(mortal.kill)
                delivered = sum(one == DELIVERED for one in await sending)
                (outcome,) = await opened.deliver([event(delivered + 1)])
                assert isinstance(outcome, Retry)
                await asyncio.to_thread(mortal.start)
                rest = numbered(delivered + 1, MANY + 1)
                assert list(await opened.deliver(rest)) == [DELIVERED] * len(rest)
                with channel(mortal) as ours:
                    found = emptied(ours, "mortal")
                assert list(dict.fromkeys(found)) == list(range(1, MANY + 1))

        asyncio.run(asyncio.wait_for(story(), 100))


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[tuple[int, Authority]]:
    """A RabbitMQ over TLS that takes client certificates as logins."""
    authority, port = Authority(tmp_path / "authority"), free_port()
    server = authority.issue("server")
    settings = certificate_log_in(port, authority.file, server, must_show=False)
    with rabbitmq(tmp_path / "rabbitmq", ["rabbitmq_auth_mechanism_ssl", *PLUG_IN], settings) as running:
        running.control("add_user", "robot", "never used")
        running.control("set_permissions", "robot", ".*", ".*", ".*")
        yield port, authority


def test_over_tls_the_certificate_and_the_host_are_checked_and_a_client_certificate_logs_in(
    secured: tuple[int, Authority], tmp_path: Path
) -> None:
    port, authority = secured
    guest = BrokerAddress(host="localhost", port=port, tls=True, user="guest", password="guest")
    assert deliver({}, guest, context=authority.client()) == [DELIVERED] * 3
    (outcome,) = deliver({}, guest, context=Authority(tmp_path / "other").client())
    assert isinstance(outcome, Retry)
    assert outcome.reason.startswith(f"The certificate of localhost:{port} is not trusted: ")
    mine = authority.client(authority.issue("client", "robot@example.com", common_name="robot"))
    robot = BrokerAddress(host="localhost", port=port, tls=True)
    assert deliver({"exchange": "mine"}, robot, context=mine, by_certificate=True) == [DELIVERED] * 3
    unknown = authority.client(authority.issue("other", "nobody@example.com", common_name="nobody"))
    (refused,) = deliver({}, robot, context=unknown, by_certificate=True)
    assert isinstance(refused, Retry)
    assert "The login was refused" in refused.reason
