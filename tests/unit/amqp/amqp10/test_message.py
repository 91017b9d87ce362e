"""AMQP 1.0 messages, compared with Proton's own codec."""

import importlib
from dataclasses import replace
from typing import Any

import pytest

from pulpit.amqp.amqp10 import codec, message
from pulpit.amqp.amqp10.codec import DecodeError, Symbol, Ulong
from pulpit.amqp.amqp10.message import Message, Sequences, Value
from support.amqp10 import needs_amqp10

FULL = Message(
    body=b"body",
    durable=True,
    priority=7,
    ttl=5000,
    first_acquirer=True,
    delivery_count=3,
    message_id="id",
    user_id=b"joe",
    to="there",
    subject="pulp.server.repo.sync.finish",
    reply_to="here",
    correlation_id=Ulong(5),
    content_type="application/json",
    content_encoding="utf-8",
    absolute_expiry_time=1_700_000_000_001,
    creation_time=1_700_000_000_000,
    group_id="g",
    group_sequence=1,
    reply_to_group_id="r",
    application_properties={"number": 1, "text": "ä", "none": None},
    annotations={Symbol("x-a"): 1},
    delivery_annotations={Symbol("x-b"): 2},
    footer={Symbol("x-c"): 3},
)


@pytest.mark.parametrize("body", [b"", b"x" * 5000, Value({"a": 1}), Value(None), Sequences(([1], [2, "b"]))], ids=repr)
def test_what_is_written_is_read_again(body: bytes | Value | Sequences) -> None:
    original = Message(body=body, subject="a.b")
    assert message.decode(message.encode(original)) == original


def test_every_section_and_property_survives() -> None:
    assert message.decode(message.encode(FULL)) == FULL


def test_data_sections_are_joined_and_an_empty_message_has_an_empty_body() -> None:
    assert message.decode(message.encode(Message(body=b"a")) + message.encode(Message(body=b"b"))).body == b"ab"
    assert message.decode(b"") == Message()


@pytest.mark.parametrize(
    "data",
    [
        b"\x41",
        codec.described_list(0x79, ()),
        codec.described_list(0x73, (1,) * 14),
        codec.described_list(0x73, (None, "no bytes")),
        b"\x00\x53\x74\x45",
        message.encode(Message(body=b"a")) + message.encode(Message(body=Value(1))),
    ],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        message.decode(data)


@needs_amqp10
def test_proton_reads_the_same_and_its_messages_are_read() -> None:
    theirs: Any = importlib.import_module("proton").Message()
    theirs.decode(message.encode(FULL))
    assert bytes(theirs.body) == b"body"
    assert (theirs.id, theirs.subject, theirs.correlation_id) == ("id", "pulp.server.repo.sync.finish", 5)
    assert (theirs.durable, theirs.priority, theirs.ttl, theirs.delivery_count) == (True, 7, 5.0, 3)
    assert (theirs.content_type, theirs.content_encoding) == ("application/json", "utf-8")
    assert (theirs.creation_time, theirs.group_sequence) == (1_700_000_000.0, 1)
    assert theirs.properties == {"number": 1, "text": "ä", "none": None}
    assert message.decode(bytes(theirs.encode())) == replace(FULL, footer={})
