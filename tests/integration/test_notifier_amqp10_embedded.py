"""The amqp notifier over AMQP 1.0 against the embedded broker, which understands every profile's addresses."""

import asyncio
from typing import Any

import pika
import pytest

from pulpit.amqp.amqp10.address import Address
from pulpit.amqp.amqp10.client import Manner
from pulpit.delivery.notifiers.amqp10 import Amqp10
from pulpit.delivery.notifiers.amqp10_link import Link, Reading
from pulpit.delivery.notifiers.port import DELIVERED, Retry
from support.amqp10 import needs_amqp10
from support.broker_thread import broker_thread
from support.happenings import event

pytestmark = needs_amqp10


@pytest.mark.parametrize("profile", ["", "pulpit", "qpid", "rabbitmq3", "rabbitmq4"])
def test_the_exchange_is_made_and_routed_by_the_subject(profile: str) -> None:
    with broker_thread() as broker:

        async def story() -> None:
            address = Address(host="127.0.0.1", port=broker.port, user="guest", password="guest")
            kind = Amqp10(
                Link([address], Manner(name="test", allow_plain=lambda _: True), Reading(profile=profile)), "x"
            )
            opened = kind.open({"exchange": "made/here", "require_route": profile not in {"qpid", "rabbitmq3"}})
            await opened.prepare()
            await asyncio.to_thread(bind, "pulp.server.repo.*.finish")
            assert list(await opened.deliver([event(n) for n in range(1, 4)])) == [DELIVERED] * 3
            headers = await asyncio.to_thread(taken)
            assert [one["pulpit-number"] for one in headers] == [1, 2, 3]
            if profile not in {"qpid", "rabbitmq3"}:
                (outcome,) = await opened.deliver([event(4, "repo.sync.start")])
                assert outcome == Retry(reason="No queue is bound to made/here for pulp.server.repo.sync.start.")
            await opened.close()
            await kind.close()

        def bind(key: str) -> None:
            with pika.BlockingConnection(parameters) as connection:
                channel = connection.channel()
                channel.exchange_declare("made/here", passive=True)  # it is there
                channel.exchange_declare("made/here", "topic", durable=True)  # and it is this
                channel.queue_declare("all", durable=True)
                channel.queue_bind("all", "made/here", key)

        def taken() -> list[Any]:
            with pika.BlockingConnection(parameters) as connection:
                channel = connection.channel()
                return [channel.basic_get("all", auto_ack=True)[1].headers for _ in range(3)]

        parameters = pika.URLParameters(f"amqp://guest:guest@127.0.0.1:{broker.port}/%2F")
        asyncio.run(asyncio.wait_for(story(), 60))
