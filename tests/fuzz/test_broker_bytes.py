"""Random bytes into the frame reader, the field tables, the properties, the methods and a whole connection."""

import contextlib
import itertools
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import body, commands, encode, frame, header

from pulpit.amqp.amqp091 import tables
from pulpit.broker.connection_methods import State
from pulpit.broker.frames import FrameReader
from pulpit.broker.method_codec import head, method_frame, read_method
from pulpit.broker.methods import BasicAck, BasicNack, QueueDeclareOk
from pulpit.broker.properties import read_properties, write_header
from pulpit.broker.publishing import Publish
from pulpit.broker.refusals import ConnectionRefusal, Refusal
from support.broker_box import Box, BoxClient

FRAMES = st.lists(st.tuples(st.integers(0, 255), st.integers(0, 65535), st.binary(max_size=60)), max_size=8)
TEXT = st.text(max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


def written(frames: list[tuple[int, int, bytes]]) -> bytes:
    return b"".join(
        struct.pack(">BHI", kind, number, len(payload)) + payload + b"\xce" for kind, number, payload in frames
    )


@given(FRAMES, st.lists(st.integers(0, 400), max_size=6))
def test_frames_are_the_same_however_they_are_cut(frames: list[tuple[int, int, bytes]], cuts: list[int]) -> None:
    data = written(frames)
    reader = FrameReader(4096)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    seen = [item for start, stop in itertools.pairwise(edges) for item in reader.feed(data[start:stop])]
    assert seen == frames


@given(FRAMES, st.integers(1, 8))
def test_whoever_stops_early_gets_the_others_later(frames: list[tuple[int, int, bytes]], count: int) -> None:
    reader = FrameReader(4096)
    first = list(itertools.islice(reader.feed(written(frames)), count))
    assert first + list(reader.feed(b"")) == frames


@given(st.lists(st.binary(max_size=50), max_size=10))
def test_garbage_is_refused_or_waited_for(pieces: list[bytes]) -> None:
    reader = FrameReader(64)
    with contextlib.suppress(ConnectionRefusal):
        for piece in pieces:
            for _, _, payload in reader.feed(piece):
                assert len(payload) <= 64 - 8


@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_no_table(data: bytes) -> None:
    for read in (tables.read_table, tables.read_entries, tables.split):
        with contextlib.suppress(tables.BadTable):
            read(data)


@given(st.dictionaries(st.text(max_size=10), VALUES, max_size=6))
def test_what_pamqp_writes_is_read(table: dict[str, Any]) -> None:
    raw = encode.field_table(table)
    values, end = tables.read_table(raw)
    assert (values, end) == (table, len(raw))
    assert tables.join(tables.split(raw)) == raw
    assert {name.decode(): tables.read_value(value) for name, value in tables.split(raw)} == table


@pytest.mark.parametrize("kind", [b"F", b"A"])
def test_a_table_nested_a_thousand_deep_is_refused(kind: bytes) -> None:
    inner = b""
    for _ in range(1000):
        inner = (b"\x01a" if kind == b"F" else b"") + kind + struct.pack(">I", len(inner)) + inner
    raw = inner if kind == b"F" else b"\x01a" + inner
    with pytest.raises(tables.BadTable, match="deeper"):
        tables.read_table(struct.pack(">I", len(raw)) + raw)


@given(st.sampled_from(sorted(commands.INDEX_MAPPING)), st.binary(max_size=80))
def test_any_arguments_are_read_or_refused(index: int, data: bytes) -> None:
    try:
        method = read_method(struct.pack(">I", index) + data)
    except Refusal:
        return
    assert read_method(method_frame(1, method)[7:-1]) == method


@given(st.binary(max_size=80))
def test_any_publish_is_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(Refusal):
        publish = Publish(b"\x00\x3c\x00\x28\x00\x00" + data)
        assert len(publish.address) == 2 + publish.address[0] + publish.address[1 + publish.address[0]]


@given(st.binary(max_size=100))
def test_any_properties_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(Refusal):
        properties = read_properties(struct.pack(">HHQ", 60, 0, 5) + data)
        again = read_properties(write_header(5, properties))
        assert again.parts == properties.parts


@given(st.lists(st.binary(max_size=60), max_size=6), st.booleans())
def test_a_connection_survives_garbage(pieces: list[bytes], greeted: bool) -> None:
    box = Box()
    client = BoxClient(box, greeted=greeted)
    for piece in pieces:
        client.raw(piece)
    other = box.client()
    other.send(commands.Queue.Declare(0, "works"))
    assert any(isinstance(value, commands.Queue.DeclareOk) for _, value in other.read())
    assert len(box.state.connections) <= 2


@given(FRAMES)
def test_a_connection_survives_strange_frames(frames: list[tuple[int, int, bytes]]) -> None:
    box = Box()
    client = box.client()
    client.raw(written([(1 + kind % 3, number % 3, payload) for kind, number, payload in frames]))
    client.read()
    assert client.connection.state in (State.RUNNING, State.CLOSING, State.CLOSED)


PUBLISHES = st.lists(
    st.tuples(
        st.sampled_from(
            [(commands.Basic.Publish(0, "", "q"), 1)] * 5
            + [
                (commands.Basic.Publish(0, "", "missing", True), 1),
                (commands.Basic.Publish(0, "nowhere", "q"), 1),
                (commands.Basic.Publish(0, "", "q"), 2),
                (commands.Basic.Publish(0, "", "q"), 9),
            ]
        ),
        st.sampled_from([60] * 9 + [61]),
        st.sampled_from(
            [commands.Basic.Properties(), commands.Basic.Properties(headers={"CC": ["q"]}, expiration="9")]
        ),
        st.lists(st.integers(0, 9), max_size=3),
        st.sampled_from([0] * 9 + [-1, 1]),
    ),
    max_size=5,
)


@given(PUBLISHES, st.lists(st.integers(0, 900), max_size=8))
def test_a_publish_means_the_same_however_it_is_cut(publishes: list[Any], cuts: list[int]) -> None:
    data = b""
    for (method, channel), class_id, properties, sizes, too_long in publishes:
        content = header.ContentHeader(0, max(0, sum(sizes) + too_long), properties)
        data += frame.marshal(method, channel)
        data += frame.marshal(content, channel).replace(b"\x00\x3c", struct.pack(">H", class_id), 1)
        data += b"".join(frame.marshal(body.ContentBody(b"x" * size), channel) for size in sizes)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:stop] for start, stop in itertools.pairwise(edges)]
    assert (
        what_is_said_to([data])
        == what_is_said_to(pieces)
        == what_is_said_to([data[at : at + 1] for at in range(len(data))])
    )


