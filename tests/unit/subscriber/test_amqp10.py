"""AMQP 1.0 messages as subscribers get them."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulpit.amqp.amqp10 import message as amqp10
from pulpit.amqp.amqp10.codec import Symbol, Ulong
from pulpit.amqp.amqp10.message import Sequences, Value
from pulpit.amqp.amqp10.profiles import PLAIN, RABBITMQ_4
from pulpit.subscriber.amqp10 import read_message
from pulpit.subscriber.event import Message
from pulpit.subscriber.event import read as read_event


def arrived(*, profile: Any = PLAIN, **fields: Any) -> Message:
    return read_message(amqp10.encode(amqp10.Message(**fields)), "pulp", profile)


def test_the_properties_have_the_names_of_the_other_protocol() -> None:
    message = arrived(
        body=b"{}",
        subject="pulp.server.repo.sync.finish",
        message_id="m",
        content_type="application/json",
        creation_time=1_700_000_000_123,
        durable=True,
        application_properties={"pulpit-number": 7},
        annotations={Symbol("x-exchange"): "real", Symbol("x-basic-type"): "t", Symbol("x-basic-app-id"): "pulpit"},
    )
    assert message == Message(
        subject="pulp.server.repo.sync.finish",
        exchange="real",
        properties={
            "message_id": "m",
            "content_type": "application/json",
            "timestamp": 1_700_000_000,
            "delivery_mode": 2,
            "type": "t",
            "app_id": "pulpit",
        },
        headers={"pulpit-number": 7},
        body=b"{}",
    )


def test_what_is_not_there_is_left_out() -> None:
    assert arrived() == Message(subject="", exchange="pulp", properties={}, headers={}, body=b"")


@pytest.mark.parametrize("creation_time", [1_700_000_000_999, 1_700_000_000])
def test_a_broker_that_takes_seconds_for_milliseconds_is_understood(creation_time: int) -> None:
    assert arrived(creation_time=creation_time).properties["timestamp"] == 1_700_000_000


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"\xff", b"\xff"),
        (Value("text"), b"text"),
        (Value({"a": [1, None]}), b'{"a": [1, null]}'),
        (Value(b"raw"), b'"raw"'),
        (Sequences(([1, 2], [3])), b"[[1, 2], [3]]"),
    ],
)
def test_every_kind_of_body_becomes_bytes(body: Any, expected: bytes) -> None:
    assert arrived(body=body).body == expected


@pytest.mark.parametrize("message_id", [Ulong(5), UUID(int=5), b"\x01"])
def test_ids_that_are_no_texts_can_be_shown(message_id: Any) -> None:
    message = arrived(message_id=message_id)
    assert message.properties["message_id"] == message_id
    assert isinstance(read_event(message).id, str)


@pytest.mark.parametrize(
    ("profile", "fields", "redelivered"),
    [
        (PLAIN, {}, False),
        (PLAIN, {"delivery_count": 1}, True),
        (RABBITMQ_4, {"first_acquirer": True}, False),
        (RABBITMQ_4, {"first_acquirer": False, "durable": True}, True),
    ],
)
def test_whether_it_was_handed_out_before(profile: Any, fields: dict[str, Any], redelivered: bool) -> None:
    assert arrived(profile=profile, **fields).redelivered == redelivered


@given(st.binary(max_size=200))
def test_bytes_that_are_no_message_are_one_with_this_body(data: bytes) -> None:
    message = read_message(data, "pulp", PLAIN)
    assert isinstance(message.body, bytes)
    read_event(message)
