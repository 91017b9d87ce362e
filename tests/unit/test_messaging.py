"""The way to a broker outside, as the configuration describes it."""

import pytest

from pulpit.errors import ConfigurationError
from pulpit.messaging import broker_urls
from pulpit.settings import Messaging

SECRET = "hunter2"


def test_several_brokers_keep_their_order() -> None:
    assert broker_urls(Messaging(url="amqp://localhost, amqps://two")) == ["amqp://localhost", "amqps://two"]
    assert broker_urls(Messaging(url="")) == broker_urls(Messaging()) == []


def test_a_password_that_would_travel_unencrypted_is_refused_by_name_of_the_key() -> None:
    section = Messaging(url=f"amqps://u:{SECRET}@one, amqp://u:{SECRET}@two")
    with pytest.raises(ConfigurationError, match=r"\[messaging\] allow_plain_without_tls") as refused:
        broker_urls(section)
    assert refused.value.key == "[messaging] url"
    assert "two" in str(refused.value)
    assert SECRET not in str(refused.value)


def test_it_travels_where_the_key_allows_it() -> None:
    assert broker_urls(Messaging(url="amqp://two", allow_plain_without_tls=True)) == ["amqp://two"]