def what_is_said_to(pieces: list[bytes]) -> tuple[list[tuple[int, int, bytes]], int]:
    """The frames that a consumer and a publisher get but for confirms, and how many publishes there were."""
    client = Box().client()
    for method in (commands.Queue.Declare(0, "q"), commands.Basic.Consume(0, "q", "c"), commands.Confirm.Select()):
        client.send(method)
    client.send(commands.Channel.Open(), 2)
    client.read()
    for piece in pieces:
        client.raw(piece)
    said = b"".join(iter(client.connection.take_output, b""))
    frames = [said_frame for said_frame in FrameReader(10**6).feed(said) if said_frame[2][:4] != head(BasicAck)]
    return frames, client.connection.session.published


METHODS = [
    commands.Basic.Ack(1, True),
    commands.Basic.Nack(1),
    commands.Basic.Get(0, "q"),
    commands.Basic.Consume(0, "q"),
    commands.Basic.Recover(True),
    commands.Basic.Qos(0, 1),
    commands.Channel.Open(),
    commands.Channel.Close(200, "", 0, 0),
    commands.Channel.CloseOk(),
    commands.Confirm.Select(),
    commands.Queue.Declare(0, "q"),
    commands.Queue.Delete(0, "q"),
    commands.Queue.Bind(0, "q", "amq.topic", "#"),
    commands.Tx.Select(),
    commands.Tx.Commit(),
    commands.Tx.Rollback(),
    commands.Connection.Close(200, "", 0, 0),
    commands.Basic.Publish(0, "", "q"),
]


@given(st.lists(st.tuples(st.sampled_from(METHODS), st.integers(0, 2)), max_size=20))
def test_no_order_of_methods_is_a_mistake_of_the_broker(steps: list[tuple[Any, int]]) -> None:
    client = Box().client()
    for method, channel in steps:
        client.send(method, channel)
    said = [value for _, value in client.read()]
    assert not [item for item in said if getattr(item, "reply_code", 0) == 541]


@pytest.mark.parametrize("theirs", commands.INDEX_MAPPING.values(), ids=lambda method: method.name)
def test_the_table_of_methods_is_that_of_another_codec(theirs: Any) -> None:
    ours = read_method(struct.pack(">I", theirs.index) + bytes(40))
    assert ours.title.replace("-", "") == theirs.name.lower()
    assert [kind for _, kind in ours.layout] == [theirs.amqp_type(name) for name in theirs.__slots__]
    assert len(method_frame(1, ours)) == len(method_frame(1, read_method(method_frame(1, ours)[7:-1])))


def test_a_method_is_written_as_another_codec_writes_it() -> None:
    assert frame.marshal(commands.Basic.Nack(7, True, True), 3) == method_frame(3, BasicNack(7, True, True))
    assert frame.marshal(commands.Queue.DeclareOk("q", 1, 2), 3) == method_frame(3, QueueDeclareOk("q", 1, 2))
