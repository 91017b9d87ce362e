"""How each broker is asked over AMQP 1.0."""

import pytest

from pulpit.amqp.amqp10.codec import Described, Symbol
from pulpit.amqp.amqp10.events import Opened
from pulpit.subscriber.manners10 import OTHER, PULPIT, RABBITMQ_3, RABBITMQ_4, Broker, recognize
from pulpit.subscriber.wish import Wish

WISH = Wish(exchange="pulp", subject="a.#")
KEPT = Wish(exchange="pulp", queue="cache/cleaner")


@pytest.mark.parametrize(
    ("properties", "broker"),
    [
        ({"product": "RabbitMQ", "version": "4.0.0", "platform": "Pulpit 0.1.0"}, PULPIT),
        ({"product": "RabbitMQ", "version": "3.10.8"}, RABBITMQ_3),
        ({"product": "RabbitMQ", "version": "4.1.0"}, RABBITMQ_4),
        ({"product": "qpid-cpp", "version": "1.39.0"}, OTHER),
        ({"product": 7}, OTHER),
        ({}, OTHER),
    ],
)
def test_a_broker_is_known_by_what_it_says_of_itself(properties: dict[str, object], broker: Broker) -> None:
    assert recognize(Opened(container="c", hostname="", properties=properties)) is broker
    assert recognize(None) is OTHER


def test_an_exchange_is_asked_with_a_topic_filter() -> None:
    source = OTHER.exchange(WISH).source
    assert source.address == "pulp"
    assert source.filters == {"topic": Described(Symbol("apache.org:legacy-amqp-topic-binding:string"), "a.#")}
    assert (source.durability, source.expiry) == (0, "session-end")


def test_a_durable_subscription_keeps_its_name() -> None:
    place = OTHER.exchange(KEPT)
    assert place.name == "cache/cleaner"
    assert (place.source.durability, place.source.expiry) == (2, "never")


@pytest.mark.parametrize(
    ("broker", "wish", "declares"),
    [
        (PULPIT, WISH, False),
        (PULPIT, KEPT, True),
        (RABBITMQ_3, WISH, True),
        (RABBITMQ_3, KEPT, True),
        (RABBITMQ_4, WISH, True),
        (OTHER, WISH, False),
        (OTHER, KEPT, False),
    ],
)
def test_queues_are_made_over_the_other_protocol_where_the_broker_speaks_it(
    broker: Broker, wish: Wish, declares: bool
) -> None:
    assert broker.declares(wish) == declares


@pytest.mark.parametrize(
    ("broker", "address"),
    [(PULPIT, "/queues/a%2Fb"), (RABBITMQ_3, "/amq/queue/a/b"), (RABBITMQ_4, "/queues/a%2Fb")],
)
def test_a_queue_has_the_address_of_the_broker(broker: Broker, address: str) -> None:
    assert broker.queue("a/b").source.address == address
