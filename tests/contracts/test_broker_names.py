"""Names outside the specification's grammar that RabbitMQ accepts."""

import pika
import pytest

NAMES = ["with space", "mine\x1b[2J", "größer", "a|b&c", "x" * 255]


@pytest.mark.parametrize("name", NAMES)
def test_queues_exchanges_and_keys_may_be_named_freely(port: int, name: str) -> None:
    with pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port)) as connection:
        channel = connection.channel()
        exchange = name[:100]
        assert channel.queue_declare(name, auto_delete=True).method.queue == name
        channel.exchange_declare(exchange, "topic", auto_delete=True)
        channel.queue_bind(name, exchange, name)
        channel.basic_publish(exchange, name, b"x")
        tag = channel.basic_consume(name, lambda *_: None)
        channel.basic_cancel(tag)
        channel.queue_delete(name)
