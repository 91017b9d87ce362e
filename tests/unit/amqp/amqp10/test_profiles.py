"""How each broker addresses an exchange."""

import pytest

from pulpit.amqp.amqp10.codec import Described, Symbol
from pulpit.amqp.amqp10.links import Opened
from pulpit.amqp.amqp10.profiles import PLAIN, PROFILES, QPID, RABBITMQ_3, RABBITMQ_4, Profile, recognised


@pytest.mark.parametrize(
    ("properties", "profile"),
    [
        ({"product": "RabbitMQ", "version": "3.10.8"}, RABBITMQ_3),
        ({"product": "RabbitMQ", "version": "4.1.0"}, RABBITMQ_4),
        ({"product": "qpid-cpp", "version": "1.39.0"}, QPID),
        ({"product": 7}, PLAIN),
        ({}, PLAIN),
    ],
)
def test_a_broker_is_known_by_what_it_says_of_itself(properties: dict[str, object], profile: Profile) -> None:
    assert recognised(Opened(container="c", properties=properties)) is profile
    assert recognised(None) is PLAIN


def test_an_exchange_is_asked_with_a_topic_filter() -> None:
    source = QPID.exchange_source("pulp", "a.#", durable=False)
    assert source.address == "pulp"
    assert source.filters == {"topic": Described(Symbol("apache.org:legacy-amqp-topic-binding:string"), "a.#")}
    assert (source.durability, source.expiry) == (0, "session-end")


def test_a_durable_subscription_keeps_its_state() -> None:
    source = PLAIN.exchange_source("pulp", "#", durable=True)
    assert (source.durability, source.expiry) == (2, "never")


@pytest.mark.parametrize(
    ("profile", "address"), [(RABBITMQ_3, "/amq/queue/a/b"), (RABBITMQ_4, "/queues/a%2Fb"), (QPID, None), (PLAIN, None)]
)
def test_a_queue_has_the_address_of_the_broker_where_queues_are_made_over_0_9_1(
    profile: Profile, address: str | None
) -> None:
    assert (profile.queue_source("a/b").address if profile.queue else None) == address


def test_addresses_are_encoded_where_a_broker_decodes_them() -> None:
    assert PROFILES["rabbitmq4"].to("a/b", "c d.é") == "/exchanges/a%2Fb/c%20d.%C3%A9"
    assert PROFILES["rabbitmq3"].to("a/b", "c") is None
    assert PROFILES["plain"].target("a/b").address == "a/b"
